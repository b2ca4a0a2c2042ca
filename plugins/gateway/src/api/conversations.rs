//! Conversations and who is in them (reference/gateway.md §4.1).
//!
//! There is one truth about who is a member, so that check_joined and get_joined agree; to join twice is to join once.

use super::errors::ApiError;
use super::fields::Fields;
use super::{Api, Attributes, reply, type_of};
use crate::commit::Draft;
use crate::message::{JOINED, Time, sent_kinds};
use crate::msgid::MAX_TYPE;
use crate::token::Caller;
use crate::upstream::Age;
use serde::Serialize;
use stele_plugin_api::model::{Conversation, ConversationKind};
use stele_plugin_api::ops::{ArchiveQuery, HttpReply, MessageOrder, MessageQuery, MessageView};
use uuid::Uuid;

/// Most sessions one request makes members, or members no more: all of them are one commit.
pub(super) const MAX_SESSIONS: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckJoined {
    joined: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetJoined {
    conversations: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Detail {
    #[serde(rename = "ConversationID")]
    conversation: String,
    #[serde(rename = "LastMsgID")]
    last_msg_id: Option<String>,
    last_send_time: Option<Time>,
    is_delete: bool,
    conversation_type: u8,
    last_send_session: Option<String>,
    is_archive: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LastMsgId {
    msg_id: String,
}

/// A conversation something was done to: as the documents spell it, and as the original does (reference/gateway.md §12-8).
#[derive(Serialize)]
pub(super) struct Named<'c> {
    #[serde(rename = "ConversationId")]
    documents: &'c str,
    #[serde(rename = "ConversationID")]
    original: &'c str,
}

impl<'c> Named<'c> {
    pub(super) fn of(conversation: &'c str) -> Self {
        Self { documents: conversation, original: conversation }
    }
}

/// The same, and whom it could not be done to: nobody, unless an upstream says so.
#[derive(Serialize)]
pub(super) struct NamedAll<'c> {
    #[serde(flatten)]
    pub(super) named: Named<'c>,
    #[serde(flatten)]
    pub(super) failed: Failed,
}

/// Those it could not be done to.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Failed {
    pub(super) failed: Option<Vec<String>>,
}

impl Api {
    pub(super) async fn check_joined(&self, fields: &Fields<'_>, caller: &Caller) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        let joined = self.membership_now(caller, &conversation).await?.member;
        Ok(reply::success(CheckJoined { joined }))
    }

    pub(super) async fn get_joined(&self, caller: &Caller) -> Result<HttpReply, ApiError> {
        // What the archive knows is an answer also while the upstream gives none.
        let _ = self.check(caller, Age::Doubted).await;
        Ok(reply::success(GetJoined { conversations: self.joined(&caller.sid).await? }))
    }

    pub(super) async fn detail(&self, fields: &Fields<'_>, caller: &Caller) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        let found = self.open_to(caller, &conversation).await?.ok_or(ApiError::Failed)?;
        let last = self.last_sent(&conversation).await?;
        Ok(reply::success(Detail {
            last_send_time: last.as_ref().map(|last| self.times.write(last.sent_at)),
            last_send_session: last.as_ref().map(|last| last.sender.clone()),
            last_msg_id: last.map(|last| last.native_id),
            is_delete: found.deleted,
            conversation_type: type_of(&found),
            is_archive: found.archived,
            conversation,
        }))
    }

    pub(super) async fn last_msg_id(&self, fields: &Fields<'_>, caller: &Caller) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        self.open_to(caller, &conversation).await?.ok_or(ApiError::Failed)?;
        let msg_id = self.last_sent(&conversation).await?.map(|last| last.native_id).unwrap_or_default();
        Ok(reply::success(LastMsgId { msg_id }))
    }

