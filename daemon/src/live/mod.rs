//! Live delivery: what is stored reaches those who listen.
//!
//! # The way of a message
//!
//! A commit wakes the [`Hub`] of its instance. The hub follows the archive by revision while somebody listens: it reads what
//! is new, has the plugin render it once, looks up who hears it, and puts it into the queues of their sessions. A carrier
//! ([`websocket`], [`sse`], [`poll`]) takes it from there to the client, at the client's pace.
//!
//! # What holds
//!
//! - *Order, and at most once per connection.* A session knows the revision it has come to; nothing at or before it is put
//!   into its queue.
//! - *Nothing between replay and news.* A session that asks for what it missed reads the archive at its own pace, up to where
//!   the hub is; it hears news from the moment both stand at the same revision, which is decided under the hub's lock.
//! - *Nothing is skipped.* While the archive or the plugin does not answer, the hub waits and goes on where it was.
//! - *Nobody waits for another.* A session whose queue is full falls behind: from there on it reads the archive at its own pace
//!   until it is level again. It loses its place when its carrier takes nothing for a time, or when it takes less than comes
//!   again and again. A session of polls keeps its place as long as somebody polls.
//! - *Bounds.* Sessions of an instance, events and bytes of a queue, rows of a batch, stays in the cache, replays at a time.
//!
//! The hub belongs to the instance's name, not to its plugin or its front: connections outlive a restart of the plugin, and a
//! reload.

mod archived;
mod audiences;
mod event;
mod hub;
mod listener;
mod meters;
pub mod poll;
mod render;
mod session;
pub mod sse;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod websocket;

pub use archived::Archived;
pub use event::Event;
pub use hub::{Hub, Refused};
pub use listener::{Listener, Step};
pub use session::{Carrier, End};

use crate::config::{self, Http};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use stele_archive::{Clock, InstanceId, Live, PersonId, Result, Rev, StoredMessage};
use stele_plugin_api::Error;
use stele_plugin_api::ops::LiveEvent;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// What a hub asks of the archive.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// What came, and who was there to hear it.
    fn live(&self) -> &dyn Live;

    /// The latest revision of the archive.
    async fn last_rev(&self) -> Result<Rev>;

    /// The person of this native id, made known if nobody is known by it.
    async fn person(&self, instance: InstanceId, native_id: &str) -> Result<PersonId>;
}

/// Whoever knows what listeners get: the plugin of the instance.
#[async_trait]
pub trait Renderer: Send + Sync + 'static {
    /// One for each message, in the same order; `None` for those no listener gets.
    async fn render(&self, messages: &[StoredMessage]) -> Result<Vec<Option<LiveEvent>>, Unrendered>;
}

/// Why messages are not rendered.
#[derive(Debug, thiserror::Error)]
pub enum Unrendered {
    /// The plugin is not there, or says that it does not work now: whatever it is asked.
    #[error(transparent)]
    Away(Error),
    /// The plugin fails at them.
    #[error(transparent)]
    Failed(Error),
    /// The plugin died over them, or did not answer in time.
    #[error(transparent)]
    Fatal(Error),
}

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most sessions of an instance.
    pub max_sessions: usize,
    /// Most events that wait for one session.
    pub queue: usize,
    /// Most bytes that wait for one session; one larger event may wait alone.
    pub queue_bytes: usize,
    /// How often a WebSocket is asked whether it is still there.
    pub heartbeat: Duration,
    /// How often a silent stream of server-sent events says that it is still there.
    pub sse_heartbeat: Duration,
    /// Time a poll waits when the plugin does not say.
    pub poll_wait: Duration,
    /// Time a session of polls outlives its latest one.
    pub poll_grace: Duration,
    /// Most connections of the archive that replays of all instances take together.
    pub readers: usize,
}

/// Time a poll waits when the plugin does not say.
const POLL_WAIT: Duration = Duration::from_secs(30);
/// Time a session of polls outlives its latest one.
const POLL_GRACE: Duration = Duration::from_secs(60);

impl Options {
    /// As configured. An HTTP/2 connection counts as idle after the header timeout, so streams say something before.
    pub fn new(live: &config::Live, http: &Http, archive: &config::Archive) -> Self {
        let heartbeat = Duration::from_secs(live.heartbeat_seconds);
        Self {
            max_sessions: live.max_sessions,
            queue: live.queue,
            queue_bytes: live.queue_bytes,
            heartbeat,
            sse_heartbeat: heartbeat.min(http.header_timeout() * 2 / 3),
            poll_wait: POLL_WAIT,
            poll_grace: POLL_GRACE,
            // The others are for everything else; the last one is shared.
            readers: (archive.reading() as usize / 2).max(1),
        }
    }
}

/// The hubs of all instances.
pub struct Hubs {
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    options: Options,
    readers: Arc<Semaphore>,
    hubs: RwLock<BTreeMap<String, Arc<Hub>>>,
    tasks: TaskTracker,
}

impl Hubs {
    /// None yet.
    pub fn new(source: Arc<dyn Source>, clock: Arc<dyn Clock>, options: Options) -> Self {
        let readers = Arc::new(Semaphore::new(options.readers));
        Self { source, clock, options, readers, hubs: RwLock::default(), tasks: TaskTracker::new() }
    }

    /// The hub of an instance, made when there is none; from now on this renders.
    pub fn open(&self, name: &str, instance: InstanceId, renderer: Arc<dyn Renderer>) -> Arc<Hub> {
        let mut hubs = self.hubs.write().expect("no panic happens while the hubs are locked");
        let hub = hubs.entry(name.to_owned()).or_insert_with(|| {
            let (source, clock) = (Arc::clone(&self.source), Arc::clone(&self.clock));
            let readers = Arc::clone(&self.readers);
            Arc::new(Hub::new(name, instance, source, clock, self.options, readers, self.tasks.clone()))
        });
        hub.render_by(Some(renderer));
        Arc::clone(hub)
    }

    /// Something was committed to this instance; `None`: to whichever.
    pub fn committed(&self, instance: Option<InstanceId>) {
        let hubs = self.hubs.read().expect("no panic happens while the hubs are locked");
        hubs.values()
            .filter(|hub| instance.is_none_or(|instance| hub.instance() == instance))
            .for_each(|hub| hub.wake());
    }

    /// Ends what listens to an instance that is gone.
    pub fn close(&self, name: &str) {
        let hub = self.hubs.write().expect("no panic happens while the hubs are locked").remove(name);
        hub.into_iter().for_each(|hub| hub.close());
    }

    /// Ends all of them.
    pub async fn stop(&self) {
        let hubs = std::mem::take(&mut *self.hubs.write().expect("no panic happens while the hubs are locked"));
        hubs.into_values().for_each(|hub| hub.close());
        self.tasks.close();
        self.tasks.wait().await;
    }
}
