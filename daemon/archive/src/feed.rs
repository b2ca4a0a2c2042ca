//! Following the archive: what the search tailer reads.

use crate::{ConversationId, InstanceId, MessageId, PersonId, Result, Rev, StoredMessage};
use async_trait::async_trait;
use stele_plugin_api::model::Micros;

/// What an index needs of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// Position in the feed.
    pub rev: Rev,
    /// The message.
    pub id: MessageId,
    /// Its instance.
    pub instance: InstanceId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its sender; `None` for events that nobody sent.
    pub sender: Option<PersonId>,
    /// The source's word for the type.
    pub kind: String,
    /// When it was sent.
    pub sent_at: Micros,
    /// When the source lets it expire.
    pub expires_at: Option<Micros>,
    /// What search sees; empty when there is nothing to find.
    pub text: String,
    /// By what a search finds it exactly: ascending, each once.
    pub labels: Vec<String>,
}

impl From<&StoredMessage> for FeedRow {
    fn from(message: &StoredMessage) -> Self {
        Self {
            rev: message.rev,
            id: message.id,
            instance: message.instance,
            conversation: message.conversation,
            sender: message.sender,
            kind: message.kind.clone(),
            sent_at: message.sent_at,
            expires_at: message.expires_at,
            text: message.text.clone(),
            labels: message.labels.clone(),
        }
    }
}

/// Number of messages of one UTC day (days since 1970-01-01) that have a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayCount {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Messages.
    pub messages: u64,
}

/// Following the archive.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Messages with a revision greater than `after`, in order, at most `limit`.
    async fn feed(&self, after: Rev, limit: u32) -> Result<Vec<FeedRow>>;

    /// The latest revision; 0 in an empty archive.
    async fn last_rev(&self) -> Result<Rev>;

    /// Messages with a text per UTC day they were sent, up to and including `upto`, days ascending.
    async fn day_counts(&self, upto: Rev) -> Result<Vec<DayCount>>;
}
