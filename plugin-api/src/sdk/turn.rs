//! Work of an instance that only one of all daemons does at a time: a follow-up loop, say.

use super::Host;
use crate::error::{Error, ErrorCode};
use crate::ops::{HoldRequest, LeaseHold};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How long a turn is good for without being renewed: so long a daemon that died keeps the others waiting.
const TURN_SECONDS: u32 = 20;
/// It is renewed, and waited for, this many times within that.
const BEATS: u32 = 4;

/// A turn at something that only one of all daemons may do at a time; see [`Host::turn`].
#[derive(Debug)]
pub struct Turn {
    host: Host,
    key: String,
    /// Nobody else has it before.
    until: Option<Instant>,
}

impl Turn {
    pub(super) fn new(host: Host, key: String) -> Self {
        Self { host, key, until: None }
    }

    /// Asks once. Whether it is this daemon's turn; one that knows of no others (a daemon before minor 4) always has it.
    ///
    /// # Errors
    ///
    /// Those of the daemon.
    pub async fn take(&mut self) -> Result<bool, Error> {
        let asked = Instant::now();
        let request = HoldRequest { key: self.key.clone(), seconds: TURN_SECONDS };
        let held = match self.host.call_within::<LeaseHold>(request, beat()).await {
            Ok(answer) => answer.held,
            Err(error) if error.code == ErrorCode::Unsupported => true,
            Err(error) => return Err(error),
        };
        self.until = held.then(|| asked + Duration::from_secs(TURN_SECONDS.into()));
        Ok(held)
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        while !self.is_had() && !matches!(self.take().await, Ok(true)) {
            sleep(beat()).await;
        }
    }

    /// Works as long as it is this daemon's turn. `None` when that ended first: the work was dropped then, before anybody else
    /// could begin it.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut keep) = (pin!(work), pin!(self.keep()));
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => keep.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// Ends it, so that nobody waits for it any more. One that cannot be given back ends by itself.
    pub async fn give_back(mut self) {
        if self.until.take().is_some() {
            let request = HoldRequest { key: self.key.clone(), seconds: 0 };
            _ = self.host.call_within::<LeaseHold>(request, beat()).await;
        }
    }

    /// Renews it until that cannot be done in time.
    async fn keep(&mut self) {
        while let Some(until) = self.until {
            sleep(beat()).await;
            match timeout_at(until - beat() / 2, self.take()).await {
                Ok(Ok(_)) => {}
                // It is tried again as long as there is time.
                Ok(Err(_)) if Instant::now() + beat() < until => {}
                Ok(Err(_)) | Err(_) => {
                    sleep_until(until - beat() / 2).await;
                    self.until = None;
                }
            }
        }
    }

    fn is_had(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() + beat() < until)
    }
}

fn beat() -> Duration {
    Duration::from_secs(TURN_SECONDS.into()) / BEATS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::HoldReply;
    use crate::testing::MockHost;
    use std::sync::{Arc, Mutex};

    /// A host that answers these, one after the other, and the last one again and again.
    fn host(answers: Vec<Result<bool, ErrorCode>>) -> MockHost {
        let answers = Arc::new(Mutex::new(answers));
        MockHost::new().on::<LeaseHold>(move |request| {
            assert_eq!((request.key.as_str(), request.seconds), ("follow", TURN_SECONDS));
            let mut answers = answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            answer.map(|held| HoldReply { held }).map_err(|code| Error::new(code, "no"))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn work_lasts_as_long_as_the_turn() {
        let mock = host(vec![Ok(false), Err(ErrorCode::Unavailable), Ok(true), Ok(true), Ok(false)]);
        let mut turn = mock.host().turn("follow");
        assert!(!turn.take().await.unwrap());
        turn.wait().await;
        assert_eq!(mock.requests::<LeaseHold>().len(), 3);
        let begun = Instant::now();
        assert_eq!(turn.during(std::future::pending::<()>()).await, None, "the turn was taken away");
        assert_eq!(begun.elapsed(), 2 * beat());
        assert!(!turn.is_had());
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_does_not_answer_ends_the_turn_before_its_time() {
        let mock = host(vec![Ok(true), Err(ErrorCode::Unavailable)]);
        let mut turn = mock.host().turn("follow");
        turn.wait().await;
        let begun = Instant::now();
        assert_eq!(turn.during(std::future::pending::<()>()).await, None);
        assert!(begun.elapsed() < Duration::from_secs(TURN_SECONDS.into()), "{:?}", begun.elapsed());
        let mut turn = host(vec![Ok(true), Err(ErrorCode::Unavailable), Ok(true)]).host().turn("follow");
        turn.wait().await;
        assert_eq!(turn.during(sleep(Duration::from_secs(300))).await, Some(()), "one answer was missing");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_had_is_given_back() {
        let mock = MockHost::new().on::<LeaseHold>(|request| Ok(HoldReply { held: request.seconds > 0 }));
        let mut turn = mock.host().turn("follow");
        turn.wait().await;
        turn.give_back().await;
        let seconds: Vec<_> = mock.requests::<LeaseHold>().iter().map(|request| request.seconds).collect();
        assert_eq!(seconds, [TURN_SECONDS, 0]);
        mock.host().turn("never had").give_back().await;
        assert_eq!(mock.requests::<LeaseHold>().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_other_daemon_it_is_always_had() {
        let mut turn = MockHost::new().host().turn("follow");
        turn.wait().await;
        assert_eq!(turn.during(sleep(Duration::from_secs(300))).await, Some(()));
    }
}
