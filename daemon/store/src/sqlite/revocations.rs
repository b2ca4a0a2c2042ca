//! Messages taken back: marked when they are here, remembered until they come.

use super::bulk::{Bulk, Values};
use super::commit::Txn;
use super::error::Failure;
use crate::common::message::{NewMessage, by_native};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use stele_archive::model::{COPY, Revocation};

static WAITING: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "SELECT native_id, revoked_by, revoked_at FROM revocation WHERE instance = ? AND native_id IN (",
        "?",
        ")",
    )
});
static FIND: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT native_id, id FROM message WHERE instance = ? AND native_id IN (", "?", ")"));

const MARK: &str = "UPDATE message SET revoked_at = ?, revoked_by = ? WHERE id = ? AND revoked_at IS NULL";

/// Further copies: what begins with the native id of the first and [`COPY`] is a range of the index.
pub(super) const MARK_COPIES: &str = "UPDATE message SET revoked_at = ?, revoked_by = ? \
     WHERE instance = ? AND native_id >= ? AND native_id < ? AND revoked_at IS NULL";
/// The character after [`COPY`].
const AFTER_COPY: char = '$';

/// Mark new messages whose revocation came first.
pub(super) async fn apply_waiting(txn: &mut Txn<'_>, rows: &[NewMessage<'_>]) -> Result<(), Failure> {
    if txn.memory.revocations == 0 {
        return Ok(());
    }
    let ids = by_native(rows);
    let natives: Vec<&str> = ids.keys().copied().collect();
    for (sql, natives) in WAITING.cut(&natives) {
        let mut values = Values::with_capacity(natives.len() + 1);
        values.put(txn.instance)?;
        for native in natives {
            values.put(*native)?;
        }
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            let native: &str = row.get(0);
            for id in &ids[native] {
                sqlx::query(MARK)
                    .bind(row.get::<i64, _>(2))
                    .bind(row.get::<&str, _>(1))
                    .bind(*id)
                    .execute(&mut *txn.connection)
                    .await?;
            }
            sqlx::query("DELETE FROM revocation WHERE instance = ? AND native_id = ?")
                .bind(txn.instance)
                .bind(native)
                .execute(&mut *txn.connection)
                .await?;
            txn.memory.revocations -= 1;
        }
    }
    Ok(())
}

/// Mark the originals; remember what has none yet. The first revocation of a message counts, later ones change nothing.
/// Returns how many did something.
pub(super) async fn revoke(txn: &mut Txn<'_>, revocations: &[Revocation]) -> Result<u64, Failure> {
    let mut seen = HashSet::new();
    let revocations: Vec<&Revocation> = revocations.iter().filter(|r| seen.insert(r.native_id.as_str())).collect();
    let mut done = 0;
    for (sql, revocations) in FIND.cut(&revocations) {
        let mut values = Values::with_capacity(revocations.len() + 1);
        values.put(txn.instance)?;
        for revocation in revocations {
            values.put(revocation.native_id.as_str())?;
        }
        let originals = sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await?;
        let originals: HashMap<String, i64> = originals.iter().map(|row| (row.get(0), row.get(1))).collect();
        for revocation in revocations {
            let changed = if let Some(id) = originals.get(&revocation.native_id) {
                let marked = sqlx::query(MARK)
                    .bind(revocation.at)
                    .bind(&revocation.by)
                    .bind(*id)
                    .execute(&mut *txn.connection)
                    .await?
                    .rows_affected();
                sqlx::query(MARK_COPIES)
                    .bind(revocation.at)
                    .bind(&revocation.by)
                    .bind(txn.instance)
                    .bind(format!("{}{COPY}", revocation.native_id))
                    .bind(format!("{}{AFTER_COPY}", revocation.native_id))
                    .execute(&mut *txn.connection)
                    .await?;
                marked
            } else {
                let wait = "INSERT INTO revocation (instance, native_id, revoked_by, revoked_at) VALUES (?, ?, ?, ?) \
                            ON CONFLICT (instance, native_id) DO NOTHING";
                let added = sqlx::query(wait)
                    .bind(txn.instance)
                    .bind(&revocation.native_id)
                    .bind(&revocation.by)
                    .bind(revocation.at)
                    .execute(&mut *txn.connection)
                    .await?
                    .rows_affected();
                txn.memory.revocations += added.cast_signed();
                added
            };
            done += changed;
        }
    }
    Ok(done)
}
