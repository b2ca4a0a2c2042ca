//! The statements of a conversation's history. Each reads ranges of one index, which holds all that is filtered by; no row
//! is touched, save for bounds of the number with another order, where that is not the order by id, and for what has not
//! expired in a conversation where something has.
//!
//! Parameters have the same number everywhere: 1 the conversation, 2 and 3 the time from and before, 4 and 5 the ids
//! after and before, 6 the limit, 7 the offset, 8 and 9 the numbers from and up to, 10 the moment by which something has
//! expired, and from 11 on the kinds.

use super::bulk::Values;
use super::error::Failure;
use crate::common::source::{Given, Shape, Walk};
use stele_archive::ops::MessageOrder;

/// Kinds that are merged from a range each. A conversation that holds more of them is sorted for every page.
pub(super) const MERGED: usize = 64;

/// Values in the order of the parameters' numbers; the kinds come next.
pub(super) fn values(given: &Given) -> Result<Values, Failure> {
    let Given { conversation, since, until, after, before, limit, offset, from_seq, to_seq, unexpired_at } = *given;
    let mut values = Values::with_capacity(12);
    values.put(conversation)?;
    for value in [since, until, after, before, limit, offset, from_seq, to_seq, unexpired_at] {
        values.put(value)?;
    }
    Ok(values)
}

/// The statement that finds a page's ids, of so many kinds: a range each, merged in order by the database. More than
/// [`MERGED`] kinds are one parameter, a JSON array.
pub(super) fn page_sql(walk: Walk, shape: Shape, kinds: usize) -> String {
    let (place, index, column) = match walk.order {
        MessageOrder::SentAt => ("message", " INDEXED BY message_by_time", "sent_at"),
        MessageOrder::Id => ("message", " INDEXED BY message_by_id", "id"),
        MessageOrder::Seq => ("message_by_seq", "", "seq"),
    };
    let direction = if walk.descending { "DESC" } else { "ASC" };
    let tie = if walk.order == MessageOrder::Id { String::new() } else { format!(", 1 {direction}") };
    let mut filter = filter_sql(shape);
    if shape.unexpired {
        filter.push_str(&format!(
            " AND NOT EXISTS (SELECT 1 FROM message AS m WHERE m.id = {place}.id AND m.expires_at <= ?10)"
        ));
    }
    let range = |kind: String| {
        format!("SELECT id, {column} FROM {place}{index} WHERE conversation = ?1 AND kind {kind}{filter}")
    };
    let ranges: Vec<_> = if kinds > MERGED {
        vec![range("IN (SELECT value FROM json_each(?11))".to_owned())]
    } else {
        (0..kinds).map(|at| range(format!("= ?{}", 11 + at))).collect()
    };
    format!("{} ORDER BY 2 {direction}{tie} LIMIT ?6 OFFSET ?7", ranges.join(" UNION ALL "))
}

/// The message with the least id from each of some numbers on, where numbers ascend with ids: the number asked for, the id,
/// and its own number; the latter two are NULL where all are less. The ids in question are halved until none is left: each
/// step looks at the first message of the upper half.
///
/// Parameters of its own: the conversation, and as JSON arrays the numbers and the kinds to look among.
pub(super) const FIRST_FROM: &str = "WITH RECURSIVE part (wanted, low, high, first, seq) AS ( \
         SELECT value, 0, ifnull((SELECT max(id) FROM message), 0) + 1, NULL, NULL FROM json_each(?2) \
         UNION ALL \
         SELECT part.wanted, \
                CASE WHEN m.seq < part.wanted THEN m.id + 1 ELSE part.low END, \
                CASE WHEN m.seq < part.wanted THEN part.high ELSE (part.low + part.high) / 2 END, \
                CASE WHEN m.seq >= part.wanted THEN m.id ELSE part.first END, \
                CASE WHEN m.seq >= part.wanted THEN m.seq ELSE part.seq END \
         FROM part LEFT JOIN message AS m ON m.id = ( \
             SELECT min((SELECT min(id) FROM message INDEXED BY message_by_id WHERE conversation = ?1 \
                         AND kind = k.value AND id >= (part.low + part.high) / 2 AND id < part.high)) \
             FROM json_each(?3) AS k) \
         WHERE part.low < part.high \
     ) SELECT wanted, first, seq FROM part WHERE low >= high";

