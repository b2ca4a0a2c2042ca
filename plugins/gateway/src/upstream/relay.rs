//! What clients do, done at the upstream first.
//!
//! Each is asked for once. Where no answer says whether it was done the caller is told that it failed, and it is not tried
//! again: what was done all the same comes with the next sync.

use super::Upstream;
use super::client::{CallError, Device, INVALID, NOT_ALLOWED};
use super::decode;
use crate::commit::Draft;
use crate::msgid;
use crate::token::Caller;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use stele_plugin_api::notify::Level;

/// How an id of a conversation is spelt in answers (reference/gateway.md §4.5).
const CONVERSATION: [&str; 2] = ["ConversationID", "ConversationId"];

/// Why something was not done, or may not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The upstream finds the request wrong.
    Invalid,
    /// Not allowed there.
    NotAllowed,
    /// It failed, or nobody knows.
    Failed,
    /// Any other code of the upstream.
    Other(u32),
}

impl Upstream {
    /// Sends a message, and archives it under its id, which is returned. What fails here comes with the next sync.
    pub async fn send(&self, caller: &Caller, draft: Draft) -> Result<String, Refusal> {
        let Some(away) = self.keeper.begin(&draft.conversation, draft.content.len()) else {
            self.host.log_from("upstream", Level::Warn, "too many messages are being relayed", &[]);
            return Err(Refusal::Failed);
        };
        let body = json!({
            "conversation_id": draft.conversation, "status": draft.status, "type": draft.message_type,
            "content": draft.content,
        });
        let id = |data: Option<&RawValue>| decode::text(data, &["MsgID", "MsgId"]);
        let id = self.done("/send_msg", self.client.call(&device(caller), "/send_msg", &body, id).await)?;
        if let Some(number) = msgid::number(&id) {
            // As the upstream has it: it drops the status (reference/gateway.md §12-15), and does not tell the time.
            let message = Draft { status: 0, ..draft }.message(&id, number, msgid::time(number));
            away.back(number, message).await;
        }
        Ok(id)
    }

    /// Makes the caller a member.
    pub async fn join(&self, caller: &Caller, conversation: &str) -> Result<(), Refusal> {
        let body = json!({ "conversation_id": conversation });
        let joined = self.client.call(&device(caller), "/join_conversation", &body, |_| Some(())).await;
        self.done("/join_conversation", joined)?;
        self.known().join(&caller.sid, conversation);
        Ok(())
    }

    /// Makes the caller a member no more.
    pub async fn leave(&self, caller: &Caller, conversation: &str) -> Result<(), Refusal> {
        let body = json!({ "conversation_id": conversation });
        let left = self.client.call(&device(caller), "/leave_conversation", &body, |_| Some(())).await;
        self.done("/leave_conversation", left)?;
        self.known().leave(&caller.sid, conversation);
        Ok(())
    }

    /// Makes a conversation of these members, and says its id. Only the inner route is documented to take members.
    pub async fn create(&self, caller: Option<&Caller>, kind: u8, members: &[String]) -> Result<String, Refusal> {
        let id = |data: Option<&RawValue>| decode::text(data, &CONVERSATION);
        let created = match caller {
            Some(caller) if members.iter().all(|member| *member == caller.sid) => {
                let path = "/create_conversation";
                self.done(
                    path,
                    self.client.call(&device(caller), path, &json!({ "conversation_type": kind }), id).await,
                )
            }
            _ => {
                let path = "/inner/create_conversation";
                let body = json!({ "conversation_type": kind, "sessions": members });
                self.done(path, self.client.inner(path, &body, id).await)
            }
        }?;
        members.iter().for_each(|member| self.known().join(member, &created));
        Ok(created)
    }

    /// Makes others members.
    pub async fn inner_join(&self, conversation: &str, sessions: &[String]) -> Result<(), Refusal> {
        let path = "/inner/join_conversation";
        let body = json!({ "conversation_id": conversation, "sessions": sessions });
        self.done(path, self.client.inner(path, &body, |_| Some(())).await)?;
        sessions.iter().for_each(|session| self.known().join(session, conversation));
        Ok(())
    }

    /// Makes others members no more, and says with whom it failed.
    pub async fn inner_kick(&self, conversation: &str, sessions: &[String]) -> Result<Vec<String>, Refusal> {
        let path = "/inner/kickout_conversation";
        let body = json!({ "conversation_id": conversation, "sessions": sessions });
        let failed = |data: Option<&RawValue>| {
            let data: Value = data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
            let failed = data.get("Failed").and_then(Value::as_array).cloned().unwrap_or_default();
            Some(failed.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
        };
        let failed = self.done(path, self.client.inner(path, &body, failed).await)?;
        for session in sessions.iter().filter(|session| !failed.contains(session)) {
            self.known().leave(session, conversation);
        }
        Ok(failed)
    }

    /// Puts conversations away, or takes them out.
    pub async fn inner_archive(&self, conversations: &[String], archived: bool) -> Result<(), Refusal> {
        let path = "/inner/set_archive_conversations";
        let body = json!({ "conversation_ids": conversations, "is_archive": archived });
        self.done(path, self.client.inner(path, &body, |_| Some(())).await)
    }

    /// Whether the upstream has this conversation.
    pub async fn has(&self, conversation: &str) -> Result<(), Refusal> {
        self.done("/get_conversation_detail", self.detail(conversation).await).map(drop)
    }

    /// What callers are told; operators learn why from the log.
    pub(super) fn done<T>(&self, path: &str, outcome: Result<T, CallError>) -> Result<T, Refusal> {
        outcome.map_err(|error| match error {
            CallError::Refused(INVALID) => Refusal::Invalid,
            CallError::Refused(NOT_ALLOWED) => Refusal::NotAllowed,
            CallError::Refused(code) => u32::try_from(code).map_or(Refusal::Failed, Refusal::Other),
            error => {
                let reason = stele_plugin_api::Error::from(error).to_string();
                let fields = [("path", path), ("error", reason.as_str())];
                self.host.log_from("upstream", Level::Warn, "a relayed request failed, or nobody knows", &fields);
                Refusal::Failed
            }
        })
    }
}

pub(super) fn device(caller: &Caller) -> Device {
    Device { sid: caller.sid.clone(), platform: caller.platform }
}
