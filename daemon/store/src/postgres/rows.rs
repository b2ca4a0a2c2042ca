//! From rows of tables to what the archive answers with.

use super::error::Failure;
use crate::common::rows::{self, in_order, media, message};
use sqlx::{PgConnection, Row};
use std::collections::HashMap;
use stele_archive::{ArchiveError, InstanceId, MAX_ANSWER, StoredMessage};

pub(super) use crate::common::rows::{CONVERSATION, PERSON, conversation, person};

/// Texts and bodies of messages, in bytes, each with its place among the ids. Parameters: the ids and, of each, the instance.
/// Their sizes are known without them.
pub(super) const LENGTHS: &str = "SELECT j.at, m.length FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS j (id, instance, at) \
    CROSS JOIN LATERAL (SELECT octet_length(text)::bigint + octet_length(body) AS length FROM message \
    WHERE instance = j.instance AND id = j.id LIMIT 1) AS m";
/// Messages. Parameters: the ids and, of each, the instance.
pub(super) const MESSAGES: &str = "SELECT m.id, m.rev, m.instance, m.native_id, m.client_id, m.conversation, \
    c.native_id, m.seq, m.sender, coalesce(p.native_id, ''), coalesce(p.name, ''), coalesce(p.avatar, ''), m.sent_at, \
    w.word, m.text, m.body, m.revoked_at, m.revoked_by, m.expires_at, m.labels FROM unnest($1::bigint[], $2::bigint[]) AS j (id, instance) \
    CROSS JOIN LATERAL (SELECT * FROM message WHERE instance = j.instance AND id = j.id LIMIT 1) AS m \
    CROSS JOIN LATERAL (SELECT native_id FROM conversation WHERE instance = j.instance AND id = m.conversation LIMIT 1) AS c \
    CROSS JOIN LATERAL (SELECT word FROM word WHERE id = m.kind LIMIT 1) AS w \
    LEFT JOIN LATERAL (SELECT native_id, name, avatar FROM person WHERE instance = j.instance AND id = m.sender LIMIT 1) AS p \
    ON true";
/// Files of messages. Parameters: the ids of messages and, of each, the instance.
pub(super) const FILES: &str = "SELECT l.message, d.id, d.handle, d.kind, coalesce(d.name, ''), \
    coalesce(b.size, d.size, 0), d.state, b.md5, b.mime, b.extension, l.position FROM unnest($1::bigint[], $2::bigint[]) AS j (id, instance) \
    CROSS JOIN LATERAL (SELECT * FROM message_media WHERE instance = j.instance AND message = j.id OFFSET 0) AS l \
    CROSS JOIN LATERAL (SELECT * FROM media WHERE instance = j.instance AND id = l.media LIMIT 1) AS d \
    LEFT JOIN LATERAL (SELECT * FROM blob WHERE md5 = d.blob LIMIT 1) AS b ON true";

/// How many of these messages of an instance, the first ones, are loaded within so many bytes of texts and bodies; the first
/// one always is.
pub(super) async fn fitting(
    connection: &mut PgConnection,
    instance: InstanceId,
    ids: &[i64],
    bytes: usize,
) -> Result<usize, Failure> {
    count_fitting(connection, (ids, &vec![instance.0; ids.len()]), bytes).await
}

async fn count_fitting(
    connection: &mut PgConnection,
    (ids, instances): (&[i64], &[i64]),
    bytes: usize,
) -> Result<usize, Failure> {
    if ids.len() < 2 {
        return Ok(ids.len());
    }
    let found: Vec<(i64, i64)> = sqlx::query_as(LENGTHS).bind(ids).bind(instances).fetch_all(connection).await?;
    let mut lengths = vec![0; ids.len()];
    for (at, length) in found {
        lengths[at as usize - 1] = length;
    }
    Ok(rows::fitting(&lengths, bytes))
}

/// The messages of an instance with these ids for one answer, in the order of the ids; unknown ones are left out.
pub(super) async fn messages(
    connection: &mut PgConnection,
    instance: InstanceId,
    ids: &[i64],
) -> Result<Vec<StoredMessage>, Failure> {
    let whose = ids.iter().map(|id| (*id, instance.0)).collect();
    messages_of(connection, &whose, ids).await
}

/// The same, of several instances: of each message it is told whose it is.
pub(super) async fn messages_of(
    connection: &mut PgConnection,
    whose: &HashMap<i64, i64>,
    ids: &[i64],
) -> Result<Vec<StoredMessage>, Failure> {
    let (known, instances): (Vec<i64>, Vec<i64>) = ids.iter().filter_map(|id| Some((*id, *whose.get(id)?))).unzip();
    if count_fitting(connection, (&known, &instances), MAX_ANSWER).await? < known.len() {
        return Err(ArchiveError::TooLarge { most: MAX_ANSWER }.into());
    }
    load_of(connection, whose, ids).await
}

/// The messages of an instance, however long they are.
pub(super) async fn load(
    connection: &mut PgConnection,
    instance: InstanceId,
    ids: &[i64],
) -> Result<Vec<StoredMessage>, Failure> {
    let whose = ids.iter().map(|id| (*id, instance.0)).collect();
    load_of(connection, &whose, ids).await
}

async fn load_of(
    connection: &mut PgConnection,
    whose: &HashMap<i64, i64>,
    ids: &[i64],
) -> Result<Vec<StoredMessage>, Failure> {
    if whose.is_empty() {
        return Ok(Vec::new());
    }
    let (wanted, instances): (Vec<i64>, Vec<i64>) = whose.iter().unzip();
    let mut found: HashMap<i64, StoredMessage> = HashMap::with_capacity(wanted.len());
    for row in sqlx::query(MESSAGES).bind(&wanted).bind(&instances).fetch_all(&mut *connection).await? {
        let message = message(&row);
        found.insert(message.id.0, message);
    }
    let mut files = sqlx::query(FILES).bind(&wanted).bind(&instances).fetch_all(&mut *connection).await?;
    files.sort_by_key(|row| row.get::<i64, _>(10));
    for row in files {
        if let Some(message) = found.get_mut(&row.get(0)) {
            message.media.push(media(&row));
        }
    }
    Ok(in_order(found, ids))
}
