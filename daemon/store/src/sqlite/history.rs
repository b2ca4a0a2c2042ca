//! Messages of a conversation: totals from counters, pages from one range of one index.

use super::DAY;
use super::bulk::id_list;
use super::error::Failure;
use super::rows;
use sqlx::{AssertSqlSafe, SqliteConnection};
use stele_archive::ops::{MessageOrder, MessageQuery};
use stele_archive::{InstanceId, MessageList, StoredMessage};

/// Between two anchors this close, rows are found by id and put in order afterwards; further apart they are found in the
/// order asked for, and those outside of the interval passed over in the index.
const NARROW: i64 = 10_000;

/// Which index answers, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub order: MessageOrder,
    pub descending: bool,
}

/// The filters of a query, as far as they shape its statement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    pub since: bool,
    pub until: bool,
    pub after: bool,
    pub before: bool,
    pub kinds: bool,
}

/// The statement that finds a page's ids. Parameters: conversation, then one per filter in the order of [`Shape`], then
/// limit and offset. The index holds all that is filtered by; no row is touched.
pub(super) fn page_sql(walk: Walk, shape: Shape) -> String {
    let (place, column) = match walk.order {
        MessageOrder::SentAt => ("message INDEXED BY message_by_time", "sent_at"),
        MessageOrder::Id => ("message INDEXED BY message_by_id", "id"),
        MessageOrder::Seq => ("message_by_seq", "seq"),
    };
    let direction = if walk.descending { "DESC" } else { "ASC" };
    let tie = if walk.order == MessageOrder::Id { String::new() } else { format!(", id {direction}") };
    let filter = filter_sql(shape);
    format!(
        "SELECT id FROM {place} WHERE conversation = ?{filter} \
         ORDER BY {column} {direction}{tie} LIMIT ? OFFSET ?"
    )
}

/// The statement that counts a part of a day. Parameters as in [`page_sql`], without limit and offset.
pub(super) fn count_sql(kinds: bool) -> String {
    let filter = filter_sql(Shape { since: true, until: true, kinds, ..Shape::default() });
    format!("SELECT count(*) FROM message INDEXED BY message_by_time WHERE conversation = ?{filter}")
}

/// The statement that sums whole days. Parameters: conversation, first day, day after the last, kinds.
pub(super) fn tally_sql(kinds: bool) -> String {
    let kinds = if kinds { " AND kind IN (SELECT value FROM json_each(?))" } else { "" };
    format!("SELECT ifnull(sum(n), 0) FROM tally WHERE conversation = ? AND day >= ? AND day < ?{kinds}")
}

fn filter_sql(shape: Shape) -> String {
    let parts = [
        (shape.since, " AND sent_at >= ?"),
        (shape.until, " AND sent_at < ?"),
        (shape.after, " AND id > ?"),
        (shape.before, " AND id < ?"),
        (shape.kinds, " AND kind IN (SELECT value FROM json_each(?))"),
    ];
    parts.into_iter().filter(|(wanted, _)| *wanted).map(|(_, sql)| sql).collect()
}

/// Answer the query.
pub(super) async fn messages(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    query: &MessageQuery,
) -> Result<MessageList, Failure> {
    let found: Option<(i64, i64, bool)> =
        sqlx::query_as("SELECT id, messages, own_order FROM conversation WHERE instance = ? AND native_id = ?")
            .bind(instance.0)
            .bind(&query.conversation)
            .fetch_optional(&mut *connection)
            .await?;
    let Some((conversation, messages, own_order)) = found else { return Ok(MessageList::default()) };
    let kinds = match kinds(connection, &query.kinds).await? {
        Kinds::All => None,
        Kinds::None => return Ok(MessageList::default()),
        Kinds::These(list) => Some(list),
    };
    let total = if kinds.is_none() && query.since.is_none() && query.until.is_none() {
        messages
    } else {
        total(connection, conversation, query, kinds.as_deref()).await?
    };
    let total = total.cast_unsigned();
    let limit = u64::from(query.limit).min(total.saturating_sub(query.offset));
    if limit == 0 {
        return Ok(MessageList { rows: Vec::new(), total });
    }
    // Where numbers ascend with ids, the order by number is that by id.
    let by = if query.order == MessageOrder::Seq && !own_order { MessageOrder::Id } else { query.order };
    let (walk, in_order) = walk(query, by);
    let mut paging = (limit.cast_signed(), query.offset.cast_signed());
    let sort_first = !in_order && query.after.is_some() && query.before.is_some();
    if sort_first {
        paging = (NARROW, 0);
    }
    let ids = page(connection, conversation, query, kinds.as_deref(), walk, paging).await?;
    let mut rows = if sort_first {
        let keys = keys(connection, &ids).await?;
        let wanted: Vec<i64> = sorted(keys, query)
            .into_iter()
            .skip(usize::try_from(query.offset).unwrap_or(usize::MAX))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        rows::messages(connection, &wanted).await?
    } else {
        rows::messages(connection, &ids).await?
    };
    if !in_order && !sort_first {
        order(&mut rows, query);
    }
    Ok(MessageList { rows, total })
}

