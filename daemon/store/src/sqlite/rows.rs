//! From rows of tables to what the archive answers with.

use super::bulk::id_list;
use super::error::Failure;
use crate::common::rows::{self, Columns, in_order, media, message};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::collections::{BTreeSet, HashMap};
use stele_archive::{ArchiveError, MAX_ANSWER, Result, StoredMessage};

pub(super) use crate::common::rows::{CONVERSATION, PERSON, conversation, person};

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
    Ok(rows::fitting(&lengths, bytes))
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
    Ok(in_order(found, ids))
}

impl Columns for SqliteRow {
    fn text(&self, column: usize) -> String {
        self.get(column)
    }

    fn some_text(&self, column: usize) -> Option<String> {
        self.get(column)
    }

    fn number(&self, column: usize) -> i64 {
        self.get(column)
    }

    fn some_number(&self, column: usize) -> Option<i64> {
        self.get(column)
    }

    fn flag(&self, column: usize) -> bool {
        self.get(column)
    }

    fn bytes(&self, column: usize) -> Vec<u8> {
        self.get(column)
    }
}
