//! Who takes part in what, and what their lists show: moved per conversation, never per message.
//!
//! A row that comes, goes, gets its first day or moves to another kind moves the length of a list (`listed`): that is noted in
//! [`Txn::listed`] and written once.

use super::commit::Txn;
use super::error::Failure;
use crate::common::message::NewMessage;
use crate::common::standing::Standing;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{HashMap, HashSet};

/// The day of the latest message of the conversation called `c`. Division rounds towards 1970.
pub(super) const DAY_OF: &str =
    "CASE WHEN c.last_id > 0 THEN c.last_at / 86400000000 - (c.last_at % 86400000000 < 0)::integer END";

impl Txn<'_> {
    /// So many of a person's conversations of a kind more.
    fn list(&mut self, person: i64, kind: i64, more: i64) {
        *self.listed.entry((person, kind)).or_default() += more;
    }

    /// The same for rows of person, kind, and whether there is a day.
    pub(super) fn list_rows(&mut self, rows: &[PgRow], more: i64) {
        for row in rows.iter().filter(|row| row.get(2)) {
            self.list(row.get(0), row.get(1), more);
        }
    }
}

/// The days of conversations with a latest message of another day, or their first one.
pub(super) async fn advance(txn: &mut Txn<'_>, standing: &HashMap<i64, Standing>) -> Result<(), Failure> {
    const MOVE: &str = "UPDATE participation AS p SET day = j.day FROM unnest($2::bigint[], $3::bigint[]) AS j (id, day) \
        WHERE p.instance = $1 AND p.conversation = j.id";
    const BEGIN: &str = "UPDATE participation AS p SET day = j.day FROM unnest($2::bigint[], $3::bigint[]) AS j (id, day) \
        WHERE p.instance = $1 AND p.conversation = j.id RETURNING p.person, p.kind, p.day IS NOT NULL";
    let moved = |first: bool| -> (Vec<i64>, Vec<Option<i64>>) {
        let moved = standing.iter().filter(|(_, standing)| standing.another_day() && standing.is_first() == first);
        let mut moved: Vec<(i64, Option<i64>)> = moved.map(|(id, standing)| (*id, standing.day())).collect();
        moved.sort_unstable();
        moved.into_iter().unzip()
    };
    let (ids, days) = moved(false);
    if !ids.is_empty() {
        sqlx::query(MOVE).bind(txn.instance).bind(ids).bind(days).execute(&mut *txn.connection).await?;
    }
    let (ids, days) = moved(true);
    if !ids.is_empty() {
        let begin = sqlx::query(BEGIN).bind(txn.instance).bind(ids).bind(days);
        let begun = begin.fetch_all(&mut *txn.connection).await?;
        txn.list_rows(&begun, 1);
    }
    Ok(())
}

/// A conversation is found to be of another kind.
pub(super) async fn move_kind(txn: &mut Txn<'_>, conversation: i64, old: i64, new: i64) -> Result<(), Failure> {
    let sql = "UPDATE participation SET kind = $3 WHERE instance = $1 AND conversation = $2 \
               RETURNING person, kind, day IS NOT NULL";
    let moving = sqlx::query(sql).bind(txn.instance).bind(conversation).bind(new);
    let moved = moving.fetch_all(&mut *txn.connection).await?;
    for row in moved.iter().filter(|row| row.get(2)) {
        txn.list(row.get(0), old, -1);
    }
    txn.list_rows(&moved, 1);
    Ok(())
}

/// Senders and recipients take part. Adds the conversations that somebody came to, or was seen in for the first time, to
/// `joined`.
pub(super) async fn see(txn: &mut Txn<'_>, rows: &[NewMessage<'_>], joined: &mut HashSet<i64>) -> Result<(), Failure> {
    let mut pairs = HashSet::new();
    for row in rows {
        for person in row.sender.iter().chain(&row.recipients) {
            let pair = (row.conversation, *person);
            if txn.memory.taking_part.get(&pair).is_none() {
                pairs.insert(pair);
            }
        }
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let mut pairs: Vec<(i64, i64)> = pairs.into_iter().collect();
    pairs.sort_unstable();
    txn.learnt.taking_part.extend(&pairs);
    let (conversations, people): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
    let sql = "UPDATE participation AS p SET seen = true FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
               WHERE p.instance = $1 AND p.conversation = j.conversation AND p.person = j.person AND NOT p.seen \
               RETURNING p.conversation";
    let known = sqlx::query_scalar::<_, i64>(sql).bind(txn.instance).bind(&conversations).bind(&people);
    joined.extend(known.fetch_all(&mut *txn.connection).await?);
    joined.extend(add(txn, &conversations, &people, true).await?);
    Ok(())
}

/// Those of these pairs of conversation and person that are not there come in, as seen or else as members. Returns the conversations
/// they came to.
pub(super) async fn add(
    txn: &mut Txn<'_>,
    conversations: &[i64],
    people: &[i64],
    seen: bool,
) -> Result<HashSet<i64>, Failure> {
    let sql = format!(
        "INSERT INTO participation (instance, conversation, person, kind, seen, member, day, label) \
         SELECT $1, j.conversation, j.person, c.kind, $4, NOT $4, {DAY_OF}, c.folded \
         FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
         JOIN conversation AS c ON c.instance = $1 AND c.id = j.conversation \
         ON CONFLICT (instance, conversation, person) DO NOTHING RETURNING person, kind, day IS NOT NULL, conversation"
    );
    let add = sqlx::query(AssertSqlSafe(sql)).bind(txn.instance).bind(conversations).bind(people).bind(seen);
    let added = add.fetch_all(&mut *txn.connection).await?;
    txn.list_rows(&added, 1);
    Ok(added.iter().map(|row| row.get(3)).collect())
}

/// The conversations whose name in somebody's list is that of one of these people.
pub(super) async fn named_after(txn: &mut Txn<'_>, renamed: &[i64]) -> Result<Vec<i64>, Failure> {
    if renamed.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT p.conversation FROM participation AS p \
               JOIN conversation AS c ON c.instance = $1 AND c.id = p.conversation AND c.pair \
               WHERE p.instance = $1 AND p.person = ANY($2)";
    Ok(sqlx::query_scalar(sql).bind(txn.instance).bind(renamed).fetch_all(&mut *txn.connection).await?)
}

/// The names of conversations in lists: of all `relisted` ones, and of those others that are shown under the name of the other
/// one, since who takes part matters there.
pub(super) async fn rename(txn: &mut Txn<'_>, others: &HashSet<i64>, relisted: &[i64]) -> Result<(), Failure> {
    if others.is_empty() && relisted.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE participation AS p SET label = n.label FROM ( \
                   SELECT a.conversation, a.person, CASE WHEN c.pair AND t.n = 2 THEN ( \
                       SELECT other.folded FROM participation AS o \
                       JOIN person AS other ON other.instance = $1 AND other.id = o.person \
                       WHERE o.instance = $1 AND o.conversation = a.conversation AND o.person <> a.person \
                   ) ELSE c.folded END AS label \
                   FROM conversation AS c \
                   CROSS JOIN LATERAL ( \
                       SELECT count(*) AS n FROM participation WHERE instance = $1 AND conversation = c.id) AS t \
                   JOIN participation AS a ON a.instance = $1 AND a.conversation = c.id \
                   WHERE c.instance = $1 AND (c.id = ANY($2) OR (c.pair AND c.id = ANY($3))) \
               ) AS n \
               WHERE p.instance = $1 AND p.conversation = n.conversation AND p.person = n.person AND p.label <> n.label";
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(relisted)
        .bind(others.iter().copied().collect::<Vec<i64>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}
