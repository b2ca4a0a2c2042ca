//! Who is a member of what, and from when to when: moved for those who join or leave, never for the others.

use super::bulk::{Bulk, Values, id_list};
use super::commit::Txn;
use super::error::Failure;
use super::participation::DAY_OF;
use crate::common::Ids;
use crate::common::members::{Moves, Pair, told};
use sqlx::Row;
use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;
use stele_archive::model::Conversation;

/// Those of some people who are members.
static AMONG: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH j (conversation, person) AS (VALUES",
        "(?, ?)",
        ") SELECT p.conversation, p.person FROM j CROSS JOIN participation AS p \
         ON p.conversation = j.conversation AND p.person = j.person WHERE p.member = 1",
    )
});
static TAKE_IN: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH j (conversation, person) AS (VALUES",
        "(?, ?)",
        &format!(
            ") INSERT OR FAIL INTO participation (conversation, person, kind, seen, member, day, label) \
             SELECT j.conversation, j.person, c.kind, 0, 1, {DAY_OF}, c.folded FROM j \
             CROSS JOIN conversation AS c ON c.id = j.conversation WHERE true \
             ON CONFLICT (conversation, person) DO UPDATE SET member = 1"
        ),
    )
});
/// Whoever left and came back with nothing said since they joined goes on with the stay they had.
static BEGIN: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO stay (conversation, person, after_rev, joined_at) VALUES",
        "(?, ?, ?, ?)",
        "ON CONFLICT (conversation, person, after_rev) DO UPDATE SET until_rev = NULL, left_at = NULL",
    )
});
static FORGET: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("DELETE FROM participation WHERE seen = 0 AND (conversation, person) IN (VALUES", "(?, ?)", ")")
});
static LET_GO: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("UPDATE participation SET member = 0 WHERE (conversation, person) IN (VALUES", "(?, ?)", ")")
});
static END: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "UPDATE stay SET until_rev = ?, left_at = ? WHERE until_rev IS NULL AND (conversation, person) IN (VALUES",
        "(?, ?)",
        ")",
    )
});

/// Make members those the page says are, as of the latest revision. Returns the conversations whose members changed.
pub(super) async fn change(
    txn: &mut Txn<'_>,
    described: &[Conversation],
    conversations: &Ids<'_>,
    people: &Ids<'_>,
) -> Result<BTreeSet<i64>, Failure> {
    let told = told(described, conversations);
    if told.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut moves = Moves::default();
    let mut candidates = Vec::new();
    for (conversation, told) in &told {
        match told.members(people) {
            Some(new) => moves.replace(*conversation, members(txn, *conversation).await?, new),
            None => candidates.extend(told.changes(people).map(|(person, member)| ((*conversation, person), member))),
        }
    }
    candidates.sort_unstable();
    choose(txn, &candidates, &mut moves).await?;
    moves.joined.sort_unstable();
    moves.left.sort_unstable();
    take_in(txn, &moves.joined).await?;
    let_go(txn, &moves.left).await?;
    let moved: BTreeSet<i64> = moves.joined.iter().chain(&moves.left).map(|(conversation, _)| *conversation).collect();
    if !moved.is_empty() {
        sqlx::query("UPDATE conversation SET audience = audience + 1 WHERE id IN (SELECT value FROM json_each(?))")
            .bind(id_list(moved.iter().copied()))
            .execute(&mut *txn.connection)
            .await?;
    }
    Ok(moved)
}

async fn members(txn: &mut Txn<'_>, conversation: i64) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT person FROM participation WHERE conversation = ? AND member = 1";
    Ok(sqlx::query_scalar(sql).bind(conversation).fetch_all(&mut *txn.connection).await?)
}

/// Those of the candidates for whom something changes.
async fn choose(txn: &mut Txn<'_>, candidates: &[(Pair, bool)], moves: &mut Moves) -> Result<(), Failure> {
    let mut members: HashSet<Pair> = HashSet::new();
    for (sql, candidates) in AMONG.cut(candidates) {
        let values = pairs(candidates.len(), candidates.iter().map(|(pair, _)| pair), &[])?;
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            members.insert((row.get(0), row.get(1)));
        }
    }
    moves.choose(candidates, &members);
    Ok(())
}

async fn take_in(txn: &mut Txn<'_>, joined: &[Pair]) -> Result<(), Failure> {
    for (sql, joined) in TAKE_IN.cut(joined) {
        let values = pairs(joined.len(), joined, &[])?;
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    for (sql, joined) in BEGIN.cut(joined) {
        let mut values = Values::with_capacity(joined.len() * 4);
        for (conversation, person) in joined {
            for number in [*conversation, *person, txn.memory.last_rev, txn.now] {
                values.put(number)?;
            }
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(())
}

async fn let_go(txn: &mut Txn<'_>, left: &[Pair]) -> Result<(), Failure> {
    for (bulk, first) in [(&*FORGET, &[][..]), (&*LET_GO, &[]), (&*END, &[txn.memory.last_rev, txn.now])] {
        for (sql, left) in bulk.cut(left) {
            let values = pairs(left.len(), left, first)?;
            sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
        }
    }
    Ok(())
}

/// These numbers, and then the pairs.
fn pairs<'p>(count: usize, pairs: impl IntoIterator<Item = &'p Pair>, first: &[i64]) -> Result<Values, Failure> {
    let mut values = Values::with_capacity(first.len() + count * 2);
    for number in first {
        values.put(*number)?;
    }
    for (conversation, person) in pairs {
        values.put(*conversation)?;
        values.put(*person)?;
    }
    Ok(values)
}
