//! From rows of tables to what the archive answers with.

use super::bulk::id_list;
use super::error::Failure;
use crate::common::packing::labels;
use crate::common::rows as common;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::collections::{BTreeSet, HashMap};
use stele_archive::ops::{ConversationView, PersonView};
use stele_archive::{ArchiveError, Blob, ConversationId, InstanceId, MAX_ANSWER, MediaId, MessageId, PersonId};
use stele_archive::{Result, Rev, StoredMedia, StoredMessage};

/// How many of these messages, the first ones, are loaded within so many bytes of texts and bodies; the first one always is.
/// Only their lengths are read, which stand at the beginning of a row.
pub(super) async fn fitting(connection: &mut SqliteConnection, ids: &[i64], bytes: usize) -> Result<usize, Failure> {
    const LENGTHS: &str = "SELECT ifnull(octet_length(m.text) + octet_length(m.body), 0) \
        FROM json_each(?) AS j LEFT JOIN message AS m ON m.id = j.value";
    if ids.len() < 2 {
        return Ok(ids.len());
    }
    let lengths: Vec<i64> =
        sqlx::query_scalar(LENGTHS).bind(id_list(ids.iter().copied())).fetch_all(&mut *connection).await?;
    Ok(common::fitting(&lengths, bytes))
}

/// The messages of these ids for one answer, in the order of the ids; unknown ones are left out.
pub(super) async fn messages(connection: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<StoredMessage>> {
    if fitting(connection, ids, MAX_ANSWER).await? < ids.len() {
        return Err(ArchiveError::TooLarge { most: MAX_ANSWER });
    }
    Ok(load(connection, ids).await?)
}

/// The same, however long they are.
pub(super) async fn load(connection: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<StoredMessage>, Failure> {
    const MESSAGES: &str = "SELECT m.id, ifnull(m.late, m.id), m.instance, m.native_id, m.client_id, m.conversation, \
        c.native_id, m.seq, m.sender, ifnull(p.native_id, ''), ifnull(p.name, ''), ifnull(p.avatar, ''), m.sent_at, \
        w.word, m.text, m.body, m.revoked_at, m.revoked_by, m.expires_at, m.labels \
        FROM json_each(?) AS j CROSS JOIN message AS m ON m.id = j.value \
        CROSS JOIN conversation AS c ON c.id = m.conversation CROSS JOIN word AS w ON w.id = m.kind \
        LEFT JOIN person AS p ON p.id = m.sender";
    const FILES: &str = "SELECT l.message, d.id, d.handle, d.kind, ifnull(d.name, ''), coalesce(b.size, d.size, 0), \
        d.state, b.md5, b.mime, b.extension \
        FROM json_each(?) AS j CROSS JOIN message_media AS l ON l.message = j.value \
        CROSS JOIN media AS d ON d.id = l.media LEFT JOIN blob AS b ON b.md5 = d.blob";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Each once: what is asked for twice has its files once.
    let list = id_list(ids.iter().copied().collect::<BTreeSet<_>>());
    let mut found: HashMap<i64, StoredMessage> = HashMap::with_capacity(ids.len());
    for row in sqlx::query(MESSAGES).bind(&list).fetch_all(&mut *connection).await? {
        let message = message(&row);
        found.insert(message.id.0, message);
    }
    // Rows come message by message, and per message in the order of the key: (message, position).
    for row in sqlx::query(FILES).bind(&list).fetch_all(&mut *connection).await? {
        if let Some(message) = found.get_mut(&row.get(0)) {
            message.media.push(media(&row));
        }
    }
    Ok(common::in_order(found, ids))
}

fn message(row: &SqliteRow) -> StoredMessage {
    let revoked_by: Option<String> = row.get(17);
    StoredMessage {
        id: MessageId(row.get(0)),
        rev: Rev(row.get(1)),
        instance: InstanceId(row.get(2)),
        native_id: row.get(3),
        client_id: row.get(4),
        conversation: ConversationId(row.get(5)),
        conversation_native: row.get(6),
        seq: row.get(7),
        sender: row.get::<Option<i64>, _>(8).map(PersonId),
        sender_native: row.get(9),
        sender_name: row.get(10),
        sender_avatar: row.get(11),
        sent_at: row.get(12),
        kind: row.get(13),
        text: row.get(14),
        labels: labels(row.get(19)),
        body: row.get::<Vec<u8>, _>(15).into(),
        media: Vec::new(),
        revoked: row.get::<Option<i64>, _>(16).zip(revoked_by),
        expires_at: row.get(18),
    }
}

fn media(row: &SqliteRow) -> StoredMedia {
    let size = row.get::<i64, _>(5).cast_unsigned();
    let blob = row.get::<Option<String>, _>(7).map(|md5| Blob { md5, size, mime: row.get(8), extension: row.get(9) });
    StoredMedia {
        id: MediaId(row.get(1)),
        handle: row.get(2),
        kind: row.get(3),
        name: row.get(4),
        size,
        state: common::media_state(row.get(6)),
        blob,
    }
}

/// Columns of a [`PersonView`], of the table called `p`.
pub(super) const PERSON: &str = "p.native_id, p.kind, p.name, p.avatar, p.attributes";

/// A person from [`PERSON`], which begins at column `at`.
pub(super) fn person(row: &SqliteRow, at: usize) -> PersonView {
    PersonView {
        native_id: row.get(at),
        kind: row.get::<Option<&str>, _>(at + 1).unwrap_or("user").into(),
        name: row.get(at + 2),
        avatar: row.get(at + 3),
        attributes: row.get(at + 4),
    }
}

/// Columns of a [`ConversationView`], of the tables called `c` and `w`.
pub(super) const CONVERSATION: &str = "c.id, c.native_id, c.partition, w.word, c.title, c.owner, c.messages, c.attributes, c.last_seq, c.archived, c.deleted";

/// A conversation from [`CONVERSATION`], which begins at the first column.
pub(super) fn conversation(row: &SqliteRow) -> ConversationView {
    ConversationView {
        id: row.get(0),
        native_id: row.get(1),
        partition: row.get(2),
        kind: row.get::<&str, _>(3).into(),
        title: row.get(4),
        owner: row.get(5),
        messages: row.get::<i64, _>(6).cast_unsigned(),
        attributes: row.get(7),
        last_seq: row.get(8),
        archived: row.get(9),
        deleted: row.get(10),
    }
}
