//! What many callers want stored, stored together ("group commit").
//!
//! One task takes everything that waits and hands it to the plugin's [`Store`] as one batch; what comes meanwhile waits for the
//! next. So how much is stored a second does not depend on how long the disk takes for one append, and the order in which items
//! were submitted is that in which they are stored. A caller is answered when its item is stored.
//!
//! A caller that goes away changes nothing: its item is stored all the same. An item that waited too long is dropped, since its
//! caller is about to give up, and would send it again. A batch that is refused for what is in it is stored item by item, so that
//! one item takes no others with it. A batch that fails otherwise is not stored again here: whether it was stored is not known, and
//! whether it may be repeated the store knows.

use crate::error::{Error, ErrorCode};
use crate::notify::Level;
use crate::sdk::Host;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Most items that wait.
pub const MAX_WAITING: usize = 4096;
/// Most bytes that wait.
pub const MAX_WAITING_BYTES: usize = 64 << 20;
/// Most items of one batch.
pub const MAX_BATCH: usize = 1000;
/// Bytes after which a batch takes no further item.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// How often an item is stored anew, when the store asks for it.
const MAX_TRIES: u32 = 4;

/// Stores batches, one after the other.
pub trait Store: Send + 'static {
    /// What is stored.
    type Item: Send + Sync + 'static;
    /// What a caller learns of what was stored.
    type Answer: Send + 'static;

    /// What counts of an item where bytes are bounded.
    fn bytes(item: &Self::Item) -> usize;

    /// Stores items, in this order and within this time, and says what became of each, in the same order.
    ///
    /// # Errors
    ///
    /// Nothing is stored, or what is stored is not known.
    fn store(
        &mut self,
        items: Vec<&Self::Item>,
        within: Duration,
    ) -> impl Future<Output = Result<Vec<Outcome<Self::Answer>>, Error>> + Send;
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<A> {
    /// It is stored.
    Stored(A),
    /// It is not, and will not be.
    Refused(Error),
    /// It is not, but will be under another id: it comes again, with others that have to.
    Again,
}

/// Whether an append was refused for what is in it: nothing of it is stored.
pub fn is_of_the_content(error: &Error) -> bool {
    matches!(error.code, ErrorCode::Invalid | ErrorCode::TooLarge)
}

struct Waiting<S: Store> {
    item: S::Item,
    since: Instant,
    answer: oneshot::Sender<Result<S::Answer, Error>>,
    _share: OwnedSemaphorePermit,
}

/// Takes items to store.
pub struct Committer<S: Store> {
    host: Host,
    call: Duration,
    queue: mpsc::Sender<Waiting<S>>,
    bytes: Arc<Semaphore>,
}

/// An item on its way.
pub struct Pending<A> {
    answered: oneshot::Receiver<Result<A, Error>>,
    until: Instant,
}

impl<A> Pending<A> {
    /// Waits until it is stored.
    ///
    /// # Errors
    ///
    /// `rate_limited` when it waited too long (nothing was done); `deadline`; the store's error.
    pub async fn answer(self) -> Result<A, Error> {
        match tokio::time::timeout_at(self.until, self.answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::internal("the committer is gone")),
            Err(_) => Err(Error::new(ErrorCode::Deadline, "the message was not stored in time")),
        }
    }
}

impl<S: Store> Committer<S> {
    /// Starts the task, on the current runtime. It ends when nobody can submit any more. A caller waits for `call`: half of it
    /// is for waiting, half of it for the store.
    pub fn start(host: Host, store: S, call: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(Task { host: host.clone(), store, call }.run(waiting));
        Self { host, call, queue, bytes: Arc::new(Semaphore::new(MAX_WAITING_BYTES)) }
    }

