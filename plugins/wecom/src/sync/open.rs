//! Opening envelopes: RSA, then the library's cipher, on all cores at once.
//!
//! RSA is by far the most of it (some 200 µs each), and every envelope is independent, so threads take the next envelope
//! from a shared counter until there is none: no core waits for another's longer message.

use super::envelope::Envelope;
use crate::keys::{KeyFault, KeyRing};
use crate::vendor::{Fault, MIN_ENCRYPTED, Vendor};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Below this many envelopes a thread costs more than it brings.
const WORTH_A_THREAD: usize = 4;

/// Why an envelope stays closed: told to operators, stored with the envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// No key, or not the right one.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The library does not decrypt it.
    #[error("{0}")]
    Vendor(Fault),
    /// It is not what WeCom documents.
    #[error("wecom delivered it malformed; it is kept as it came")]
    Malformed,
    /// What is in it cannot be an encrypted message.
    #[error("the encrypted message is too short to be one")]
    TooShort,
}

/// Opens one envelope: its plaintext.
pub fn open(vendor: &dyn Vendor, keys: &KeyRing, envelope: &Envelope) -> Result<Vec<u8>, Closed> {
    if envelope.malformed.is_some() {
        return Err(Closed::Malformed);
    }
    if envelope.encrypt_chat_msg.len() < MIN_ENCRYPTED {
        return Err(Closed::TooShort);
    }
    let random_key = keys.open(envelope.publickey_ver, &envelope.encrypt_random_key)?;
    vendor.decrypt(&random_key, &envelope.encrypt_chat_msg).map_err(Closed::Vendor)
}

/// Does some work for many envelopes, on as many threads as the machine has cores; results in the order of the envelopes.
pub fn on_all_cores<T: Send>(envelopes: &[Envelope], work: impl Fn(&Envelope) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(envelopes.len().div_ceil(WORTH_A_THREAD)).max(1);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(envelopes.len()));
    let labour = || {
        let mut mine = Vec::new();
        while let Some((index, envelope)) = take(&next, envelopes) {
            mine.push((index, work(envelope)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(labour);
        }
        labour();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'e>(next: &AtomicUsize, envelopes: &'e [Envelope]) -> Option<(usize, &'e Envelope)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    envelopes.get(index).map(|envelope| (index, envelope))
}
