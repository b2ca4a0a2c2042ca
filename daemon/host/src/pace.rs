//! Makes whoever brings too much wait, so that nobody else has to.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a [`Pace`] counts within.
const SECOND: Duration = Duration::from_secs(1);

/// So much in a second; then a pause for as long as that takes.
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

    /// Counts so much; when that makes a second full, waits until all of it is paid for.
    pub(crate) async fn spend(&mut self, amount: u64) {
        self.spent = self.spent.saturating_add(amount);
        if self.spent < self.most {
            return;
        }
        // No wait at all for who took longer than that anyway.
        sleep_until(self.since + SECOND.mul_f64(self.spent as f64 / self.most as f64)).await;
        (self.spent, self.since) = (0, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn too_much_takes_its_time() {
        let mut pace = Pace::new(100);
        let started = Instant::now();
        for _ in 0..99 {
            pace.spend(1).await;
        }
        assert!(started.elapsed() < SECOND, "what is within the bound passes at once");
        pace.spend(1).await;
        assert!(started.elapsed() >= SECOND);
        pace.spend(99).await;
        pace.spend(51).await;
        assert!(started.elapsed() >= SECOND.mul_f64(2.5), "what is beyond it takes as long as it would by itself");
    }
}
