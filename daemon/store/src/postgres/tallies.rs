//! Counters that make totals exact and cheap.

use super::commit::Txn;
use super::error::Failure;
use crate::common::message::NewMessage;
use crate::common::tallies::{Tallies, Tally};

const SENT: &str = "INSERT INTO tally (instance, conversation, day, kind, n) \
    SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS j \
    ON CONFLICT (instance, conversation, day, kind) DO UPDATE SET n = tally.n + excluded.n";
const EXPIRING: &str = "INSERT INTO expiring (instance, conversation, day, kind, n) \
    SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS j \
    ON CONFLICT (instance, conversation, day, kind) DO UPDATE SET n = expiring.n + excluded.n";
const DAYS: &str = "INSERT INTO day_total (instance, day, n) SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[]) AS j \
    ON CONFLICT (instance, day) DO UPDATE SET n = day_total.n + excluded.n";
const LISTED: &str = "INSERT INTO listed (instance, person, kind, n) \
    SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS j \
    ON CONFLICT (instance, person, kind) DO UPDATE SET n = listed.n + excluded.n";

/// Count the new messages.
pub(super) async fn count(txn: &mut Txn<'_>, rows: &[NewMessage<'_>]) -> Result<(), Failure> {
    let Tallies { sent, expiring, days } = Tallies::of(rows);
    add(txn, SENT, &sent).await?;
    add(txn, EXPIRING, &expiring).await?;
    if !days.is_empty() {
        let (days, numbers): (Vec<i64>, Vec<i64>) = days.into_iter().unzip();
        sqlx::query(DAYS).bind(txn.instance).bind(days).bind(numbers).execute(&mut *txn.connection).await?;
    }
    Ok(())
}

async fn add(txn: &mut Txn<'_>, sql: &'static str, tally: &Tally) -> Result<(), Failure> {
    if tally.is_empty() {
        return Ok(());
    }
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(tally.keys().map(|(conversation, ..)| *conversation).collect::<Vec<i64>>())
        .bind(tally.keys().map(|(_, day, _)| *day).collect::<Vec<i64>>())
        .bind(tally.keys().map(|(.., kind)| *kind).collect::<Vec<i64>>())
        .bind(tally.values().copied().collect::<Vec<i64>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

/// Write down what the page added to the lengths of lists.
pub(super) async fn list(txn: &mut Txn<'_>) -> Result<(), Failure> {
    let mut listed: Vec<((i64, i64), i64)> = txn.listed.drain().filter(|(_, more)| *more != 0).collect();
    if listed.is_empty() {
        return Ok(());
    }
    listed.sort_unstable();
    sqlx::query(LISTED)
        .bind(txn.instance)
        .bind(listed.iter().map(|((person, _), _)| *person).collect::<Vec<i64>>())
        .bind(listed.iter().map(|((_, kind), _)| *kind).collect::<Vec<i64>>())
        .bind(listed.iter().map(|(_, more)| *more).collect::<Vec<i64>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}
