//! The one state machine of the boundary, used by the host and by the SDK, over either carrier.
//!
//! It does no I/O, reads no clock and starts nothing: it is given frames, commands and the time, and hands back frames to
//! send ([`Session::poll_frame`]) and events to act on ([`Session::poll_event`]). So it can be tested with every order of
//! things, and both sides cannot disagree about the rules.
//!
//! # Life of a session
//!
//! ```text
//! host                                   plugin
//!   start()      ── hello ──────────────▶  Event::Hello, opens the instance (may already call the host)
//!   Event::Hello ◀────────────── hello ──  accept()          (or error of call 0: refuse())
//!        … calls, items, notifies in both directions …
//!   goodbye()    ── goodbye ────────────▶  Event::Goodbye, then Event::Drained once its calls are answered
//!   Event::Closed ◀─────────── goodbye ──  goodbye()
//! ```
//!
//! # What it promises
//!
//! * A call ends exactly once: with a reply, an error, its deadline, or `unavailable` when the peer is lost.
//! * Nothing is kept without a bound: calls in flight ([`Limits::max_calls`]), items on their way ([`Limits::credit`]),
//!   bytes of a frame ([`Limits::max_frame`]), the wait of a stream whose caller grants nothing ([`STALL`]).
//! * A frame for a call that is over is dropped and counted; an item for one is also answered with cancel, so that a peer
//!   which missed the first cancel stops. A frame of an unknown kind is dropped and counted.
//! * What the peer does wrong is counted ([`Counters::violations`]) and hurts at most the call it concerns.

mod event;
mod receive;

pub use event::{CallId, Counters, Event, ItemRefused, Request, Role};

use crate::codec::Encoding;
use crate::error::{Error, ErrorCode};
use crate::frame::{FLAG_STREAM, Frame, Kind, MAX_OP};
use crate::hello::{Credit, Hello, Limits};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long an incoming stream may wait for credit before it is given up.
pub const STALL: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Neither side has spoken.
    Silent,
    /// The host has.
    Greeting,
    /// Both have.
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Hello,
    Call(CallId),
    Stall(CallId),
    Drain,
}

#[derive(Debug)]
struct Outgoing {
    deadline: Instant,
    stream: Option<Duration>,
    /// Items the peer may still send.
    window: u32,
}

#[derive(Debug)]
struct Incoming {
    encoding: Encoding,
    /// The caller takes items.
    stream: bool,
    /// Items we may still send.
    credit: u32,
    stalled: Option<Instant>,
}

