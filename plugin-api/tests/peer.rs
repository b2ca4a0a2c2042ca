//! Two peers wired to each other, within one process and without a queue in between.

use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use stele_plugin_api::frame::{Frame, Kind};
use stele_plugin_api::hello::{Hello, Limits};
use stele_plugin_api::ops::{
    self, ById, ByIds, Empty, HealthReport, MediaChunk, MediaRequest, Op, People, StateKey, StateValue,
};
use stele_plugin_api::peer::{BoxFuture, Dispatch, Handler, Incoming, Outgoing, Peer, Setup};
use stele_plugin_api::session::{Counters, Role};
use stele_plugin_api::typed::Parts;
use stele_plugin_api::{Encoding, ErrorCode, Result};

const LONG: Duration = Duration::from_secs(20);

/// The other end of a wire that is laid later.
#[derive(Clone, Default)]
struct Wire(Arc<OnceLock<Peer>>);

impl Wire {
    fn send(&self, frame: Frame) {
        self.0.get().expect("the wire is laid before anything is sent").receive(frame);
    }
}

/// Answers; opens at once when it is a plugin's.
struct Side {
    encoding: Encoding,
    other: Wire,
}

impl Handler for Side {
    fn hello(&self, peer: &Peer, _hello: &Hello) {
        // Of no effect on the host's side.
        peer.accept(self.encoding);
    }

    fn call(&self, mut call: Incoming) -> BoxFuture<Result<Outgoing>> {
        let other = self.other.clone();
        Box::pin(async move {
            match call.op.as_ref() {
                // Counts down by asking back: each side is called from within its own call.
                ops::StateGet::NAME => {
                    let StateKey { key } = call.decode::<ops::StateGet>()?;
                    let value = match key.parse::<u32>() {
                        Ok(0) | Err(_) => Some(Bytes::from_static(b"0")),
                        Ok(n) => {
                            // The wire of this side leads to the other's peer; asking there reaches this side again.
                            let request = StateKey { key: (n - 1).to_string() };
                            let peer = other.0.get().expect("laid");
                            Box::pin(peer.call::<ops::StateGet>(request, LONG)).await?.value
                        }
                    };
                    Ok(Outgoing::of::<ops::StateGet>(StateValue { value }))
                }
                ops::PersonGetMany::NAME => {
                    let ByIds { native_ids } = call.decode::<ops::PersonGetMany>()?;
                    for _ in 0..native_ids.len() % 7 {
                        tokio::task::yield_now().await;
                    }
                    Ok(Outgoing::of::<ops::PersonGetMany>(People::default()))
                }
                ops::MediaFetch::NAME => {
                    let sink = call.sink::<MediaChunk>();
                    let MediaRequest { handle, .. } = call.decode::<ops::MediaFetch>()?;
                    for n in 0..handle.len() {
                        sink.send(MediaChunk { resume: n.to_string(), last: false }, Bytes::from(vec![1; n])).await?;
                    }
                    Ok(Outgoing::of::<ops::MediaFetch>(Empty {}))
                }
                ops::Health::NAME => Ok(Outgoing::of::<ops::Health>(HealthReport::default())),
                ops::PersonGet::NAME => Ok(Outgoing::of::<ops::PersonGet>(None)),
                _ => Err(call.unsupported()),
            }
        })
    }
}

struct Pair {
    host: Peer,
    plugin: Peer,
}

fn pair(dispatch: Dispatch, encoding: Encoding, limits: Limits) -> Pair {
    let (to_host, to_plugin) = (Wire::default(), Wire::default());
    let peer = |role, wire: &Wire, back: &Wire| {
        let send = wire.clone();
        Peer::new(Setup {
            role,
            hello: Hello { name: format!("{role:?}"), version: "1".into(), limits, ..Hello::default() },
            post: move |frame| send.send(frame),
            handler: Arc::new(Side { encoding, other: back.clone() }),
            runtime: tokio::runtime::Handle::current(),
            dispatch,
        })
    };
    // A handler asks through the peer of its own side, which the other side's wire leads to.
    let host = peer(Role::Host, &to_plugin, &to_host);
    let plugin = peer(Role::Plugin, &to_host, &to_plugin);
    assert!(to_host.0.set(host.clone()).is_ok() && to_plugin.0.set(plugin.clone()).is_ok());
    host.start(LONG);
    Pair { host, plugin }
}

