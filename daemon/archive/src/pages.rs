//! The way in: pages and cursors.

use crate::{InstanceId, MessageId, Result, Rev};
use async_trait::async_trait;
use bytes::Bytes;
use stele_plugin_api::model::{Micros, Page, Parked};
use stele_plugin_api::ops::{AppendedMessage, Repeated};

/// The two cursors a partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Messages.
    Messages,
    /// People and conversations.
    Directory,
}

impl Stream {
    /// The word in tables and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Directory => "directory",
        }
    }
}

/// A page and where it came from.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// The partition; also that of conversations the page does not describe.
    pub partition: &'a str,
    /// Which cursor the page moves.
    pub stream: Stream,
    /// The cursor the page was pulled from. Compared with the stored one when the page brings a new one:
    /// [`ArchiveError::CursorMoved`](crate::ArchiveError::CursorMoved) when they differ.
    pub from: Option<Bytes>,
    /// The page.
    pub page: &'a Page,
    /// The time.
    pub now: Micros,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// Messages that were new, in the order of the page.
    pub stored: Vec<AppendedMessage>,
    /// Messages that were known already and left as they are.
    pub known: u64,
    /// Of those, the ones that repeat another message: new by their native ids, and to be stored
    /// [once](stele_plugin_api::model::Message::once).
    pub repeated: Vec<Repeated>,
    /// Messages marked as taken back, now or when they come.
    pub revoked: u64,
    /// Envelopes parked for the first time.
    pub parked: u64,
    /// Files that were new.
    pub media: u64,
    /// The latest revision of the archive after this commit.
    pub last_rev: Rev,
}

/// A parked envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedRow {
    /// The partition it came from.
    pub partition: String,
    /// The envelope.
    pub parked: Parked,
    /// The id its message will have.
    pub reserved: MessageId,
    /// When it was parked.
    pub since: Micros,
    /// How often it was tried again.
    pub attempts: u32,
}

/// The way in.
#[async_trait]
pub trait Pages: Send + Sync {
    /// The id of the instance of this name, created when it is new.
    async fn instance(&self, name: &str) -> Result<InstanceId>;

    /// The cursor of the last committed page and when that was.
    async fn cursor(&self, instance: InstanceId, partition: &str, stream: Stream) -> Result<Option<(Bytes, Micros)>>;

    /// Up to which number these partitions are archived, in their order: the greatest that a committed page said of each, 0 where
    /// none did.
    async fn reached(&self, instance: InstanceId, partitions: &[String]) -> Result<Vec<i64>>;

    /// Commit a page and its cursor in one transaction.
    ///
    /// - A message with a known native id is left as it is and counted as known.
    /// - One that is to be stored [once](stele_plugin_api::model::Message::once) is not stored where the archive, or the page before
    ///   it, has a message of the same conversation, sender and client id, whether that was to be stored once or not: it counts
    ///   as known, and is named with the first of them. It unparks its envelope. Without a sender or a client id it is
    ///   [`Invalid`](crate::ArchiveError::Invalid).
    /// - A message whose envelope was parked takes the id reserved for it and unparks it.
    /// - A message without `seq` gets the next number of its conversation.
    /// - A conversation told to be of another kind than known becomes it, in everybody's lists, if that
    ///   [corrects](stele_plugin_api::model::ConversationKind::corrects) what was known.
    /// - A conversation the page does not describe and the archive does not know is created as
    ///   [`System`](stele_plugin_api::model::ConversationKind::System).
    /// - Labels are kept in ascending order, each once. More of them than
    ///   [`MAX_LABELS`](stele_plugin_api::model::MAX_LABELS), or longer ones than
    ///   [`MAX_LABEL`](stele_plugin_api::model::MAX_LABEL), are [`Invalid`](crate::ArchiveError::Invalid).
    /// - Sender and recipients become participants; people nobody described are created without a name, as
    ///   [`User`](stele_plugin_api::model::PersonKind::User).
    /// - Who becomes a member or is one no more, by all that the page says, does so after the latest revision before the
    ///   page: see [`Live`](crate::Live). Everybody named is made known; who is a member already, or is none, stays so.
    /// - Revocations mark the original, or wait for it.
    /// - Native ids, client ids, partitions, kinds and handles of files have at most 2,000 bytes. A page with a cursor, or of the
    ///   directory, is a source's: messages, people and conversations with longer ones are parked under a shorter id, and
    ///   members with longer ones left out. In any other page they are [`Invalid`](crate::ArchiveError::Invalid).
    async fn commit(&self, commit: Commit<'_>) -> Result<Committed>;

    /// Parked envelopes, oldest first, after the given reserved id.
    async fn parked(
        &self,
        instance: InstanceId,
        partition: &str,
        after: MessageId,
        limit: u32,
    ) -> Result<Vec<ParkedRow>>;
}
