//! Who counts as one caller, and how often it may ask.

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// After so many requests, callers that have not been heard of for a while are forgotten.
const SWEEP_EVERY: u32 = 4096;

/// Files a caller may fetch for each request it may make: what is answered is shown with the pictures in it.
const FILES_PER_REQUEST: u32 = 10;
/// Files a caller may fetch at once, however few requests it may make: ten of the largest pages, a file in each row.
const FILES_AT_ONCE: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// A token bucket per caller.
pub struct CallerRates {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl CallerRates {
    /// `rate` requests a second, and as many at once. `None` when there is no limit.
    pub fn per_second(rate: u32) -> Option<Self> {
        Some(Self::of(Quota::per_second(NonZeroU32::new(rate)?)))
    }

    /// The files that go with so many requests a second. `None` when there is no limit.
    pub fn of_files(rate: u32) -> Option<Self> {
        let files = NonZeroU32::new(rate.saturating_mul(FILES_PER_REQUEST))?;
        Some(Self::of(Quota::per_second(files).allow_burst(files.max(FILES_AT_ONCE))))
    }

    fn of(quota: Quota) -> Self {
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), asked: AtomicU32::new(0) }
    }

    /// Whether this caller may ask now; if not, how long to wait.
    pub fn check(&self, caller: IpAddr) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&key(caller)).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// What counts as one caller: an IPv4 address, or the /64 an IPv6 host picks its addresses from.
pub(super) fn key(caller: IpAddr) -> IpAddr {
    match caller.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_do_not_share_their_rate() {
        let rates = CallerRates::per_second(2).unwrap();
        let check = |caller: &str, expected: bool| {
            assert_eq!(rates.check(caller.parse().unwrap()).is_ok(), expected, "{caller}");
        };
        check("10.0.0.1", true);
        check("::ffff:10.0.0.1", true);
        check("10.0.0.1", false);
        check("10.0.0.2", true);
        check("2001:db8::1", true);
        check("2001:db8::ffff", true);
        check("2001:db8::2", false);
        check("2001:db8:0:1::2", true);
        let wait = rates.check("10.0.0.1".parse().unwrap()).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(CallerRates::per_second(0).is_none());
        assert!(CallerRates::of_files(0).is_none());
    }
}
