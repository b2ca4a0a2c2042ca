//! Answers that have many parts: the caller's stream, and the callee's sink.

use super::{Answer, Part, Peer};
use crate::codec::Encoding;
use crate::error::Error;
use crate::session::CallId;
use crate::typed::Parts;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::marker::PhantomData;
#[cfg(feature = "sdk")]
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A call of ours; cancelled when dropped before it is over.
pub(super) struct CallGuard {
    pub(super) peer: Peer,
    pub(super) id: CallId,
    pub(super) over: bool,
    // Dropped after the cancel was posted, so that the other side never sees more calls than it takes.
    pub(super) _slot: OwnedSemaphorePermit,
}

impl CallGuard {
    fn cancel(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.peer.update(|state| {
                state.waiters.remove(&self.id);
                state.session.cancel(self.id);
            });
        }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The items of a call, in order.
pub struct ItemStream<I> {
    guard: CallGuard,
    receiver: mpsc::UnboundedReceiver<Part>,
    /// Items taken since credit was last granted.
    taken: u32,
    /// Items after which credit is granted again: half of it, so that the other side rarely waits.
    batch: u32,
    item: PhantomData<fn() -> I>,
}

impl<I> ItemStream<I> {
    pub(super) fn new(guard: CallGuard, receiver: mpsc::UnboundedReceiver<Part>, credit: u32) -> Self {
        Self { guard, receiver, taken: 0, batch: credit.div_ceil(2), item: PhantomData }
    }
}

impl<I: DeserializeOwned> ItemStream<I> {
    /// The next item and its bytes; `None` after the last one. After an error nothing more comes.
    pub async fn next(&mut self) -> Option<Result<(I, Bytes), Error>> {
        if self.guard.over {
            return None;
        }
        match self.receiver.recv().await {
            Some(Part::Item(Answer { encoding, parts })) => {
                self.taken += 1;
                if self.taken >= self.batch {
                    let taken = std::mem::take(&mut self.taken);
                    self.guard.peer.update(|state| state.session.grant(self.guard.id, taken));
                }
                let item = encoding.decode(&parts.payload).map(|item| (item, parts.body));
                if item.is_err() {
                    // A stream with a hole in it is of no use.
                    self.guard.cancel();
                }
                Some(item)
            }
            end => {
                self.guard.over = true;
                match end {
                    Some(Part::End(Ok(()))) => None,
                    Some(Part::End(Err(error))) => Some(Err(error)),
                    _ => Some(Err(self.guard.peer.gone())),
                }
            }
        }
    }
}

impl<I> fmt::Debug for ItemStream<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").field("id", &self.guard.id).finish_non_exhaustive()
    }
}

/// Where the items of an answer go. Sending waits while the caller takes no more.
pub struct ItemSink<I> {
    target: Target,
    item: PhantomData<fn(I)>,
}

#[derive(Clone)]
enum Target {
    Peer {
        peer: Peer,
        id: CallId,
        encoding: Encoding,
    },
    #[cfg(feature = "sdk")]
    Kept(Arc<Mutex<Vec<Parts>>>),
}

impl<I: Serialize> ItemSink<I> {
    pub(super) fn of_call(peer: Peer, id: CallId, encoding: Encoding) -> Self {
        Self { target: Target::Peer { peer, id, encoding }, item: PhantomData }
    }

    /// Sends an item with its bytes, when the caller takes it.
    ///
    /// # Errors
    ///
    /// `cancelled` when the caller no longer wants it, `too_large`, `invalid` when the caller takes no items at all.
    // By value: an item is made to be sent.
    #[allow(clippy::needless_pass_by_value)]
    pub async fn send(&self, item: I, bytes: Bytes) -> Result<(), Error> {
        match &self.target {
            Target::Peer { peer, id, encoding } => {
                let payload = encoding.encode(&item)?;
                peer.send_item(*id, Parts { payload, body: bytes }).await
            }
            #[cfg(feature = "sdk")]
            Target::Kept(kept) => {
                let payload = Encoding::MessagePack.encode(&item)?;
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Parts { payload, body: bytes });
                Ok(())
            }
        }
    }

    /// A sink that keeps what is sent (in MessagePack).
    #[cfg(feature = "sdk")]
    pub(crate) fn keeping(kept: Arc<Mutex<Vec<Parts>>>) -> Self {
        Self { target: Target::Kept(kept), item: PhantomData }
    }
}

impl<I> Clone for ItemSink<I> {
    fn clone(&self) -> Self {
        Self { target: self.target.clone(), item: PhantomData }
    }
}

impl<I> fmt::Debug for ItemSink<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ItemSink")
    }
}
