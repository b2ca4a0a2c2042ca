//! The webhooks it calls (reference/openim.md §7.3): once each, whatever comes back.

use super::{
    Shared, Version,
    store::Row,
    wire::{Question, Refused, field, go},
    write,
};
use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Most webhooks that wait; more are dropped.
pub(super) const QUEUE: usize = 100;
/// Types of notices, which HEAD tells nobody.
const NOTICES: std::ops::RangeInclusive<i32> = 1000..=5000;

/// A webhook to send.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub command: String,
    /// What HEAD puts into the query.
    pub key: Option<Value>,
    pub body: Value,
}

/// A webhook that was sent.
#[derive(Clone, Debug)]
pub struct Told {
    pub command: String,
    pub body: Value,
    /// HTTP status of the answer; 0 where there was none.
    pub status: u16,
    /// The answer as it came.
    pub answer: String,
}

pub(super) async fn run(shared: Arc<Shared>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let url = shared.lock().switches.webhook.clone();
        let Some(url) = url else { continue };
        let unanswered =
            Told { command: event.command.clone(), body: event.body.clone(), status: 0, answer: String::new() };
        let told = post(&url, &event).await.unwrap_or(unanswered);
        shared.lock().told.push(told);
    }
}

/// The command is put behind the address as the last segment.
pub(super) async fn post(url: &str, event: &Event) -> Result<Told> {
    let mut url = url::Url::parse(&format!("{}/{}", url.trim_end_matches('/'), event.command))?;
    if let Some(key) = &event.key {
        url.query_pairs_mut().append_pair("key", &STANDARD.encode(key.to_string()));
    }
    let request = crate::client::http()
        .post(url)
        .header("content-type", "application/json; charset=utf-8")
        .header("operationID", event.body["operationID"].as_str().unwrap_or("op"))
        .body(go(&event.body));
    let reply = request.send().await?;
    let status = reply.status().as_u16();
    Ok(Told { command: event.command.clone(), body: event.body.clone(), status, answer: reply.text().await? })
}

/// A message as webhooks tell it.
fn message(command: &str, row: &Row, operation: &str, seq: i64, version: Version) -> Event {
    let said = &row.said;
    let mut body = json!({
        "sendID": said.from, "callbackCommand": command, "serverMsgID": row.server_msg_id,
        "clientMsgID": row.client_msg_id, "operationID": operation, "senderPlatformID": said.platform,
        "senderNickname": said.nickname, "sessionType": said.session, "msgFrom": said.msg_from,
        "contentType": said.content_type, "status": 1, "sendTime": row.send_time, "createTime": row.create_time,
        "content": said.content, "seq": seq, "atUserList": null, "faceURL": said.face_url, "ex": said.ex,
    });
    match said.session {
        3 => body["groupID"] = json!(said.group),
        _ => body["recvID"] = json!(said.to),
    }
    let key = json!({ "sendID": said.from, "recvID": said.to, "groupID": said.group });
    Event { command: command.to_owned(), key: (version == Version::Head).then_some(key), body }
}

/// After a send, before the message has a number.
pub(super) fn after_send(row: &Row, operation: &str, version: Version) -> Option<Event> {
    let command = match row.said.session {
        1 => "callbackAfterSendSingleMsgCommand",
        3 => "callbackAfterSendGroupMsgCommand",
        _ => return None,
    };
    let is_silent =
        row.said.content_type == 113 || version == Version::Head && NOTICES.contains(&row.said.content_type);
    (!is_silent).then(|| message(command, row, operation, 0, version))
}

/// HEAD: after the message is written.
pub(super) fn after_save(row: &Row, operation: &str) -> Event {
    message("callbackAfterMsgSaveDBCommand", row, operation, row.seq, Version::Head)
}

pub(super) fn after_revoke(conversation: &str, seq: i64, user: &str) -> Event {
    // The name is the real one.
    let command = "callbackBeforeAfterMsgCommand";
    of_group(command, json!({ "conversationID": conversation, "seq": seq, "userID": user }))
}

/// An event whose body gets its command.
pub(super) fn of_group(command: &str, mut body: Value) -> Event {
    body["callbackCommand"] = json!(command);
    Event { command: command.to_owned(), key: None, body }
}

/// Asks the webhook whether this may be sent. An answer that is none is an error, too.
pub(super) async fn before(shared: &Arc<Shared>, question: &Question<'_>) -> Result<(), Refused> {
    let (url, event) = {
        let state = &mut *shared.lock();
        let Some(url) = state.switches.webhook.clone().filter(|_| state.switches.before_hooks) else { return Ok(()) };
        let said = write::said(state, question)?;
        let command = match said.session {
            1 => "callbackBeforeSendSingleMsgCommand",
            3 => "callbackBeforeSendGroupMsgCommand",
            _ => return Ok(()),
        };
        let row = state.store.row(said);
        (url, message(command, &row, question.operation, 0, Version::V383))
    };
    let told = post(&url, &event).await.map_err(|error| Refused::new(90_004, "NetworkError", &error.to_string()))?;
    let answer: Value =
        serde_json::from_str(&told.answer).map_err(|error| Refused::new(90_007, "DataError", &error.to_string()))?;
    shared.lock().told.push(told);
    let (action, next): (i32, i32) = (field(&answer, "actionCode")?, field(&answer, "nextCode")?);
    if action == 0 && next == 1 {
        let (code, message): (i64, String) = (field(&answer, "errCode")?, field(&answer, "errMsg")?);
        return Err(Refused::new(code, &message, ""));
    }
    Ok(())
}