/// How to find the page, and whether it comes in the order asked for.
fn walk(query: &MessageQuery, order: MessageOrder) -> (Walk, bool) {
    let asked = Walk { order, descending: query.descending };
    match (query.after, query.before) {
        (None, None) => (asked, true),
        (Some(after), Some(before)) => {
            if order == MessageOrder::Id || before.saturating_sub(after) > NARROW {
                (asked, true)
            } else {
                (Walk { order: MessageOrder::Id, descending: false }, false)
            }
        }
        (after, _) => {
            let nearest = Walk { order: MessageOrder::Id, descending: after.is_none() };
            (nearest, nearest == asked)
        }
    }
}

enum Kinds {
    All,
    None,
    These(String),
}

async fn kinds(connection: &mut SqliteConnection, words: &[String]) -> Result<Kinds, Failure> {
    if words.is_empty() {
        return Ok(Kinds::All);
    }
    let mut ids = Vec::with_capacity(words.len());
    for word in words {
        let sql = "SELECT id FROM word WHERE word = ?";
        ids.extend(sqlx::query_scalar::<_, i64>(sql).bind(word).fetch_optional(&mut *connection).await?);
    }
    Ok(if ids.is_empty() { Kinds::None } else { Kinds::These(id_list(ids)) })
}

/// Whole UTC days from the counters, the days at the edges from the index.
async fn total(
    connection: &mut SqliteConnection,
    conversation: i64,
    query: &MessageQuery,
    kinds: Option<&str>,
) -> Result<i64, Failure> {
    let since = query.since.unwrap_or(i64::MIN);
    let until = query.until.unwrap_or(i64::MAX);
    if since >= until {
        return Ok(0);
    }
    // The first day that is whole, and the first one after it that is not.
    let first = if query.since.is_none() {
        i64::MIN / DAY - 1
    } else {
        since.div_euclid(DAY) + i64::from(since.rem_euclid(DAY) > 0)
    };
    let end = if query.until.is_none() { i64::MAX / DAY + 1 } else { until.div_euclid(DAY) };
    if first >= end {
        return part(connection, conversation, (since, until), kinds).await;
    }
    let mut sum = sqlx::query_scalar::<_, i64>(AssertSqlSafe(tally_sql(kinds.is_some())))
        .bind(conversation)
        .bind(first)
        .bind(end);
    if let Some(kinds) = kinds {
        sum = sum.bind(kinds);
    }
    let mut total = sum.fetch_one(&mut *connection).await?;
    let (first_start, end_start) = (first.saturating_mul(DAY), end.saturating_mul(DAY));
    if query.since.is_some() && since < first_start {
        total += part(connection, conversation, (since, first_start), kinds).await?;
    }
    if query.until.is_some() && end_start < until {
        total += part(connection, conversation, (end_start, until), kinds).await?;
    }
    Ok(total)
}

async fn part(
    connection: &mut SqliteConnection,
    conversation: i64,
    (since, until): (i64, i64),
    kinds: Option<&str>,
) -> Result<i64, Failure> {
    let mut count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count_sql(kinds.is_some())))
        .bind(conversation)
        .bind(since)
        .bind(until);
    if let Some(kinds) = kinds {
        count = count.bind(kinds);
    }
    Ok(count.fetch_one(connection).await?)
}

async fn page(
    connection: &mut SqliteConnection,
    conversation: i64,
    query: &MessageQuery,
    kinds: Option<&str>,
    walk: Walk,
    (limit, offset): (i64, i64),
) -> Result<Vec<i64>, Failure> {
    let shape = Shape {
        since: query.since.is_some(),
        until: query.until.is_some(),
        after: query.after.is_some(),
        before: query.before.is_some(),
        kinds: kinds.is_some(),
    };
    let mut page = sqlx::query_scalar::<_, i64>(AssertSqlSafe(page_sql(walk, shape))).bind(conversation);
    for bound in [query.since, query.until, query.after, query.before].into_iter().flatten() {
        page = page.bind(bound);
    }
    if let Some(kinds) = kinds {
        page = page.bind(kinds);
    }
    Ok(page.bind(limit).bind(offset).fetch_all(connection).await?)
}

/// Time, number and id of these messages.
async fn keys(connection: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<(i64, i64, i64)>, Failure> {
    let sql = "SELECT m.sent_at, m.seq, m.id FROM json_each(?) AS j CROSS JOIN message AS m ON m.id = j.value";
    Ok(sqlx::query_as(sql).bind(id_list(ids.iter().copied())).fetch_all(connection).await?)
}

fn sorted(mut keys: Vec<(i64, i64, i64)>, query: &MessageQuery) -> Vec<i64> {
    keys.sort_unstable_by_key(|(sent_at, seq, id)| match query.order {
        MessageOrder::SentAt => (*sent_at, *id),
        MessageOrder::Seq => (*seq, *id),
        MessageOrder::Id => (*id, *id),
    });
    if query.descending {
        keys.reverse();
    }
    keys.into_iter().map(|(.., id)| id).collect()
}

fn order(rows: &mut [StoredMessage], query: &MessageQuery) {
    rows.sort_unstable_by_key(|row| match query.order {
        MessageOrder::SentAt => (row.sent_at, row.id),
        MessageOrder::Seq => (row.seq, row.id),
        MessageOrder::Id => (row.id.0, row.id),
    });
    if query.descending {
        rows.reverse();
    }
}
