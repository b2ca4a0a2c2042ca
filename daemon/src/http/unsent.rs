//! Answers on their way to clients: they share a bound of memory, since clients take their time.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest answer that counts nothing, in bytes: it is there whatever the others take.
const SMALL: usize = 64 << 10;
/// Most bytes that are handed over at a time: what a connection buffers does not count any more.
const CHUNK: usize = 64 << 10;

/// Bytes that answers may still take.
pub(super) struct Unsent {
    most: usize,
    left: Arc<Semaphore>,
}

impl Unsent {
    /// So many bytes, of all answers together. A larger answer goes alone.
    pub fn new(bytes: usize) -> Self {
        let most = bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { most, left: Arc::new(Semaphore::new(most)) }
    }

    /// A body that takes its share until it was written; `None` when there is too little left.
    pub fn body(&self, bytes: Bytes) -> Option<Body> {
        if bytes.len() <= SMALL {
            return Some(Body::from(bytes));
        }
        let share = u32::try_from(bytes.len().min(self.most)).ok()?;
        let share = Arc::clone(&self.left).try_acquire_many_owned(share).ok()?;
        Some(Body::new(Sharing { rest: bytes, _share: share }))
    }
}

/// The body of a large answer.
struct Sharing {
    rest: Bytes,
    _share: OwnedSemaphorePermit,
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
