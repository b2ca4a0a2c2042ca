//! The way out: what answers are made of. Every answer costs in proportion to the page asked for, not to the history.

use crate::{ConversationId, InstanceId, MediaId, MessageId, PersonId, Result, Rev};
use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{
    ConversationQuery, ConversationView, FindQuery, JoinedQuery, Membership, MessageQuery, Participation, PersonQuery,
    PersonView,
};

/// A stored message with what is needed to show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// When it became readable, in the order of revisions.
    pub rev: Rev,
    /// The instance.
    pub instance: InstanceId,
    /// Native id, unique per instance.
    pub native_id: String,
    /// The sender's own id of it.
    pub client_id: Option<String>,
    /// The conversation.
    pub conversation: ConversationId,
    /// Native id of the conversation.
    pub conversation_native: String,
    /// The source's or the archive's number.
    pub seq: i64,
    /// The sender; `None` for events that nobody sent.
    pub sender: Option<PersonId>,
    /// Native id of the sender; empty for events that nobody sent.
    pub sender_native: String,
    /// Name of the sender; empty when unknown.
    pub sender_name: String,
    /// Picture of the sender; empty when unknown.
    pub sender_avatar: String,
    /// When it was sent.
    pub sent_at: Micros,
    /// The source's word for the type.
    pub kind: String,
    /// What search sees.
    pub text: String,
    /// By what a search finds it exactly: ascending, each once.
    pub labels: Vec<String>,
    /// The source's own JSON, byte for byte.
    pub body: Bytes,
    /// Its files, in the order of the body.
    pub media: Vec<StoredMedia>,
    /// When it was taken back, and the native id of who did.
    pub revoked: Option<(Micros, String)>,
    /// When the source lets it expire.
    pub expires_at: Option<Micros>,
}

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaState {
    /// To be fetched.
    Pending,
    /// In the archive.
    Stored,
    /// Given up, with the error.
    Parked,
}

/// A file of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMedia {
    /// Its id.
    pub id: MediaId,
    /// What the plugin fetches it by.
    pub handle: String,
    /// The source's word for the type.
    pub kind: String,
    /// The source's name for it; empty when it has none.
    pub name: String,
    /// Size in bytes: of the content when stored, else as announced, else 0.
    pub size: u64,
    /// How far it has come.
    pub state: MediaState,
    /// The stored content.
    pub blob: Option<crate::Blob>,
}

/// Messages of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageList {
    /// The rows asked for.
    pub rows: Vec<StoredMessage>,
    /// Exact number of messages under the filters; neither paging nor anchors change it.
    pub total: u64,
}

/// A conversation in a person's list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedConversation {
    /// The conversation.
    pub conversation: ConversationView,
    /// The other one, in a conversation of two.
    pub peer: Option<PersonView>,
    /// Its latest message by time sent.
    pub last: StoredMessage,
}

/// A person's conversations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationList {
    /// The rows asked for, latest activity first.
    pub rows: Vec<ListedConversation>,
    /// Exact number of rows without paging.
    pub total: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Stored messages.
    pub messages: u64,
    /// Conversations with at least one message.
    pub conversations: u64,
    /// People.
    pub people: u64,
    /// Parked envelopes.
    pub parked: u64,
}

/// Most bytes of texts and bodies in one answer; a message that is longer comes alone. Half of a frame of the plugin protocol.
pub const MAX_ANSWER: usize = 32 << 20;

/// The way out. Messages that hold more than [`MAX_ANSWER`] are [`TooLarge`](crate::ArchiveError::TooLarge), and are not loaded: a
/// shorter page would be taken for the end.
#[async_trait]
pub trait Queries: Send + Sync {
    /// The conversations a person takes part in, latest activity first. A person nobody knows has none.
    async fn conversations(&self, instance: InstanceId, query: &ConversationQuery) -> Result<ConversationList>;

    /// One conversation.
    async fn conversation(&self, instance: InstanceId, native_id: &str) -> Result<Option<ConversationView>>;

    /// The conversations of these native ids, each once; unknown ones are left out.
    async fn conversations_by_native(
        &self,
        instance: InstanceId,
        native_ids: &[String],
    ) -> Result<Vec<ConversationView>>;

    /// Whether a person takes part in a conversation (both by native id).
    async fn takes_part(&self, instance: InstanceId, conversation: &str, person: &str) -> Result<bool>;

    /// A conversation, and whether a person is a member of it.
    async fn membership(&self, instance: InstanceId, who: &Participation) -> Result<Membership>;

    /// Native ids of the conversations a person is a member of now, with or without messages, ascending.
    async fn joined(&self, instance: InstanceId, query: &JoinedQuery) -> Result<Vec<String>>;

    /// The people of these native ids; unknown ones are left out.
    async fn people(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<PersonView>>;

    /// The people of the instance, by native id, ascending.
    async fn person_list(&self, instance: InstanceId, query: &PersonQuery) -> Result<Vec<PersonView>>;

    /// The archive's id of a person.
    async fn person_id(&self, instance: InstanceId, native_id: &str) -> Result<Option<PersonId>>;

    /// Messages of a conversation. A conversation nobody knows has none.
    async fn messages(&self, instance: InstanceId, query: &MessageQuery) -> Result<MessageList>;

    /// The messages of these ids, in the order of the ids; unknown ones are left out.
    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<StoredMessage>>;

    /// The messages of these native ids, in the order of the ids; unknown ones are left out.
    async fn messages_by_native(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<StoredMessage>>;

    /// Messages by number or by their senders' own ids, latest arrival first, each once. Numbers without a conversation are
    /// [`Invalid`](crate::ArchiveError::Invalid).
    async fn find(&self, instance: InstanceId, query: &FindQuery) -> Result<Vec<StoredMessage>>;

    /// How much there is, of one instance or of all. Read from counters.
    async fn stats(&self, instance: Option<InstanceId>) -> Result<Stats>;
}
