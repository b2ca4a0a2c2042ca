//! Who calls the library where.
//!
//! Vendor calls block, for seconds when the network is bad. They are made on the runtime's blocking threads. A handle
//! is owned by the call that uses it and goes back to this store afterwards, so no two calls ever share one: the crashes
//! others report were handles destroyed while in use (reference/wecom-archive.md §1.11).

use crate::lost::Lost;
use crate::vendor::{Egress, Fault, Handle, Vendor};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Seconds beyond the library's own time limits until a call counts as stuck.
const MARGIN_SECONDS: u64 = 5;
/// Requests of one call: the access token, and the call itself.
const REQUESTS_PER_CALL: u64 = 2;

// Where a call is.
const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const ENDED: u8 = 2;
const ABANDONED: u8 = 3;

/// Handles of one corp for one purpose; at most so many calls at once.
#[derive(Clone)]
pub struct Handles {
    vendor: Arc<dyn Vendor>,
    corp: String,
    secret: Secret,
    egress: Egress,
    permits: Arc<Semaphore>,
    lost: Arc<Lost>,
    store: Arc<Mutex<Store>>,
}

#[derive(Default)]
struct Store {
    /// Handles of an older generation are destroyed instead of used again.
    generation: u64,
    idle: Vec<Box<dyn Handle>>,
}

impl Handles {
    /// A store that opens handles as they are needed.
    pub fn new(
        vendor: Arc<dyn Vendor>,
        corp: &str,
        secret: Secret,
        egress: Egress,
        at_once: usize,
        lost: Arc<Lost>,
    ) -> Self {
        let (permits, store) = (Arc::new(Semaphore::new(at_once)), Arc::default());
        Self { vendor, corp: corp.to_owned(), secret, egress, permits, lost, store }
    }

    /// Makes a call with a handle of its own, off the runtime's own threads. The watch stays with the call: a daemon that
    /// has given up before must not leave a stuck one uncounted, with its permit.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Handle, &Egress) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        if self.lost.is_enough() {
            return Err(Fault::NoMore);
        }
        let patience = MARGIN_SECONDS + REQUESTS_PER_CALL * u64::from(self.egress.timeout_seconds);
        // As long for the calls before as for the call itself.
        let turn = Arc::clone(&self.permits).acquire_owned();
        let Ok(permit) = tokio::time::timeout(Duration::from_secs(patience), turn).await else {
            return Err(Fault::Stuck(patience));
        };
        let permit = permit.map_err(|_| dropped())?;
        tokio::spawn(self.clone().watch(permit, patience, call)).await.unwrap_or_else(|_| Err(dropped()))
    }

    async fn watch<T: Send + 'static>(
        self,
        permit: OwnedSemaphorePermit,
        patience: u64,
        call: impl FnOnce(&mut dyn Handle, &Egress) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let this = self.clone();
        let stage = Arc::new(AtomicU8::new(QUEUED));
        let seen = Arc::clone(&stage);
        let work = tokio::task::spawn_blocking(move || {
            // Whether or not anybody still waits: the permit and the handle stay with the call until it returns.
            stage.store(RUNNING, Ordering::SeqCst);
            let result = this.call_blocking(call);
            if stage.swap(ENDED, Ordering::SeqCst) == ABANDONED {
                this.lost.call_returned();
                // Another permit has taken its place.
                permit.forget();
            }
            result
        });
        if let Ok(result) = tokio::time::timeout(Duration::from_secs(patience), work).await {
            return result.unwrap_or_else(|_| Err(dropped()));
        }
        // The library does not come back. Its thread and its handle are given up, so that others can go on: a few times,
        // see `Lost`.
        let abandon = || seen.compare_exchange(RUNNING, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if self.lost.give_up_call(patience, abandon) {
            self.renew();
            self.permits.add_permits(1);
        }
        Err(Fault::Stuck(patience))
    }

    /// Lets go of every handle, also of those in use: the next call fetches a new access token.
    pub fn renew(&self) {
        let mut store = self.store();
        store.generation += 1;
        store.idle.clear();
    }

    fn call_blocking<T>(&self, call: impl FnOnce(&mut dyn Handle, &Egress) -> Result<T, Fault>) -> Result<T, Fault> {
        let (generation, idle) = {
            let mut store = self.store();
            (store.generation, store.idle.pop())
        };
        let mut handle = match idle {
            Some(handle) => handle,
            None => self.vendor.open(&self.corp, &self.secret)?,
        };
        let result = call(&mut *handle, &self.egress);
        let mut store = self.store();
        if store.generation == generation {
            store.idle.push(handle);
        }
        result
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped() -> Fault {
    Fault::Unusable("a call was dropped".to_owned())
}
