//! A plugin made with the SDK, opened through the C ABI as a host would.

#![allow(unsafe_code)]

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_plugin_api::abi::{Descriptor, OpenPlugin};
use stele_plugin_api::frame::{Frame, Kind};
use stele_plugin_api::hello::{Config, Hello, Limits};
use stele_plugin_api::model::Page;
use stele_plugin_api::notify::{LOG, Level, LogRecord, METRIC, MetricRecord};
use stele_plugin_api::ops::{
    self, Description, Empty, HealthReport, HttpReply, HttpRequest, MediaChunk, MediaRequest, PullRequest, StateKey,
    StateValue,
};
use stele_plugin_api::peer::{BoxFuture, Dispatch, Handler, Incoming, Notification, Outgoing, Peer, Setup};
use stele_plugin_api::session::Role;
use stele_plugin_api::{Error, ErrorCode, Host, ItemSink, Mistake, Plugin, Result, export_plugin};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(20);

/// Work of the test plugin that has begun and not ended.
static WORKING: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicUsize = AtomicUsize::new(0);

struct Working;

impl Working {
    fn begin() -> Self {
        WORKING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Instances that were opened and not dropped.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Does what a test asks of it.
struct Probe {
    host: Host,
}

impl Drop for Probe {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(serde::Deserialize)]
struct ProbeConfig {
    #[serde(default)]
    refuse: String,
    #[serde(default)]
    panic: bool,
    #[serde(default)]
    retries: u8,
}

impl Plugin for Probe {
    type Config = ProbeConfig;
    const NAME: &'static str = "probe";
    const VERSION: &'static str = "1.2.3";
    const THREADS: usize = 2;

    async fn open(config: ProbeConfig, host: Host) -> Result<Self> {
        assert!(!config.panic, "hunter2");
        if !config.refuse.is_empty() {
            return Err(Error::new(ErrorCode::Denied, config.refuse));
        }
        host.log(Level::Info, "opened", &[("retries", &config.retries.to_string())]);
        host.counter("opened_total", 1);
        // A plugin may need the host while it opens.
        host.call::<ops::StateGet>(StateKey { key: "opening".into() }).await?;
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Ok(Self { host })
    }

    fn describe(&self) -> Description {
        Description { name: Self::NAME.into(), ..Description::default() }
    }

    async fn sync_pull(&self, request: PullRequest) -> Result<Page> {
        let _working = Working::begin();
        match request.partition.as_str() {
            "panic" => panic!("hunter2"),
            "hang" => std::future::pending().await,
            _ => Ok(Page { caught_up: true, ..Page::default() }),
        }
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply> {
        let value = self.host.call::<ops::StateGet>(StateKey { key: request.path }).await?;
        Ok(HttpReply {
            status: 200,
            body: [value.value.unwrap_or_default(), request.body].concat().into(),
            ..HttpReply::default()
        })
    }

    async fn media_fetch(&self, request: MediaRequest, sink: ItemSink<MediaChunk>) -> Result<Empty> {
        let _working = Working::begin();
        let count: u32 = request.handle.parse().map_err(|_| Error::invalid("a number is needed"))?;
        for n in 1..=count {
            let chunk = MediaChunk { resume: n.to_string(), last: n == count };
            sink.send(chunk, Bytes::from(vec![0; n as usize])).await?;
        }
        Ok(Empty {})
    }

    async fn close(&self) {
        CLOSED.fetch_add(1, Ordering::SeqCst);
    }
}

export_plugin!(Probe);

unsafe extern "C" {
    fn stele_plugin_v1() -> *const stele_plugin_api::abi::SteleDescriptor;
}

#[derive(Default)]
struct Daemon {
    logs: Mutex<Vec<LogRecord>>,
    metrics: Mutex<Vec<MetricRecord>>,
    told: Notify,
}

impl Handler for Daemon {
    fn call(&self, mut call: Incoming) -> BoxFuture<Result<Outgoing>> {
        Box::pin(async move {
            match call.op.as_ref() {
                "state.get" => {
                    let StateKey { key } = call.decode::<ops::StateGet>()?;
                    Ok(Outgoing::of::<ops::StateGet>(StateValue { value: Some(key.into()) }))
                }
                _ => Err(call.unsupported()),
            }
        })
    }

    fn notify(&self, notification: Notification) {
        match notification.op.as_ref() {
            LOG => self.logs.lock().unwrap().push(notification.decode().unwrap()),
            METRIC => self.metrics.lock().unwrap().push(notification.decode().unwrap()),
            other => panic!("unexpected notify {other}"),
        }
        self.told.notify_one();
    }
}

struct Opened {
    peer: Peer,
    plugin: Arc<OpenPlugin>,
    daemon: Arc<Daemon>,
}

impl Opened {
    fn close(self) {
        self.plugin.close();
        self.peer.lost("closed");
    }
}

fn open(config: serde_json::Value, limits: Limits) -> Opened {
    // SAFETY: the symbol is the one `export_plugin!` defines above, in this very program.
    let descriptor = unsafe { Descriptor::load(stele_plugin_v1) }.expect("a sound descriptor");
    assert_eq!((descriptor.name(), descriptor.version(), descriptor.is_json()), ("probe", "1.2.3", false));
    let (to_peer, mut from_plugin) = tokio::sync::mpsc::unbounded_channel();
    let plugin = Arc::new(descriptor.open(move |frame| drop(to_peer.send(frame))).expect("opens"));
    let daemon = Arc::new(Daemon::default());
    let peer = Peer::new(Setup {
        role: Role::Host,
        hello: Hello {
            name: "test".into(),
            instance: "one".into(),
            config: Config(config),
            limits,
            ..Hello::default()
        },
        post: {
            let plugin = plugin.clone();
            move |frame| plugin.post(frame)
        },
        handler: daemon.clone(),
        runtime: tokio::runtime::Handle::current(),
        dispatch: Dispatch::Spawn,
    });
    tokio::spawn({
        let peer = peer.clone();
        async move {
            while let Some(frame) = from_plugin.recv().await {
                peer.receive(frame);
            }
        }
    });
    peer.start(LONG);
    Opened { peer, plugin, daemon }
}

/// Tests share the counters of the plugin.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

#[tokio::test]
async fn calls_go_both_ways_and_goodbye_closes() {
    let _alone = ALONE.lock().await;
    let closed = CLOSED.load(Ordering::SeqCst);
    let opened = open(serde_json::json!({ "retries": 3 }), Limits::default());
    let hello = opened.peer.opened().await.expect("opens");
    assert_eq!((hello.name.as_str(), hello.version.as_str(), hello.threads), ("probe", "1.2.3", 2));
    assert_eq!(opened.daemon.logs.lock().unwrap()[0].fields, [("retries".to_owned(), "3".to_owned())]);
    assert_eq!(opened.daemon.metrics.lock().unwrap()[0].name, "opened_total");

    let request = HttpRequest { path: "/a".into(), body: "+body".into(), ..HttpRequest::default() };
    let reply = opened.peer.call::<ops::HttpHandle>(request, LONG).await.expect("answers");
    assert_eq!(reply.body, "/a+body");
    assert_eq!(opened.peer.call::<ops::Health>(Empty {}, LONG).await, Ok(HealthReport { ok: true, findings: vec![] }));
    let error = opened.peer.call::<ops::SyncDiscover>(Empty {}, LONG).await.expect_err("is not implemented");
    assert_eq!(error.code, ErrorCode::Unsupported);

    assert_eq!(opened.peer.goodbye(LONG).await, None);
    assert_eq!(CLOSED.load(Ordering::SeqCst), closed + 1);
    let error = opened.peer.call::<ops::Health>(Empty {}, LONG).await.expect_err("is closed");
    assert_eq!(error.code, ErrorCode::Unavailable);
    opened.close();
}

#[tokio::test]
async fn a_panic_is_one_failed_call_and_tells_no_secret() {
    let _alone = ALONE.lock().await;
    let opened = open(serde_json::json!({}), Limits::default());
    opened.peer.opened().await.expect("opens");
    let pull = |partition: &str| PullRequest { partition: partition.into(), ..PullRequest::default() };
    let error = opened.peer.call::<ops::SyncPull>(pull("panic"), LONG).await.expect_err("panics");
    assert_eq!(error, Error::internal("the handler panicked"));
    assert!(opened.peer.call::<ops::SyncPull>(pull("fine"), LONG).await.expect("lives on").caught_up);
    until("the panic is logged", || opened.daemon.logs.lock().unwrap().iter().any(|log| log.target == "panic")).await;
    let logs = format!("{:?}", opened.daemon.logs.lock().unwrap());
    assert!(logs.contains("tests/sdk.rs:") && !logs.contains("hunter2"), "{logs}");
    opened.close();
}

#[tokio::test]
async fn an_instance_that_cannot_open_says_why_without_secrets() {
    let _alone = ALONE.lock().await;
    let check = async |config: serde_json::Value, expected: Error| {
        let opened = open(config, Limits::default());
        assert_eq!(opened.peer.opened().await.expect_err("cannot open"), expected);
        opened.close();
    };
    let refused = Error::new(ErrorCode::Denied, "the key is wrong");
    check(serde_json::json!({ "refuse": "the key is wrong" }), refused).await;
    check(serde_json::json!({ "panic": true }), Error::internal("the plugin panicked while it opened")).await;
    let misfit = Error::misconfigured(vec![Mistake::new("retries", "expected u8")]);
    check(serde_json::json!({ "retries": "hunter2" }), misfit).await;
}

#[tokio::test]
async fn cancel_and_deadline_drop_the_work() {
    let _alone = ALONE.lock().await;
    let opened = open(serde_json::json!({}), Limits::default());
    opened.peer.opened().await.expect("opens");
    let hang =
        || opened.peer.call::<ops::SyncPull>(PullRequest { partition: "hang".into(), ..Default::default() }, LONG);
    tokio::select! {
        answer = hang() => panic!("{answer:?}"),
        () = until("it works", || WORKING.load(Ordering::SeqCst) == 1) => {}
    }
    until("the work was dropped", || WORKING.load(Ordering::SeqCst) == 0).await;

    let short = Duration::from_millis(20);
    let request = PullRequest { partition: "hang".into(), ..PullRequest::default() };
    let error = opened.peer.call::<ops::SyncPull>(request, short).await.expect_err("never answers");
    assert_eq!(error.code, ErrorCode::Deadline);
    until("the work was dropped", || WORKING.load(Ordering::SeqCst) == 0).await;
    assert_eq!(opened.peer.calls_in_flight(), (0, 0));
    assert_eq!(opened.peer.counters().expired, 1);
    opened.close();
}

#[tokio::test]
async fn streams_keep_order_and_wait_for_credit() {
    let _alone = ALONE.lock().await;
    let opened = open(serde_json::json!({}), Limits { credit: 3, ..Limits::default() });
    opened.peer.opened().await.expect("opens");
    let request = |handle: &str| MediaRequest { handle: handle.into(), ..MediaRequest::default() };
    let mut items = opened.peer.stream::<ops::MediaFetch, MediaChunk>(request("50"), LONG).await.expect("begins");
    for n in 1..=50_u32 {
        let (chunk, bytes) = items.next().await.expect("goes on").expect("an item");
        assert_eq!((chunk, bytes.len()), (MediaChunk { resume: n.to_string(), last: n == 50 }, n as usize));
    }
    assert!(items.next().await.is_none());
    drop(items);

    // Nobody takes the items: the plugin waits, and stops when the stream is dropped.
    let mut items = opened.peer.stream::<ops::MediaFetch, MediaChunk>(request("50"), LONG).await.expect("begins");
    items.next().await.expect("goes on").expect("an item");
    assert_eq!(WORKING.load(Ordering::SeqCst), 1);
    drop(items);
    until("the work was dropped", || WORKING.load(Ordering::SeqCst) == 0).await;

    let mut items = opened.peer.stream::<ops::MediaFetch, MediaChunk>(request("x"), LONG).await.expect("begins");
    assert_eq!(items.next().await.expect("ends").expect_err("with an error").code, ErrorCode::Invalid);
    assert!(items.next().await.is_none());
    let error = opened.peer.call::<ops::MediaFetch>(request("1"), LONG).await.expect_err("takes no items");
    assert_eq!(error.code, ErrorCode::Invalid);
    opened.close();
}

#[tokio::test]
async fn closing_fails_what_is_in_flight_and_returns_with_work_under_way() {
    let _alone = ALONE.lock().await;
    let Opened { peer, plugin, .. } = open(serde_json::json!({}), Limits::default());
    peer.opened().await.expect("opens");
    let request = PullRequest { partition: "hang".into(), ..PullRequest::default() };
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<ops::SyncPull>(request, LONG).await }
    });
    until("it works", || WORKING.load(Ordering::SeqCst) == 1).await;
    plugin.close();
    assert_eq!((WORKING.load(Ordering::SeqCst), ALIVE.load(Ordering::SeqCst)), (0, 0));
    peer.lost("the plugin was closed");
    assert_eq!(call.await.unwrap().expect_err("is lost").code, ErrorCode::Unavailable);
    // Posting to a closed instance does nothing.
    plugin.post(Frame::bare(Kind::Goodbye, 0));
    plugin.close();
}

#[test]
fn the_smallest_plugin_stays_under_40_lines() {
    let lines = include_str!("../examples/smallest.rs").lines().count();
    assert!(lines < 40, "{lines} lines");
}
