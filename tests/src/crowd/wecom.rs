//! As WeCom stores it (contract 000).

use super::{GROUPS, PAIRS, PEOPLE, Place, Said};
use serde_json::json;
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page, Person, PersonKind};

/// The corp, which is that of the made-up ones.
pub const CORP: &str = "corp123";

/// Whether somebody is a member of the corp; the others are customers, of whom no two talk.
pub fn is_staff(person: u32) -> bool {
    person % 3 != 2
}

/// WeCom's id of somebody. That of a customer is as long as its own.
pub fn peer(person: u32) -> String {
    if is_staff(person) { format!("staff{person}") } else { format!("wm{person:020}AAAAAAAAAA") }
}

/// WeCom's id of a group.
pub fn room(group: u32) -> String {
    format!("wr{group:020}AAAAAAAAAA")
}

/// How the archive names somebody: all ids are unique within the corp only.
fn person(number: u32) -> String {
    format!("{CORP}/{}", peer(number))
}

/// A conversation of two is named after both, in the order of their bytes.
fn conversation(place: Place) -> String {
    match place {
        Place::Group(group) => format!("{CORP}/g/{}", room(group)),
        Place::Pair(_) => {
            let mut peers: Vec<_> = place.people().into_iter().map(peer).collect();
            peers.sort_unstable();
            format!("{CORP}/d/{}", peers.join("/"))
        }
    }
}

fn is_external(place: Place) -> bool {
    !place.people().into_iter().all(is_staff)
}

pub(super) fn known() -> Page {
    let described_person = |number| Person {
        native_id: person(number),
        kind: Some(if is_staff(number) { PersonKind::Staff } else { PersonKind::Customer }),
        name: Some(format!("{}的名字", peer(number))),
        ..Person::default()
    };
    let described = |place: Place, kind| Conversation {
        native_id: conversation(place),
        partition: CORP.to_owned(),
        kind: Some(kind),
        ..Conversation::default()
    };
    let group = |group: u32| {
        let people = Place::Group(group).people();
        Conversation {
            title: Some(format!("{group}号讨论组")),
            members: Some(people.into_iter().map(person).collect()),
            ..described(Place::Group(group), ConversationKind::Group)
        }
    };
    let pair = |pair: u32| {
        let kind = if is_external(Place::Pair(pair)) { ConversationKind::External } else { ConversationKind::Direct };
        described(Place::Pair(pair), kind)
    };
    Page {
        people: (0..PEOPLE).map(described_person).collect(),
        conversations: (0..GROUPS).map(group).chain((0..PAIRS).map(pair)).collect(),
        ..Page::default()
    }
}

pub(super) fn message(said: Said) -> Message {
    let external = if is_external(said.place) { "_external" } else { "" };
    let msgid = format!("{:019}_{}{external}", said.number, said.sent_at_ms);
    let people = said.place.people();
    let others: Vec<_> = people.into_iter().filter(|person| *person != said.sender).collect();
    let roomid = match said.place {
        Place::Group(group) => room(group),
        Place::Pair(_) => String::new(),
    };
    let kind = if said.is_file { "link" } else { "text" };
    let content = if said.is_file {
        json!({ "title": said.text, "description": "", "link_url": "https://example.com/f", "image_url": "" })
    } else {
        json!({ "content": said.text })
    };
    let body = json!({
        "msgid": msgid, "action": "send", "from": peer(said.sender), "tolist": others.iter().map(|person| peer(*person)).collect::<Vec<_>>(), "roomid": roomid,
        "msgtime": said.sent_at_ms, "msgtype": kind, (kind): content,
    });
    Message {
        native_id: format!("{CORP}/{msgid}"),
        conversation: conversation(said.place),
        seq: i64::try_from(said.number + 1).ok(),
        sender: person(said.sender),
        recipients: others.into_iter().map(person).collect(),
        sent_at: said.sent_at(),
        kind: kind.to_owned(),
        body: body.to_string().into(),
        text: said.text,
        ..Message::default()
    }
}
