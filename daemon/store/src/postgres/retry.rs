//! Transactions that are repeated.

use super::PostgresArchive;
use super::error::Failure;
use super::pool::silent;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use stele_archive::Result;
use tokio::time::timeout;

/// How often a transaction is tried.
const ATTEMPTS: u32 = 6;
/// The longest pause after the first attempt; it doubles with each. Together they outlast [`super::open::FRESH`], so that a
/// connection that died idle is met no more.
const PAUSE: Duration = Duration::from_millis(40);

impl PostgresArchive {
    /// Do it [again] until it succeeds, fails for good, or has taken as long as a call may: a connection that fell silent amid it
    /// is waited for no longer.
    pub(super) async fn repeat<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let limit = self.0.call_timeout;
        // What was under way may have been done, so it is not done once more.
        Ok(timeout(limit, again(attempt)).await.unwrap_or_else(|_| Err(silent(limit).into()))?)
    }
}

/// Do it until it succeeds or fails for good. Each attempt is a whole transaction of its own; what is repeated is only what is
/// known to have left nothing ([`Failure::may_be_repeated`]).
pub(crate) async fn again<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(failure) if failure.may_be_repeated() && is_worth(attempts) => pause(attempts).await,
            done => return done,
        }
        attempts += 1;
    }
}

/// Whether another attempt is, after so many.
pub(super) fn is_worth(attempts: u32) -> bool {
    attempts < ATTEMPTS
}

/// Wait before the next attempt: rivals that met once are to meet no more, so nobody waits as long as the other.
pub(super) async fn pause(attempts: u32) {
    let longest = PAUSE * (1 << attempts.min(ATTEMPTS));
    let random = RandomState::new().build_hasher().finish() as u32;
    tokio::time::sleep(longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))).await;
}
