//! Who is a member of what. The archive knows; where there is an upstream, that one has the last word.

use super::Api;
use super::errors::ApiError;
use super::history::MAX_BYTES;
use crate::token::Caller;
use crate::upstream::Age;
use stele_plugin_api::ops::{
    ConversationJoined, ConversationMembership, ConversationView, JoinedQuery, MAX_ROWS, Membership, Participation,
};

impl Api {
    /// A conversation, and whether somebody is a member, as far as the archive knows.
    pub(super) async fn membership(&self, conversation: &str, person: &str) -> Result<Membership, ApiError> {
        let who = Participation { conversation: conversation.to_owned(), person: person.to_owned() };
        self.call::<ConversationMembership>(who).await
    }

    /// The same for the caller; that they are no member is only said after the upstream was asked, and that they are one is
    /// asked for again after a minute.
    pub(super) async fn membership_now(&self, caller: &Caller, conversation: &str) -> Result<Membership, ApiError> {
        let found = self.membership(conversation, &caller.sid).await?;
        let age = if found.member { Age::Believed } else { Age::Doubted };
        if self.check(caller, age).await? {
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

    /// Has the archive know what the upstream says the caller is a member of. `false` when there is none, or when it said so not
    /// longer ago than this.
    pub(super) async fn check(&self, caller: &Caller, age: Age) -> Result<bool, ApiError> {
        match &self.upstream {
            Some(upstream) => Ok(upstream.check(caller, age).await?),
            None => Ok(false),
        }
    }
}
