//! What the upstream has at a number of a conversation (reference/openim.md §7.1).

use crate::message::MsgData;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stele_plugin_api::model::{Message, Revocation};

/// `contentType` of what was taken back, and of the notice of it.
const REVOKED: i32 = 2101;
/// `status` of what was deleted.
const DELETED: i32 = 4;

/// How much of a message there is. What comes later in this list is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A number without a message: deleted, lost, or not readable yet.
    Missing,
    /// The message without what it says: whoever read it has deleted it.
    Emptied,
    /// The message was taken back: of what it says a notice is left.
    Revoked,
    /// All of it.
    Whole,
}

/// A number and what is there.
#[derive(Debug)]
pub struct Entry {
    /// The number.
    pub seq: i64,
    /// How much of it there is.
    pub state: State,
    /// The message.
    pub data: MsgData,
    body: Bytes,
}

/// What the notice of a revoke says. One in a conversation and one in a channel of notices name who did it differently.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Revoke {
    #[serde(rename = "revokerUserID", alias = "revokerID")]
    pub by: String,
    #[serde(rename = "clientMsgID")]
    pub client_msg_id: String,
    /// Milliseconds since 1970.
    #[serde(rename = "revokeTime")]
    at: i64,
    pub seq: i64,
    #[serde(rename = "conversationID")]
    pub conversation: String,
}

#[derive(Deserialize)]
struct Notice {
    detail: String,
}

impl Entry {
    /// Reads an element of an answer; `None` where it has no number.
    pub fn of(element: Box<RawValue>) -> Option<Self> {
        let data = MsgData::read(element.get().as_bytes()).filter(|data| data.seq > 0)?;
        let nothing = data.server_msg_id.is_empty() && data.client_msg_id.is_empty() && data.content_type == 0;
        let state = match (data.content_type, data.status) {
            _ if nothing => State::Missing,
            (REVOKED, _) => State::Revoked,
            (_, DELETED) if data.content.is_empty() => State::Emptied,
            _ => State::Whole,
        };
        Some(Self { seq: data.seq, state, data, body: Bytes::from(String::from(Box::<str>::from(element))) })
    }

    /// As a message of the archive. Where there is nothing of what it says, nothing is found in it.
    pub fn message(&self, conversation: &str) -> Message {
        let message = self.data.message(conversation, self.body.clone());
        let text = if self.state == State::Whole { message.text } else { String::new() };
        Message { text, ..message }
    }

    /// What it says of a revoke, where it is about one.
    pub fn revoke(&self) -> Option<Revoke> {
        if self.data.content_type != REVOKED {
            return None;
        }
        let notice = serde_json::from_str::<Notice>(&self.data.content).ok();
        Some(notice.and_then(|notice| serde_json::from_str(&notice.detail).ok()).unwrap_or_default())
    }
}

impl Revoke {
    /// The same of a message of the archive.
    pub fn of(&self, native_id: String) -> Revocation {
        Revocation { native_id, by: self.by.clone(), at: self.at.saturating_mul(1000) }
    }
}
