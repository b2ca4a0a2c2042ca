//! Who takes part in what, and what their lists show: moved per conversation, never per message.

use super::bulk::{Bulk, Values, id_list};
use super::commit::Txn;
use super::error::Failure;
use crate::common::message::NewMessage;
use crate::common::standing::Standing;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Where the conversation's name is not that of the other one, the new row is what [`refresh`] would make of it.
static SEEN: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH j (conversation, person) AS (VALUES",
        "(?, ?)",
        &format!(
            ") INSERT OR FAIL INTO participation (conversation, person, kind, seen, member, day, label) \
             SELECT j.conversation, j.person, c.kind, 1, 0, {DAY_OF}, c.folded FROM j \
             CROSS JOIN conversation AS c ON c.id = j.conversation WHERE true \
             ON CONFLICT (conversation, person) DO UPDATE SET seen = 1 WHERE seen = 0 RETURNING conversation"
        ),
    )
});
/// The day of the latest message of the conversation called `c`.
pub(super) const DAY_OF: &str =
    "CASE WHEN c.last_id > 0 THEN c.last_at / 86400000000 - (c.last_at % 86400000000 < 0) END";

static MOVE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH j (id, day) AS (VALUES",
        "(?, ?)",
        ") UPDATE OR FAIL participation SET day = j.day FROM j WHERE participation.conversation = j.id",
    )
});

/// Senders and recipients take part. Adds the conversations that somebody joined to `joined`.
pub(super) async fn see(txn: &mut Txn<'_>, rows: &[NewMessage<'_>], joined: &mut HashSet<i64>) -> Result<(), Failure> {
    let mut pairs = Vec::new();
    for row in rows {
        for person in row.sender.iter().chain(&row.recipients) {
            let pair = (row.conversation, *person);
            if txn.memory.taking_part.get(&pair).is_none() {
                txn.memory.taking_part.insert(pair, ());
                pairs.push(pair);
            }
        }
    }
    pairs.sort_unstable();
    for (sql, pairs) in SEEN.cut(&pairs) {
        let mut values = Values::with_capacity(pairs.len() * 2);
        for (conversation, person) in pairs {
            values.put(*conversation)?;
            values.put(*person)?;
        }
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            joined.insert(row.get(0));
        }
    }
    Ok(())
}

/// Those of some conversations that are shown under the name of the other one: who else takes part matters there.
pub(super) async fn pairs(
    txn: &mut Txn<'_>,
    conversations: impl IntoIterator<Item = i64>,
) -> Result<Vec<i64>, Failure> {
    let conversations = id_list(conversations);
    if conversations.len() == 2 {
        return Ok(Vec::new());
    }
    let sql = "SELECT c.id FROM json_each(?) AS j CROSS JOIN conversation AS c ON c.id = j.value WHERE c.pair = 1";
    Ok(sqlx::query_scalar(sql).bind(conversations).fetch_all(&mut *txn.connection).await?)
}

/// The conversations whose name in somebody's list is that of one of these people.
pub(super) async fn named_after(txn: &mut Txn<'_>, renamed: &[i64]) -> Result<Vec<i64>, Failure> {
    if renamed.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT p.conversation FROM json_each(?) j CROSS JOIN participation p ON p.person = j.value \
               JOIN conversation c ON c.id = p.conversation WHERE c.pair = 1";
    Ok(sqlx::query_scalar(sql).bind(id_list(renamed.iter().copied())).fetch_all(&mut *txn.connection).await?)
}

/// Bring the lists up to date: of `renewed` conversations everything, of those with a latest message of another day the
/// day. The others stand where they stood.
pub(super) async fn refresh(
    txn: &mut Txn<'_>,
    standing: &HashMap<i64, Standing>,
    renewed: &HashSet<i64>,
) -> Result<(), Failure> {
    let moved = standing.iter().filter(|(id, standing)| standing.another_day() && !renewed.contains(id));
    let mut moved: Vec<(i64, Option<i64>)> = moved.map(|(id, standing)| (*id, standing.day())).collect();
    moved.sort_unstable();
    for (sql, moved) in MOVE.cut(&moved) {
        let mut values = Values::with_capacity(moved.len() * 2);
        for (conversation, day) in moved {
            values.put(*conversation)?;
            values.put(*day)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    if !renewed.is_empty() {
        let mut renewed: Vec<i64> = renewed.iter().copied().collect();
        renewed.sort_unstable();
        let sql = format!(
            "UPDATE OR FAIL participation SET kind = c.kind, day = {DAY_OF}, label = \
                   CASE WHEN c.pair = 1 AND (SELECT count(*) FROM participation AS o WHERE o.conversation = c.id) = 2 \
                   THEN (SELECT other.folded FROM participation AS o JOIN person AS other ON other.id = o.person \
                         WHERE o.conversation = c.id AND o.person <> participation.person) \
                   ELSE c.folded END \
                   FROM json_each(?) AS j CROSS JOIN conversation AS c ON c.id = j.value \
                   WHERE participation.conversation = c.id"
        );
        sqlx::query(AssertSqlSafe(sql)).bind(id_list(renewed)).execute(&mut *txn.connection).await?;
    }
    Ok(())
}
