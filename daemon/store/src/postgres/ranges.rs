//! The statements of a conversation's history. Each reads ranges of one index, which holds all that is filtered by; no row
//! is touched, save for bounds of the number with another order, where that is not the order by id, and for what has not
//! expired in a conversation where something has.
//!
//! Parameters have the same number everywhere: 1 the conversation, 2 and 3 the time from and before, 4 and 5 the ids
//! after and before, 6 the limit, 7 the offset, 8 and 9 the numbers from and up to, 10 the moment by which something has
//! expired, 11 the instance, and from 12 on the kinds, or 12 an array of them.
//!
//! Ranges are subqueries with a limit: the planner takes those as they are and merges them in their order. A column that stands
//! behind a range in the index is named as `column + 0`: what is in the index is filtered by it all the same, but nothing is
//! looked up by it, as Postgres 18 would do for every value before it.

use super::error::Failure;
use crate::common::source::{Given, Shape, Walk};
use sqlx::Arguments;
use sqlx::postgres::PgArguments;
use stele_archive::ops::MessageOrder;

/// Kinds that are merged from a range each. Of a conversation that holds more of them, each page reads as many messages of
/// every kind as there are up to its end, and puts them in order.
pub(super) const MERGED: usize = 16;

/// Values in the order of the parameters' numbers; the kinds come next.
pub(super) fn values(instance: i64, given: &Given) -> Result<PgArguments, Failure> {
    let Given { conversation, since, until, after, before, limit, offset, from_seq, to_seq, unexpired_at } = *given;
    let mut values = PgArguments::default();
    put(&mut values, conversation)?;
    for value in [since, until, after, before, limit, offset, from_seq, to_seq, unexpired_at] {
        put(&mut values, value)?;
    }
    put(&mut values, instance)?;
    Ok(values)
}

/// The next value.
pub(super) fn put<'v>(
    values: &mut PgArguments,
    value: impl sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
) -> Result<(), Failure> {
    Ok(values.add(value).map_err(sqlx::Error::Encode)?)
}

/// The statement that finds a page's ids, of so many kinds: a range each, merged in order by the database. More than
/// [`MERGED`] kinds are an array.
pub(super) fn page_sql(walk: Walk, shape: Shape, kinds: usize) -> String {
    let (place, column) = match walk.order {
        MessageOrder::SentAt => ("message", "sent_at"),
        MessageOrder::Id => ("message", "id"),
        MessageOrder::Seq => ("message_by_seq", "seq"),
    };
    let direction = if walk.descending { "DESC" } else { "ASC" };
    let (columns, order) = match walk.order {
        MessageOrder::Id => ("r.id".to_owned(), format!("ORDER BY r.id {direction}")),
        _ => (format!("r.id, r.{column}"), format!("ORDER BY r.{column} {direction}, r.id {direction}")),
    };
    let mut filter = filter_sql(shape, column);
    if shape.unexpired {
        filter.push_str(match walk.order {
            MessageOrder::Seq => {
                " AND (SELECT m.expires_at FROM message AS m WHERE m.instance = $11 AND m.id = r.id) <= $10 IS NOT TRUE"
            }
            _ => " AND (r.expires_at <= $10) IS NOT TRUE",
        });
    }
    let range = |kind: String| {
        format!(
            "SELECT {columns} FROM {place} AS r WHERE r.instance = $11 AND r.conversation = $1 \
             AND r.kind = {kind}{filter} {order} LIMIT $6 + $7"
        )
    };
    let ranges = if kinds > MERGED {
        format!(
            "SELECT l.* FROM unnest($12::bigint[]) AS k (kind) CROSS JOIN LATERAL ({}) AS l",
            range("k.kind".to_owned())
        )
    } else {
        (0..kinds).map(|at| format!("({})", range(format!("${}", 12 + at)))).collect::<Vec<_>>().join(" UNION ALL ")
    };
    format!("SELECT r.id FROM ({ranges}) AS r {order} LIMIT $6 OFFSET $7")
}

