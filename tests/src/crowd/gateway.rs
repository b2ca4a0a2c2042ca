//! As the gateway stores it (contracts 003 and 004).

use super::{GROUPS, PAIRS, Place, Said};
use crate::standin::gateway::msgid::msg_id;
use serde_json::json;
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page};

/// Type of the conversations.
const TYPE: u8 = 0;
/// Bits of the counter in a message's number, behind its milliseconds.
const COUNTER_BITS: u32 = 12;

/// Somebody's session.
pub fn session(person: u32) -> String {
    format!("session-{person}")
}

/// The id of a conversation.
pub fn conversation(place: Place) -> String {
    match place {
        Place::Group(group) => format!("{group:08x}-0000-4000-8000-000000000000"),
        Place::Pair(pair) => format!("{pair:08x}-0000-4000-9000-000000000000"),
    }
}

/// The id of what was said there in a millisecond. No two messages are of one.
pub fn id(conversation: &str, at_ms: i64) -> String {
    msg_id(at_ms, 1, TYPE, conversation)
}

pub(super) fn known() -> Page {
    let described = |place: Place| Conversation {
        native_id: conversation(place),
        partition: conversation(place),
        kind: Some(ConversationKind::Group),
        joined: place.people().into_iter().map(session).collect(),
        attributes: Some(format!("{{\"type\":{TYPE}}}")),
        ..Conversation::default()
    };
    let places = (0..GROUPS).map(Place::Group).chain((0..PAIRS).map(Place::Pair));
    Page { conversations: places.map(described).collect(), ..Page::default() }
}

pub(super) fn message(said: Said) -> Message {
    let conversation = conversation(said.place);
    let (native_id, sender, kind) =
        (id(&conversation, said.sent_at_ms), session(said.sender), if said.is_file { 2 } else { 1 });
    let body = json!({
        "MsgId": native_id, "ConversationID": conversation, "FromSession": sender, "SendTime": said.sent_at(), "Status": 0,
        "Type": kind, "Content": said.text,
    });
    Message {
        native_id,
        conversation,
        seq: Some(said.sent_at_ms << COUNTER_BITS | 1),
        sender,
        sent_at: said.sent_at(),
        kind: kind.to_string(),
        body: body.to_string().into(),
        text: said.text,
        ..Message::default()
    }
}
