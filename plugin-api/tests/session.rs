//! The session's promises, with two machines wired back to back, and frame by frame.

use bytes::Bytes;
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use stele_plugin_api::frame::{FLAG_JSON, FLAG_STREAM, Frame, Head, Kind};
use stele_plugin_api::hello::{Config, Credit, Hello, Limits};
use stele_plugin_api::session::{Event, ItemRefused, Request, Role, STALL, Session};
use stele_plugin_api::typed::Parts;
use stele_plugin_api::{Encoding, Error, ErrorCode};

const TTL: Duration = Duration::from_secs(30);
const LIMITS: Limits = Limits { max_frame: 64 * 1024, max_calls: 4, credit: 3 };

fn hello(name: &str) -> Hello {
    Hello { name: name.into(), limits: LIMITS, ..Hello::default() }
}

fn request(now: Instant, stream: Option<Duration>) -> Request {
    Request { op: Cow::Borrowed("x"), parts: Parts::default(), deadline: now + TTL, stream }
}

fn frames(session: &mut Session) -> Vec<Frame> {
    std::iter::from_fn(|| session.poll_frame()).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn pass(from: &mut Session, to: &mut Session, now: Instant) -> Vec<Event> {
    for frame in frames(from) {
        to.receive(frame, now);
    }
    events(to)
}

/// A host and a plugin that have greeted each other.
fn pair(now: Instant) -> (Session, Session) {
    let (mut host, mut plugin) = (Session::new(Role::Host, hello("h")), Session::new(Role::Plugin, hello("p")));
    host.start(now + TTL);
    assert!(matches!(pass(&mut host, &mut plugin, now)[..], [Event::Hello(_)]));
    plugin.accept(Encoding::MessagePack);
    assert!(matches!(pass(&mut plugin, &mut host, now)[..], [Event::Hello(_)]));
    assert_eq!(host.next_deadline(), None);
    (host, plugin)
}

/// What may happen; `host` says on which side, `nth` which of the candidates.
#[derive(Clone, Debug)]
enum Step {
    Call { host: bool, stream: bool },
    Cancel { host: bool, nth: usize },
    Answer { host: bool, nth: usize, ok: bool },
    Item { host: bool, nth: usize },
    Grant { host: bool, nth: usize },
    Deliver { host: bool },
    Lose { host: bool },
    Repeat { host: bool },
    Delay { host: bool },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let side = any::<bool>;
    let nth = || 0..8_usize;
    prop_oneof![
        4 => (side(), any::<bool>()).prop_map(|(host, stream)| Step::Call { host, stream }),
        1 => (side(), nth()).prop_map(|(host, nth)| Step::Cancel { host, nth }),
        3 => (side(), nth(), any::<bool>()).prop_map(|(host, nth, ok)| Step::Answer { host, nth, ok }),
        3 => (side(), nth()).prop_map(|(host, nth)| Step::Item { host, nth }),
        2 => (side(), nth()).prop_map(|(host, nth)| Step::Grant { host, nth }),
        12 => side().prop_map(|host| Step::Deliver { host }),
        1 => side().prop_map(|host| Step::Lose { host }),
        1 => side().prop_map(|host| Step::Repeat { host }),
        1 => side().prop_map(|host| Step::Delay { host }),
        1 => (0..40_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// One side, and what its application knows.
struct Side {
    session: Session,
    /// Frames on their way to it.
    inbox: VecDeque<Frame>,
    /// Its calls: how often each ended.
    calls: BTreeMap<u64, u32>,
    /// Its calls that it gave up.
    cancelled: BTreeSet<u64>,
    /// Calls of the other side that it works on.
    work: BTreeSet<u64>,
}

impl Side {
    fn new(session: Session) -> Self {
        Self {
            session,
            inbox: VecDeque::new(),
            calls: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            work: BTreeSet::new(),
        }
    }

    fn nth(set: impl ExactSizeIterator<Item = u64>, nth: usize) -> Option<u64> {
        let mut set = set;
        let len = set.len();
        if len == 0 { None } else { set.nth(nth % len) }
    }

    fn settle(&mut self, other: &mut Side) {
        other.inbox.extend(frames(&mut self.session));
        for event in events(&mut self.session) {
            match event {
                Event::Call { id, .. } => assert!(self.work.insert(id), "call {id} came twice at once"),
                Event::Dropped { id } => assert!(self.work.remove(&id), "call {id} was dropped but not known"),
                Event::Replied { id, .. } | Event::Failed { id, .. } => {
                    *self.calls.get_mut(&id).expect("an end belongs to a call") += 1;
                }
                Event::Item { id, .. } => {
                    assert_eq!(self.calls.get(&id), Some(&0), "an item after the end of call {id}");
                }
                Event::Credit { .. } | Event::Notify { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(self.work.len(), self.session.calls_in(), "application and session disagree");
        assert!(self.work.len() <= LIMITS.max_calls as usize);
        assert!(self.session.calls_out() <= LIMITS.max_calls as usize);
    }
}

struct Both {
    host: Side,
    plugin: Side,
}

impl Both {
    /// One side, and the other.
    fn sides(&mut self, host: bool) -> (&mut Side, &mut Side) {
        if host { (&mut self.host, &mut self.plugin) } else { (&mut self.plugin, &mut self.host) }
    }
}

fn run(steps: Vec<Step>) {
    let mut now = Instant::now();
    let (host, plugin) = pair(now);
    let mut both = Both { host: Side::new(host), plugin: Side::new(plugin) };
    for step in steps {
        match step {
            Step::Call { host, stream } => {
                let (side, other) = both.sides(host);
                match side.session.call(request(now, stream.then_some(TTL))) {
                    Ok(id) => assert_eq!(side.calls.insert(id, 0), None),
                    Err(error) => assert_eq!(error.code, ErrorCode::TooLarge),
                }
                side.settle(other);
            }
            Step::Cancel { host, nth } => {
                let (side, other) = both.sides(host);
                let open: Vec<u64> = side.calls.iter().filter(|(_, ends)| **ends == 0).map(|(id, _)| *id).collect();
                if let Some(id) = Side::nth(open.into_iter(), nth) {
                    side.session.cancel(id);
                    side.cancelled.insert(id);
                }
                side.settle(other);
            }
            Step::Answer { host, nth, ok } => {
                let (side, other) = both.sides(host);
                if let Some(id) = Side::nth(side.work.clone().into_iter(), nth) {
                    side.work.remove(&id);
                    match ok {
                        true => side.session.reply(id, Bytes::new(), Bytes::new()),
                        false => side.session.fail(id, &Error::internal("x")),
                    }
                }
                side.settle(other);
            }
            Step::Item { host, nth } => {
                let (side, other) = both.sides(host);
                if let Some(id) = Side::nth(side.work.clone().into_iter(), nth) {
                    let sent = side.session.item(id, Bytes::new(), Bytes::new(), now);
                    assert!(!matches!(&sent, Err(ItemRefused::Failed(error)) if error.code != ErrorCode::Invalid));
                }
                side.settle(other);
            }
            Step::Grant { host, nth } => {
                let (side, other) = both.sides(host);
                if let Some(id) = Side::nth(side.calls.keys().copied(), nth) {
                    side.session.grant(id, 1);
                }
                side.settle(other);
            }
            Step::Deliver { host } => {
                let (side, other) = both.sides(host);
                if let Some(frame) = side.inbox.pop_front() {
                    side.session.receive(frame, now);
                }
                side.settle(other);
            }
            Step::Lose { host } => drop(both.sides(host).0.inbox.pop_front()),
            Step::Repeat { host } => {
                let inbox = &mut both.sides(host).0.inbox;
                inbox.extend(inbox.front().cloned());
            }
            Step::Delay { host } => {
                let inbox = &mut both.sides(host).0.inbox;
                let late = inbox.pop_front();
                inbox.extend(late);
            }
            Step::Wait { seconds } => {
                now += Duration::from_secs(seconds);
                for on_host in [true, false] {
                    let (side, other) = both.sides(on_host);
                    side.session.expire(now);
                    side.settle(other);
                }
            }
        }
    }
    // From now on the carrier is sound and the applications answer: everything must come to an end.
    for _ in 0..64 {
        for on_host in [true, false] {
            let (side, other) = both.sides(on_host);
            while let Some(frame) = side.inbox.pop_front() {
                side.session.receive(frame, now);
                side.settle(other);
            }
            for id in std::mem::take(&mut side.work) {
                side.session.reply(id, Bytes::new(), Bytes::new());
            }
            now += STALL;
            side.session.expire(now);
            side.settle(other);
        }
    }
    let Both { mut host, mut plugin } = both;
    for side in [&host, &plugin] {
        assert!(side.inbox.is_empty(), "the sides never fall silent");
        assert_eq!((side.session.calls_out(), side.session.calls_in()), (0, 0), "entries leak");
        assert_eq!(side.session.next_deadline(), None, "timers leak");
        for (id, ends) in &side.calls {
            assert_eq!(*ends, u32::from(!side.cancelled.contains(id)), "ends of call {id}");
        }
    }
    // And the session can still be ended in good order.
    host.session.goodbye(now + TTL);
    let told = pass(&mut host.session, &mut plugin.session, now);
    assert_eq!(told, [Event::Goodbye, Event::Drained]);
    plugin.session.goodbye(now + TTL);
    let told = pass(&mut plugin.session, &mut host.session, now);
    assert_eq!(told, [Event::Goodbye, Event::Drained, Event::Closed(None)]);
    assert_eq!(events(&mut plugin.session), [Event::Closed(None)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_and_nothing_leaks(steps in prop::collection::vec(step(), 0..200)) {
        run(steps);
    }

    #[test]
    fn garbage_hurts_nobody(garbage in prop::collection::vec(
        (0..12_u32, 0..4_u64, any::<u32>(), ".{0,4}", prop::collection::vec(any::<u8>(), 0..20)), 0..40)
    ) {
        let now = Instant::now();
        for role in [Role::Host, Role::Plugin] {
            let (host, plugin) = pair(now);
            let mut session = if role == Role::Host { host } else { plugin };
            let ours = session.call(request(now, None)).expect("is open");
            for (kind, id, flags, op, payload) in garbage.clone() {
                session.receive(Frame { kind: kind.into(), id, flags, op: op.into(), payload: payload.into(), body: Bytes::new() }, now);
            }
            prop_assert!(session.calls_in() <= LIMITS.max_calls as usize);
            session.expire(now + TTL);
            session.lost("gone");
            let ends = events(&mut session);
            let ended = |event: &&Event| matches!(event, Event::Replied { id, .. } | Event::Failed { id, .. } if *id == ours);
            prop_assert_eq!(ends.iter().filter(ended).count(), 1);
            prop_assert!(matches!(ends.last(), Some(Event::Closed(_))));
            prop_assert_eq!((session.calls_in(), session.calls_out(), session.next_deadline()), (0, 0, None));
        }
    }
}

#[test]
fn the_host_speaks_json_first_and_then_what_the_plugin_speaks() {
    let now = Instant::now();
    let config = Config(serde_json::json!({ "key": "hunter2" }));
    let mut host = Session::new(Role::Host, Hello { config, instance: "hq".into(), ..hello("h") });
    let mut plugin = Session::new(Role::Plugin, hello("p"));
    assert!(!format!("{host:?}").contains("hunter2"));
    host.start(now + TTL);
    let said = frames(&mut host);
    assert_eq!((said.len(), said[0].kind, said[0].flags, said[0].payload[0]), (1, Kind::Hello, FLAG_JSON, b'{'));
    plugin.receive(said[0].clone(), now);
    let heard = events(&mut plugin);
    let [Event::Hello(heard)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((heard.instance.as_str(), &heard.config.0["key"]), ("hq", &serde_json::json!("hunter2")));
    assert!(!format!("{heard:?}").contains("hunter2"));

    // The host serves the plugin while it opens, but cannot call it.
    assert_eq!(host.call(request(now, None)).expect_err("is not open").code, ErrorCode::Unavailable);
    plugin.call(request(now, None)).expect("may ask the host");
    assert!(matches!(pass(&mut plugin, &mut host, now)[..], [Event::Call { id: 1, .. }]));

    plugin.accept(Encoding::Json);
    pass(&mut plugin, &mut host, now);
    assert_eq!(host.encoding(), Encoding::Json);
    host.call(request(now, None)).expect("is open");
    assert_eq!(frames(&mut host).last().map(|frame| frame.flags), Some(FLAG_JSON));
}

#[test]
fn a_plugin_that_cannot_open_or_never_answers() {
    let now = Instant::now();
    let start = || {
        let (mut host, mut plugin) = (Session::new(Role::Host, hello("h")), Session::new(Role::Plugin, hello("p")));
        host.start(now + TTL);
        pass(&mut host, &mut plugin, now);
        (host, plugin)
    };
    let (mut host, mut plugin) = start();
    let error = Error::new(ErrorCode::Denied, "no such key");
    plugin.refuse(&error);
    assert_eq!(pass(&mut plugin, &mut host, now), [Event::Closed(Some(error))]);

    let (mut host, _plugin) = start();
    assert_eq!(host.next_deadline(), Some(now + TTL));
    host.expire(now + TTL);
    assert!(matches!(&events(&mut host)[..], [Event::Closed(Some(error))] if error.code == ErrorCode::Deadline));
}

#[test]
fn bounds_are_kept_and_enforced() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    let big = Bytes::from(vec![0; 64 * 1024 + 1]);

    // What the peer does not take is refused before it is sent.
    let error = host
        .call(Request { parts: Parts { payload: Bytes::new(), body: big.clone() }, ..request(now, None) })
        .expect_err("too large");
    assert_eq!((error.code, frames(&mut host).len()), (ErrorCode::TooLarge, 0));
    for _ in 0..4 {
        host.call(request(now, None)).expect("within the bound");
    }
    assert_eq!(host.call(request(now, None)).expect_err("too many").code, ErrorCode::TooLarge);
    assert_eq!(pass(&mut host, &mut plugin, now).len(), 4);

    // A peer that sends it all the same is answered, and the session lives.
    let rogue = |id, body: &Bytes| Frame { op: "x".into(), body: body.clone(), ..Frame::bare(Kind::Call, id) };
    plugin.receive(rogue(77, &Bytes::new()), now);
    plugin.receive(rogue(78, &big), now);
    let refused: Vec<(u64, Error)> = frames(&mut plugin)
        .iter()
        .map(|frame| (frame.id, Encoding::of(frame.flags).decode(&frame.payload).expect("an error")))
        .collect();
    assert!(
        matches!(&refused[..], [(77, a), (78, b)] if a.code == ErrorCode::TooLarge && b.code == ErrorCode::TooLarge)
    );
    assert!(events(&mut plugin).is_empty());

    // A reply the caller does not take becomes an error.
    plugin.reply(1, big.clone(), Bytes::new());
    assert!(
        matches!(&pass(&mut plugin, &mut host, now)[..], [Event::Failed { id: 1, error }] if error.code == ErrorCode::TooLarge)
    );
    // And one that is sent all the same fails only its call.
    host.receive(Frame { payload: big, ..Frame::bare(Kind::Reply, 2) }, now);
    assert!(matches!(&events(&mut host)[..], [Event::Failed { id: 2, error }] if error.code == ErrorCode::TooLarge));
    assert_eq!((host.calls_out(), host.counters().oversized, plugin.counters().oversized), (2, 1, 1));
}

#[test]
fn streams_move_by_credit() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    let idle = Duration::from_secs(5);
    let id = host.call(request(now, Some(idle))).expect("calls");
    pass(&mut host, &mut plugin, now);
    let item = |plugin: &mut Session| plugin.item(id, Bytes::new(), Bytes::new(), now);
    for _ in 0..3 {
        assert_eq!(item(&mut plugin), Ok(()));
    }
    assert_eq!(item(&mut plugin), Err(ItemRefused::NoCredit));
    let later = now + Duration::from_secs(1);
    assert_eq!(pass(&mut plugin, &mut host, later).len(), 3);
    assert_eq!(host.next_deadline(), Some(later + idle), "each item moves the deadline");

    host.grant(id, 2);
    assert_eq!(pass(&mut host, &mut plugin, now), [Event::Credit { id }]);
    assert_eq!((item(&mut plugin), item(&mut plugin), item(&mut plugin)), (Ok(()), Ok(()), Err(ItemRefused::NoCredit)));
    assert_eq!(pass(&mut plugin, &mut host, now).len(), 2);

    // More than was granted ends the call, not the session.
    host.receive(Frame::bare(Kind::Item, id), now);
    assert!(matches!(&events(&mut host)[..], [Event::Failed { error, .. }] if error.code == ErrorCode::Internal));
    assert_eq!(host.counters().violations, 1);
    // An item for a call that is over is answered with cancel.
    frames(&mut host);
    host.receive(Frame::bare(Kind::Item, id), now);
    assert_eq!(frames(&mut host), [Frame::bare(Kind::Cancel, id)]);
    assert_eq!(host.counters().late, 1);

    // A caller that grants nothing does not hold the work for ever.
    plugin.expire(now + STALL);
    assert_eq!(events(&mut plugin), [Event::Dropped { id }]);
    assert!(matches!(item(&mut plugin), Err(ItemRefused::Failed(error)) if error.code == ErrorCode::Cancelled));
}

#[test]
fn a_grant_of_nothing_is_none() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    let id = host.call(request(now, Some(TTL))).expect("calls");
    pass(&mut host, &mut plugin, now);
    while plugin.item(id, Bytes::new(), Bytes::new(), now) != Err(ItemRefused::NoCredit) {}
    let credit = Encoding::MessagePack.encode(&Credit { items: 0 }).expect("writes");
    plugin.receive(Frame { payload: credit, ..Frame::bare(Kind::Credit, id) }, now);
    assert_eq!((events(&mut plugin), plugin.counters().violations), (vec![], 1));
    // Whoever grants nothing again and again does not hold the work, either.
    plugin.expire(now + STALL);
    assert_eq!(events(&mut plugin), [Event::Dropped { id }]);
}

/// Whoever sends what nobody asked for may be read more slowly, and nobody else may.
#[test]
fn what_was_not_asked_for_is_told_apart() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    let id = host.call(request(now, None)).expect("calls");
    let stream = host.call(request(now, Some(TTL))).expect("calls");
    pass(&mut host, &mut plugin, now);
    let call = |id| Frame { op: "x".into(), ..Frame::bare(Kind::Call, id) };
    let awaited = [
        Frame::bare(Kind::Reply, id),
        Frame::bare(Kind::Item, stream),
        Frame::bare(Kind::Error, stream),
        call(1),
        call(2),
        Frame::bare(Kind::Goodbye, 0),
    ];
    let unasked = |session: &mut Session| {
        let late = [Kind::Reply, Kind::Item, Kind::Error, Kind::Cancel, Kind::Credit].map(|kind| Frame::bare(kind, 77));
        let notify = Frame { op: "log".into(), ..Frame::bare(Kind::Notify, 0) };
        let others = [Frame::bare(Kind::Unknown(99), 1), Frame::bare(Kind::Hello, 0), call(0), notify];
        late.into_iter().chain(others).all(|frame| !session.receive(frame, now))
    };
    for frame in awaited {
        assert!(unasked(&mut host), "before {frame:?}");
        assert!(host.receive(frame.clone(), now), "{frame:?}");
        assert!(!host.receive(frame.clone(), now) || frame.kind == Kind::Item, "a second {frame:?}");
    }
    assert!(unasked(&mut host) && !host.receive(call(3), now), "after its goodbye");
    assert!(!host.receive_oversized(Head { kind: Kind::Reply, id, flags: 0, size: u64::MAX }));
}

/// Whatever an application says: a name that is too long would put the stream out of step, an error that is too long ends the
/// plugin's process.
#[test]
fn what_the_other_side_does_not_bear_is_not_sent() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    let id = host.call(request(now, None)).expect("calls");
    pass(&mut host, &mut plugin, now);
    plugin.fail(id, &Error::invalid("x".repeat(LIMITS.max_frame as usize)));
    let told = pass(&mut plugin, &mut host, now);
    assert!(matches!(&told[..], [Event::Failed { error, .. }] if error.code == ErrorCode::TooLarge), "{told:?}");
    assert_eq!(host.counters().oversized, 0);
    for name in [String::new(), "x".repeat(129)] {
        let error = plugin.notify(name.into(), Bytes::new()).expect_err("it is no name");
        assert_eq!(error.code, ErrorCode::Invalid);
    }
    assert!(frames(&mut plugin).is_empty());
}

#[test]
fn what_is_unknown_or_out_of_place_is_counted() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    plugin.receive(Frame::bare(Kind::Unknown(99), 5), now);
    plugin.receive(Frame::bare(Kind::Reply, 5), now);
    plugin.receive(Frame::bare(Kind::Cancel, 5), now);
    plugin.receive(Frame::bare(Kind::Credit, 5), now);
    plugin.receive(Frame::bare(Kind::Hello, 0), now);
    plugin.receive(Frame { op: "x".into(), flags: FLAG_STREAM, ..Frame::bare(Kind::Call, 9) }, now);
    plugin.receive(Frame { op: "x".into(), ..Frame::bare(Kind::Call, 9) }, now);
    plugin.receive(Frame { payload: Bytes::from_static(b"\xc1"), ..Frame::bare(Kind::Credit, 9) }, now);
    let counters = plugin.counters();
    assert_eq!((counters.unknown_kinds, counters.late, counters.violations), (1, 3, 3));
    assert!(matches!(events(&mut plugin)[..], [Event::Call { id: 9, .. }]));
    assert!(frames(&mut plugin).is_empty());

    let credit = Encoding::Json.encode(&Credit { items: u32::MAX }).expect("writes");
    plugin.receive(Frame { flags: FLAG_JSON, payload: credit, ..Frame::bare(Kind::Credit, 9) }, now);
    assert_eq!(events(&mut plugin), [Event::Credit { id: 9 }]);
    host.lost("the child was killed by signal 9");
    assert!(matches!(&events(&mut host)[..], [Event::Closed(Some(error))] if error.message.contains("signal 9")));
    host.receive(Frame::bare(Kind::Reply, 1), now);
    host.receive(Frame { op: "log".into(), ..Frame::bare(Kind::Notify, 0) }, now);
    assert_eq!(host.counters().late, 1, "a notify belongs to no call");
}

#[test]
fn goodbye_lets_work_finish_and_gives_up_in_time() {
    let now = Instant::now();
    let (mut host, mut plugin) = pair(now);
    let id = host.call(request(now, None)).expect("calls");
    host.goodbye(now + TTL);
    assert_eq!(host.call(request(now, None)).expect_err("said goodbye").code, ErrorCode::Unavailable);
    assert!(matches!(pass(&mut host, &mut plugin, now)[..], [Event::Call { .. }, Event::Goodbye]));
    // What is in flight may still need the other side.
    plugin.call(request(now, None)).expect("calls");
    assert!(matches!(pass(&mut plugin, &mut host, now)[..], [Event::Call { id: 1, .. }]));
    host.reply(1, Bytes::new(), Bytes::new());
    assert!(matches!(pass(&mut host, &mut plugin, now)[..], [Event::Replied { .. }]));
    plugin.reply(id, Bytes::new(), Bytes::new());
    assert_eq!(events(&mut plugin), [Event::Drained]);
    assert!(matches!(pass(&mut plugin, &mut host, now)[..], [Event::Replied { .. }]));

    host.expire(now + TTL);
    assert!(matches!(&events(&mut host)[..], [Event::Closed(Some(error))] if error.code == ErrorCode::Unavailable));
}
