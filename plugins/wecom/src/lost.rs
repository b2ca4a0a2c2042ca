//! Calls the library never returns from.
//!
//! Nothing can take back a thread that is inside the library, so that each such call costs one until the process ends. A
//! few are borne; then the plugin ends its process, and the daemon starts it again (reference/wecom-archive.md §6). A
//! process that is not its own it must not end: there no more calls are made, and `health` says so.
//!
//! The process ends between openings of envelopes. The record of what was being opened ([`crate::sync`]) so never blames
//! an envelope that merely was at work when another call was stuck.

use rustix::process::{Signal, getpid, kill_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stele_plugin_api::notify::Level;
use stele_plugin_api::{Host, ops};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio::time::Instant;

/// Calls for messages and files that are given up before no more are made. Those that run at that moment may add to it.
const MAX_CALLS: usize = 4;
/// The daemon lets a plugin stay down that dies eight times in a row before it has lived for half a minute. One whose calls get stuck
/// again and again lives this long each time, and so does one that dies of envelope after envelope, save for its first three deaths.
const LEAST_LIFE: Duration = Duration::from_secs(60);
/// How long the last words may take to reach the daemon.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The calls an instance has given up.
pub struct Lost {
    host: Host,
    born: Instant,
    calls: AtomicUsize,
    openings: AtomicUsize,
    /// Shared by openings, exclusive for the end of the process.
    opening: Arc<RwLock<()>>,
}

impl Lost {
    /// None yet.
    pub fn new(host: Host) -> Arc<Self> {
        let (calls, openings) = (AtomicUsize::default(), AtomicUsize::default());
        Arc::new(Self { host, born: Instant::now(), calls, openings, opening: Arc::default() })
    }

    /// To be held while envelopes are opened, and let go of when that is given up.
    pub async fn opening(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.opening).read_owned().await
    }

    /// Waits until the instance is so old that its end does not count as one of too many.
    pub async fn least_life(&self) {
        tokio::time::sleep_until(self.born + LEAST_LIFE).await;
    }

    /// Whether so many calls were given up that no more should be made.
    pub fn is_enough(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= MAX_CALLS
    }

    /// Gives up a call for messages or a file, if `abandon` says that it has not returned by now. Whether it did;
    /// [`Self::call_returned`] takes it back.
    pub fn give_up_call(self: &Arc<Self>, seconds: u64, abandon: impl FnOnce() -> bool) -> bool {
        // Counted first: the call may return, and take it back, as soon as it is abandoned.
        self.calls.fetch_add(1, Ordering::SeqCst);
        let given_up = abandon();
        if !given_up {
            self.call_returned();
        } else if self.is_enough() {
            self.end(self.born + LEAST_LIFE, Self::is_enough, &format!("{MAX_CALLS} calls for {seconds} s"));
        }
        given_up
    }

    /// A call that was given up has returned after all.
    pub fn call_returned(&self) {
        self.calls.fetch_sub(1, Ordering::SeqCst);
    }

    /// Gives up an opening of envelopes; [`Self::opening_returned`] takes it back.
    pub fn give_up_opening(self: &Arc<Self>, seconds: u64) {
        self.openings.fetch_add(1, Ordering::SeqCst);
        self.end(Instant::now(), |_| true, &format!("decrypting a message for {seconds} s"));
    }

    /// An opening that was given up has ended after all.
    pub fn opening_returned(&self) {
        self.openings.fetch_sub(1, Ordering::SeqCst);
    }

    /// What to tell the operator.
    pub fn finding(&self) -> Option<String> {
        let (calls, openings) = (self.calls.load(Ordering::SeqCst), self.openings.load(Ordering::SeqCst));
        (calls >= MAX_CALLS || openings > 0)
            .then(|| format!("the vendor library does not return from {} calls", calls + openings))
    }

    /// Ends the process, if it is the plugin's own and there still is cause.
    fn end(self: &Arc<Self>, when: Instant, still: fn(&Self) -> bool, what: &str) {
        let what = format!("the vendor library has not returned from {what}");
        if !self.host.is_isolated() {
            self.host.log(Level::Error, format!("{what}, and in the daemon's process nothing can stop it"), &[]);
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(when).await;
            let _between_openings = this.opening.write().await;
            if !still(&this) {
                return;
            }
            this.host.log(Level::Error, format!("{what}; its process ends, to be started again"), &[]);
            // Frames keep their order: whatever this answers, the daemon has read what was sent before.
            let question = ops::StateKey { key: "wecom/last-words".to_owned() };
            let _ = this.host.call_within::<ops::StateGet>(question, LAST_WORDS).await;
            // Not an exit: what the library would run at one could wait for what it is stuck with. No process is denied
            // a signal to itself.
            let _ = kill_process(getpid(), Signal::KILL);
        });
    }
}