    /// Stores an item.
    ///
    /// # Errors
    ///
    /// As [`Committer::submit`] and [`Pending::answer`].
    pub async fn commit(&self, item: S::Item) -> Result<S::Answer, Error> {
        let mut pending = self.submit(vec![item])?;
        let pending = pending.pop().ok_or_else(|| Error::internal("nothing was submitted"))?;
        pending.answer().await
    }

    /// Hands items over, in this order: all of them, or none.
    ///
    /// # Errors
    ///
    /// `rate_limited` when too many wait.
    pub fn submit(&self, items: Vec<S::Item>) -> Result<Vec<Pending<S::Answer>>, Error> {
        let count = items.len();
        let full = || {
            let error = Error::new(ErrorCode::RateLimited, "too many messages wait to be stored");
            log_refused(&self.host, count, &error);
            error
        };
        let weight = |item: &S::Item| S::bytes(item).clamp(1, MAX_WAITING_BYTES);
        let bytes = u32::try_from(items.iter().map(weight).sum::<usize>()).map_err(|_| full())?;
        let mut shares = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| full())?;
        let places = self.queue.try_reserve_many(count).map_err(|_| full())?;
        let since = Instant::now();
        let mut pending = Vec::with_capacity(count);
        for (place, item) in places.zip(items) {
            let share =
                shares.split(weight(&item)).ok_or_else(|| Error::internal("an item weighs more than before"))?;
            let (answer, answered) = oneshot::channel();
            place.send(Waiting { item, since, answer, _share: share });
            pending.push(Pending { answered, until: since + self.call });
        }
        Ok(pending)
    }
}

struct Task<S> {
    host: Host,
    store: S,
    call: Duration,
}

impl<S: Store> Task<S> {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting<S>>) {
        while let Some(first) = waiting.recv().await {
            let mut bytes = S::bytes(&first.item);
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                let Ok(next) = waiting.try_recv() else { break };
                bytes += S::bytes(&next.item);
                batch.push(next);
            }
            self.commit(batch).await;
        }
    }

    async fn commit(&mut self, batch: Vec<Waiting<S>>) {
        let Err((error, batch)) = self.store(batch).await else { return };
        if batch.len() == 1 || !is_of_the_content(&error) {
            return self.refuse(batch, &error);
        }
        // Nothing of it was stored. It may be the fault of one: the others shall not suffer.
        let mut rest = batch.into_iter();
        while let Some(one) = rest.next() {
            let Err((error, mut refused)) = self.store(vec![one]).await else { continue };
            if !is_of_the_content(&error) {
                refused.extend(rest.by_ref());
            }
            self.refuse(refused, &error);
        }
    }

    /// Stores all that did not wait too long.
    async fn store(&mut self, mut batch: Vec<Waiting<S>>) -> Result<(), (Error, Vec<Waiting<S>>)> {
        let max_wait = self.call / 2;
        for _ in 0..MAX_TRIES {
            let (late, begun): (Vec<_>, Vec<_>) = batch.into_iter().partition(|one| one.since.elapsed() >= max_wait);
            self.refuse(late, &Error::new(ErrorCode::RateLimited, "they waited too long to be stored"));
            if begun.is_empty() {
                return Ok(());
            }
            let items = begun.iter().map(|waiting| &waiting.item).collect();
            let outcomes = match self.store.store(items, self.call - max_wait).await {
                Ok(outcomes) => outcomes,
                Err(error) => return Err((error, begun)),
            };
            batch = Vec::new();
            for (waiting, outcome) in begun.into_iter().zip(outcomes) {
                match outcome {
                    // Who does not wait any more needs no answer.
                    Outcome::Stored(answer) => drop(waiting.answer.send(Ok(answer))),
                    Outcome::Refused(error) => self.refuse(vec![waiting], &error),
                    Outcome::Again => batch.push(waiting),
                }
            }
        }
        if batch.is_empty() { Ok(()) } else { Err((Error::internal("every id was taken"), batch)) }
    }

    fn refuse(&self, batch: Vec<Waiting<S>>, error: &Error) {
        if batch.is_empty() {
            return;
        }
        log_refused(&self.host, batch.len(), error);
        for waiting in batch {
            drop(waiting.answer.send(Err(error.clone())));
        }
    }
}

