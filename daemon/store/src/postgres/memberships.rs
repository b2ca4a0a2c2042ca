//! Who is a member of what, and from when to when: moved for those who join or leave, never for the others.

use super::commit::Txn;
use super::error::Failure;
use super::participation;
use crate::common::Ids;
use crate::common::members::{Moves, Pair, told};
use sqlx::Row;
use std::collections::HashSet;
use stele_archive::model::Conversation;

/// Make members those the page says are, as of the latest revision before it. Returns the conversations whose members changed.
pub(super) async fn change(
    txn: &mut Txn<'_>,
    before: i64,
    described: &[Conversation],
    conversations: &Ids<'_>,
    people: &Ids<'_>,
) -> Result<HashSet<i64>, Failure> {
    let told = told(described, conversations);
    if told.is_empty() {
        return Ok(HashSet::new());
    }
    let mut moves = Moves::default();
    let mut candidates = Vec::new();
    for (conversation, told) in &told {
        match told.members(people) {
            Some(new) => moves.replace(*conversation, members(txn, *conversation).await?, new),
            None => candidates.extend(told.changes(people).map(|(person, member)| ((*conversation, person), member))),
        }
    }
    if !candidates.is_empty() {
        candidates.sort_unstable();
        let among = among(txn, &candidates).await?;
        moves.choose(&candidates, &among);
    }
    moves.joined.sort_unstable();
    moves.left.sort_unstable();
    take_in(txn, before, &moves.joined).await?;
    let_go(txn, before, &moves.left).await?;
    let moved: HashSet<i64> = moves.joined.iter().chain(&moves.left).map(|(conversation, _)| *conversation).collect();
    if !moved.is_empty() {
        sqlx::query("UPDATE conversation SET audience = audience + 1 WHERE instance = $1 AND id = ANY($2)")
            .bind(txn.instance)
            .bind(moved.iter().copied().collect::<Vec<i64>>())
            .execute(&mut *txn.connection)
            .await?;
    }
    Ok(moved)
}

async fn members(txn: &mut Txn<'_>, conversation: i64) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT person FROM participation WHERE instance = $1 AND conversation = $2 AND member";
    Ok(sqlx::query_scalar(sql).bind(txn.instance).bind(conversation).fetch_all(&mut *txn.connection).await?)
}

/// Those of the candidates who are members.
async fn among(txn: &mut Txn<'_>, candidates: &[(Pair, bool)]) -> Result<HashSet<Pair>, Failure> {
    let (conversations, people): (Vec<i64>, Vec<i64>) = candidates.iter().map(|(pair, _)| *pair).unzip();
    let sql = "SELECT p.conversation, p.person FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
               JOIN participation AS p ON p.instance = $1 AND p.conversation = j.conversation AND p.person = j.person \
               WHERE p.member";
    let found = sqlx::query(sql).bind(txn.instance).bind(conversations).bind(people);
    Ok(found.fetch_all(&mut *txn.connection).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Whoever left and came back with nothing said since they joined goes on with the stay they had.
async fn take_in(txn: &mut Txn<'_>, before: i64, joined: &[Pair]) -> Result<(), Failure> {
    const MEMBER: &str = "UPDATE participation AS p SET member = true \
        FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
        WHERE p.instance = $1 AND p.conversation = j.conversation AND p.person = j.person";
    const BEGIN: &str = "INSERT INTO stay (instance, conversation, person, after_rev, joined_at) \
        SELECT $1, j.conversation, j.person, $4, $5 FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
        ON CONFLICT (instance, conversation, person, after_rev) DO UPDATE SET until_rev = NULL, left_at = NULL";
    if joined.is_empty() {
        return Ok(());
    }
    let (conversations, people): (Vec<i64>, Vec<i64>) = joined.iter().copied().unzip();
    let known = sqlx::query(MEMBER).bind(txn.instance).bind(&conversations).bind(&people);
    known.execute(&mut *txn.connection).await?;
    participation::add(txn, &conversations, &people, false).await?;
    let begin = sqlx::query(BEGIN).bind(txn.instance).bind(conversations).bind(people).bind(before).bind(txn.now);
    begin.execute(&mut *txn.connection).await?;
    Ok(())
}

async fn let_go(txn: &mut Txn<'_>, before: i64, left: &[Pair]) -> Result<(), Failure> {
    const FORGET: &str = "DELETE FROM participation AS p USING unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
        WHERE p.instance = $1 AND p.conversation = j.conversation AND p.person = j.person AND NOT p.seen \
        RETURNING p.person, p.kind, p.day IS NOT NULL";
    const LET_GO: &str = "UPDATE participation AS p SET member = false \
        FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
        WHERE p.instance = $1 AND p.conversation = j.conversation AND p.person = j.person";
    const END: &str = "UPDATE stay AS s SET until_rev = $4, left_at = $5 \
        FROM unnest($2::bigint[], $3::bigint[]) AS j (conversation, person) \
        WHERE s.instance = $1 AND s.conversation = j.conversation AND s.person = j.person AND s.until_rev IS NULL";
    if left.is_empty() {
        return Ok(());
    }
    let (conversations, people): (Vec<i64>, Vec<i64>) = left.iter().copied().unzip();
    let forget = sqlx::query(FORGET).bind(txn.instance).bind(&conversations).bind(&people);
    let forgotten = forget.fetch_all(&mut *txn.connection).await?;
    txn.list_rows(&forgotten, -1);
    let let_go = sqlx::query(LET_GO).bind(txn.instance).bind(&conversations).bind(&people);
    let_go.execute(&mut *txn.connection).await?;
    let end = sqlx::query(END).bind(txn.instance).bind(conversations).bind(people).bind(before).bind(txn.now);
    end.execute(&mut *txn.connection).await?;
    Ok(())
}