/// The statement for the kinds a conversation holds: from each to the next one, without the messages in between.
pub(super) fn kinds_sql() -> String {
    let least = "SELECT min(kind) FROM message INDEXED BY message_by_time WHERE conversation = ?1";
    format!(
        "WITH RECURSIVE held (kind) AS ({least} UNION ALL \
         SELECT ({least} AND kind > held.kind) FROM held WHERE held.kind IS NOT NULL) \
         SELECT kind FROM held WHERE kind IS NOT NULL"
    )
}

/// The statement that counts a part of a day, of the kinds in a JSON array.
pub(super) fn count_sql() -> String {
    let filter = filter_sql(Shape { since: true, until: true, ..Shape::default() });
    format!(
        "SELECT count(*) FROM message INDEXED BY message_by_time \
         WHERE conversation = ?1 AND kind IN (SELECT value FROM json_each(?11)){filter}"
    )
}

/// The statement that counts what expired before a day and on that day, by their counters and one by one; the parameters
/// for time are the day and its first moment, and the kinds are a JSON array.
pub(super) const EXPIRED: &str = "SELECT ( \
         SELECT ifnull(sum(n), 0) FROM expiring WHERE conversation = ?1 AND day < ?2 \
         AND kind IN (SELECT value FROM json_each(?11)) \
     ) + ( \
         SELECT count(*) FROM message INDEXED BY message_expiring WHERE conversation = ?1 \
         AND expires_at >= ?3 AND expires_at <= ?10 AND kind IN (SELECT value FROM json_each(?11)))";

/// The statement that counts one by one what has expired of a time it was sent in, of the kinds in a JSON array.
pub(super) fn expired_sql(since: bool, until: bool) -> String {
    let filter = filter_sql(Shape { since, until, ..Shape::default() });
    format!(
        "SELECT count(*) FROM message INDEXED BY message_expiring WHERE conversation = ?1 AND expires_at <= ?10 \
         AND kind IN (SELECT value FROM json_each(?11)){filter}"
    )
}

/// The statement that sums the days from 2 and before 3; with `kinds`, of those in a JSON array.
pub(super) fn tally_sql(kinds: bool) -> String {
    format!("SELECT ifnull(sum(n), 0) FROM tally WHERE conversation = ?1 AND day >= ?2 AND day < ?3{}", among(kinds))
}

/// The statement for the day, of those from 2 and before 3, that holds the message at an offset in that direction, and
/// for how many messages come before that day and how many are of it; with `kinds`, of those in a JSON array.
pub(super) fn day_sql(descending: bool, kinds: bool) -> String {
    let (direction, first) = if descending { ("DESC", "max") } else { ("ASC", "min") };
    let among = among(kinds);
    format!(
        "SELECT {first}(day), reached - here, here FROM ( \
             SELECT day, sum(n) AS here, sum(sum(n)) OVER (ORDER BY day {direction} ROWS UNBOUNDED PRECEDING) AS reached \
             FROM tally WHERE conversation = ?1 AND day >= ?2 AND day < ?3{among} GROUP BY day \
         ) WHERE reached > ?7"
    )
}

fn among(kinds: bool) -> &'static str {
    if kinds { " AND kind IN (SELECT value FROM json_each(?11))" } else { "" }
}

fn filter_sql(shape: Shape) -> String {
    let parts = [
        (shape.since, " AND sent_at >= ?2"),
        (shape.until, " AND sent_at < ?3"),
        (shape.after, " AND id > ?4"),
        (shape.before, " AND id < ?5"),
        (shape.from_seq, " AND seq >= ?8"),
        (shape.to_seq, " AND seq <= ?9"),
    ];
    parts.into_iter().filter(|(wanted, _)| *wanted).map(|(_, sql)| sql).collect()
}
