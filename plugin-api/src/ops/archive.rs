//! Messages: how they are asked for, searched, followed and appended, and what is answered.

use crate::model::Micros;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What messages are ordered by; ties are broken by id, in the same direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageOrder {
    /// When they were sent.
    #[default]
    SentAt,
    /// When they arrived in the archive.
    Id,
    /// The source's own number.
    Seq,
}

/// Ask for messages of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageQuery {
    /// Native id of the conversation.
    pub conversation: String,
    /// Only of these kinds; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Sent at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Micros>,
    /// Sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
    /// Only ids greater than this: the nearest rows on that side are taken first, then ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Only ids less than this: the nearest rows on that side are taken first, then ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// Only numbers from this on: the nearest rows on that side are taken first, then ordered. With `to_seq` as well, with an
    /// order other than by number, or with `after` or `before`, the rows are taken as they are without this bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<i64>,
    /// Only numbers up to this one: likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_seq: Option<i64>,
    /// Leave out messages that have expired by then; they do not count either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexpired_at: Option<Micros>,
    /// Order of the rows.
    pub order: MessageOrder,
    /// Greatest first.
    pub descending: bool,
    /// Rows to pass over; from the anchor, when there is one.
    pub offset: u64,
    /// Rows wanted, at most [`MAX_ROWS`](super::MAX_ROWS).
    pub limit: u32,
}

/// Ask for messages that contain a text, latest sent first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchQuery {
    /// The text, taken literally; empty for every message.
    pub text: String,
    /// Only in this conversation (native id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Only from this person (native id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Only of these kinds; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Not of these kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except_kinds: Vec<String>,
    /// Only with all of these [labels](crate::model::Message::labels), at most [`MAX_LABELS`](crate::model::MAX_LABELS).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Sent at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Micros>,
    /// Sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
    /// Leave out messages that have expired by then; they do not count either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexpired_at: Option<Micros>,
    /// Earliest sent first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oldest_first: bool,
    /// Only what comes after this place in the order. It does not change the total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Place>,
    /// Rows to pass over.
    pub offset: u64,
    /// Rows wanted, at most [`MAX_ROWS`](super::MAX_ROWS).
    pub limit: u32,
}

/// A place in the order of time, whether or not there is a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// When it was sent.
    pub sent_at: Micros,
    /// The archive's id of it.
    pub id: i64,
}

/// Ask for messages by number, or by their senders' own ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindQuery {
    /// Only in this conversation (native id). Needed for numbers, which mean nothing without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seqs: Vec<i64>,
    /// [`Message::client_id`](crate::model::Message::client_id)s. With the numbers at most [`MAX_IDS`](super::MAX_IDS).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_ids: Vec<String>,
    /// Rows wanted, at most [`MAX_ROWS`](super::MAX_ROWS): those that arrived last, latest first, each once whatever it was found
    /// by.
    pub limit: u32,
}

/// Ask for what became readable. Waiting ends with `unavailable` when the daemon stops, and does not begin where too many wait
/// (`rate_limited`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedQuery {
    /// After this revision; `None` asks for no message, but for the revision to begin with: the latest there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Rows wanted, at most [`MAX_ROWS`](super::MAX_ROWS); fewer come when they are long.
    pub limit: u32,
    /// Milliseconds to wait where there is nothing yet, at most a minute. The call itself needs more time than that.
    pub wait_ms: u64,
}

/// What became readable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Feed {
    /// In the order of revisions. There may be none, although more follows.
    pub rows: Vec<MessageView>,
    /// Go on after this revision.
    pub upto: i64,
}

/// Partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionKeys {
    /// At most [`MAX_IDS`](super::MAX_IDS).
    pub partitions: Vec<String>,
}

/// Up to which number partitions are archived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionNumbers {
    /// One for each partition asked for, in the same order; 0 where nothing is known.
    pub seqs: Vec<i64>,
}

/// Messages by their ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// In the order of the ids asked for.
    pub rows: Vec<MessageView>,
}

/// Messages found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessagePage {
    /// The rows asked for.
    pub rows: Vec<MessageView>,
    /// Exact number of messages under the filters; neither paging nor the anchors `after` and `before`, nor bounds of the
    /// number, change it.
    pub total: u64,
}

/// A stored message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageView {
    /// The archive's id: unique over all instances, ordered by arrival.
    pub id: i64,
    /// Its place in the order in which messages became readable, over all instances.
    pub rev: i64,
    /// Native id.
    pub native_id: String,
    /// Native id of the conversation.
    pub conversation: String,
    /// The source's or the daemon's number.
    pub seq: i64,
    /// Native id of the sender.
    pub sender: String,
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
    /// The source's own JSON, byte for byte.
    pub body: Bytes,
    /// Its files, in the order of the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MediaView>,
    /// The sender's own id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// When the source lets it expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
    /// When it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Micros>,
    /// Native id of who took it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// Where a search found its text: byte ranges of `text`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub highlights: Vec<(u32, u32)>,
}

/// A file of a stored message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaView {
    /// [`crate::model::MediaRef::handle`].
    pub handle: String,
    /// The source's word for the type.
    pub kind: String,
    /// File name: the source's, or one made from what the content is.
    pub name: String,
    /// Size in bytes, of the stored content when there is one.
    pub size: u64,
    /// Path and query of a signed link on the instance's listener; empty until the file is stored.
    pub link: String,
}

/// What an append stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppendReport {
    /// Messages that were new, oldest first.
    pub stored: Vec<AppendedMessage>,
    /// Messages that were known already.
    pub known: u64,
    /// Of those known, the ones that repeat another message: see [`Message::once`](crate::model::Message::once).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<Repeated>,
}

/// A message that was not stored, since it repeats another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeated {
    /// Its native id.
    pub native_id: String,
    /// Native id of the one it repeats, which is stored.
    pub first: String,
}

/// A message an append stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppendedMessage {
    /// The archive's id.
    pub id: i64,
    /// Native id.
    pub native_id: String,
    /// Its number in the conversation.
    pub seq: i64,
}
