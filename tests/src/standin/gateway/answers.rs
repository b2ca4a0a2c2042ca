//! What each route answers (reference/gateway.md §4).

use super::{
    Sent, Switches, Version,
    store::{Choice, GREETING, Store, shifted_time},
};
use serde_json::{Map, Value, json};

/// Invalid parameter.
pub(super) const INVALID: i64 = 10_001;
/// Whatever failed behind the gateway.
pub(super) const FAILED: i64 = 10_002;

/// A request whose caller may make it.
pub(super) struct Question<'a> {
    pub path: &'a str,
    /// Session of the caller's token; empty for inner routes.
    pub session: &'a str,
    pub body: &'a Map<String, Value>,
    /// Microseconds since the epoch, by the clock of the gateway.
    pub now: i64,
    pub new_id: &'a str,
}

impl Question<'_> {
    /// Keys match whatever their letter case; what is missing is as good as empty.
    fn value(&self, name: &str) -> &Value {
        self.body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or(&Value::Null, |(_, value)| value)
    }

    fn text(&self, name: &str) -> Result<&str, i64> {
        match self.value(name) {
            Value::Null => Ok(""),
            value => value.as_str().ok_or(INVALID),
        }
    }

    fn number(&self, name: &str, within: std::ops::RangeInclusive<i64>) -> Result<i64, i64> {
        match self.value(name) {
            Value::Null => Ok(0),
            value => value.as_i64().filter(|number| within.contains(number)).ok_or(INVALID),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, i64> {
        match self.value(name) {
            Value::Null => Ok(Vec::new()),
            value => {
                let values = value.as_array().ok_or(INVALID)?.iter();
                values.map(|value| value.as_str().map(str::to_owned).ok_or(INVALID)).collect()
            }
        }
    }
}

/// `data` as JSON text, or the code of the error.
pub(super) fn answer(store: &mut Store, switches: &Switches, question: &Question<'_>) -> Result<String, i64> {
    let caller = question.session;
    let conversation = question.text("conversation_id")?;
    let known = |store: &Store| store.conversations.contains_key(conversation).then_some(()).ok_or(FAILED);
    let data = match question.path {
        "/check_joined_conversation" => {
            let found = store.conversations.get(conversation);
            json!({ "Joined": found.is_some_and(|found| found.routed.contains(caller)) })
        }
        "/get_joined_conversation" => json!({ "Conversations": store.joined(caller) }),
        "/get_conversation_detail" => {
            let found = store.conversations.get(conversation).ok_or(FAILED)?;
            let last = found.last.as_ref();
            json!({
                "ConversationID": conversation,
                "LastMsgID": last.map(|(id, ..)| id),
                "LastSendTime": last.map(|(_, at, _)| shifted_time(*at)),
                "IsDelete": false,
                "ConversationType": found.kind,
                "LastSendSession": last.map(|(.., session)| session),
                "IsArchive": found.archived,
            })
        }
        "/get_lastone_msgid" => {
            known(store)?;
            json!({ "MsgId": store.conversations[conversation].greatest })
        }
        "/join_conversation" | "/inner/join_conversation" => {
            let sessions = match question.path {
                "/join_conversation" => vec![caller.to_owned()],
                _ => question.texts("sessions")?,
            };
            if conversation.len() > 36 || sessions.is_empty() {
                return Err(FAILED);
            }
            store.join(conversation, &sessions, switches);
            json!({ "ConversationID": "" })
        }
        "/create_conversation" | "/inner/create_conversation" => {
            let kind = question.number("conversation_type", 0..=i64::MAX)?;
            let mut sessions = question.texts("sessions")?;
            sessions.extend(question.path.starts_with("/create").then(|| caller.to_owned()));
            let kind = u8::try_from(kind).ok().filter(|kind| *kind <= 15 && !sessions.is_empty()).ok_or(FAILED)?;
            store.create(question.new_id, kind, &sessions);
            let greeting =
                Sent { conversation: question.new_id, from: caller, kind: 0, content: GREETING, at: question.now };
            store.put(&greeting, switches);
            json!({ "ConversationID": question.new_id })
        }
        "/leave_conversation" => {
            store.leave(conversation, &[caller.to_owned()]);
            json!({ "Failed": null })
        }
        "/inner/kickout_conversation" => {
            store.leave(conversation, &question.texts("sessions")?);
            json!({ "Failed": null })
        }
        "/inner/set_archive_conversations" => {
            let archived = question.value("is_archive").as_bool().unwrap_or_default();
            for id in question.texts("conversation_ids")? {
                if let Some(found) = store.conversations.get_mut(&id) {
                    found.archived = archived;
                }
            }
            json!({ "Failed": null })
        }
        "/send_msg" => {
            let int32 = i64::from(i32::MIN)..=i64::from(i32::MAX);
            question.number("status", int32.clone())?;
            let kind = question.number("type", int32)?;
            let sent = Sent { conversation, from: caller, kind, content: question.text("content")?, at: question.now };
            json!({ "MsgID": store.send(&sent, switches).ok_or(FAILED)? })
        }
        _ => return history(store, switches, question, conversation),
    };
    Ok(data.to_string())
}

fn history(store: &mut Store, switches: &Switches, question: &Question<'_>, conversation: &str) -> Result<String, i64> {
    let choice = match question.path {
        "/get_conversation_msg_by_range" => Choice::Range(question.text("start_msg_id")?, question.text("end_msg_id")?),
        "/get_conversation_30msg_before_the_id" => Choice::Before(question.text("msg_id")?),
        "/get_conversation_30msg_after_the_id" => Choice::After(question.text("msg_id")?),
        "/get_conversation_last_30_msg" => Choice::Last(30),
        _ => Choice::Last(1),
    };
    let mut rows = store.history(conversation, &choice, switches).ok_or(FAILED)?;
    if question.value("desc").as_bool().unwrap_or_default() {
        rows.reverse();
    }
    if rows.is_empty() && switches.version == Version::Src {
        return Ok(r#"{"Msg":null}"#.to_owned());
    }
    let rows: Vec<String> = rows.iter().map(|row| row.json(switches)).collect();
    Ok(format!(r#"{{"Msg":[{}]}}"#, rows.join(",")))
}

/// The routes that need a user's token.
pub(super) const PUBLIC: &[&str] = &[
    "/check_joined_conversation",
    "/get_joined_conversation",
    "/get_conversation_detail",
    "/join_conversation",
    "/create_conversation",
    "/leave_conversation",
    "/get_lastone_msgid",
    "/send_msg",
    "/get_conversation_msg_by_range",
    "/get_conversation_30msg_before_the_id",
    "/get_conversation_30msg_after_the_id",
    "/get_conversation_last_30_msg",
    "/get_conversation_lastone_msg",
];

/// The routes for addresses of the allowlist.
pub(super) const INNER: &[&str] = &[
    "/inner/get_token",
    "/inner/create_conversation",
    "/inner/kickout_conversation",
    "/inner/join_conversation",
    "/inner/set_archive_conversations",
];
