//! One listener: where it has come to, and what waits for it.

use super::event::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stele_archive::{PersonId, Rev};
use stele_plugin_api::model::Micros;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// An empty queue that had more room than this, in events, gives it back.
const ROOM_KEPT: usize = 16;
/// The pace of a session that is behind is looked at after each such time.
const SPAN: Duration = Duration::from_secs(30);
/// Spans in a row in which more comes for a session than it takes, and it loses its place. One alone may be a burst.
const SLOW_SPANS: u32 = 2;

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
    /// While it is behind: what was sent before this is history to it.
    oldest: Micros,
    /// What reads the archive for it.
    reading: Option<AbortHandle>,
    pace: Pace,
    /// Revision of the last event the carrier took.
    given: Rev,
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

/// How a session that is behind keeps pace with what comes for it.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    /// Events that came for it while others waited for its carrier; what it waits for itself is not its fault.
    came: usize,
    /// Events its carrier took.
    taken: usize,
    /// Spans in a row in which more came than it took.
    lost: u32,
}

impl Pace {
    fn new() -> Self {
        Self { begun: Instant::now(), came: 0, taken: 0, lost: 0 }
    }

    /// Another event came; whether it is slow: it takes less than comes, and not because of one burst.
    fn is_slow(&mut self) -> bool {
        self.came += 1;
        if self.begun.elapsed() >= SPAN {
            let lost = if self.came > self.taken { self.lost + 1 } else { 0 };
            *self = Self { lost, ..Self::new() };
        }
        self.lost >= SLOW_SPANS
    }
}

/// What became of an event for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits in the queue or in the archive, or is not for it.
    Done,
    /// The session takes less than comes.
    Slow,
}

/// What a carrier does next.
#[derive(Debug)]
pub(super) enum Next {
    Event(Arc<Event>),
    /// Wait; what comes after this revision is to be read.
    Read(Behind),
    Wait,
    /// A later poll has its place.
    Superseded,
    End(End),
}

/// What a session reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// Nothing up to here.
    pub after: Rev,
    /// Nothing that was sent before.
    pub oldest: Micros,
}

impl Session {
    /// A session that reads what came after `since`, or hears what comes after `from`.
    pub fn new(key: &str, person: PersonId, carrier: Carrier, since: Option<Rev>, from: Rev) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            bytes: 0,
            place: since.map_or(Place::Level(from), Place::Behind),
            oldest: Micros::MIN,
            reading: None,
            pace: Pace::new(),
            given: since.unwrap_or(from),
            turn: 0,
            left: None,
            end: None,
        };
        Self { key: key.to_owned(), person, carrier, inner: Mutex::new(inner), woken: Notify::new() }
    }

    /// Puts an event into the queue, unless the session has come past it. Without room there it falls behind, and reads what was
    /// not sent before `oldest`.
    pub fn push(&self, event: &Arc<Event>, oldest: Micros, max_events: usize, max_bytes: usize) -> Pushed {
        let mut inner = self.inner();
        let after = match inner.place {
            Place::Level(after) if after < event.rev && inner.end.is_none() => after,
            // Who polls takes its time by nature; its session ends when nobody polls.
            Place::Behind(_) if !inner.queue.is_empty() && self.carrier != Carrier::Poll => {
                return if inner.pace.is_slow() { Pushed::Slow } else { Pushed::Done };
            }
            _ => return Pushed::Done,
        };
        let is_too_large = inner.bytes + event.size() > max_bytes && !inner.queue.is_empty();
        if inner.queue.len() >= max_events || is_too_large {
            (inner.place, inner.oldest, inner.pace) = (Place::Behind(after), oldest, Pace::new());
            return Pushed::Done;
        }
        inner.place = Place::Level(event.rev);
        inner.put(event);
        drop(inner);
        self.woken.notify_waiters();
        Pushed::Done
    }

    /// Has what it misses read by this, unless that goes on already.
    pub fn read_by(&self, begin: impl FnOnce() -> AbortHandle) {
        let mut inner = self.inner();
        if inner.reading.is_none() && inner.end.is_none() {
            inner.reading = Some(begin());
        }
    }

    /// Takes in what was read for it from the archive after `from`; it has come to `upto` then. Nothing when its place is another
    /// meanwhile.
    pub fn load(&self, from: Rev, events: &[Arc<Event>], upto: Rev) {
        let mut inner = self.inner();
        if inner.place == Place::Behind(from) && inner.end.is_none() {
            (inner.place, inner.reading) = (Place::Behind(upto), None);
            events.iter().for_each(|event| inner.put(event));
        }
        drop(inner);
        self.woken.notify_waiters();
    }

    /// The hub hands it what comes after this revision, if that is where it is.
    pub fn level(&self, at: Rev) {
        let mut inner = self.inner();
        if inner.place == Place::Behind(at) && inner.end.is_none() {
            (inner.place, inner.reading) = (Place::Level(at), None);
        }
    }

    /// What the carrier whose turn this is does next.
    pub fn next(&self, turn: u64) -> Next {
        let mut inner = self.inner();
        if inner.turn != turn {
            return Next::Superseded;
        }
        // A stop lets what waits go out first.
        if let Some(end) = inner.end.filter(|end| *end != End::Stopped || inner.queue.is_empty()) {
            return Next::End(end);
        }
        let Some(event) = inner.queue.pop_front() else {
            return match inner.place {
                Place::Behind(after) => Next::Read(Behind { after, oldest: inner.oldest }),
                Place::Level(_) => Next::Wait,
            };
        };
        inner.bytes -= event.size();
        inner.given = event.rev;
        inner.pace.taken += 1;
        if inner.queue.is_empty() && inner.queue.capacity() > ROOM_KEPT {
            inner.queue = VecDeque::new();
        }
        Next::Event(event)
    }

    /// The turn of another poll. What it says it has seen decides where it goes on.
    pub fn take_turn(&self, since: Option<Rev>) -> u64 {
        let mut inner = self.inner();
        inner.turn += 1;
        inner.left = None;
        if let Some(since) = since.filter(|since| *since != inner.given) {
            inner.read_no_more();
            inner.queue = VecDeque::new();
            (inner.bytes, inner.place, inner.given) = (0, Place::Behind(since), since);
            inner.oldest = Micros::MIN;
        }
        let turn = inner.turn;
        drop(inner);
        self.woken.notify_waiters();
        turn
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
        inner.read_no_more();
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

    fn read_no_more(&mut self) {
        self.reading.take().into_iter().for_each(|reading| reading.abort());
    }
}
