//! What live delivery reads: what came, and who was there to hear it.
//!
//! Membership has a place in the order of revisions. What a page says of members holds before its messages, so a member hears
//! exactly the messages committed after the page that let them in, up to the page that let them go. Who was away and asks later
//! gets the same, of the conversations they are a member of by then: who was let go is told nothing any more.

use crate::{ConversationId, InstanceId, PersonId, Result, Rev, StoredMessage};
use async_trait::async_trait;

/// The time of a person as a member of a conversation, in revisions. Whoever left and came back has several; one who comes
/// back before anything was said since they last joined goes on with that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Who.
    pub person: PersonId,
    /// The latest revision when they joined: they hear what comes after it.
    pub after: Rev,
    /// The latest revision when they left: the last one they hear. `None` while they are a member.
    pub until: Option<Rev>,
}

impl Stay {
    /// Whether they hear the message of this revision.
    pub fn hears(&self, rev: Rev) -> bool {
        self.after < rev && self.until.is_none_or(|until| rev <= until)
    }
}

/// Who hears a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Grows with every change of who is a member.
    pub version: i64,
    /// In no particular order.
    pub stays: Vec<Stay>,
}

/// How much one read brings at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Messages.
    pub rows: u32,
    /// Texts and bodies, in bytes. A message that is longer comes alone.
    pub bytes: usize,
}

/// What one read brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// In the order of revisions. There may be none, although more follows.
    pub messages: Vec<StoredMessage>,
    /// Everything up to here was looked at: the next read goes on after it. What was asked for is read whole when this is where
    /// it ends.
    pub upto: Rev,
}

/// What live delivery reads.
#[async_trait]
pub trait Live: Send + Sync {
    /// Messages of an instance with a revision greater than `after` and up to `upto`: the first ones of them.
    async fn news(&self, instance: InstanceId, after: Rev, upto: Rev, portion: Portion) -> Result<News>;

    /// Those messages that the person heard, or would have heard had they been there, of conversations they are a member of
    /// now. It costs what they are a member of and what they get, not what others said meanwhile.
    async fn missed(
        &self,
        instance: InstanceId,
        person: PersonId,
        after: Rev,
        upto: Rev,
        portion: Portion,
    ) -> Result<News>;

    /// The versions of the audiences of these conversations of an instance, in their order; 0 for one that never had a member.
    async fn audience_versions(&self, instance: InstanceId, conversations: &[ConversationId]) -> Result<Vec<i64>>;

    /// Who hears a conversation of an instance: members, and those who left at the revision `since` or later.
    async fn audience(&self, instance: InstanceId, conversation: ConversationId, since: Rev) -> Result<Audience>;
}
