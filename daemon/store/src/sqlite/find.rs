//! Messages by number, and by their senders' own ids.

use super::bulk::{Bulk, Values, id_list};
use super::error::Failure;
use super::ranges::FIRST_FROM;
use super::{history, rows};
use sqlx::SqliteConnection;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use stele_archive::ops::FindQuery;
use stele_archive::{ArchiveError, InstanceId, Result, StoredMessage};

/// Of numbers that lie closer than this, on average, all messages from the first to the last are looked at: that costs less
/// than halving the ids for each.
const CLOSE: i64 = 16;

/// By number, between an id and another, where numbers ascend with ids. Parameters: the conversation, as JSON arrays the numbers
/// and the kinds to look among, the least id, and the id to stop before.
pub(super) const BETWEEN: &str = "SELECT m.id FROM json_each(?3) AS k CROSS JOIN message AS m INDEXED BY message_by_id \
    ON m.conversation = ?1 AND m.kind = k.value AND m.id >= ?4 AND m.id < ?5 \
    WHERE m.seq IN (SELECT value FROM json_each(?2))";

/// By number, where numbers do not ascend with ids. Parameters: the conversation, as JSON arrays the numbers and the kinds to
/// look among, the limit.
pub(super) const ASTRAY: &str = "SELECT s.id FROM json_each(?3) AS k CROSS JOIN json_each(?2) AS n \
    CROSS JOIN message_by_seq AS s ON s.conversation = ?1 AND s.kind = k.value AND s.seq = n.value \
    ORDER BY s.id DESC LIMIT ?4";

pub(super) static BY_CLIENT: LazyLock<Bulk> = LazyLock::new(|| by_client(""));
pub(super) static BY_CLIENT_THERE: LazyLock<Bulk> = LazyLock::new(|| by_client("AND conversation = ? "));

fn by_client(there: &str) -> Bulk {
    Bulk::new(
        &format!("SELECT id FROM message INDEXED BY message_client WHERE instance = ? {there}AND client_id IN ("),
        "?",
        ") ORDER BY id DESC LIMIT ?",
    )
}

/// Answer the query.
pub(super) async fn messages(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    query: &FindQuery,
) -> Result<Vec<StoredMessage>> {
    let mut conversation = None;
    if let Some(native_id) = &query.conversation {
        let found: Option<(i64, bool)> =
            sqlx::query_as("SELECT id, own_order FROM conversation WHERE instance = ? AND native_id = ?")
                .bind(instance.0)
                .bind(native_id)
                .fetch_optional(&mut *connection)
                .await
                .map_err(Failure)?;
        match found {
            Some(found) => conversation = Some(found),
            None => return Ok(Vec::new()),
        }
    } else if !query.seqs.is_empty() {
        return Err(ArchiveError::Invalid("numbers mean nothing without a conversation".to_owned()));
    }
    let mut found: BTreeSet<i64> = BTreeSet::new();
    if let Some(conversation) = conversation.filter(|_| !query.seqs.is_empty()) {
        found.extend(by_number(connection, conversation, query).await?);
    }
    found.extend(by_client_id(connection, instance, conversation.map(|(id, _)| id), query).await?);
    let ids: Vec<i64> = found.into_iter().rev().take(query.limit as usize).collect();
    rows::messages(connection, &ids).await
}

async fn by_number(
    connection: &mut SqliteConnection,
    (conversation, own_order): (i64, bool),
    query: &FindQuery,
) -> Result<Vec<i64>, Failure> {
    let numbers: BTreeSet<i64> = query.seqs.iter().copied().collect();
    let bounds = bounds(&numbers);
    let (numbers, kinds) = (id_list(numbers), id_list(history::kinds(connection, conversation).await?));
    if own_order {
        return Ok(sqlx::query_scalar(ASTRAY)
            .bind(conversation)
            .bind(numbers)
            .bind(kinds)
            .bind(query.limit)
            .fetch_all(connection)
            .await?);
    }
    let found: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(FIRST_FROM)
        .bind(conversation)
        .bind(bounds.as_ref().unwrap_or(&numbers))
        .bind(&kinds)
        .fetch_all(&mut *connection)
        .await?;
    if bounds.is_none() {
        return Ok(found
            .into_iter()
            .filter(|(wanted, _, seq)| *seq == Some(*wanted))
            .filter_map(|(_, id, _)| id)
            .collect());
    }
    // None from a number on: nothing is left, or there is no end.
    let ids = found.iter().map(|(_, id, _)| id.unwrap_or(i64::MAX));
    Ok(sqlx::query_scalar(BETWEEN)
        .bind(conversation)
        .bind(numbers)
        .bind(kinds)
        .bind(ids.clone().min())
        .bind(ids.filter(|_| found.len() > 1).max().unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?)
}

/// The first number and the one after the last, if there is one, of numbers that lie close.
fn bounds(numbers: &BTreeSet<i64>) -> Option<String> {
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    let close = last.checked_sub(first).is_some_and(|span| span < CLOSE * (numbers.len() as i64 - 1));
    close.then(|| id_list([first].into_iter().chain(last.checked_add(1))))
}

async fn by_client_id(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    conversation: Option<i64>,
    query: &FindQuery,
) -> Result<Vec<i64>, Failure> {
    let client_ids: BTreeSet<&str> = query.client_ids.iter().map(String::as_str).collect();
    let client_ids: Vec<&str> = client_ids.into_iter().collect();
    let statement = if conversation.is_some() { &BY_CLIENT_THERE } else { &BY_CLIENT };
    let mut found = Vec::new();
    for (sql, client_ids) in statement.cut(&client_ids) {
        let mut values = Values::with_capacity(client_ids.len() + 3);
        values.put(instance.0)?;
        if let Some(conversation) = conversation {
            values.put(conversation)?;
        }
        for client_id in client_ids {
            values.put(*client_id)?;
        }
        values.put(query.limit)?;
        found.extend(sqlx::query_scalar_with::<_, i64, _>(sql, values.done()).fetch_all(&mut *connection).await?);
    }
    Ok(found)
}
