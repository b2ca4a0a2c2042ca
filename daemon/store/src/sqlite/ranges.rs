//! The statements of a conversation's history. Each reads ranges of one index, which holds all that is filtered by; no row
//! is touched, save for bounds of the number with another order, where that is not the order by id.
//!
//! Parameters have the same number everywhere: 1 the conversation, 2 and 3 the time from and before, 4 and 5 the ids
//! after and before, 6 the limit, 7 the offset, 8 and 9 the numbers from and up to, and from 10 on the kinds.

use stele_archive::ops::MessageOrder;

/// Kinds that are merged from a range each. A conversation that holds more of them is sorted for every page.
pub(super) const MERGED: usize = 64;

/// Which index answers, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub order: MessageOrder,
    pub descending: bool,
}

/// The bounds of a query, as far as they shape its statement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    pub since: bool,
    pub until: bool,
    pub after: bool,
    pub before: bool,
    pub from_seq: bool,
    pub to_seq: bool,
}

/// The statement that finds a page's ids, of so many kinds: a range each, merged in order by the database. More than
/// [`MERGED`] kinds are one parameter, a JSON array.
pub(super) fn page_sql(walk: Walk, shape: Shape, kinds: usize) -> String {
    let (place, column) = match walk.order {
        MessageOrder::SentAt => ("message INDEXED BY message_by_time", "sent_at"),
        MessageOrder::Id => ("message INDEXED BY message_by_id", "id"),
        MessageOrder::Seq => ("message_by_seq", "seq"),
    };
    let direction = if walk.descending { "DESC" } else { "ASC" };
    let tie = if walk.order == MessageOrder::Id { String::new() } else { format!(", 1 {direction}") };
    let filter = filter_sql(shape);
    let range =
        |kind: String| format!("SELECT id, {column} FROM {place} WHERE conversation = ?1 AND kind {kind}{filter}");
    let ranges: Vec<_> = if kinds > MERGED {
        vec![range("IN (SELECT value FROM json_each(?10))".to_owned())]
    } else {
        (0..kinds).map(|at| range(format!("= ?{}", 10 + at))).collect()
    };
    format!("{} ORDER BY 2 {direction}{tie} LIMIT ?6 OFFSET ?7", ranges.join(" UNION ALL "))
}

/// The statement for the least id from number 8 on, of the kinds in a JSON array, where numbers ascend with ids. The ids in
/// question are halved until none is left: each step looks at the first message of the upper half.
pub(super) fn first_id_sql() -> String {
    "WITH RECURSIVE part (low, high, first) AS ( \
         SELECT 0, ifnull((SELECT max(id) FROM message), 0) + 1, NULL \
         UNION ALL \
         SELECT CASE WHEN m.seq < ?8 THEN m.id + 1 ELSE part.low END, \
                CASE WHEN m.seq < ?8 THEN part.high ELSE (part.low + part.high) / 2 END, \
                CASE WHEN m.seq >= ?8 THEN m.id ELSE part.first END \
         FROM part LEFT JOIN message AS m ON m.id = ( \
             SELECT min((SELECT min(id) FROM message INDEXED BY message_by_id WHERE conversation = ?1 \
                         AND kind = k.value AND id >= (part.low + part.high) / 2 AND id < part.high)) \
             FROM json_each(?10) AS k) \
         WHERE part.low < part.high \
     ) SELECT first FROM part WHERE low >= high"
        .to_owned()
}

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
         WHERE conversation = ?1 AND kind IN (SELECT value FROM json_each(?10)){filter}"
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
    if kinds { " AND kind IN (SELECT value FROM json_each(?10))" } else { "" }
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
