//! How long to wait before starting a plugin again that has failed, and when to stop trying.
//!
//! What counts is failures in a row: attempts that brought no plugin, and plugins that ended or hung before they had worked for
//! [`RestartPolicy::healthy`]. However long each takes, a plugin that fails again and again is a fault that a person must look at, and
//! restarting it for ever would only hide that. Delays double from [`RestartPolicy::first_delay`] to [`RestartPolicy::max_delay`], with
//! jitter, so that many instances that died of one cause do not come back in one moment. A plugin that has worked, or that somebody
//! restarts, starts from the beginning.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// When an instance that has failed is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Delay before the first restart.
    pub first_delay: Duration,
    /// Longest delay between restarts.
    pub max_delay: Duration,
    /// So many failures in a row stop the restarts until somebody asks for one.
    pub max_failures: u32,
    /// Failures before a plugin that has worked for so long are forgotten. It works from its answer to hello to its end, or until it
    /// answers no more.
    pub healthy: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            max_failures: 8,
            healthy: Duration::from_secs(30),
        }
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this long.
    RestartAfter(Duration),
    /// Too many failures: stay down.
    GiveUp,
}

/// The failures of one instance.
#[derive(Debug)]
pub(crate) struct Failures {
    policy: RestartPolicy,
    in_a_row: u32,
}

impl Failures {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, in_a_row: 0 }
    }

    /// Counts a failure of a plugin that had worked for so long, and decides what follows.
    pub(crate) fn failed_after(&mut self, worked: Duration) -> Verdict {
        if worked >= self.policy.healthy {
            self.in_a_row = 0;
        }
        let doublings = self.in_a_row.min(31);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= self.policy.max_failures {
            return Verdict::GiveUp;
        }
        let delay = self.policy.first_delay.saturating_mul(1 << doublings).min(self.policy.max_delay);
        Verdict::RestartAfter(jittered(delay))
    }
}

/// Between three quarters of `delay` and all of it.
fn jittered(delay: Duration) -> Duration {
    // A new `RandomState` has new random keys: good enough to spread restarts, and no dependency.
    let random = RandomState::new().hash_one(0u8);
    let quarter = delay / 4;
    delay - quarter.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn policy() -> RestartPolicy {
        RestartPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(500),
            max_failures: 6,
            healthy: MINUTE,
        }
    }

    #[track_caller]
    fn check_delay(verdict: Verdict, nominal_ms: u64) {
        let Verdict::RestartAfter(delay) = verdict else { panic!("gave up") };
        let nominal = Duration::from_millis(nominal_ms);
        assert!(delay <= nominal && delay >= nominal * 3 / 4, "{delay:?} is not within a quarter of {nominal:?}");
    }

    #[test]
    fn delays_double_up_to_the_cap_and_then_it_gives_up() {
        let mut failures = Failures::new(policy());
        for (seconds, nominal_ms) in [(0, 100), (1, 200), (59, 400), (0, 500), (30, 500)] {
            check_delay(failures.failed_after(Duration::from_secs(seconds)), nominal_ms);
        }
        assert_eq!(failures.failed_after(MINUTE - Duration::from_nanos(1)), Verdict::GiveUp);
    }

    #[test]
    fn what_was_before_a_plugin_worked_is_forgotten() {
        let mut failures = Failures::new(policy());
        for _ in 0..100 {
            check_delay(failures.failed_after(MINUTE), 100);
            check_delay(failures.failed_after(Duration::ZERO), 200);
        }
    }

    #[test]
    fn one_allowed_failure_gives_up_at_once() {
        let mut failures = Failures::new(RestartPolicy { max_failures: 1, ..policy() });
        assert_eq!(failures.failed_after(10 * MINUTE), Verdict::GiveUp);
    }

    #[test]
    fn the_longest_delay_is_reached_before_the_last_attempt() {
        let mut failures = Failures::new(RestartPolicy::default());
        let delays = std::iter::from_fn(|| match failures.failed_after(Duration::ZERO) {
            Verdict::RestartAfter(delay) => Some(delay),
            Verdict::GiveUp => None,
        });
        let longest = RestartPolicy::default().max_delay;
        assert!(delays.max().is_some_and(|delay| delay >= longest * 3 / 4));
    }
}
