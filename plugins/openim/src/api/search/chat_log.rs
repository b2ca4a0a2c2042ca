//! An element of an answer (reference/openim.md §2.2): a message, with what is known of whom it names.

use super::highlight::highlight;
use crate::ids;
use crate::message::MsgData;
use serde::{Deserialize, Serialize};
use stele_plugin_api::ops::{ConversationView, MessageView, Place};

/// `content` of what was taken back and is not shown.
const HIDDEN: &str = "{}";

/// A message that was found.
pub struct Hit<'r> {
    row: &'r MessageView,
    message: MsgData,
    /// The group it is in, as far as it is known.
    pub group: Option<Group>,
    /// What whoever it went to is called.
    pub receiver: String,
    /// What it says is not shown.
    pub is_hidden: bool,
    /// It was found by a keyword.
    pub is_searched: bool,
}

/// What is known of a group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    name: String,
    owner: String,
    facts: Facts,
}

/// The plugin's own facts about a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Facts {
    group_type: i32,
    #[serde(rename = "faceURL")]
    face_url: String,
    member_count: u32,
}

impl Group {
    /// What the archive knows of it.
    pub fn of(view: ConversationView) -> Self {
        let facts = view.attributes.and_then(|text| serde_json::from_str(&text).ok());
        Self { name: view.title, owner: view.owner, facts: facts.unwrap_or_default() }
    }
}

/// Its element.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'h> {
    is_revoked: bool,
    chat_log: ChatLog<'h>,
    #[serde(skip_serializing_if = "Option::is_none")]
    highlight: Option<String>,
}

/// All that OpenIM says of a message, in its order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatLog<'h> {
    #[serde(rename = "serverMsgID")]
    server_msg_id: &'h str,
    #[serde(rename = "clientMsgID")]
    client_msg_id: &'h str,
    #[serde(rename = "sendID")]
    send_id: &'h str,
    #[serde(rename = "recvID")]
    recv_id: &'h str,
    #[serde(rename = "groupID")]
    group_id: &'h str,
    recv_nickname: &'h str,
    #[serde(rename = "senderPlatformID")]
    sender_platform_id: i32,
    sender_nickname: &'h str,
    #[serde(rename = "senderFaceURL")]
    sender_face_url: &'h str,
    group_name: &'h str,
    session_type: i32,
    msg_from: i32,
    content_type: i32,
    content: &'h str,
    status: i32,
    send_time: i64,
    create_time: i64,
    ex: &'h str,
    #[serde(rename = "groupFaceURL")]
    group_face_url: &'h str,
    group_member_count: u32,
    seq: i64,
    group_owner: &'h str,
    group_type: i32,
}

impl<'r> Hit<'r> {
    /// A row, of which nothing else is known yet.
    pub fn of(row: &'r MessageView) -> Self {
        let message = MsgData::of(row);
        Self { row, message, group: None, receiver: String::new(), is_hidden: false, is_searched: false }
    }

    /// The conversation it is in.
    pub fn conversation(&self) -> &str {
        &self.row.conversation
    }

    /// Whom it went to; nobody in particular in a group.
    pub fn receiver_id(&self) -> &str {
        if self.group_id().is_some() { "" } else { &self.message.recv_id }
    }

    /// Whether it was taken back.
    pub fn is_revoked(&self) -> bool {
        self.row.revoked_at.is_some()
    }

    /// Its place in the order of time.
    pub fn place(&self) -> Place {
        Place { sent_at: self.row.sent_at, id: self.row.id }
    }

    /// How it is shown.
    pub fn shown(&self) -> Shown<'_> {
        let Self { row, message, .. } = self;
        let group = self.group.as_ref();
        let highlighted = || if self.is_hidden { String::new() } else { highlight(&row.text, &row.highlights) };
        let chat_log = ChatLog {
            server_msg_id: said_or(&message.server_msg_id, &row.native_id),
            client_msg_id: &message.client_msg_id,
            send_id: &row.sender,
            recv_id: self.group_id().unwrap_or(&message.recv_id),
            group_id: self.group_id().unwrap_or_default(),
            recv_nickname: &self.receiver,
            sender_platform_id: message.sender_platform_id,
            sender_nickname: said_or(&message.sender_nickname, &row.sender_name),
            sender_face_url: said_or(&message.sender_face_url, &row.sender_avatar),
            group_name: group.map_or("", |group| &group.name),
            session_type: message.session_type,
            msg_from: message.msg_from,
            content_type: message.content_type,
            content: if self.is_hidden { HIDDEN } else { &message.content },
            status: message.status,
            send_time: row.sent_at.div_euclid(1000),
            create_time: message.create_time,
            ex: if self.is_hidden { "" } else { &message.ex },
            group_face_url: group.map_or("", |group| &group.facts.face_url),
            group_member_count: group.map_or(0, |group| group.facts.member_count),
            seq: row.seq,
            group_owner: group.map_or("", |group| &group.owner),
            group_type: group.map_or(0, |group| group.facts.group_type),
        };
        let highlight = self.is_searched.then(highlighted);
        Shown { is_revoked: self.is_revoked(), chat_log, highlight }
    }

    fn group_id(&self) -> Option<&str> {
        ids::group_of(&self.row.conversation)
    }
}

/// What a message says of itself, or else what is known.
fn said_or<'t>(said: &'t str, known: &'t str) -> &'t str {
    if said.is_empty() { known } else { said }
}
