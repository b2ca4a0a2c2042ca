//! Live delivery: the daemon owns the connection of a listener, the plugin says whose it is and what a message looks like.
//!
//! A listener's request comes in through `http.handle` like any other. When the reply carries a [`Subscription`], the daemon
//! keeps the connection and delivers to it, in the order of revisions and each message at most once, what is stored from then
//! on in conversations the person was a member of when it was stored. Each message is rendered once by `live.render`,
//! whatever the number of listeners.

use super::MessageView;
use crate::model::Micros;
use serde::{Deserialize, Serialize};

open_enum! {
    /// How a listener is spoken to.
    LiveCarrier {
        /// WebSocket: a text message for each event.
        WebSocket = "websocket",
        /// Server-sent events, with `id`, `event` and `data`.
        Sse = "sse",
        /// Long polling: one event is the answer; none within the time is status 204.
        Poll = "poll",
    }
}

impl Default for LiveCarrier {
    /// None that there is.
    fn default() -> Self {
        Self::Other(String::new())
    }
}

/// Keep this connection, and deliver to it. Status and headers of the reply are those of the stream, or of a poll's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subscription {
    /// How the listener is spoken to.
    pub carrier: LiveCarrier,
    /// Native id of the person who listens; made known if nobody is known by it.
    pub person: String,
    /// What there is one connection of: a later one with the same word closes the earlier one.
    pub session: String,
    /// Revision of the last message the listener has seen: what was stored after it is delivered first. `None` begins with what
    /// comes, or, for a poll, with what came since the last poll of this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Milliseconds a poll waits; 0 for the daemon's default.
    pub wait_ms: u64,
    /// The connection ends then: the listener's credential is no longer valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
}

/// Messages to render for listeners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RenderRequest {
    /// In the order of revisions.
    pub messages: Vec<MessageView>,
}

/// What listeners get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rendered {
    /// One for each message asked for, in the same order; `None` for those no listener gets.
    pub events: Vec<Option<LiveEvent>>,
}

/// A message as listeners get it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveEvent {
    /// What the listener says to go on from here; the `id` of a server-sent event. One line.
    pub id: String,
    /// The `event` of a server-sent event. One line.
    pub name: String,
    /// The text. A WebSocket message and the body of a poll's answer are just this; of a server-sent event it is the `data`,
    /// without a final line feed.
    pub data: String,
}