const KINDS: [(Dispatch, Encoding); 4] = [
    (Dispatch::Spawn, Encoding::MessagePack),
    (Dispatch::PollFirst, Encoding::MessagePack),
    (Dispatch::Spawn, Encoding::Json),
    (Dispatch::PollFirst, Encoding::Json),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_may_call_back() {
    for (dispatch, encoding) in KINDS {
        let Pair { host, plugin, .. } = pair(dispatch, encoding, Limits::default());
        host.opened().await.expect("opens");
        assert_eq!(host.encoding(), encoding);
        let reply = host.call::<ops::StateGet>(StateKey { key: "20".into() }, LONG).await.expect("answers");
        assert_eq!(reply.value.as_deref(), Some(&b"0"[..]));
        assert_eq!(plugin.call::<ops::PersonGet>(ById::default(), LONG).await, Ok(None));
        let error = plugin.call::<ops::Describe>(Empty {}, LONG).await.expect_err("is unknown");
        assert_eq!(error.code, ErrorCode::Unsupported);
        assert_eq!((host.calls_in_flight(), plugin.calls_in_flight()), ((0, 0), (0, 0)));
        assert_eq!(host.goodbye(LONG).await, None);
        assert_eq!(plugin.closed().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_or_told_and_unknown_harms_nothing() {
    for (dispatch, encoding) in KINDS {
        let Pair { host, plugin } = pair(dispatch, encoding, Limits::default());
        host.opened().await.expect("opens");
        for side in [&host, &plugin] {
            let empty = |encoding: Encoding| Ok(Parts { payload: encoding.encode(&Empty {})?, body: Bytes::new() });
            let error = side.call_raw("future.op".into(), empty, LONG).await.expect_err("is unknown");
            assert_eq!(error.code, ErrorCode::Unsupported);
            side.notify("future.notify", &Empty {}).expect("it is sent");
        }
        plugin.receive(Frame { op: "x".into(), ..Frame::bare(Kind::Unknown(77), 1) });
        host.receive(Frame { flags: encoding.flags() | 1 << 31, ..Frame::bare(Kind::Unknown(u32::MAX), 0) });
        for side in [&host, &plugin] {
            assert_eq!(side.call::<ops::PersonGet>(ById::default(), LONG).await, Ok(None));
            let expected = Counters { unknown_kinds: 1, ..Counters::default() };
            assert_eq!(side.counters(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_the_other_side_takes_wait_their_turn() {
    for (dispatch, encoding) in KINDS {
        let limits = Limits { max_calls: 4, ..Limits::default() };
        let Pair { host, plugin } = pair(dispatch, encoding, limits);
        let calls: Vec<_> = (0..200)
            .map(|n| {
                let peer = if n % 2 == 0 { host.clone() } else { plugin.clone() };
                tokio::spawn(async move {
                    let call = peer.call::<ops::PersonGetMany>(ByIds { native_ids: vec![String::new(); n] }, LONG);
                    if n % 5 == 0 {
                        // Given up sooner or later: the slot must come back all the same.
                        tokio::select! {
                            biased;
                            () = async { for _ in 0..n % 11 { tokio::task::yield_now().await } } => Ok(()),
                            answer = call => answer.map(drop),
                        }
                    } else {
                        call.await.map(drop)
                    }
                })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.expect("no panic"), Ok(()));
        }
        // Had one side ever seen more than it takes, a call would have failed with `too_large`.
        assert_eq!((host.calls_in_flight().0, plugin.calls_in_flight().0), (0, 0));
        for Counters { violations, unknown_kinds, oversized, expired, .. } in [host.counters(), plugin.counters()] {
            assert_eq!((violations, unknown_kinds, oversized, expired), (0, 0, 0, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_run_side_by_side_with_little_credit() {
    for (dispatch, encoding) in KINDS {
        let Pair { host, .. } = pair(dispatch, encoding, Limits { credit: 1, ..Limits::default() });
        let streams: Vec<_> = (0..8)
            .map(|_| {
                let host = host.clone();
                tokio::spawn(async move {
                    let request = MediaRequest { handle: "x".repeat(40), ..MediaRequest::default() };
                    let mut items = host.stream::<ops::MediaFetch, MediaChunk>(request, LONG).await.expect("begins");
                    let mut sizes = Vec::new();
                    while let Some(item) = items.next().await {
                        sizes.push(item.expect("an item").1.len());
                    }
                    assert_eq!(sizes, (0..40).collect::<Vec<_>>());
                })
            })
            .collect();
        for stream in streams {
            stream.await.expect("no panic");
        }
        assert_eq!(host.calls_in_flight(), (0, 0));
    }
}

#[tokio::test]
async fn a_lost_peer_says_why() {
    let Pair { host, .. } = pair(Dispatch::Spawn, Encoding::MessagePack, Limits::default());
    host.opened().await.expect("opens");
    let request = MediaRequest { handle: "x".repeat(40), ..MediaRequest::default() };
    let mut items = host.stream::<ops::MediaFetch, MediaChunk>(request, LONG).await.expect("begins");
    host.lost("the child was killed by signal 9");
    let mut last = None;
    while let Some(item) = items.next().await {
        last = item.err();
    }
    let error = host.call::<ops::Health>(Empty {}, LONG).await.expect_err("is lost");
    assert_eq!(error.to_string(), "unavailable: the child was killed by signal 9");
    assert_eq!(last, Some(error));
}

#[tokio::test]
async fn a_plugin_that_never_answers_hello() {
    struct Silent;
    impl Handler for Silent {
        fn call(&self, call: Incoming) -> BoxFuture<Result<Outgoing>> {
            Box::pin(async move { Err(call.unsupported()) })
        }
    }
    let host = Peer::new(Setup {
        role: Role::Host,
        hello: Hello::default(),
        post: drop,
        handler: Arc::new(Silent),
        runtime: tokio::runtime::Handle::current(),
        dispatch: Dispatch::Spawn,
    });
    host.start(Duration::from_millis(10));
    assert_eq!(host.opened().await.expect_err("never opens").code, ErrorCode::Deadline);
}
