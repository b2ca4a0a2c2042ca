//! Answers on their way to clients: they share a bound of memory, since clients take their time. One caller may have a part of it
//! only, so that a few that take nothing are not in everybody's way.

use super::caller;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest answer that counts nothing, in bytes: it is there whatever the others take.
const SMALL: usize = 64 << 10;
/// Most bytes that are handed over at a time: what a connection buffers does not count any more.
const CHUNK: usize = 64 << 10;

/// Bytes that answers may still take.
pub(super) struct Unsent {
    most: usize,
    most_of_one: usize,
    left: Arc<Semaphore>,
    callers: Arc<Callers>,
}

/// Bytes that are on their way to each caller; who gets nothing is not in it.
#[derive(Default)]
struct Callers(Mutex<HashMap<IpAddr, usize>>);

impl Unsent {
    /// So many bytes, of all answers together and of those to one caller. A larger answer goes alone.
    pub fn new(bytes: usize, of_one: usize) -> Self {
        let most = bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { most, most_of_one: of_one, left: Arc::new(Semaphore::new(most)), callers: Arc::default() }
    }

    /// A body that takes its share until it was written; `None` when there is too little left, for all or for this caller.
    pub fn body(&self, bytes: Bytes, caller: IpAddr) -> Option<Body> {
        if bytes.len() <= SMALL {
            return Some(Body::from(bytes));
        }
        let of_caller = Callers::take(&self.callers, caller::key(caller), bytes.len(), self.most_of_one)?;
        let share = u32::try_from(bytes.len().min(self.most)).ok()?;
        let share = Arc::clone(&self.left).try_acquire_many_owned(share).ok()?;
        Some(Body::new(Sharing { rest: bytes, _share: share, _of_caller: of_caller }))
    }
}

impl Callers {
    /// So many bytes more for a caller: up to `most`, or the only ones.
    fn take(callers: &Arc<Self>, caller: IpAddr, bytes: usize, most: usize) -> Option<Taken> {
        let mut taken = callers.lock();
        let before = taken.get(&caller).copied().unwrap_or(0);
        if before > 0 && before + bytes > most {
            return None;
        }
        taken.insert(caller, before + bytes);
        Some(Taken { callers: Arc::clone(callers), caller, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer takes of its caller's part; given back when dropped.
struct Taken {
    callers: Arc<Callers>,
    caller: IpAddr,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.callers.lock();
        if let Some(bytes) = taken.get_mut(&self.caller) {
            *bytes -= self.bytes;
            if *bytes == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

/// The body of a large answer.
struct Sharing {
    rest: Bytes,
    _share: OwnedSemaphorePermit,
    _of_caller: Taken,
}

impl HttpBody for Sharing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.rest.len().min(CHUNK);
        // Copied: a connection that keeps the last chunk must not keep the whole answer by it.
        Poll::Ready((chunk > 0).then(|| Ok(Frame::data(Bytes::copy_from_slice(&self.rest.split_to(chunk))))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
