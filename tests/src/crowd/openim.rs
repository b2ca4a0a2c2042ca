//! As OpenIM stores it (contract 002).

use super::{GROUPS, MEMBERS, PEOPLE, Place, Said};
use crate::wukongim::encoded;
use serde_json::json;
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page, Person, PersonKind};

/// `contentType` of texts and files.
const TEXT: i32 = 101;
pub const FILE: i32 = 105;
/// `sessionType` of two people, and of a group.
const SINGLE: i32 = 1;
const GROUP: i32 = 3;

/// Somebody.
pub fn user(person: u32) -> String {
    format!("u_{person}")
}

/// A group.
pub fn group(number: u32) -> String {
    format!("group_{number:03}")
}

/// A conversation of two is named after both, in the order of their bytes.
fn conversation(place: Place) -> String {
    match place {
        Place::Group(number) => format!("sg_{}", group(number)),
        Place::Pair(_) => {
            let mut users: Vec<_> = place.people().into_iter().map(user).collect();
            users.sort_unstable();
            format!("si_{}", users.join("_"))
        }
    }
}

pub(super) fn known() -> Page {
    let person = |person| Person {
        native_id: user(person),
        kind: Some(PersonKind::User),
        name: Some(format!("{}的同事", user(person))),
        ..Person::default()
    };
    let room = |number| {
        let members: Vec<_> = Place::Group(number).people().into_iter().map(user).collect();
        let attributes = json!({ "groupType": 2, "faceURL": "", "memberCount": MEMBERS });
        Conversation {
            native_id: conversation(Place::Group(number)),
            kind: Some(ConversationKind::Group),
            title: Some(format!("{}讨论组", group(number))),
            owner: members.first().cloned(),
            members: Some(members),
            attributes: Some(attributes.to_string()),
            ..Conversation::default()
        }
    };
    Page {
        people: (0..PEOPLE).map(person).collect(),
        conversations: (0..GROUPS).map(room).collect(),
        ..Page::default()
    }
}

pub(super) fn message(said: &Said) -> Message {
    let (kind, text, content) = if said.is_file {
        let name = format!("{}.pdf", said.text);
        let content = json!({ "fileName": name, "sourceUrl": "https://example.com/f", "fileSize": 4096 });
        (FILE, name, content)
    } else {
        let content = json!({ "content": said.text });
        (TEXT, said.text.clone(), content)
    };
    let recipient = said.recipient.map(user).unwrap_or_default();
    let (session, group, to) = match said.place {
        Place::Group(number) => (GROUP, group(number), group(number)),
        Place::Pair(_) => (SINGLE, String::new(), recipient.clone()),
    };
    let (client, server) = (format!("c{:031x}", said.number), format!("{:032x}", said.number));
    let body = json!({
        "sendID": user(said.sender), "recvID": recipient, "groupID": group, "clientMsgID": client, "serverMsgID": server,
        "senderPlatformID": 5, "senderNickname": format!("{}的同事", user(said.sender)), "senderFaceURL": "",
        "sessionType": session, "msgFrom": 100, "contentType": kind, "content": encoded(content.to_string().as_bytes()),
        "sendTime": said.sent_at_ms, "createTime": said.sent_at_ms, "status": 2, "isRead": false, "options": {},
        "offlinePushInfo": null, "atUserIDList": null, "attachedInfo": "", "ex": "",
    });
    Message {
        native_id: server,
        client_id: Some(client),
        conversation: conversation(said.place),
        sender: user(said.sender),
        recipients: said.recipient.map(user).into_iter().collect(),
        labels: vec![format!("to:{to}"), format!("session:{session}")],
        sent_at: said.sent_at(),
        kind: kind.to_string(),
        body: body.to_string().into(),
        text,
        ..Message::default()
    }
}