    pub(super) async fn join(&self, fields: &Fields<'_>, caller: Caller) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        // Who was removed there a moment ago means to come back.
        self.check(&caller, Age::Now).await?;
        let found = self.membership(&conversation, &caller.sid).await?;
        if !found.member {
            if self.upstream.is_none() && found.conversation.is_none() {
                return Err(ApiError::Failed);
            }
            if !self.config.open_join {
                return Err(ApiError::NotAllowed);
            }
            if let Some(upstream) = &self.upstream {
                // It would let anybody join what does not exist.
                upstream.has(&conversation).await?;
                upstream.join(&caller, &conversation).await?;
            }
            self.tell(vec![Conversation { joined: vec![caller.sid], ..known(&conversation) }]).await?;
        }
        Ok(reply::success(Named::of(&conversation)))
    }

    pub(super) async fn leave(&self, fields: &Fields<'_>, caller: Caller) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        if let Some(upstream) = &self.upstream {
            upstream.leave(&caller, &conversation).await?;
        }
        if self.membership(&conversation, &caller.sid).await?.member {
            self.tell(vec![Conversation { left: vec![caller.sid], ..known(&conversation) }]).await?;
        }
        Ok(reply::success(NamedAll { named: Named::of(&conversation), failed: Failed::default() }))
    }

    pub(super) async fn create(&self, fields: &Fields<'_>, caller: Caller) -> Result<HttpReply, ApiError> {
        let kind = fields.integer("conversation_type")?;
        let mut members = fields.texts("sessions", MAX_SESSIONS)?;
        members.push(caller.sid.clone());
        self.open(kind, members, Some(caller)).await
    }

    /// Makes a conversation of these members, with its first message. That of an upstream comes with the next sync.
    pub(super) async fn open(
        &self,
        kind: u64,
        members: Vec<String>,
        by: Option<Caller>,
    ) -> Result<HttpReply, ApiError> {
        let kind = u8::try_from(kind).ok().filter(|kind| *kind <= MAX_TYPE).ok_or(ApiError::TypeOutOfRange)?;
        let members = named(members);
        if members.is_empty() {
            return Err(ApiError::NoMember);
        }
        let id = match &self.upstream {
            Some(upstream) => upstream.create(by.as_ref(), kind, &members).await?,
            None => Uuid::new_v4().to_string(),
        };
        let attributes = serde_json::to_string(&Attributes { kind }).expect("a number can be written");
        let conversation = Conversation {
            kind: Some(ConversationKind::Group),
            joined: members,
            attributes: Some(attributes),
            ..known(&id)
        };
        if self.config.greeting.is_empty() || self.upstream.is_some() {
            self.tell(vec![conversation]).await?;
        } else {
            let draft = Draft {
                conversation: id.clone(),
                kind,
                above: 0,
                sender: by.map(|caller| caller.sid).unwrap_or_default(),
                status: 0,
                message_type: None,
                content: self.config.greeting.clone(),
                opens: Some(conversation),
            };
            self.committer.commit(draft).await?;
        }
        Ok(reply::success(Named::of(&id)))
    }

    /// The newest message that somebody sent. The one a conversation begins with is none. There is none behind it, unless it came
    /// from an upstream, where it is known by its text: anybody may have sent that, whenever.
    async fn last_sent(&self, conversation: &str) -> Result<Option<MessageView>, ApiError> {
        let query = MessageQuery {
            conversation: conversation.to_owned(),
            order: MessageOrder::Seq,
            descending: true,
            limit: 1,
            ..MessageQuery::default()
        };
        let newest = self.call::<ArchiveQuery>(query.clone()).await?.rows.pop();
        if self.upstream.is_none() || newest.as_ref().is_none_or(|message| message.kind != JOINED) {
            return Ok(newest.filter(|message| message.kind != JOINED));
        }
        Ok(self.call::<ArchiveQuery>(MessageQuery { kinds: sent_kinds(), ..query }).await?.rows.pop())
    }
}

/// A conversation of which more is said. Each is its own partition.
pub(super) fn known(id: &str) -> Conversation {
    Conversation { native_id: id.to_owned(), partition: id.to_owned(), ..Conversation::default() }
}

/// Those with a name, once each.
pub(super) fn named(mut sessions: Vec<String>) -> Vec<String> {
    sessions.retain(|session| !session.is_empty());
    sessions.sort_unstable();
    sessions.dedup();
    sessions
}
