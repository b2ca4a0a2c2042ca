//! Envelopes that cannot be read yet: kept, with an id reserved for their message.

use super::bulk::{Bulk, Values};
use super::commit::Txn;
use super::error::Failure;
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use stele_archive::model::{Message, Parked};

static FIND: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("SELECT native_id, reserved FROM parked WHERE instance = ? AND native_id IN (", "?", ")")
});
static READABLE: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT native_id FROM message WHERE instance = ? AND native_id IN (", "?", ")"));

/// The ids reserved for these messages; their envelopes are no longer parked.
pub(super) async fn take(txn: &mut Txn<'_>, fresh: &[&Message]) -> Result<HashMap<String, i64>, Failure> {
    let mut reserved = HashMap::new();
    if txn.memory.parked == 0 {
        return Ok(reserved);
    }
    for (sql, messages) in FIND.cut(fresh) {
        let mut values = Values::with_capacity(messages.len() + 1);
        values.put(txn.instance)?;
        for message in messages {
            values.put(message.native_id.as_str())?;
        }
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            reserved.insert(row.get(0), row.get::<i64, _>(1));
        }
    }
    for id in reserved.values() {
        sqlx::query("DELETE FROM parked WHERE reserved = ?").bind(*id).execute(&mut *txn.connection).await?;
    }
    txn.memory.parked -= reserved.len() as i64;
    txn.counters.parked -= reserved.len() as i64;
    Ok(reserved)
}

/// Park what is neither readable nor parked; count another attempt of what is. Returns how many are new.
pub(super) async fn park(txn: &mut Txn<'_>, parked: &[Parked]) -> Result<u64, Failure> {
    let mut seen = HashSet::new();
    let parked: Vec<&Parked> = parked.iter().filter(|parked| seen.insert(parked.native_id.as_str())).collect();
    let mut new = 0;
    // Both are cut alike.
    for ((sql, group), (readable_sql, _)) in FIND.cut(&parked).zip(READABLE.cut(&parked)) {
        let readable: HashSet<String> = find(txn, readable_sql, group).await?.iter().map(|row| row.get(0)).collect();
        let known: HashMap<String, i64> =
            find(txn, sql, group).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
        for parked in group {
            if readable.contains(&parked.native_id) {
                continue;
            }
            if let Some(reserved) = known.get(&parked.native_id) {
                sqlx::query("UPDATE parked SET attempts = attempts + 1, reason = ?, envelope = ? WHERE reserved = ?")
                    .bind(&parked.reason)
                    .bind(&*parked.envelope)
                    .bind(*reserved)
                    .execute(&mut *txn.connection)
                    .await?;
                continue;
            }
            let reserved = txn.memory.next();
            sqlx::query(
                "INSERT INTO parked (reserved, instance, partition, native_id, since, reason, envelope) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(reserved)
            .bind(txn.instance)
            .bind(txn.partition)
            .bind(&parked.native_id)
            .bind(txn.now)
            .bind(&parked.reason)
            .bind(&*parked.envelope)
            .execute(&mut *txn.connection)
            .await?;
            new += 1;
        }
    }
    txn.memory.parked += new;
    txn.counters.parked += new;
    Ok(new.cast_unsigned())
}

async fn find(
    txn: &mut Txn<'_>,
    sql: &'static str,
    group: &[&Parked],
) -> Result<Vec<sqlx::sqlite::SqliteRow>, Failure> {
    let mut values = Values::with_capacity(group.len() + 1);
    values.put(txn.instance)?;
    for parked in group {
        values.put(parked.native_id.as_str())?;
    }
    Ok(sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await?)
}
