//! One listener: where it has come to, and what waits for it.

use super::event::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use stele_archive::{PersonId, Rev};
use tokio::sync::Notify;
use tokio::time::Instant;

/// An empty queue that had more room than this, in events, gives it back.
const ROOM_KEPT: usize = 16;

/// How a listener is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A text message for each event.
    WebSocket,
    /// A stream of server-sent events.
    Sse,
    /// A request for each event.
    Poll,
}

impl Carrier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Poll];

    /// The word in figures and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client went away.
    Gone,
    /// A later connection has its place.
    Replaced,
    /// The client takes too little.
    Slow,
    /// The client's credential is no longer valid.
    Expired,
    /// The instance or the daemon stops.
    Stopped,
    /// The client says too much.
    Flood,
    /// The client sent a message that is too large.
    Oversize,
    /// The client does not answer pings.
    Unanswered,
    /// The client does not speak the protocol.
    Broken,
}

impl End {
    /// The word in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Replaced => "replaced",
            Self::Slow => "slow",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
            Self::Flood => "flood",
            Self::Oversize => "oversize",
            Self::Unanswered => "unanswered",
            Self::Broken => "broken",
        }
    }

    /// The sentence for the client.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Gone => "",
            Self::Replaced => "replaced by a later connection",
            Self::Slow => "too slow: come back with the last id you have",
            Self::Expired => "the token has expired",
            Self::Stopped => "the server stops",
            Self::Flood => "too many messages",
            Self::Oversize => "the message is too large",
            Self::Unanswered => "no answer to pings",
            Self::Broken => "protocol error",
        }
    }
}

/// One listener.
#[derive(Debug)]
pub(super) struct Session {
    /// What there is one of.
    pub key: String,
    pub person: PersonId,
    pub carrier: Carrier,
    inner: Mutex<Inner>,
    /// Something changed.
    pub woken: Notify,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Arc<Event>>,
    bytes: usize,
    place: Place,
    /// Revision of the last event the carrier took.
    given: Rev,
    crowd: Crowd,
    /// Number of the poll that is served; an earlier one is not.
    turn: u64,
    /// When the latest poll ended.
    left: Option<Instant>,
    end: Option<End>,
}

/// Where a session stands. Everything at or before the revision was put into the queue, or is not for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It reads the archive itself.
    Behind(Rev),
    /// The hub hands it what comes.
    Level(Rev),
}

/// Whether a queue is more than half full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    No,
    Yes,
    /// It is, and the hub has waited for it.
    Indulged,
}

/// What became of an event for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits in the queue, or is not for it.
    Done,
    /// It waits in the queue, which is more than half full by it.
    Crowded,
    /// There is no room.
    Full,
}

/// What a carrier does next.
#[derive(Debug)]
pub(super) enum Next {
    Event(Arc<Event>),
    /// Read what comes after this revision.
    Read(Rev),
    Wait,
    /// A later poll has its place.
    Superseded,
    End(End),
}

impl Session {
    /// A session that reads what came after `since`, or hears what comes after `from`.
    pub fn new(key: &str, person: PersonId, carrier: Carrier, since: Option<Rev>, from: Rev) -> Self {
        let place = since.map_or(Place::Level(from), Place::Behind);
        let inner = Inner {
            queue: VecDeque::new(),
            bytes: 0,
            place,
            given: since.unwrap_or(from),
            crowd: Crowd::No,
            turn: 0,
            left: None,
            end: None,
        };
        Self { key: key.to_owned(), person, carrier, inner: Mutex::new(inner), woken: Notify::new() }
    }

    /// Puts an event into the queue, unless the session has come past it.
    pub fn push(&self, event: &Arc<Event>, max_events: usize, max_bytes: usize) -> Pushed {
        let mut inner = self.inner();
        let is_for_it = matches!(inner.place, Place::Level(after) if after < event.rev);
        if !is_for_it || inner.end.is_some() {
            return Pushed::Done;
        }
        let too_large = inner.bytes + event.size() > max_bytes && !inner.queue.is_empty();
        if inner.queue.len() >= max_events || too_large {
            return Pushed::Full;
        }
        inner.place = Place::Level(event.rev);
        inner.put(event);
        let is_crowded = inner.queue.len() > max_events / 2 || inner.bytes > max_bytes / 2;
        // Who polls takes its time by nature.
        let newly = is_crowded && inner.crowd == Crowd::No && self.carrier != Carrier::Poll;
        if newly {
            inner.crowd = Crowd::Yes;
        }
        drop(inner);
        self.woken.notify_waiters();
        if newly { Pushed::Crowded } else { Pushed::Done }
    }

