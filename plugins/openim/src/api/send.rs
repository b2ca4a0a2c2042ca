//! `/msg/send_msg` and `/msg/revoke_msg` (reference/openim.md §8).
//!
//! As with a real server, who sends need not have been told of before, and what is sent twice is stored twice: the sender gives a
//! message no id of its own.

use super::elements;
use super::fields::Fields;
use super::{Api, Call};
use crate::answer::{self, Failure};
use crate::ids;
use crate::message::MsgData;
use serde_json::{Value, json};
use stele_plugin_api::model::{Micros, Page, Revocation};
use stele_plugin_api::ops::{ArchiveAppend, ArchiveFind, FindQuery, HttpReply};
use uuid::Uuid;

/// `contentType` of what a system account announces.
const ANNOUNCEMENT: i32 = 1400;
/// `msgFrom` of what was not sent by a client.
const FROM_SYSTEM: i32 = 200;
/// `status` of what was sent.
const SENT: i32 = 2;
/// Longest id of a person or a group, in bytes: a label has to hold it.
pub const MAX_ID_BYTES: usize = 250;
/// The last millisecond of the year 9999: what lies behind it is in another unit.
const MAX_TIME: i64 = 253_402_300_799_999;

impl Api {
    /// `POST /msg/send_msg`.
    pub(super) async fn send_msg(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let message = draft(&call.fields, self.now())?;
        let sent = json!({
            "serverMsgID": message.server_msg_id, "clientMsgID": message.client_msg_id, "sendTime": message.send_time,
        });
        let conversation = message.conversation().ok_or_else(|| unknown_session(message.session_type))?;
        if !call.fields.flag("isOnlineOnly")? {
            let stored = self.committer.commit(message.message(&conversation, message.body())).await;
            stored.map_err(|error| Failure::of(&error))?;
        }
        Ok(answer::data(&sent))
    }

    /// `POST /msg/revoke_msg`.
    pub(super) async fn revoke_msg(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let fields = &call.fields;
        let (by, conversation) = (fields.needed("userID")?, fields.needed("conversationID")?);
        let seq: i64 = fields.number("seq")?;
        if seq <= 0 {
            return Err(fields.wrong("seq", "is invalid"));
        }
        let query = FindQuery { conversation: Some(conversation), seqs: vec![seq], limit: 1, ..FindQuery::default() };
        let found = self.call::<ArchiveFind>(query).await?.rows.into_iter().next();
        let message = found.ok_or_else(|| Failure::not_found("msg not found"))?;
        if message.revoked_at.is_some() {
            return Err(Failure::already_revoked());
        }
        let revocation = Revocation { native_id: message.native_id, by, at: self.now() };
        self.call::<ArchiveAppend>(Page { revocations: vec![revocation], ..Page::default() }).await?;
        Ok(answer::done())
    }
}

/// An id of a person or a group.
pub(super) fn id(fields: &Fields, name: &str) -> Result<String, Failure> {
    let id = fields.needed(name)?;
    if id.len() > MAX_ID_BYTES {
        return Err(fields.wrong(name, &format!("has more than {MAX_ID_BYTES} bytes")));
    }
    Ok(id)
}

/// The message somebody wants to send.
fn draft(fields: &Fields, now: Micros) -> Result<MsgData, Failure> {
    let send_id = id(fields, "sendID")?;
    let content_type = fields.number("contentType")?;
    let element = fields.object("content")?;
    let Some(given) = fields.get("content") else { return Err(fields.wrong("content", "is missing")) };
    elements::check(content_type, &element)?;
    let is_announcement = content_type == ANNOUNCEMENT;
    let session_type = if is_announcement { ids::NOTIFICATION } else { fields.number("sessionType")? };
    let (recv_id, group_id) = match session_type {
        ids::SINGLE | ids::NOTIFICATION => (id(fields, "recvID")?, String::new()),
        ids::GROUP => (String::new(), id(fields, "groupID")?),
        other => return Err(unknown_session(other)),
    };
    let now = now.div_euclid(1000);
    let send_time = match fields.number("sendTime")? {
        0 => now,
        at @ 1..=MAX_TIME => at,
        _ => return Err(fields.wrong("sendTime", "has to be milliseconds since 1970")),
    };
    let named = if content_type == elements::AT { Some(element.texts("atUserList")?) } else { None };
    let push = fields.object("offlinePushInfo").map(|_| fields.get("offlinePushInfo"))?;
    let made_up = || Uuid::new_v4().simple().to_string();
    Ok(MsgData {
        send_id,
        recv_id,
        group_id,
        client_msg_id: made_up(),
        server_msg_id: made_up(),
        sender_platform_id: fields.number("senderPlatformID")?,
        sender_nickname: fields.text("senderNickname")?,
        sender_face_url: fields.text("senderFaceURL")?,
        session_type,
        msg_from: FROM_SYSTEM,
        content_type,
        content: if is_announcement { json!({ "detail": given.to_string() }).to_string() } else { given.to_string() },
        send_time,
        create_time: now,
        status: SENT,
        options: if fields.flag("notOfflinePush")? { json!({ "offlinePush": false }) } else { json!({}) },
        offline_push_info: push.cloned().unwrap_or_default(),
        at_user_id_list: named.map_or(Value::Null, Value::from),
        ex: fields.text("ex")?,
        ..MsgData::default()
    })
}

fn unknown_session(session_type: i32) -> Failure {
    Failure::args(format!("unknown sessionType {session_type}"))
}
