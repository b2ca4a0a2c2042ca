//! `/send_msg` (reference/gateway.md §4.3). The answer means that the message is stored; with an upstream, that it has it.

use super::errors::ApiError;
use super::fields::Fields;
use super::{Api, reply, type_of};
use crate::commit::Draft;
use crate::token::Caller;
use serde::Serialize;
use stele_plugin_api::ops::HttpReply;

#[derive(Serialize)]
struct Sent {
    #[serde(rename = "MsgID")]
    id: String,
}

impl Api {
    pub(super) async fn send_msg(&self, fields: &Fields<'_>, caller: Caller) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        let (status, message_type) = (fields.integer("status")?, fields.integer("type")?);
        let content = fields.text("content")?;
        let found = self.open_to(&caller, &conversation).await?.ok_or(ApiError::Failed)?;
        let draft = Draft {
            kind: type_of(&found),
            above: found.last_seq,
            conversation,
            sender: caller.sid.clone(),
            status,
            message_type: Some(message_type),
            content,
            opens: None,
        };
        let id = match &self.upstream {
            Some(upstream) => upstream.send(&caller, draft).await?,
            None => self.committer.commit(draft).await?,
        };
        Ok(reply::success(Sent { id }))
    }
}
