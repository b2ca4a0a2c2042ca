//! Archive rows in the contract's words (contract 000 §2.1, §3.1): fields, order and types as in its examples.
//!
//! Extras follow the contract's fields: the spellings of the Go original when they are switched on, `revoked` on a
//! message that was taken back (the original stays), `files` on one that brings several.
//!
//! `content_text` is the text that search sees, for every type: in the contract it is empty for an image, which has
//! none; a file is found by its name, and shows it (reference/wecom-archive.md §2.5).

use super::{ApiState, attachments, avatar, values};
use crate::content::{self, Plain};
use crate::ids;
use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::value::RawValue;
use stele_plugin_api::model::{ConversationKind, Micros};
use stele_plugin_api::ops::{ConversationRow, ConversationView, MediaView, MessageView, PersonView};

/// The Go original's place for paging.
#[derive(Serialize)]
pub struct Pager {
    /// From 1.
    pub page: u32,
    /// As it was used.
    pub page_size: u32,
    /// Exact number without paging.
    pub total_rows: u64,
}

/// What all messages of a conversation share.
pub struct Session<'a> {
    corp: &'a str,
    base_url: &'a str,
    go_spellings: bool,
    conversation: &'a ConversationView,
    id: String,
    session_type: &'static str,
}

impl<'a> Session<'a> {
    /// The conversation as a session; `base_url` is where clients reach this API.
    pub fn new(state: &ApiState, corp: &'a str, base_url: &'a str, conversation: &'a ConversationView) -> Self {
        Self {
            corp,
            base_url: base_url.trim_end_matches('/'),
            go_spellings: state.go_spellings,
            conversation,
            id: hex::encode(Md5::digest(conversation.native_id.as_bytes())),
            session_type: values::session_type(&conversation.kind),
        }
    }
}

/// The fields every item begins with.
#[derive(Serialize)]
struct Head<'a> {
    id: String,
    ext_corp_id: &'a str,
    msgid: String,
    action: String,
    from: String,
    tolist: Vec<String>,
    room_id: String,
    msg_time: i64,
    msg_type: &'a str,
    content_text: &'a str,
    seq: i64,
    session_id: &'a str,
    session_type: &'static str,
}

/// The same facts as the Go original spells them.
#[derive(Serialize)]
struct GoSpellings<'a> {
    roomid: String,
    msgtime: i64,
    msgtype: &'a str,
}

/// What follows the contract's fields.
#[derive(Serialize)]
struct Extras<'a> {
    #[serde(flatten)]
    go: Option<GoSpellings<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<bool>,
}

impl<'a> Head<'a> {
    fn new(session: &'a Session<'a>, message: &'a MessageView, plain: Option<&Plain>) -> Self {
        // A body nobody can read still has the facts the archive keeps beside it.
        let action = plain.map_or(String::new(), |plain| plain.action().into_owned());
        Self {
            id: message.id.to_string(),
            ext_corp_id: session.corp,
            msgid: ids::parse_message(&message.native_id).map_or_else(|| message.native_id.clone(), |id| id.msgid),
            action: if action.is_empty() { "send".to_owned() } else { action },
            from: user(&message.sender),
            tolist: plain.map_or_else(Vec::new, Plain::tolist),
            room_id: room(session.conversation).unwrap_or_default(),
            msg_time: millis(message.sent_at),
            msg_type: &message.kind,
            content_text: &message.text,
            seq: message.seq,
            session_id: &session.id,
            session_type: session.session_type,
        }
    }
}

impl<'a> Extras<'a> {
    fn new(session: &Session<'_>, head: &Head<'a>, message: &MessageView) -> Self {
        let go = session.go_spellings.then(|| GoSpellings {
            roomid: head.room_id.clone(),
            msgtime: head.msg_time,
            msgtype: head.msg_type,
        });
        Self { go, revoked: message.revoked_at.map(|_| true) }
    }
}

/// A session in a list: its latest message, and who is on the other side.
#[derive(Serialize)]
pub struct SessionItem<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    peer_avatar: String,
    peer_name: String,
    peer_ext_id: String,
    peer_type: &'static str,
    group_chat_name: &'a str,
    #[serde(flatten)]
    extras: Extras<'a>,
}

impl<'a> SessionItem<'a> {
    /// The row of a list of `staff`'s conversations.
    pub fn new(session: &'a Session<'a>, staff: &str, row: &'a ConversationRow) -> Self {
        let head = Head::new(session, &row.last, Plain::parse(&row.last.body).as_ref());
        let peer = Peer::of(staff, row);
        Self {
            extras: Extras::new(session, &head, &row.last),
            head,
            peer_avatar: avatar::or_default(peer.avatar, session.base_url),
            peer_name: or_id(peer.name, &peer.id),
            peer_ext_id: peer.id,
            peer_type: peer.wecom_type,
            group_chat_name: peer.group_name,
        }
    }
}

/// Who is on the other side of a session: a person, or a group.
struct Peer<'a> {
    id: String,
    name: &'a str,
    avatar: &'a str,
    wecom_type: &'static str,
    group_name: &'a str,
}

