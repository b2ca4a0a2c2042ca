//! Makes whoever brings too much wait, so that nobody else has to.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a [`Pace`] counts within.
const SECOND: Duration = Duration::from_secs(1);

/// So much in a second, and then a pause until that is over.
#[derive(Debug)]
pub(crate) struct Pace {
    most: u64,
    spent: u64,
    since: Instant,
}

impl Pace {
    /// At most about `most` a second.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, spent: 0, since: Instant::now() }
    }

    /// Counts so much; waits when that was all of this second.
    pub(crate) async fn spend(&mut self, amount: u64) {
        self.spent = self.spent.saturating_add(amount);
        if self.spent < self.most {
            return;
        }
        // No wait at all for who took longer than that anyway.
        sleep_until(self.since + SECOND).await;
        (self.spent, self.since) = (0, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn too_much_takes_its_time() {
        let mut pace = Pace::new(10);
        let started = Instant::now();
        for _ in 0..9 {
            pace.spend(1).await;
        }
        assert!(started.elapsed() < SECOND, "what is within the bound passes at once");
        pace.spend(1).await;
        assert!(started.elapsed() >= SECOND);
        pace.spend(9).await;
        pace.spend(1000).await;
        assert!(started.elapsed() >= 2 * SECOND);
    }
}
