//! How long to wait before starting a crashed plugin again, and when to stop trying.
//!
//! Two questions, kept apart. *When next?* doubles from [`RestartPolicy::first_delay`] to [`RestartPolicy::max_delay`], with
//! jitter, so that many instances that died of one cause do not come back in one moment. *Whether at all?* counts crashes
//! in a sliding window: a plugin that dies again and again is a fault that a person must look at, and restarting it for
//! ever would only hide that. Both forget: a plugin that stayed up for a whole window, or that somebody restarts, starts
//! from the beginning.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

/// When a crashed instance is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Delay before the first restart.
    pub first_delay: Duration,
    /// Longest delay between restarts.
    pub max_delay: Duration,
    /// So many crashes within [`Self::window`] stop the restarts until somebody asks for one.
    pub max_crashes: usize,
    /// The window in which crashes are counted; staying up for as long makes the past forgotten.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            max_crashes: 8,
            window: Duration::from_secs(300),
        }
    }
}

/// What to do after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this long.
    RestartAfter(Duration),
    /// Too many crashes: stay down.
    GiveUp,
}

/// The crashes of one instance.
#[derive(Debug)]
pub(crate) struct CrashLog {
    policy: RestartPolicy,
    /// At most `policy.max_crashes` entries, oldest first.
    crashes: VecDeque<Instant>,
}

impl CrashLog {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, crashes: VecDeque::new() }
    }

    /// Records a crash at `now` and decides what follows.
    pub(crate) fn crashed(&mut self, now: Instant) -> Verdict {
        while self.crashes.front().is_some_and(|&first| now.duration_since(first) >= self.policy.window) {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        if self.crashes.len() >= self.policy.max_crashes.max(1) {
            return Verdict::GiveUp;
        }
        let doublings = u32::try_from(self.crashes.len() - 1).unwrap_or(u32::MAX).min(31);
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

    fn policy() -> RestartPolicy {
        RestartPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(500),
            max_crashes: 6,
            window: Duration::from_secs(60),
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
        let mut log = CrashLog::new(policy());
        let start = Instant::now();
        for (crash, nominal_ms) in [100, 200, 400, 500, 500].into_iter().enumerate() {
            check_delay(log.crashed(start + Duration::from_secs(crash as u64)), nominal_ms);
        }
        assert_eq!(log.crashed(start + Duration::from_secs(6)), Verdict::GiveUp);
    }

    #[test]
    fn crashes_outside_the_window_are_forgotten() {
        let mut log = CrashLog::new(policy());
        let start = Instant::now();
        for crash in 0..100 {
            check_delay(log.crashed(start + Duration::from_secs(60 * crash)), 100);
        }
    }

    #[test]
    fn one_allowed_crash_gives_up_at_once() {
        let mut log = CrashLog::new(RestartPolicy { max_crashes: 1, ..policy() });
        assert_eq!(log.crashed(Instant::now()), Verdict::GiveUp);
    }
}
