//! Up to which number partitions are archived, as pages said.

use super::SqliteArchive;
use super::bulk::{Bulk, Values};
use super::commit::Txn;
use super::error::Failure;
use sqlx::Row;
use std::collections::HashMap;
use std::sync::LazyLock;
use stele_archive::model::Reached;
use stele_archive::{InstanceId, Result};

static REACH: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO reached (instance, partition, seq) VALUES",
        "(?, ?, ?)",
        "ON CONFLICT (instance, partition) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq",
    )
});
pub(super) static FIND: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT partition, seq FROM reached WHERE instance = ? AND partition IN (", "?", ")"));

/// Note what a page says.
pub(super) async fn note(txn: &mut Txn<'_>, reached: &[Reached]) -> Result<(), Failure> {
    for (sql, reached) in REACH.cut(reached) {
        let mut values = Values::with_capacity(reached.len() * 3);
        for Reached { partition, seq } in reached {
            values.put(txn.instance)?;
            values.put(partition.as_str())?;
            values.put(*seq)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(())
}

impl SqliteArchive {
    pub(super) async fn numbers_reached(&self, instance: InstanceId, partitions: &[String]) -> Result<Vec<i64>> {
        let mut snapshot = self.read().await?;
        let mut known: HashMap<String, i64> = HashMap::with_capacity(partitions.len());
        for (sql, partitions) in FIND.cut(partitions) {
            let mut values = Values::with_capacity(partitions.len() + 1);
            values.put(instance.0)?;
            for partition in partitions {
                values.put(partition.as_str())?;
            }
            let found = sqlx::query_with(sql, values.done()).fetch_all(&mut *snapshot).await.map_err(Failure)?;
            known.extend(found.iter().map(|row| (row.get(0), row.get(1))));
        }
        Ok(partitions.iter().map(|partition| known.get(partition).copied().unwrap_or(0)).collect())
    }
}
