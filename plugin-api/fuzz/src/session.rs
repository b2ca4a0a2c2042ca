//! The session state machine, on either side, under any sequence of frames: it keeps to what was agreed, tells its application
//! of every call once, and comes to an end.
//!
//! What this side does meanwhile is in the frames as well: in the upper half of their flags, which no session looks at.

use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};
use stele_plugin_api::frame::{Decoded, Decoder, FLAG_STREAM, Frame, Kind, MAX_OP};
use stele_plugin_api::hello::{Credit, Hello, Limits};
use stele_plugin_api::session::{CallId, Event, ItemRefused, Request, Role, Session};
use stele_plugin_api::typed::Parts;
use stele_plugin_api::{Encoding, Error, ErrorCode};

/// What this side bears.
const LIMITS: Limits = Limits { max_frame: Limits::LEAST.max_frame, max_calls: 4, credit: 3 };

/// What a call, hello and goodbye may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than some peers bear.
static BULK: [u8; BULK_BYTES] = [0; BULK_BYTES];
const BULK_BYTES: usize = 2 * Limits::LEAST.max_frame as usize;

/// See the module's documentation.
pub fn check(data: &[u8]) {
    for role in [Role::Host, Role::Plugin] {
        let mut side = Side::new(role);
        let (mut decoder, mut input) = (Decoder::new(LIMITS.max_frame), BytesMut::from(data));
        while let Ok(Some(decoded)) = decoder.decode(&mut input) {
            side.hear(decoded);
        }
        side.end();
    }
}

/// What of a frame matters to what follows from it.
struct Heard {
    flags: u32,
    /// Items it grants, if it is a credit frame.
    granted: u64,
}

/// One side, and what its application knows.
struct Side {
    session: Session,
    role: Role,
    now: Instant,
    /// Our calls: items that may still come.
    ours: BTreeMap<CallId, u64>,
    /// The other side's calls: items that may still be sent.
    theirs: BTreeMap<CallId, u64>,
    greeted: bool,
    /// A plugin said whether it opens.
    decided: bool,
    goodbye: bool,
    drained: bool,
    closed: bool,
}

impl Side {
    fn new(role: Role) -> Self {
        let hello = Hello { name: "fuzz".to_owned(), limits: LIMITS, ..Hello::default() };
        let (mut session, now) = (Session::new(role, hello), Instant::now());
        session.start(now + PATIENCE);
        let (ours, theirs) = (BTreeMap::new(), BTreeMap::new());
        let mut side = Self {
            session,
            role,
            now,
            ours,
            theirs,
            greeted: false,
            decided: role == Role::Host,
            goodbye: false,
            drained: false,
            closed: false,
        };
        side.settle(None);
        side
    }

    fn hear(&mut self, decoded: Decoded) {
        let heard = match &decoded {
            Decoded::Frame(frame) => {
                let credit: Result<Credit, Error> = Encoding::of(frame.flags).decode(&frame.payload);
                Heard { flags: frame.flags, granted: credit.map_or(0, |credit| credit.items.into()) }
            }
            Decoded::Oversized(head) => Heard { flags: head.flags, granted: 0 },
        };
        _ = match decoded {
            Decoded::Frame(frame) => self.session.receive(frame, self.now),
            Decoded::Oversized(head) => self.session.receive_oversized(head),
        };
        let sent = self.settle(Some(&heard));
        assert!(sent <= 1, "one frame is answered by {sent}");
        self.act(heard.flags >> 16);
        self.settle(None);
    }

    /// What the application does; a code of 16 bits.
    fn act(&mut self, code: u32) {
        let (deed, nth) = (code & 0xf, (code >> 4) as usize);
        if self.greeted && !self.decided && [0, 13, 14].contains(&deed) {
            self.decided = true;
            return match deed {
                0 => self.session.accept(Encoding::MessagePack),
                13 => self.session.accept(Encoding::Json),
                _ => self.session.refuse(&Error::new(ErrorCode::Denied, "x".repeat(nth * 64))),
            };
        }
        let bulk = Bytes::from_static(&BULK);
        match deed {
            1 => self.call(Bytes::new(), None),
            2 => self.call(Bytes::new(), Some(PATIENCE)),
            3 => self.call(bulk, None),
            4 | 5 => {
                if let Some(id) = self.their_call(nth) {
                    self.theirs.remove(&id);
                    let body = if deed == 4 { Bytes::new() } else { bulk };
                    self.session.reply(id, Bytes::new(), body);
                    self.session.reply(id, Bytes::new(), Bytes::new());
                    assert_eq!(self.settle(None), 1, "who answers twice is heard once");
                }
            }
            6 => {
                if let Some(id) = self.their_call(nth) {
                    self.theirs.remove(&id);
                    self.session.fail(id, &Error::invalid("x".repeat(nth * 64)));
                }
            }
            7 | 8 => {
                if let Some(id) = self.their_call(nth) {
                    let body = if deed == 7 { Bytes::new() } else { bulk };
                    match self.session.item(id, Bytes::new(), body, self.now) {
                        Ok(()) | Err(ItemRefused::NoCredit) => {}
                        Err(ItemRefused::Failed(error)) => {
                            assert!([ErrorCode::Invalid, ErrorCode::TooLarge].contains(&error.code), "{error}");
                        }
                    }
                }
            }
            9 => {
                if let Some(id) = self.our_call(nth) {
                    *self.ours.entry(id).or_default() += nth as u64;
                    self.session.grant(id, nth as u32);
                }
            }
            10 => {
                if let Some(id) = self.our_call(nth) {
                    self.ours.remove(&id);
                    self.session.cancel(id);
                }
            }
            11 => {
                self.now += Duration::from_secs(nth as u64);
                self.session.expire(self.now);
            }
            12 => {
                // Says for itself whether it was sent.
                let _ = self.session.notify("x".repeat(nth % (2 * MAX_OP)).into(), Bytes::new());
            }
            13 => self.session.goodbye(self.now + PATIENCE),
            14 => self.session.lost("the carrier is gone"),
            _ => {}
        }
    }

