//! Since when messages are missing.
//!
//! A number is given out before its message can be read, so one that is missing may come; one that still is after some time does
//! not. When it was given out nobody tells: times are the senders' own. So what counts is since when it is seen to be missing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Conversations remembered; in others what is missing is waited for until there is room.
const MOST: usize = 100_000;

/// Conversations in which something is missing.
pub struct Sightings {
    grace: Duration,
    /// Since when, and up to which number.
    known: Mutex<HashMap<String, (Instant, i64)>>,
}

impl Sightings {
    /// Something that is missing for so long does not come.
    pub fn new(grace: Duration) -> Self {
        Self { grace, known: Mutex::default() }
    }

    /// Something is missing from a number on, in a conversation that ends with another. Up to which number it does not come.
    pub fn missing(&self, conversation: &str, from: i64, last: i64) -> i64 {
        if self.grace.is_zero() {
            return last;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, upto)) = known.get_mut(conversation) {
            // Numbers may have been told of that are not given out.
            *upto = last.min(*upto);
            if since.elapsed() < self.grace {
                return 0;
            }
            if from <= *upto {
                return *upto;
            }
        } else if known.len() >= MOST {
            return 0;
        }
        known.insert(conversation.to_owned(), (Instant::now(), last));
        0
    }

    /// Nothing is missing in a conversation any more.
    pub fn complete(&self, conversation: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(conversation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_for_long_does_not_come() {
        let sightings = Sightings::new(Duration::from_secs(60));
        assert_eq!(sightings.missing("c", 5, 10), 0);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(sightings.missing("c", 5, 20), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.missing("c", 5, 20), 10, "of what came later nothing is known");
        assert_eq!(sightings.missing("c", 15, 20), 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(sightings.missing("c", 15, 20), 20);
        sightings.complete("c");
        assert_eq!(sightings.missing("c", 15, 20), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_that_were_not_given_out_are_forgotten() {
        let sightings = Sightings::new(Duration::from_secs(60));
        assert_eq!(sightings.missing("c", 5, 100), 0);
        assert_eq!(sightings.missing("c", 5, 8), 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(sightings.missing("c", 5, 90), 8);
        assert_eq!(Sightings::new(Duration::ZERO).missing("c", 5, 9), 9);
    }
}
