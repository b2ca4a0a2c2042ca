//! As WuKongIM stores it (contract 001).

use super::{GROUPS, PAIRS, Place, Said};
use crate::standin::wukongim::pair;
use crate::wukongim::encoded;
use serde_json::json;
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page};

/// Type of channels of two, and of groups.
const PERSON: u8 = 1;
const GROUP: u8 = 2;
/// Type of a payload that is a text, and of one that is a file.
const TEXT: u8 = 1;
const FILE: u8 = 8;
/// The millisecond from which ids count, since 1970, and the bits behind it: of node and counter.
const EPOCH_MS: i64 = 1_288_834_974_657;
const BITS: u32 = 22;

/// Somebody.
pub fn uid(person: u32) -> String {
    format!("user{person}")
}

/// The id of a group.
pub fn group(number: u32) -> String {
    format!("group{number}")
}

/// The id of a message that was said then. No two are of one millisecond.
pub fn id(at_ms: i64) -> i64 {
    (at_ms - EPOCH_MS) << BITS
}

fn conversation(place: Place) -> String {
    match place {
        Place::Group(number) => format!("{GROUP}/{}", group(number)),
        Place::Pair(_) => {
            let people = place.people();
            format!("{PERSON}/{}", pair(&uid(people[0]), &uid(people[1])))
        }
    }
}

pub(super) fn known() -> Page {
    let described = |place| Conversation {
        native_id: conversation(place),
        kind: Some(match place {
            Place::Group(_) => ConversationKind::Group,
            Place::Pair(_) => ConversationKind::Direct,
        }),
        ..Conversation::default()
    };
    let places = (0..GROUPS).map(Place::Group).chain((0..PAIRS).map(Place::Pair));
    Page { conversations: places.map(described).collect(), ..Page::default() }
}

pub(super) fn message(said: Said) -> Message {
    let kind = if said.is_file { FILE } else { TEXT };
    let (channel_type, channel) = match said.place {
        Place::Group(number) => (GROUP, group(number)),
        Place::Pair(_) => (PERSON, said.recipient.map(uid).unwrap_or_default()),
    };
    let client_msg_no = format!("{:032x}0", said.number);
    let payload = json!({ "type": kind, "content": said.text }).to_string();
    let body = json!({
        "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 0, "message_id": id(said.sent_at_ms),
        "client_msg_no": client_msg_no, "from_uid": uid(said.sender), "channel_id": channel, "channel_type": channel_type,
        "expire": 0, "payload": encoded(payload.as_bytes()),
    });
    Message {
        native_id: id(said.sent_at_ms).to_string(),
        client_id: Some(client_msg_no),
        conversation: conversation(said.place),
        sender: uid(said.sender),
        recipients: said.recipient.map(uid).into_iter().collect(),
        labels: vec![format!("type:{channel_type}")],
        sent_at: said.sent_at(),
        kind: kind.to_string(),
        body: body.to_string().into(),
        text: said.text,
        ..Message::default()
    }
}
