//! `/send_msg` (reference/gateway.md §4.3). The answer means that the message is stored; with an upstream, that it has it.

use super::errors::ApiError;
use super::fields::Fields;
use super::{Api, reply, type_of};
use crate::commit::Draft;
use crate::token::Caller;
use crate::{CALL, msgid, upstream};
use serde::Serialize;
use stele_plugin_api::model::Page;
use stele_plugin_api::ops::{ArchiveAppend, HttpReply, Op};

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
        let sent = match &self.upstream {
            Some(upstream) => Some(upstream.send(&caller, &conversation, status, message_type, &content).await?),
            None => None,
        };
        let draft = Draft {
            kind: type_of(&found),
            above: found.last_seq,
            conversation,
            sender: caller.sid,
            status,
            message_type: Some(message_type),
            content,
            opens: None,
        };
        let id = match sent {
            Some(id) => {
                self.keep(&draft, &id).await;
                id
            }
            None => self.committer.commit(draft).await?,
        };
        Ok(reply::success(Sent { id }))
    }

    /// Archives what the upstream has under this id. What fails here comes with the next sync.
    async fn keep(&self, draft: &Draft, id: &str) {
        let Some(number) = msgid::number(id) else { return };
        let mut page = Page { messages: vec![draft.message(id, number, msgid::time(number))], ..Page::default() };
        let kept = async {
            upstream::tell_apart(&self.host, &mut page.messages).await?;
            self.host.call_within::<ArchiveAppend>(page, CALL).await
        };
        if let Err(error) = kept.await {
            self.failed(ArchiveAppend::NAME, &error);
        }
    }
}
