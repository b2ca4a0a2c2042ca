//! From rows to answers.

use super::packing::labels;
use std::collections::{BTreeMap, HashMap};
use stele_archive::model::{Micros, Parked};
use stele_archive::ops::{ConversationView, PersonView};
use stele_archive::{
    Blob, ConversationId, DayCount, FeedRow, InstanceId, ListedConversation, MediaId, MediaState, MediaTask,
    MediaTotals, MessageId, ParkedRow, PersonId, Rev, StoredMedia, StoredMessage,
};

/// Columns of a row, of whichever backend, by their places. Each panics where the column is not of its type.
pub(crate) trait Columns {
    fn text(&self, column: usize) -> String;
    fn some_text(&self, column: usize) -> Option<String>;
    fn number(&self, column: usize) -> i64;
    fn some_number(&self, column: usize) -> Option<i64>;
    fn flag(&self, column: usize) -> bool;
    fn bytes(&self, column: usize) -> Vec<u8>;
}

/// How many messages of these lengths, the first ones, are loaded within so many bytes; the first one always is.
pub(crate) fn fitting(lengths: &[i64], bytes: usize) -> usize {
    let mut sum = 0;
    let fits = |length: &&i64| {
        sum += length.cast_unsigned();
        sum <= bytes as u64
    };
    lengths.iter().take_while(fits).count().max(1).min(lengths.len())
}

/// Messages in the order of their ids; unknown ones are left out. Most ids are asked for once: the message moves out. Asked for
/// again later, it is copied.
pub(crate) fn in_order(mut found: HashMap<i64, StoredMessage>, ids: &[i64]) -> Vec<StoredMessage> {
    let wanted = ids.iter().enumerate();
    wanted
        .filter_map(|(at, id)| match ids[at + 1..].contains(id) {
            true => found.get(id).cloned(),
            false => found.remove(id),
        })
        .collect()
}

/// How far a file has come, from its number in the tables.
pub(crate) fn media_state(number: i64) -> MediaState {
    match number {
        0 => MediaState::Pending,
        1 => MediaState::Stored,
        _ => MediaState::Parked,
    }
}

/// A message without its files: id, revision, instance, native id, client id, conversation, its native id, number, sender, their native
/// id, name and avatar, time, kind, text, body, when and by whom it was revoked, when it expires, labels.
pub(crate) fn message(row: &impl Columns) -> StoredMessage {
    StoredMessage {
        id: MessageId(row.number(0)),
        rev: Rev(row.number(1)),
        instance: InstanceId(row.number(2)),
        native_id: row.text(3),
        client_id: row.some_text(4),
        conversation: ConversationId(row.number(5)),
        conversation_native: row.text(6),
        seq: row.number(7),
        sender: row.some_number(8).map(PersonId),
        sender_native: row.text(9),
        sender_name: row.text(10),
        sender_avatar: row.text(11),
        sent_at: row.number(12),
        kind: row.text(13),
        text: row.text(14),
        labels: labels(row.some_text(19).as_deref()),
        body: row.bytes(15).into(),
        media: Vec::new(),
        revoked: row.some_number(16).zip(row.some_text(17)),
        expires_at: row.some_number(18),
    }
}

/// A file, behind the message it belongs to: id, handle, kind, name, size, state, sum, type, extension.
pub(crate) fn media(row: &impl Columns) -> StoredMedia {
    let size = row.number(5).cast_unsigned();
    let blob = row.some_text(7).map(|md5| Blob { md5, size, mime: row.text(8), extension: row.text(9) });
    StoredMedia {
        id: MediaId(row.number(1)),
        handle: row.text(2),
        kind: row.text(3),
        name: row.text(4),
        size,
        state: media_state(row.number(6)),
        blob,
    }
}

/// Columns of a [`PersonView`], of the table called `p`.
pub(crate) const PERSON: &str = "p.native_id, p.kind, p.name, p.avatar, p.attributes";

/// A person from [`PERSON`], which begins at column `at`.
pub(crate) fn person(row: &impl Columns, at: usize) -> PersonView {
    PersonView {
        native_id: row.text(at),
        kind: row.some_text(at + 1).as_deref().unwrap_or("user").into(),
        name: row.text(at + 2),
        avatar: row.text(at + 3),
        attributes: row.some_text(at + 4),
    }
}

