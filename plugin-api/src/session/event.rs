//! What a session is asked and what it tells: no rule lives here.

use crate::codec::Encoding;
use crate::error::Error;
use crate::hello::Hello;
use crate::typed::Parts;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Number of a call; given by the caller, so that each direction counts on its own.
pub type CallId = u64;

/// Which side this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Speaks first.
    Host,
    /// Answers.
    Plugin,
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the operation.
    pub op: Cow<'static, str>,
    /// The request, in [`super::Session::encoding`].
    pub parts: Parts,
    /// When it must have been answered.
    pub deadline: Instant,
    /// Takes items; each one moves the deadline to this long after it. `None` for a call with one reply.
    pub stream: Option<Duration>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The peer introduced itself. A plugin now opens and says [`super::Session::accept`] or [`super::Session::refuse`]; for a host the
    /// session is open.
    Hello(Box<Hello>),
    /// The peer asks for an operation: answer with [`super::Session::reply`] or [`super::Session::fail`].
    Call {
        /// Number of the call.
        id: CallId,
        /// Name of the operation.
        op: Cow<'static, str>,
        /// How the payload is written, and must be answered.
        encoding: Encoding,
        /// The request.
        parts: Parts,
    },
    /// An incoming call is over without an answer of ours: drop the work.
    Dropped {
        /// Number of the call.
        id: CallId,
    },
    /// The caller of an incoming stream takes more items.
    Credit {
        /// Number of the call.
        id: CallId,
    },
    /// An item of one of our calls.
    Item {
        /// Number of the call.
        id: CallId,
        /// How the payload is written.
        encoding: Encoding,
        /// The item.
        parts: Parts,
    },
    /// One of our calls was answered.
    Replied {
        /// Number of the call.
        id: CallId,
        /// How the payload is written.
        encoding: Encoding,
        /// The reply.
        parts: Parts,
    },
    /// One of our calls failed.
    Failed {
        /// Number of the call.
        id: CallId,
        /// Why.
        error: Error,
    },
    /// The peer tells something.
    Notify {
        /// What about.
        op: Cow<'static, str>,
        /// How the payload is written.
        encoding: Encoding,
        /// The record; has no body.
        parts: Parts,
    },
    /// The peer makes no more calls.
    Goodbye,
    /// The peer makes no more calls, and all it made are answered.
    Drained,
    /// It is over; `None` after goodbyes from both sides.
    Closed(Option<Error>),
}

/// What was dropped, since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames for calls that were over.
    pub late: u64,
    /// Frames of unknown kinds.
    pub unknown_kinds: u64,
    /// Frames that were too large.
    pub oversized: u64,
    /// Frames that break a rule: items beyond credit, a second hello, a number used twice.
    pub violations: u64,
    /// Our calls whose deadline passed.
    pub expired: u64,
}

/// Why an item was not sent.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemRefused {
    /// Wait for [`Event::Credit`].
    NoCredit,
    /// The call is over, or cannot take this item.
    Failed(Error),
}