/// The state machine. See the module's documentation.
#[derive(Debug)]
pub struct Session {
    role: Role,
    hello: Hello,
    remote: Limits,
    encoding: Encoding,
    state: State,
    said_goodbye: bool,
    heard_goodbye: bool,
    drained: bool,
    next_id: CallId,
    outgoing: HashMap<CallId, Outgoing>,
    incoming: HashMap<CallId, Incoming>,
    timers: BTreeSet<(Instant, Timer)>,
    frames: VecDeque<Frame>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Session {
    /// A session of this side; `hello` is what it will say.
    pub fn new(role: Role, mut hello: Hello) -> Self {
        hello.limits = hello.limits.sane();
        Self {
            role,
            hello,
            remote: Limits::LEAST,
            encoding: Encoding::MessagePack,
            state: State::Silent,
            said_goodbye: false,
            heard_goodbye: false,
            drained: false,
            next_id: 1,
            outgoing: HashMap::new(),
            incoming: HashMap::new(),
            timers: BTreeSet::new(),
            frames: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The next frame to send, in order.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// The next thing that happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Session::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How our calls and notifies are written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// What the peer bears.
    pub fn remote_limits(&self) -> Limits {
        self.remote
    }

    /// What this side bears.
    pub fn local_limits(&self) -> Limits {
        self.hello.limits
    }

    /// What was dropped so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Calls of ours that are not answered yet.
    pub fn calls_out(&self) -> usize {
        self.outgoing.len()
    }

    /// Calls of the peer that are not answered yet.
    pub fn calls_in(&self) -> usize {
        self.incoming.len()
    }

    /// Whether this call of the peer still wants an answer.
    pub fn wants_answer(&self, id: CallId) -> bool {
        self.incoming.contains_key(&id)
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Host: says hello. The plugin must answer before `deadline`.
    pub fn start(&mut self, deadline: Instant) {
        if self.role != Role::Host || self.state != State::Silent {
            return;
        }
        self.state = State::Greeting;
        self.timers.insert((deadline, Timer::Hello));
        // JSON, because the plugin has not yet said what it speaks.
        self.say_hello(Encoding::Json);
    }

    /// Plugin: the instance is open; says hello in `encoding`, which everything is written in from now on.
    pub fn accept(&mut self, encoding: Encoding) {
        if self.role != Role::Plugin || self.state != State::Greeting {
            return;
        }
        self.state = State::Open;
        self.encoding = encoding;
        self.say_hello(encoding);
    }

    /// Plugin: the instance cannot be opened. Ends the session.
    pub fn refuse(&mut self, error: &Error) {
        if self.role != Role::Plugin || self.state != State::Greeting {
            return;
        }
        self.send_error(0, self.encoding, error);
        self.close(None);
    }

    /// Makes a call.
    ///
    /// # Errors
    ///
    /// `unavailable` when the session is not open (any more), `too_large` when the frame or the number of calls in flight
    /// exceeds what the peer bears, `invalid` for a name that cannot be one. Then nothing was sent.
    pub fn call(&mut self, request: Request) -> Result<CallId, Error> {
        let may_call = match self.role {
            Role::Host => self.state == State::Open,
            Role::Plugin => matches!(self.state, State::Greeting | State::Open),
        };
        if !may_call || self.said_goodbye {
            return Err(Error::new(ErrorCode::Unavailable, "the session is not open"));
        }
        check_name(&request.op)?;
        if self.outgoing.len() >= self.remote.max_calls as usize {
            return Err(Error::new(ErrorCode::TooLarge, format!("{} calls are in flight", self.outgoing.len())));
        }
        let id = self.next_id;
        let stream = if request.stream.is_some() { FLAG_STREAM } else { 0 };
        let frame = Frame {
            kind: Kind::Call,
            id,
            flags: self.encoding.flags() | stream,
            op: request.op,
            payload: request.parts.payload,
            body: request.parts.body,
        };
        self.fits(&frame)?;
        self.next_id += 1;
        self.timers.insert((request.deadline, Timer::Call(id)));
        let window = if request.stream.is_some() { self.hello.limits.credit } else { 0 };
        self.outgoing.insert(id, Outgoing { deadline: request.deadline, stream: request.stream, window });
        self.frames.push_back(frame);
        Ok(id)
    }

    /// Gives a call of ours up. It ends without an event.
    pub fn cancel(&mut self, id: CallId) {
        if self.take_outgoing(id).is_some() {
            self.frames.push_back(Frame::bare(Kind::Cancel, id));
            self.settle();
        }
    }

    /// Takes `items` more of a stream.
    pub fn grant(&mut self, id: CallId, items: u32) {
        let Some(call) = self.outgoing.get_mut(&id).filter(|call| call.stream.is_some()) else { return };
        let items = items.min(Limits::MOST.credit.saturating_sub(call.window));
        if items == 0 {
            return;
        }
        call.window += items;
        if let Ok(payload) = self.encoding.encode(&Credit { items }) {
            self.frames.push_back(Frame { flags: self.encoding.flags(), payload, ..Frame::bare(Kind::Credit, id) });
        }
    }

    /// Sends one item of an incoming call.
    ///
    /// # Errors
    ///
    /// [`ItemRefused::NoCredit`]: wait for [`Event::Credit`] and send it again. Otherwise the call is over (`cancelled`), takes
    /// no items (`invalid`), or the item is larger than the caller bears (`too_large`).
    pub fn item(&mut self, id: CallId, payload: Bytes, body: Bytes, now: Instant) -> Result<(), ItemRefused> {
        let Some(call) = self.incoming.get_mut(&id) else {
            return Err(ItemRefused::Failed(Error::new(ErrorCode::Cancelled, "the caller no longer wants it")));
        };
        if !call.stream {
            return Err(ItemRefused::Failed(Error::new(ErrorCode::Invalid, "the caller takes no items")));
        }
        if call.credit == 0 {
            if call.stalled.is_none() {
                let at = now + STALL;
                call.stalled = Some(at);
                self.timers.insert((at, Timer::Stall(id)));
            }
            return Err(ItemRefused::NoCredit);
        }
        let flags = call.encoding.flags();
        let frame = Frame { flags, payload, body, ..Frame::bare(Kind::Item, id) };
        self.fits(&frame).map_err(ItemRefused::Failed)?;
        if let Some(call) = self.incoming.get_mut(&id) {
            call.credit -= 1;
        }
        self.frames.push_back(frame);
        Ok(())
    }

    /// Answers an incoming call. A reply larger than the caller bears becomes a `too_large` error. Nothing is sent when the
    /// call is over already.
    pub fn reply(&mut self, id: CallId, payload: Bytes, body: Bytes) {
        let Some(call) = self.take_incoming(id) else { return };
        let frame = Frame { flags: call.encoding.flags(), payload, body, ..Frame::bare(Kind::Reply, id) };
        match self.fits(&frame) {
            Ok(()) => self.frames.push_back(frame),
            Err(error) => self.send_error(id, call.encoding, &error),
        }
        self.settle();
    }

    /// Answers an incoming call with an error; one larger than the caller bears becomes a `too_large` one. Nothing is sent when
    /// the call is over already.
    pub fn fail(&mut self, id: CallId, error: &Error) {
        let Some(call) = self.take_incoming(id) else { return };
        self.send_error(id, call.encoding, error);
        self.settle();
    }

    /// Tells the peer something.
    ///
    /// # Errors
    ///
    /// `unavailable` when nobody listens, `too_large` when it does not fit, `invalid` for a name that cannot be one.
    pub fn notify(&mut self, op: Cow<'static, str>, payload: Bytes) -> Result<(), Error> {
        if matches!(self.state, State::Silent | State::Closed) {
            return Err(Error::new(ErrorCode::Unavailable, "the session is not open"));
        }
        check_name(&op)?;
        let frame = Frame { flags: self.encoding.flags(), op, payload, ..Frame::bare(Kind::Notify, 0) };
        self.fits(&frame)?;
        self.frames.push_back(frame);
        Ok(())
    }

    /// Makes no more calls. The session closes when the peer has said the same and every call is answered, or is lost at
    /// `deadline`.
    pub fn goodbye(&mut self, deadline: Instant) {
        if self.said_goodbye || self.state == State::Closed {
            return;
        }
        if self.state != State::Open {
            self.close(None);
            return;
        }
        self.said_goodbye = true;
        self.timers.insert((deadline, Timer::Drain));
        self.frames.push_back(Frame::bare(Kind::Goodbye, 0));
        self.settle();
    }

    /// The carrier is gone. Calls in flight fail with `unavailable`, work for the peer is dropped.
    pub fn lost(&mut self, reason: &str) {
        self.close(Some(Error::new(ErrorCode::Unavailable, reason)));
    }

    /// Does what is due: see [`Session::next_deadline`].
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(at, timer)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Hello => {
                    self.close(Some(Error::new(ErrorCode::Deadline, "the plugin did not answer hello in time")));
                }
                Timer::Drain => self.lost("the peer did not finish in time"),
                Timer::Call(id) => {
                    if self.outgoing.remove(&id).is_some() {
                        self.counters.expired += 1;
                        self.frames.push_back(Frame::bare(Kind::Cancel, id));
                        let error = Error::new(ErrorCode::Deadline, "not answered in time");
                        self.events.push_back(Event::Failed { id, error });
                    }
                }
                Timer::Stall(id) => {
                    if let Some(call) = self.incoming.remove(&id) {
                        let error = Error::new(ErrorCode::Deadline, "the caller took no items for too long");
                        self.send_error(id, call.encoding, &error);
                        self.events.push_back(Event::Dropped { id });
                    }
                }
            }
        }
        self.settle();
    }

    fn say_hello(&mut self, encoding: Encoding) {
        match encoding.encode(&self.hello) {
            Ok(payload) => {
                self.frames.push_back(Frame { flags: encoding.flags(), payload, ..Frame::bare(Kind::Hello, 0) });
            }
            Err(error) => self.close(Some(error)),
        }
        // It is said; the secrets in it are needed no more.
        self.hello.config = crate::hello::Config::default();
    }

    fn send_error(&mut self, id: CallId, encoding: Encoding, error: &Error) {
        // An error is made of strings and numbers, which every encoding writes; an empty payload still ends the call.
        let written = |error: &Error| {
            let payload = encoding.encode(error).unwrap_or_default();
            Frame { flags: encoding.flags(), payload, ..Frame::bare(Kind::Error, id) }
        };
        let frame = written(error);
        let frame = self.fits(&frame).map_or_else(|too_large| written(&too_large), |()| frame);
        self.frames.push_back(frame);
    }

    fn fits(&self, frame: &Frame) -> Result<(), Error> {
        let limit = self.remote.max_frame;
        if frame.size() <= u64::from(limit) {
            return Ok(());
        }
        Err(Error::new(ErrorCode::TooLarge, format!("a frame of {} bytes, the peer takes {limit}", frame.size())))
    }

    fn take_outgoing(&mut self, id: CallId) -> Option<Outgoing> {
        let call = self.outgoing.remove(&id)?;
        self.timers.remove(&(call.deadline, Timer::Call(id)));
        Some(call)
    }

    fn take_incoming(&mut self, id: CallId) -> Option<Incoming> {
        let call = self.incoming.remove(&id)?;
        if let Some(at) = call.stalled {
            self.timers.remove(&(at, Timer::Stall(id)));
        }
        Some(call)
    }

    /// Notices that the peer is done, and that both are.
    fn settle(&mut self) {
        if self.state != State::Open || !self.heard_goodbye || !self.incoming.is_empty() {
            return;
        }
        if !self.drained {
            self.drained = true;
            self.events.push_back(Event::Drained);
        }
        if self.said_goodbye && self.outgoing.is_empty() {
            self.close(None);
        }
    }

    fn close(&mut self, error: Option<Error>) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.timers.clear();
        let unavailable = error.clone().unwrap_or_else(|| Error::new(ErrorCode::Unavailable, "the session was closed"));
        let unavailable = Error { code: ErrorCode::Unavailable, ..unavailable };
        let mut lost: Vec<CallId> = self.outgoing.drain().map(|(id, _)| id).collect();
        lost.sort_unstable();
        self.events.extend(lost.into_iter().map(|id| Event::Failed { id, error: unavailable.clone() }));
        let mut dropped: Vec<CallId> = self.incoming.drain().map(|(id, _)| id).collect();
        dropped.sort_unstable();
        self.events.extend(dropped.into_iter().map(|id| Event::Dropped { id }));
        self.events.push_back(Event::Closed(error));
    }
}

/// A longer name would put the stream out of step, see [`crate::frame::WireError::OpTooLong`].
fn check_name(op: &str) -> Result<(), Error> {
    if (1..=MAX_OP).contains(&op.len()) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Invalid, "the name of an operation has 1 to 128 bytes"))
}