/// Columns of a [`ConversationView`], of the tables called `c` and `w`.
pub(crate) const CONVERSATION: &str = "c.id, c.native_id, c.partition, w.word, c.title, c.owner, c.messages, c.attributes, c.last_seq, c.archived, c.deleted";

/// A conversation from [`CONVERSATION`], which begins at the first column.
pub(crate) fn conversation(row: &impl Columns) -> ConversationView {
    ConversationView {
        id: row.number(0),
        native_id: row.text(1),
        partition: row.text(2),
        kind: row.text(3).as_str().into(),
        title: row.text(4),
        owner: row.text(5),
        messages: row.number(6).cast_unsigned(),
        attributes: row.some_text(7),
        last_seq: row.number(8),
        archived: row.flag(9),
        deleted: row.flag(10),
    }
}

/// Conversations of a list, in the order of their latest messages; those that are not known any more are left out.
pub(crate) fn listed(
    latest: Vec<StoredMessage>,
    mut views: HashMap<i64, ConversationView>,
    mut peers: HashMap<i64, PersonView>,
) -> Vec<ListedConversation> {
    let with = |last: StoredMessage| {
        let conversation = views.remove(&last.conversation.0)?;
        Some(ListedConversation { peer: peers.remove(&conversation.id), conversation, last })
    };
    latest.into_iter().filter_map(with).collect()
}

/// A row of the feed: id, revision, instance, conversation, sender, kind, time, text, when it expires, labels.
pub(crate) fn feed(row: &impl Columns) -> FeedRow {
    FeedRow {
        id: MessageId(row.number(0)),
        rev: Rev(row.number(1)),
        instance: InstanceId(row.number(2)),
        conversation: ConversationId(row.number(3)),
        sender: row.some_number(4).map(PersonId),
        kind: row.text(5),
        sent_at: row.number(6),
        text: row.text(7),
        expires_at: row.some_number(8),
        labels: labels(row.some_text(9).as_deref()),
    }
}

/// The days that have messages.
pub(crate) fn day_counts(days: BTreeMap<i64, i64>) -> Vec<DayCount> {
    let counted = days.into_iter().filter(|(_, messages)| *messages > 0);
    counted.map(|(day, messages)| DayCount { day, messages: messages.cast_unsigned() }).collect()
}

/// A parked envelope: reserved id, partition, native id, reason, envelope, since when, attempts.
pub(crate) fn parked(row: &impl Columns) -> ParkedRow {
    ParkedRow {
        partition: row.text(1),
        parked: Parked { native_id: row.text(2), reason: row.text(3), envelope: row.bytes(4).into() },
        reserved: MessageId(row.number(0)),
        since: row.number(5),
        attempts: u32::try_from(row.number(6)).unwrap_or(u32::MAX),
    }
}

/// Columns of a [`task`], and why it was given up.
pub(crate) const TASK: &str = "id, instance, partition, handle, kind, name, size, md5, deadline, attempts, note";
/// Stands for a deadline that never comes.
const NEVER: Micros = Micros::MAX;

/// A file to fetch, from [`TASK`].
pub(crate) fn task(row: &impl Columns) -> MediaTask {
    MediaTask {
        id: MediaId(row.number(0)),
        instance: InstanceId(row.number(1)),
        partition: row.text(2),
        handle: row.text(3),
        kind: row.text(4),
        name: row.some_text(5),
        size: row.some_number(6).map(i64::cast_unsigned),
        md5: row.some_text(7),
        deadline: row.some_number(8).filter(|deadline| *deadline != NEVER),
        attempts: u32::try_from(row.number(9)).unwrap_or(u32::MAX),
    }
}

/// A content: sum, size, type, extension.
pub(crate) fn blob(row: &impl Columns) -> Blob {
    Blob { md5: row.text(0), size: row.number(1).cast_unsigned(), mime: row.text(2), extension: row.text(3) }
}

/// How many files are pending, stored and given up, and how many contents and bytes they are.
pub(crate) fn totals(row: &impl Columns) -> MediaTotals {
    let number = |column| row.number(column).cast_unsigned();
    MediaTotals { pending: number(0), stored: number(1), parked: number(2), blobs: number(3), bytes: number(4) }
}
