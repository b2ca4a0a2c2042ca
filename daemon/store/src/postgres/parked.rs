//! Envelopes that cannot be read yet: kept, with an id reserved for their message.

use super::commit::Txn;
use super::error::Failure;
use super::head::next;
use super::messages;
use super::text::written;
use crate::common::rows::Columns;
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use stele_archive::model::{Message, Parked};

/// The ids reserved for these messages; their envelopes are no longer parked.
pub(super) async fn take(txn: &mut Txn<'_>, fresh: &[&Message]) -> Result<HashMap<String, i64>, Failure> {
    if txn.head.parked == 0 || fresh.is_empty() {
        return Ok(HashMap::new());
    }
    let take = "DELETE FROM parked WHERE instance = $1 AND native_id = ANY($2) RETURNING native_id, reserved";
    let taken = sqlx::query(take)
        .bind(txn.instance)
        .bind(fresh.iter().map(|message| written(&message.native_id)).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    txn.head.parked -= taken.len() as i64;
    txn.counters.parked -= taken.len() as i64;
    Ok(taken.iter().map(|row| (row.text(0), row.get(1))).collect())
}

/// Park what is neither readable nor parked; count another attempt of what is. Returns how many are new.
pub(super) async fn park(txn: &mut Txn<'_>, parked: &[Parked]) -> Result<u64, Failure> {
    const AGAIN: &str = "UPDATE parked AS p SET attempts = p.attempts + 1, reason = j.reason, envelope = j.envelope \
        FROM unnest($2::text[], $3::text[], $4::bytea[]) AS j (native_id, reason, envelope) \
        WHERE p.instance = $1 AND p.native_id = j.native_id RETURNING p.native_id";
    const PARK: &str = "INSERT INTO parked (instance, partition, since, reserved, native_id, reason, envelope) \
        SELECT $1, $2, $3, j.* FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bytea[]) AS j";
    let mut seen = HashSet::new();
    let mut parked: Vec<&Parked> = parked.iter().filter(|parked| seen.insert(parked.native_id.as_str())).collect();
    if parked.is_empty() {
        return Ok(0);
    }
    let readable = messages::known(txn, parked.iter().map(|parked| parked.native_id.as_str())).await?;
    parked.retain(|parked| !readable.contains(&parked.native_id));
    let again = sqlx::query(AGAIN)
        .bind(txn.instance)
        .bind(parked.iter().map(|parked| written(&parked.native_id)).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| written(&parked.reason)).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| &*parked.envelope).collect::<Vec<&[u8]>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    let again: HashSet<String> = again.iter().map(|row| row.text(0)).collect();
    parked.retain(|parked| !again.contains(&parked.native_id));
    if parked.is_empty() {
        return Ok(0);
    }
    sqlx::query(PARK)
        .bind(txn.instance)
        .bind(written(txn.partition))
        .bind(txn.now)
        .bind(parked.iter().map(|_| next(&mut txn.head.next_id)).collect::<Vec<i64>>())
        .bind(parked.iter().map(|parked| written(&parked.native_id)).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| written(&parked.reason)).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| &*parked.envelope).collect::<Vec<&[u8]>>())
        .execute(&mut *txn.connection)
        .await?;
    txn.head.parked += parked.len() as i64;
    txn.counters.parked += parked.len() as i64;
    Ok(parked.len() as u64)
}