    fn call(&mut self, body: Bytes, stream: Option<Duration>) {
        let parts = Parts { payload: Bytes::new(), body };
        match self.session.call(Request { op: "x".into(), parts, deadline: self.now + PATIENCE, stream }) {
            Ok(id) => {
                let items = if stream.is_some() { LIMITS.credit.into() } else { 0 };
                assert_eq!(self.ours.insert(id, items), None, "two calls have the number {id}");
            }
            Err(error) => {
                assert!([ErrorCode::Unavailable, ErrorCode::TooLarge].contains(&error.code), "{error}");
            }
        }
    }

    fn our_call(&self, nth: usize) -> Option<CallId> {
        self.ours.keys().copied().nth(nth % LIMITS.max_calls as usize)
    }

    fn their_call(&self, nth: usize) -> Option<CallId> {
        self.theirs.keys().copied().nth(nth % LIMITS.max_calls as usize)
    }

    /// Takes what the session sends and tells, and compares it with what the application knows; how many frames were sent.
    fn settle(&mut self, heard: Option<&Heard>) -> usize {
        let mut sent = 0;
        while let Some(frame) = self.session.poll_frame() {
            self.check_sent(&frame);
            sent += 1;
        }
        while let Some(event) = self.session.poll_event() {
            self.check_told(event, heard);
        }
        let (session, remote) = (&self.session, self.session.remote_limits());
        assert_eq!((session.calls_out(), session.calls_in()), (self.ours.len(), self.theirs.len()));
        assert!(session.calls_out() <= remote.max_calls as usize && session.calls_in() <= LIMITS.max_calls as usize);
        assert_eq!(session.is_closed(), self.closed);
        assert!(!self.closed || session.next_deadline().is_none(), "a timer is left over");
        sent
    }

    fn check_sent(&mut self, frame: &Frame) {
        let most = self.session.remote_limits().max_frame;
        assert!(frame.size() <= u64::from(most), "{frame:?} is sent, the peer takes {most} bytes");
        assert!(frame.op.len() <= MAX_OP, "{frame:?}");
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        assert_eq!(Decoder::new(most).decode(&mut wire), Ok(Some(Decoded::Frame(frame.clone()))));
        if frame.kind == Kind::Item {
            let items = self.theirs.get_mut(&frame.id).expect("an item belongs to a call");
            *items = items.checked_sub(1).expect("no more items are sent than were granted");
        }
    }

    fn check_told(&mut self, event: Event, heard: Option<&Heard>) {
        assert!(!self.closed, "{event:?} after the end");
        match event {
            Event::Hello(_) => assert!(!mem::replace(&mut self.greeted, true)),
            Event::Call { id, .. } => {
                let stream = heard.is_some_and(|heard| heard.flags & FLAG_STREAM != 0);
                let items = if stream { self.session.remote_limits().credit.into() } else { 0 };
                assert!(id != 0 && self.theirs.insert(id, items).is_none(), "call {id} came twice at once");
            }
            Event::Dropped { id } => assert!(self.theirs.remove(&id).is_some(), "call {id} is not there to be dropped"),
            Event::Credit { id } => {
                let granted = heard.map_or(0, |heard| heard.granted);
                assert!(granted > 0, "nothing was granted");
                *self.theirs.get_mut(&id).expect("a grant belongs to a call") += granted;
            }
            Event::Item { id, .. } => {
                let items = self.ours.get_mut(&id).expect("an item belongs to a call");
                *items = items.checked_sub(1).expect("no more items come than were granted");
            }
            Event::Replied { id, .. } | Event::Failed { id, .. } => {
                assert!(self.ours.remove(&id).is_some(), "call {id} ended twice");
            }
            Event::Notify { parts, .. } => assert!(parts.body.is_empty()),
            Event::Goodbye => assert!(!mem::replace(&mut self.goodbye, true)),
            Event::Drained => {
                assert!(self.goodbye && self.theirs.is_empty());
                assert!(!mem::replace(&mut self.drained, true));
            }
            Event::Closed(_) => {
                assert!(self.ours.is_empty() && self.theirs.is_empty(), "calls are left over");
                self.closed = true;
            }
        }
    }

    /// From now on the application answers, and the other side says nothing any more: all of it ends by itself.
    fn end(mut self) {
        while let Some((id, _)) = self.theirs.pop_first() {
            self.session.reply(id, Bytes::new(), Bytes::new());
            self.settle(None);
        }
        self.session.goodbye(self.now + PATIENCE);
        self.settle(None);
        while let Some(at) = self.session.next_deadline() {
            self.now = self.now.max(at);
            self.session.expire(self.now);
            self.settle(None);
            let next = self.session.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "what is due is not done");
        }
        assert!(self.closed, "the session of the {:?} never ends", self.role);
    }
}