impl<'a> Peer<'a> {
    fn of(staff: &str, row: &'a ConversationRow) -> Self {
        let conversation = &row.conversation;
        if let Some(room) = room(conversation) {
            let name = conversation.title.as_str();
            return Self { id: room, name, avatar: "", wecom_type: "", group_name: name };
        }
        let id = match &row.peer {
            Some(peer) => user(&peer.native_id),
            None => other_party(conversation, staff),
        };
        let (name, avatar) = row.peer.as_ref().map_or(("", ""), |peer| (peer.name.as_str(), peer.avatar.as_str()));
        let external = conversation.kind == ConversationKind::External;
        let wecom_type = if external { wecom_type(&id, row.peer.as_ref()) } else { "" };
        Self { id, name, avatar, wecom_type, group_name: "" }
    }
}

/// `1` for a person of WeChat, `2` for one of another company's WeCom; empty when nobody knows. The directory tells
/// (`external_contact.type`), and without one the prefix of the id (reference/wecom-archive.md §2.1).
fn wecom_type(id: &str, peer: Option<&PersonView>) -> &'static str {
    #[derive(serde::Deserialize)]
    struct Attributes {
        r#type: u8,
    }
    let told = peer.and_then(|peer| serde_json::from_str::<Attributes>(peer.attributes.as_deref()?).ok());
    match (told.map(|attributes| attributes.r#type), id.as_bytes()) {
        (Some(1), _) | (None, [b'w', b'm', ..]) => "1",
        (Some(2), _) | (None, [b'w', b'o', ..]) => "2",
        _ => "",
    }
}

/// A message in a list of messages.
#[derive(Serialize)]
pub struct MessageItem<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    sender_name: String,
    sender_avatar: String,
    chat_msg_content: Content<'a>,
    attachments: Option<Box<RawValue>>,
    #[serde(flatten)]
    extras: Extras<'a>,
}

/// What a message says (contract 000 §3.1); one to one with the message, so the ids are the same.
#[derive(Serialize)]
struct Content<'a> {
    id: String,
    chat_msg_id: String,
    content_type: &'a str,
    /// JSON text of the body object.
    content: String,
    file_url: String,
    file_name: &'a str,
    /// All files, when there are several: pictures of a mixed message, of a forwarded record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileItem<'a>>,
}

#[derive(Serialize)]
struct FileItem<'a> {
    sdkfileid: String,
    content_type: &'a str,
    filesize: u64,
    file_url: String,
    file_name: &'a str,
}

impl<'a> MessageItem<'a> {
    /// The row of a list of messages.
    pub fn new(session: &'a Session<'a>, message: &'a MessageView) -> Self {
        let head = Head::new(session, message, Plain::parse(&message.body).as_ref());
        let body = content::body_object(&message.body);
        Self {
            extras: Extras::new(session, &head, message),
            sender_name: or_id(&message.sender_name, &head.from),
            sender_avatar: avatar::or_default(&message.sender_avatar, session.base_url),
            chat_msg_content: Content::new(session, message, body.as_deref()),
            attachments: attachments::of(&message.kind, body.as_deref()),
            head,
        }
    }
}

impl<'a> Content<'a> {
    fn new(session: &Session<'_>, message: &'a MessageView, body: Option<&RawValue>) -> Self {
        let first = message.media.first();
        let files = if message.media.len() > 1 { message.media.as_slice() } else { &[] };
        Self {
            id: message.id.to_string(),
            chat_msg_id: message.id.to_string(),
            content_type: &message.kind,
            content: body.map_or_else(|| "{}".to_owned(), |body| body.get().to_owned()),
            file_url: first.map_or_else(String::new, |file| file_url(session, file)),
            file_name: first.map_or("", |file| file.name.as_str()),
            files: files.iter().map(|file| FileItem::new(session, file)).collect(),
        }
    }
}

impl<'a> FileItem<'a> {
    fn new(session: &Session<'_>, file: &'a MediaView) -> Self {
        Self {
            sdkfileid: ids::parse_media(&file.handle).map_or_else(String::new, |(_, sdkfileid)| sdkfileid),
            content_type: &file.kind,
            filesize: file.size,
            file_url: file_url(session, file),
            file_name: &file.name,
        }
    }
}

/// The signed link; empty until the file is stored.
fn file_url(session: &Session<'_>, file: &MediaView) -> String {
    if file.link.is_empty() { String::new() } else { format!("{}{}", session.base_url, file.link) }
}

fn millis(time: Micros) -> i64 {
    time / 1000
}

/// WeCom's id of a person.
fn user(native_id: &str) -> String {
    ids::parse_person(native_id).map_or_else(|| native_id.to_owned(), |(_, user)| user)
}

fn or_id(name: &str, id: &str) -> String {
    if name.is_empty() { id.to_owned() } else { name.to_owned() }
}

/// The room id of a group.
fn room(conversation: &ConversationView) -> Option<String> {
    match ids::Conversation::parse(&conversation.native_id) {
        Some((_, ids::Conversation::Group(room))) => Some(room),
        _ => None,
    }
}

/// The one of the two that is not `staff`.
fn other_party(conversation: &ConversationView, staff: &str) -> String {
    match ids::Conversation::parse(&conversation.native_id) {
        Some((_, ids::Conversation::Direct(first, second))) => {
            if first == staff {
                second
            } else {
                first
            }
        }
        _ => String::new(),
    }
}
