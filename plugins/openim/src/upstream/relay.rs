//! What is sent, taken back, registered or created here, done at the upstream: the caller was checked, the request goes there as it
//! is, and its answer comes back.
//!
//! A request that may have arrived is not repeated: an OpenIM stores twice what is sent twice, and takes no id to tell it by
//! (reference/openim.md §8). One that was refused because of our token did nothing.

use super::Upstream;
use super::client::CallError;
use crate::answer::{self, Failure};
use crate::ids;
use serde::Deserialize;
use serde_json::Value;
use stele_plugin_api::ops::{FetchReply, HttpReply, HttpRequest};
use stele_plugin_api::{Error, ErrorCode};

/// What is done there.
pub const RELAYED: [&str; 4] = ["/msg/send_msg", "/msg/revoke_msg", "/user/user_register", "/group/create_group"];
/// What is sent with another `sessionType` than it says: by a system account.
const NOTICE: i32 = 1400;

/// What is looked at of a request.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    #[serde(rename = "sendID")]
    send_id: String,
    #[serde(rename = "recvID")]
    recv_id: String,
    #[serde(rename = "groupID")]
    group_id: String,
    session_type: i32,
    content_type: i32,
    #[serde(rename = "conversationID")]
    conversation: String,
    seq: i64,
    #[serde(rename = "userID")]
    user_id: String,
    is_online_only: bool,
}

impl Upstream {
    /// Does there what was asked for here. What comes of it is archived soon after.
    pub async fn relay(&self, request: &HttpRequest) -> HttpReply {
        let operation = request.headers.iter().find(|(name, _)| name == "operationid");
        let operation = operation.map(|(_, value)| value.as_str()).unwrap_or_default();
        match self.client.send(&request.path, request.body.clone(), operation).await {
            Ok(reply) if is_told(&reply) => {
                self.follow(request, &reply.body);
                HttpReply { status: reply.status, ..answer::json(reply.body) }
            }
            Ok(_) => self.not_told(&Error::unavailable("the upstream's answer cannot be read")),
            Err(CallError::Failed(error)) if error.code == ErrorCode::Denied => {
                self.warn("a request was not relayed", &error);
                Failure::internal("the upstream refuses it").reply()
            }
            Err(error) => self.not_told(&error.into()),
        }
    }

    /// Nobody knows whether it was done.
    fn not_told(&self, error: &Error) -> HttpReply {
        self.warn("a request was relayed, and nobody knows what came of it", error);
        Failure::internal("the upstream does not answer: it may be done, or not").reply()
    }

    /// Reads what a request that was done changed.
    fn follow(&self, request: &HttpRequest, answer: &[u8]) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let Some(asked) = serde_json::from_slice::<Asked>(&request.body).ok().filter(|_| answer["errCode"] == 0) else {
            return;
        };
        if asked.seq > 0 && !asked.conversation.is_empty() {
            return self.expect_revoked(asked.conversation, asked.seq, asked.user_id);
        }
        // It is not stored.
        if asked.is_online_only {
            return;
        }
        let session_type = if asked.content_type == NOTICE { ids::NOTIFICATION } else { asked.session_type };
        let Some(id) = answer["data"]["clientMsgID"].as_str() else { return };
        if let Some(conversation) = ids::conversation(session_type, &asked.send_id, &asked.recv_id, &asked.group_id) {
            self.expect(conversation, [asked.send_id, asked.recv_id], id.to_owned());
        }
    }
}

/// Whether the upstream says what became of it. A request that it cannot read it refuses under the status 400.
fn is_told(reply: &FetchReply) -> bool {
    let said = serde_json::from_slice::<Value>(&reply.body);
    match reply.status {
        200 => said.is_ok(),
        400 => said.is_ok_and(|said| said["errCode"].as_i64().is_some_and(|code| code != 0)),
        _ => false,
    }
}
