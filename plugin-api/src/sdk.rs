//! The plugin's side: implement [`Plugin`], name it in [`export_plugin!`](crate::export_plugin), done.
//!
//! The SDK gives the plugin a runtime of its own, speaks the protocol of the boundary, keeps panics inside, and passes logs
//! and metrics on. The runtime has timers but no sockets: connections belong to the daemon (`http.fetch`).

pub mod commit;
mod config;
pub mod entry;
mod hook;
mod secret;
mod turn;

use crate::error::{Error, Mistake};
use crate::hello::Hello;
use crate::model::Page;
use crate::notify::{self, Level, LogRecord, MetricKind, MetricRecord};
use crate::ops::{
    Description, Empty, HealthReport, HttpReply, HttpRequest, MediaChunk, MediaRequest, Op, Partitions, PullRequest,
    RecoverRequest, RenderRequest, Rendered,
};
use crate::peer::{ItemSink, Peer, unsupported};
use crate::testing::MockHost;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::time::Duration;

pub use secret::Secret;
pub use turn::Turn;

/// How long a call to the host may take, unless [`Host::call_within`] says otherwise.
pub const HOST_CALL: Duration = Duration::from_secs(60);

/// A protocol. One value is one instance of it.
///
/// Every operation is optional: what is not implemented is answered `unsupported`. Operations run concurrently; when the
/// daemon gives a call up its future is dropped at the next `await`. A panic in one of them is answered `internal`, and the
/// instance lives on. Work that blocks belongs on `tokio::task::spawn_blocking`.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// The instance's configuration.
    type Config: DeserializeOwned + Send;

    /// Name of the plugin, e.g. `wecom`.
    const NAME: &'static str;

    /// Version of the plugin.
    const VERSION: &'static str;

    /// Worker threads of the plugin's runtime.
    const THREADS: usize = 1;

    /// Calls of the daemon it works on at once; more wait there for their turn.
    const MAX_CALLS: u32 = 256;

    /// No operation ever blocks. In-process the daemon's thread then starts working on a call itself, and hands it to the
    /// plugin's runtime when it waits for the first time; this saves two changes of thread per call.
    const NONBLOCKING: bool = false;

    /// What is wrong with a configuration of the right shape, all of it at once; an instance opens with none. Also asked when
    /// the shape is wrong, about what is left without the settings that are: what it says of those is not told.
    fn mistakes(_config: &Self::Config) -> Vec<Mistake> {
        Vec::new()
    }

    /// Opens an instance. An error is shown to the operator: no secrets in it.
    fn open(config: Self::Config, host: Host) -> impl Future<Output = Result<Self, Error>> + Send;

    /// What the plugin offers.
    fn describe(&self) -> Description;

    /// Whether the instance can work, with reasons. Answers at once and calls nothing that may block: the daemon takes a plugin
    /// that is silent when asked for this, again and again, for one that hangs, and kills it.
    fn health(&self) -> impl Future<Output = Result<HealthReport, Error>> + Send {
        async { Ok(HealthReport { ok: true, findings: Vec::new() }) }
    }

    /// The partitions to sync.
    fn sync_discover(&self, _request: Empty) -> impl Future<Output = Result<Partitions, Error>> + Send {
        async { Err(unsupported(crate::ops::SyncDiscover::NAME)) }
    }

    /// The next page of a partition.
    fn sync_pull(&self, _request: PullRequest) -> impl Future<Output = Result<Page, Error>> + Send {
        async { Err(unsupported(crate::ops::SyncPull::NAME)) }
    }

    /// Tries parked envelopes again.
    fn sync_recover(&self, _request: RecoverRequest) -> impl Future<Output = Result<Page, Error>> + Send {
        async { Err(unsupported(crate::ops::SyncRecover::NAME)) }
    }

    /// The next page of people and conversations of a partition.
    fn directory_pull(&self, _request: PullRequest) -> impl Future<Output = Result<Page, Error>> + Send {
        async { Err(unsupported(crate::ops::DirectoryPull::NAME)) }
    }

    /// Answers a request of the instance's listener.
    fn http_handle(&self, _request: HttpRequest) -> impl Future<Output = Result<HttpReply, Error>> + Send {
        async { Err(unsupported(crate::ops::HttpHandle::NAME)) }
    }

    /// Streams a file.
    fn media_fetch(
        &self,
        _request: MediaRequest,
        _sink: ItemSink<MediaChunk>,
    ) -> impl Future<Output = Result<Empty, Error>> + Send {
        async { Err(unsupported(crate::ops::MediaFetch::NAME)) }
    }

    /// What listeners get of messages.
    fn live_render(&self, _request: RenderRequest) -> impl Future<Output = Result<Rendered, Error>> + Send {
        async { Err(unsupported(crate::ops::LiveRender::NAME)) }
    }

    /// The daemon makes no more calls, and all were answered. Not called when the daemon is lost.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The daemon, as a plugin sees it. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    side: Side,
    isolated: bool,
    node: Option<u16>,
}