/// The message with the least id from each of some numbers on, where numbers ascend with ids: the number asked for, the id,
/// and its own number; the latter two are NULL where all are less. The ids in question are halved until none is left: each
/// step looks at the first message of the upper half.
///
/// Parameters of its own: the conversation, the instance, and as arrays the numbers and the kinds to look among.
pub(super) const FIRST_FROM: &str = "WITH RECURSIVE part (wanted, low, high, first, seq) AS ( \
         SELECT w.wanted, 0::bigint, coalesce(( \
             SELECT max(l.id) FROM unnest($4::bigint[]) AS k (kind) CROSS JOIN LATERAL ( \
                 SELECT m.id FROM message AS m WHERE m.instance = $2 AND m.conversation = $1 AND m.kind = k.kind \
                 ORDER BY m.id DESC LIMIT 1) AS l \
         ), 0) + 1, NULL::bigint, NULL::bigint FROM unnest($3::bigint[]) AS w (wanted) \
         UNION ALL \
         SELECT part.wanted, \
                CASE WHEN m.seq < part.wanted THEN m.id + 1 ELSE part.low END, \
                CASE WHEN m.seq < part.wanted THEN part.high ELSE (part.low + part.high) / 2 END, \
                CASE WHEN m.seq >= part.wanted THEN m.id ELSE part.first END, \
                CASE WHEN m.seq >= part.wanted THEN m.seq ELSE part.seq END \
         FROM part LEFT JOIN LATERAL ( \
             SELECT l.id, l.seq FROM unnest($4::bigint[]) AS k (kind) CROSS JOIN LATERAL ( \
                 SELECT m.id, m.seq FROM message AS m WHERE m.instance = $2 AND m.conversation = $1 AND m.kind = k.kind \
                 AND m.id >= (part.low + part.high) / 2 AND m.id < part.high ORDER BY m.id LIMIT 1) AS l \
             ORDER BY l.id LIMIT 1 \
         ) AS m ON true \
         WHERE part.low < part.high \
     ) SELECT wanted, first, seq FROM part WHERE low >= high";

/// By number, between an id and another, where numbers ascend with ids. Parameters: the conversation, the instance, as arrays the
/// numbers and the kinds to look among, the least id, and the id to stop before.
pub(super) const BETWEEN: &str = "SELECT l.id FROM unnest($4::bigint[]) AS k (kind) CROSS JOIN LATERAL ( \
    SELECT m.id, m.seq FROM message AS m WHERE m.instance = $2 AND m.conversation = $1 AND m.kind = k.kind \
    AND m.id >= $5 AND m.id < $6 OFFSET 0) AS l WHERE l.seq = ANY ($3::bigint[])";

/// By number, where numbers do not ascend with ids. Parameters: the conversation, the instance, as arrays the numbers and the
/// kinds to look among, the limit.
pub(super) const ASTRAY: &str = "SELECT l.id FROM unnest($4::bigint[]) AS k (kind) \
    CROSS JOIN unnest($3::bigint[]) AS n (seq) CROSS JOIN LATERAL ( \
        SELECT s.id FROM message_by_seq AS s WHERE s.instance = $2 AND s.conversation = $1 AND s.kind = k.kind \
        AND s.seq = n.seq ORDER BY s.id DESC LIMIT $5) AS l ORDER BY l.id DESC LIMIT $5";

/// By the senders' own ids, anywhere or there. Parameters: the instance, the ids as an array, the limit, the conversation.
pub(super) fn by_client_sql(there: bool) -> String {
    let there = if there { " AND m.conversation = $4" } else { "" };
    format!(
        "SELECT l.id FROM unnest($2::text[]) AS c (client_id) CROSS JOIN LATERAL ( \
             SELECT m.id FROM message AS m WHERE m.instance = $1 AND m.client_id = c.client_id{there} OFFSET 0) AS l \
         ORDER BY l.id DESC LIMIT $3"
    )
}