    /// Takes in what was read for it from the archive after `from`; it has come to `upto` then. Nothing when somebody else did
    /// meanwhile.
    pub fn load(&self, from: Rev, events: &[Arc<Event>], upto: Rev) {
        let mut inner = self.inner();
        if inner.place == Place::Behind(from) && inner.end.is_none() {
            inner.place = Place::Behind(upto);
            events.iter().for_each(|event| inner.put(event));
        }
    }

    /// Whether the hub is to hand it what comes after this revision: it has read up to there.
    pub fn level(&self, at: Rev) -> bool {
        let mut inner = self.inner();
        let is_due = inner.place == Place::Behind(at) && inner.end.is_none();
        if is_due {
            inner.place = Place::Level(at);
        }
        is_due
    }

    /// What the carrier whose turn this is does next; and whether the queue is no longer crowded by it.
    pub fn next(&self, turn: u64) -> (Next, bool) {
        let mut inner = self.inner();
        if inner.turn != turn {
            return (Next::Superseded, false);
        }
        // A stop lets what waits go out first.
        if let Some(end) = inner.end.filter(|end| *end != End::Stopped || inner.queue.is_empty()) {
            return (Next::End(end), false);
        }
        let Some(event) = inner.queue.pop_front() else {
            return match inner.place {
                Place::Behind(after) => (Next::Read(after), false),
                Place::Level(_) => (Next::Wait, false),
            };
        };
        inner.bytes -= event.size();
        inner.given = event.rev;
        if inner.queue.is_empty() && inner.queue.capacity() > ROOM_KEPT {
            inner.queue = VecDeque::new();
        }
        (Next::Event(event), inner.crowd != Crowd::No)
    }

    /// Notes that the queue has room again, if it has.
    pub fn relieve(&self, max_events: usize, max_bytes: usize) -> bool {
        let mut inner = self.inner();
        let has_room = inner.queue.len() <= max_events / 2 && inner.bytes <= max_bytes / 2;
        if has_room {
            inner.crowd = Crowd::No;
        }
        has_room
    }

    /// Whether the hub should give it a moment.
    pub fn wants_patience(&self) -> bool {
        let inner = self.inner();
        inner.crowd == Crowd::Yes && inner.end.is_none()
    }

    /// The moment is over.
    pub fn indulged(&self) {
        let mut inner = self.inner();
        if inner.crowd == Crowd::Yes {
            inner.crowd = Crowd::Indulged;
        }
    }

    /// The turn of another poll. What it says it has seen decides where it goes on; returns whether it reads the archive again.
    pub fn take_turn(&self, since: Option<Rev>) -> (u64, bool) {
        let mut inner = self.inner();
        inner.turn += 1;
        inner.left = None;
        let again = since.filter(|since| *since != inner.given);
        if let Some(since) = again {
            inner.queue = VecDeque::new();
            (inner.bytes, inner.place, inner.given) = (0, Place::Behind(since), since);
        }
        let turn = inner.turn;
        drop(inner);
        self.woken.notify_waiters();
        (turn, again.is_some())
    }

    /// A poll is over; whether it was the one whose turn it is.
    pub fn leave(&self, turn: u64) {
        let mut inner = self.inner();
        if inner.turn == turn {
            inner.left = Some(Instant::now());
        }
    }

    /// Since when nobody polls.
    pub fn left(&self) -> Option<Instant> {
        self.inner().left
    }

    /// Ends it; what waits is dropped unless it may still go out. Returns how many events were.
    pub fn end(&self, end: End) -> usize {
        let mut inner = self.inner();
        inner.end.get_or_insert(end);
        let dropped = match end {
            End::Stopped => 0,
            _ => std::mem::take(&mut inner.queue).len(),
        };
        drop(inner);
        self.woken.notify_waiters();
        dropped
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic happens while a session is locked")
    }
}

impl Inner {
    fn put(&mut self, event: &Arc<Event>) {
        self.bytes += event.size();
        self.queue.push_back(Arc::clone(event));
    }
}