/// Callers learn no more than that it failed.
fn log_refused(host: &Host, messages: usize, error: &Error) {
    let (count, reason) = (messages.to_string(), error.to_string());
    host.log_from("send", Level::Warn, "messages were not stored", &[("messages", &count), ("error", &reason)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MockHost;
    use std::sync::Mutex;

    /// Keeps all numbers but 3, which is refused, and 5, which is to come again whenever it comes.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Vec<u32>>>>);

    impl Store for Kept {
        type Item = u32;
        type Answer = u32;

        fn bytes(number: &u32) -> usize {
            *number as usize
        }

        async fn store(&mut self, items: Vec<&u32>, _: Duration) -> Result<Vec<Outcome<u32>>, Error> {
            let items: Vec<u32> = items.into_iter().copied().collect();
            self.0.lock().unwrap().push(items.clone());
            let outcome = |item| match item {
                3 => Outcome::Refused(Error::internal("three")),
                5 => Outcome::Again,
                item => Outcome::Stored(item * 10),
            };
            Ok(items.into_iter().map(outcome).collect())
        }
    }

    fn committer() -> (Committer<Kept>, Kept) {
        let kept = Kept::default();
        (Committer::start(MockHost::new().host(), kept.clone(), Duration::from_secs(20)), kept)
    }

    async fn answers(pending: Vec<Pending<u32>>) -> Vec<Result<u32, String>> {
        let mut answers = Vec::new();
        for pending in pending {
            answers.push(pending.answer().await.map_err(|error| error.message));
        }
        answers
    }

    #[tokio::test]
    async fn what_is_submitted_is_stored_in_its_order() {
        let (committer, kept) = committer();
        let mut pending = committer.submit(vec![2, 1]).unwrap();
        pending.extend(committer.submit(Vec::new()).unwrap());
        pending.extend(committer.submit(vec![4]).unwrap());
        assert_eq!(answers(pending).await, [Ok(20), Ok(10), Ok(40)]);
        assert_eq!(*kept.0.lock().unwrap(), [[2, 1, 4]]);
    }

    #[tokio::test]
    async fn what_becomes_of_one_does_not_touch_the_others() {
        let (committer, kept) = committer();
        let pending = committer.submit(vec![3, 5, 4]).unwrap();
        let expected = [Err("three".to_owned()), Err("every id was taken".to_owned()), Ok(40)];
        assert_eq!(answers(pending).await, expected);
        assert_eq!(*kept.0.lock().unwrap(), [vec![3, 5, 4], vec![5], vec![5], vec![5]]);
    }

    #[tokio::test]
    async fn all_that_is_submitted_together_waits_or_none() {
        let (committer, kept) = committer();
        let is_full = |outcome: Result<Vec<Pending<u32>>, Error>| {
            outcome.err().is_some_and(|error| error.code == ErrorCode::RateLimited)
        };
        let most = vec![1; MAX_WAITING];
        assert!(is_full(committer.submit(vec![1; MAX_WAITING + 1])));
        let pending = committer.submit(most[1..].to_vec()).unwrap();
        assert!(is_full(committer.submit(vec![1, 1])));
        let heavy = u32::try_from(MAX_WAITING_BYTES).unwrap() - 4096;
        assert!(is_full(committer.submit(vec![heavy, heavy])), "it would be too many bytes");
        let last = committer.submit(vec![1]).unwrap();
        assert_eq!((answers(pending).await.len(), answers(last).await), (MAX_WAITING - 1, vec![Ok(10)]));
        let batches = kept.0.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(batches, [1000, 1000, 1000, 1000, 96]);
        assert_eq!(committer.commit(heavy / 10).await.unwrap(), heavy / 10 * 10, "there is room again");
    }
}