/// The statement for the kinds a conversation holds: from each to the next one, without the messages in between. Parameters
/// of its own: the conversation, the instance.
pub(super) const KINDS: &str = "WITH RECURSIVE held (kind) AS ( \
         (SELECT m.kind FROM message AS m WHERE m.instance = $2 AND m.conversation = $1 ORDER BY m.kind LIMIT 1) \
         UNION ALL \
         SELECT (SELECT m.kind FROM message AS m WHERE m.instance = $2 AND m.conversation = $1 AND m.kind > held.kind \
                 ORDER BY m.kind LIMIT 1) FROM held WHERE held.kind IS NOT NULL \
     ) SELECT kind FROM held WHERE kind IS NOT NULL";

/// The statement that counts a part of a day.
pub(super) fn count_sql() -> String {
    let filter = filter_sql(Shape { since: true, until: true, ..Shape::default() }, "sent_at");
    format!(
        "SELECT count(*) FROM message AS r WHERE r.instance = $11 AND r.conversation = $1 \
         AND r.kind = ANY ($12::bigint[]){filter}"
    )
}

/// The statement that counts what expired before a day and on that day, by their counters and one by one; the parameters
/// for time are the day and its first moment.
pub(super) const EXPIRED: &str = "SELECT ( \
         SELECT coalesce(sum(n), 0)::bigint FROM expiring WHERE instance = $11 AND conversation = $1 AND day < $2 \
         AND kind + 0 = ANY ($12::bigint[]) \
     ) + ( \
         SELECT count(*) FROM message WHERE instance = $11 AND conversation = $1 \
         AND expires_at >= $3 AND expires_at <= $10 AND kind + 0 = ANY ($12::bigint[]))";

/// The statement that counts one by one what has expired of a time it was sent in.
pub(super) fn expired_sql(since: bool, until: bool) -> String {
    let filter = filter_sql(Shape { since, until, ..Shape::default() }, "expires_at");
    format!(
        "SELECT count(*) FROM message AS r WHERE r.instance = $11 AND r.conversation = $1 AND r.expires_at <= $10 \
         AND r.kind + 0 = ANY ($12::bigint[]){filter}"
    )
}

/// The statement that sums the days from 2 and before 3; with `kinds`, of those.
pub(super) fn tally_sql(kinds: bool) -> String {
    format!(
        "SELECT coalesce(sum(n), 0)::bigint FROM tally \
         WHERE instance = $11 AND conversation = $1 AND day >= $2 AND day < $3{}",
        among(kinds)
    )
}

/// The statement for the day, of those from 2 and before 3, that holds the message at an offset in that direction, and
/// for how many messages come before that day and how many are of it; with `kinds`, of those.
pub(super) fn day_sql(descending: bool, kinds: bool) -> String {
    let direction = if descending { "DESC" } else { "ASC" };
    let among = among(kinds);
    format!(
        "SELECT day, (reached - here)::bigint, here::bigint FROM ( \
             SELECT day, here, sum(here) OVER (ORDER BY day {direction} ROWS UNBOUNDED PRECEDING) AS reached FROM ( \
                 SELECT day, sum(n) AS here FROM tally WHERE instance = $11 AND conversation = $1 AND day >= $2 \
                 AND day < $3{among} GROUP BY day ORDER BY day {direction} \
             ) AS days \
         ) AS days WHERE reached > $7 ORDER BY day {direction} LIMIT 1"
    )
}

fn among(kinds: bool) -> &'static str {
    if kinds { " AND kind + 0 = ANY ($12::bigint[])" } else { "" }
}

/// What is filtered by, in an index in the order of a column.
fn filter_sql(shape: Shape, order: &str) -> String {
    let parts = [
        (shape.since, "sent_at", ">= $2"),
        (shape.until, "sent_at", "< $3"),
        (shape.after, "id", "> $4"),
        (shape.before, "id", "< $5"),
        (shape.from_seq, "seq", ">= $8"),
        (shape.to_seq, "seq", "<= $9"),
    ];
    let part = |(_, column, bound): (bool, &str, &str)| {
        let zero = if column == order { "" } else { " + 0" };
        format!(" AND r.{column}{zero} {bound}")
    };
    parts.into_iter().filter(|(wanted, ..)| *wanted).map(part).collect()
}
