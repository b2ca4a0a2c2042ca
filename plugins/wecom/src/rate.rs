//! How often a corp is called.
//!
//! WeCom counts calls per minute and corp and punishes the one too many (reference/wecom-archive.md §1.10). So this counts
//! the same way: the calls of the last minute are remembered, and the next one waits until it fits. Bursts are as quick as
//! WeCom allows, and no window of a minute ever has more.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The window WeCom counts in.
const WINDOW: Duration = Duration::from_secs(60);

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Messages: may use every call there is.
    Messages,
    /// Files: leave a quarter to the messages, so that a thousand pictures never hold up a text.
    Files,
}

/// The calls of one corp.
#[derive(Debug)]
pub struct CallRate {
    per_minute: usize,
    made: Mutex<VecDeque<Instant>>,
}

impl CallRate {
    /// At most so many calls in any minute, at least 1.
    pub fn new(per_minute: u32) -> Self {
        let per_minute = usize::try_from(per_minute).unwrap_or(usize::MAX).max(1);
        Self { per_minute, made: Mutex::default() }
    }

    /// Waits until one more call fits, and counts it.
    pub async fn next(&self, purpose: Purpose) {
        while let Some(fits_at) = self.take(purpose, Instant::now()) {
            tokio::time::sleep_until(fits_at).await;
        }
    }

    /// Counts a call, or says when to ask again.
    fn take(&self, purpose: Purpose, now: Instant) -> Option<Instant> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        while made.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            made.pop_front();
        }
        let allowed = match purpose {
            Purpose::Messages => self.per_minute,
            Purpose::Files => (self.per_minute * 3 / 4).max(1),
        };
        if made.len() < allowed {
            made.push_back(now);
            return None;
        }
        // The call that has to leave the window first.
        Some(made[made.len() - allowed] + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_allowed() {
        let rate = CallRate::new(10);
        let mut made = Vec::new();
        for _ in 0..35 {
            rate.next(Purpose::Messages).await;
            made.push(Instant::now());
        }
        for pair in made.windows(11) {
            assert!(pair[10].duration_since(pair[0]) >= WINDOW);
        }
        assert!(made[34].duration_since(made[0]) < WINDOW * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn files_leave_room_for_messages() {
        let rate = CallRate::new(8);
        let start = Instant::now();
        for _ in 0..6 {
            rate.next(Purpose::Files).await;
        }
        assert_eq!(Instant::now(), start);
        assert!(rate.take(Purpose::Files, start).is_some());
        for _ in 0..2 {
            rate.next(Purpose::Messages).await;
        }
        assert_eq!(Instant::now(), start);
        rate.next(Purpose::Files).await;
        assert_eq!(Instant::now(), start + WINDOW);
    }
}
