//! Who is a member of what. The archive knows; where there is an upstream, that one has the last word.

use super::Api;
use super::conversations::{known, named};
use super::errors::ApiError;
use super::history::MAX_BYTES;
use crate::token::Caller;
use stele_plugin_api::model::{Conversation, ConversationKind};
use stele_plugin_api::ops::{
    ConversationJoined, ConversationMembership, ConversationView, JoinedQuery, MAX_ROWS, Membership, Participation,
};

impl Api {
    /// A conversation, and whether somebody is a member, as far as the archive knows.
    pub(super) async fn membership(&self, conversation: &str, person: &str) -> Result<Membership, ApiError> {
        let who = Participation { conversation: conversation.to_owned(), person: person.to_owned() };
        self.call::<ConversationMembership>(who).await
    }

    /// The same for the caller; that they are no member is only said after the upstream was asked.
    pub(super) async fn membership_now(&self, caller: &Caller, conversation: &str) -> Result<Membership, ApiError> {
        let found = self.membership(conversation, &caller.sid).await?;
        if !found.member && self.refresh(caller).await? {
            return self.membership(conversation, &caller.sid).await;
        }
        Ok(found)
    }

    /// A conversation the caller may read and write; `None` when nobody knows it.
    pub(super) async fn open_to(
        &self,
        caller: &Caller,
        conversation: &str,
    ) -> Result<Option<ConversationView>, ApiError> {
        let Membership { conversation, member } = self.membership_now(caller, conversation).await?;
        let Some(conversation) = conversation else { return Ok(None) };
        if self.config.membership && !member { Err(ApiError::NotAllowed) } else { Ok(Some(conversation)) }
    }

    /// Everything a session is a member of, as far as the archive knows. `TooManyJoined` when no answer could hold it.
    pub(super) async fn joined(&self, session: &str) -> Result<Vec<String>, ApiError> {
        let mut conversations: Vec<String> = Vec::new();
        let mut bytes = 0;
        loop {
            let after = conversations.last().cloned().unwrap_or_default();
            let query = JoinedQuery { person: session.to_owned(), after, limit: MAX_ROWS };
            let page = self.call::<ConversationJoined>(query).await?.conversations;
            let more = page.len() >= MAX_ROWS as usize;
            bytes += page.iter().map(String::len).sum::<usize>();
            if bytes > MAX_BYTES {
                return Err(ApiError::TooManyJoined);
            }
            conversations.extend(page);
            if !more {
                return Ok(conversations);
            }
        }
    }

    /// Tells the archive what the upstream says the caller is a member of. `false` when there is none, or when it was asked a
    /// moment ago.
    pub(super) async fn refresh(&self, caller: &Caller) -> Result<bool, ApiError> {
        let Some(upstream) = &self.upstream else { return Ok(false) };
        let Some(told) = upstream.ask_joined(caller).await? else { return Ok(false) };
        let told = named(told);
        let stored = self.joined(&caller.sid).await?;
        let sid = || vec![caller.sid.clone()];
        let joined = told.iter().filter(|id| stored.binary_search(id).is_err());
        let joined = joined.map(|id| Conversation { joined: sid(), kind: Some(ConversationKind::Group), ..known(id) });
        let left = stored.iter().filter(|id| told.binary_search(id).is_err());
        let changes: Vec<_> = joined.chain(left.map(|id| Conversation { left: sid(), ..known(id) })).collect();
        for changes in changes.chunks(MAX_ROWS as usize) {
            self.tell(changes.to_vec()).await?;
        }
        Ok(true)
    }
}
