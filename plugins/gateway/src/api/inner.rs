//! Inner routes: for programs of the house, without a token (reference/gateway.md §4.2).

use super::conversations::{Failed, MAX_SESSIONS, Named, NamedAll, known, named};
use super::errors::ApiError;
use super::fields::Fields;
use super::{Api, reply};
use stele_plugin_api::model::Conversation;
use stele_plugin_api::ops::{ById, ConversationGet, HttpReply};

/// Most conversations that are put away at once: each is looked up.
const MAX_CONVERSATIONS: usize = 1000;

impl Api {
    pub(super) fn inner_token(&self, fields: &Fields<'_>) -> Result<HttpReply, ApiError> {
        let (session, platform) = (fields.text("session")?, fields.integer("platform")?);
        // Nobody could be told apart from nobody.
        if session.is_empty() {
            return Err(ApiError::InvalidParameter);
        }
        let token = self.tokens.issue(&session, platform, (self.clock)()).ok_or(ApiError::InvalidParameter)?;
        Ok(reply::success(token))
    }

    pub(super) async fn inner_create(&self, fields: &Fields<'_>) -> Result<HttpReply, ApiError> {
        let kind = fields.integer("conversation_type")?;
        self.open(kind, fields.texts("sessions", MAX_SESSIONS)?, None).await
    }

    pub(super) async fn inner_join(&self, fields: &Fields<'_>) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        let joined = named(fields.texts("sessions", MAX_SESSIONS)?);
        if joined.is_empty() {
            return Err(ApiError::NoMember);
        }
        match &self.upstream {
            Some(upstream) => {
                upstream.has(&conversation).await?;
                upstream.inner_join(&conversation, &joined).await?;
            }
            None if !self.is_known(&conversation).await? => return Err(ApiError::Failed),
            None => {}
        }
        self.tell(vec![Conversation { joined, ..known(&conversation) }]).await?;
        Ok(reply::success(Named::of(&conversation)))
    }

    pub(super) async fn inner_kick(&self, fields: &Fields<'_>) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        let mut left = named(fields.texts("sessions", MAX_SESSIONS)?);
        let mut failed = Vec::new();
        if let Some(upstream) = &self.upstream {
            failed = upstream.inner_kick(&conversation, &left).await?;
            left.retain(|session| !failed.contains(session));
        }
        // Nobody is a member of what nobody knows.
        if !left.is_empty() && self.is_known(&conversation).await? {
            self.tell(vec![Conversation { left, ..known(&conversation) }]).await?;
        }
        let failed = Failed { failed: (!failed.is_empty()).then_some(failed) };
        Ok(reply::success(NamedAll { named: Named::of(&conversation), failed }))
    }

    pub(super) async fn inner_archive(&self, fields: &Fields<'_>) -> Result<HttpReply, ApiError> {
        let archive = fields.flag("is_archive")?;
        let ids = named(fields.texts("conversation_ids", MAX_CONVERSATIONS)?);
        if let Some(upstream) = &self.upstream {
            upstream.inner_archive(&ids, archive).await?;
        }
        let archived = Some(archive);
        let mut conversations = Vec::new();
        for id in ids {
            if self.is_known(&id).await? {
                conversations.push(Conversation { archived, ..known(&id) });
            }
        }
        self.tell(conversations).await?;
        let data = self.config.set_archive_data;
        Ok(if data { reply::success(Failed::default()) } else { reply::done() })
    }

    async fn is_known(&self, conversation: &str) -> Result<bool, ApiError> {
        Ok(self.call::<ConversationGet>(ById { native_id: conversation.to_owned() }).await?.is_some())
    }
}