#[derive(Clone)]
enum Side {
    Peer(Peer),
    Mock(MockHost),
}

impl Host {
    pub(crate) fn new(peer: Peer) -> Self {
        Self { side: Side::Peer(peer), isolated: false, node: None }
    }

    /// With what the host's hello says of where this is.
    pub(crate) fn greeted(self, hello: &Hello) -> Self {
        Self { isolated: hello.isolated, node: hello.node, ..self }
    }

    /// The same host of a daemon with this number; for unit tests.
    #[must_use]
    pub fn at_node(self, node: u16) -> Self {
        Self { node: Some(node), ..self }
    }

    pub(crate) fn mock(mock: MockHost) -> Self {
        Self { side: Side::Mock(mock), isolated: false, node: None }
    }

    /// Asks the daemon for something, at most for a minute.
    ///
    /// # Errors
    ///
    /// The daemon's error; `deadline`; `unavailable` when the daemon is gone.
    pub async fn call<O: Op>(&self, request: O::Request) -> Result<O::Reply, Error> {
        self.call_within::<O>(request, HOST_CALL).await
    }

    /// [`Host::call`] with another limit of time.
    ///
    /// # Errors
    ///
    /// As [`Host::call`].
    pub async fn call_within<O: Op>(&self, request: O::Request, timeout: Duration) -> Result<O::Reply, Error> {
        match &self.side {
            Side::Peer(peer) => peer.call::<O>(request, timeout).await,
            Side::Mock(mock) => mock.call::<O>(request).await,
        }
    }

    /// Whether the instance has a process of its own: what it does to its process then hurts nobody else.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Number of the daemon, less than 1024, which no other daemon of the same archive has; `None` when it does not say.
    pub fn node(&self) -> Option<u16> {
        self.node
    }

    /// A turn at something of this instance that only one of all daemons may do at a time. `key` names it within the instance; at
    /// most 256 bytes.
    pub fn turn(&self, key: impl Into<String>) -> Turn {
        Turn::new(self.clone(), key.into())
    }

    /// Writes a line to the daemon's log. No secrets in it.
    pub fn log(&self, level: Level, message: impl Into<String>, fields: &[(&str, &str)]) {
        self.log_from("", level, message, fields);
    }

    /// [`Host::log`] naming the part of the plugin it comes from.
    pub fn log_from(&self, target: &str, level: Level, message: impl Into<String>, fields: &[(&str, &str)]) {
        // A daemon that is gone reads no logs.
        let _ = self.tell(target, level, message, fields);
    }

    /// [`Host::log_from`]; whether the daemon is there to read it.
    fn tell(&self, target: &str, level: Level, message: impl Into<String>, fields: &[(&str, &str)]) -> bool {
        let fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), notify::cut((*value).to_owned()))).collect();
        let record = LogRecord { level, target: target.to_owned(), message: notify::cut(message.into()), fields };
        match &self.side {
            Side::Peer(peer) => peer.notify(notify::LOG, &record).is_ok(),
            Side::Mock(mock) => {
                mock.keep_log(record);
                true
            }
        }
    }

    /// Adds to a counter.
    pub fn counter(&self, name: &str, increment: u64) {
        // Counters beyond 2^53 lose their last digits, as they do in the daemon's metrics.
        self.metric(name, MetricKind::Counter, increment as f64, &[]);
    }

    /// Sets a gauge.
    pub fn gauge(&self, name: &str, value: f64) {
        self.metric(name, MetricKind::Gauge, value, &[]);
    }

    /// Tells a value of a metric. `labels` should have few different values.
    pub fn metric(&self, name: &str, kind: MetricKind, value: f64, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let record = MetricRecord { name: name.to_owned(), kind, value, labels };
        match &self.side {
            Side::Peer(peer) => drop(peer.notify(notify::METRIC, &record)),
            Side::Mock(mock) => mock.keep_metric(record),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}
