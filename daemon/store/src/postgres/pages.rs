//! The way in.

use super::error::Failure;
use super::head::Head;
use super::text::written;
use super::{PostgresArchive, transact};
use crate::common::keys;
use crate::common::rows::{Columns, parked};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{PgConnection, Row};
use std::collections::HashMap;
use stele_archive::model::Micros;
use stele_archive::{Commit, Committed, InstanceId, MessageId, Pages, ParkedRow, Result, Stream};

#[async_trait]
impl Pages for PostgresArchive {
    async fn instance(&self, name: &str) -> Result<InstanceId> {
        keys::check("the name of an instance", name)?;
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            if let Some(id) = find(&mut snapshot, name).await? {
                return Ok(id);
            }
            drop(snapshot);
            let mut transaction = self.begin().await?;
            // Whoever else makes it has the row first, or second.
            Head::take(&mut transaction).await?;
            if let Some(id) = find(&mut transaction, name).await? {
                return Ok(id);
            }
            let next = "UPDATE head SET next_instance = next_instance + 1 WHERE one = 1 RETURNING next_instance - 1";
            let id: i64 = sqlx::query_scalar(next).fetch_one(&mut *transaction).await?;
            sqlx::query("INSERT INTO instance (id, name) VALUES ($1, $2)")
                .bind(id)
                .bind(written(name))
                .execute(&mut *transaction)
                .await?;
            transact::commit(transaction).await?;
            Ok(InstanceId(id))
        })
        .await
    }

    async fn cursor(&self, instance: InstanceId, partition: &str, stream: Stream) -> Result<Option<(Bytes, Micros)>> {
        self.repeat(|| async {
            let sql = "SELECT value, at FROM cursor WHERE instance = $1 AND stream = $2 AND partition = $3";
            let row: Option<(Vec<u8>, i64)> = sqlx::query_as(sql)
                .bind(instance.0)
                .bind(stream.as_str())
                .bind(written(partition))
                .fetch_optional(&mut *self.lend().await?)
                .await?;
            Ok(row.map(|(value, at)| (value.into(), at)))
        })
        .await
    }

    async fn reached(&self, instance: InstanceId, partitions: &[String]) -> Result<Vec<i64>> {
        self.repeat(|| async {
            let sql = "SELECT partition, seq FROM reached WHERE instance = $1 AND partition = ANY($2)";
            let found = sqlx::query(sql)
                .bind(instance.0)
                .bind(partitions.iter().map(|partition| written(partition)).collect::<Vec<_>>())
                .fetch_all(&mut *self.lend().await?)
                .await?;
            let known: HashMap<String, i64> = found.iter().map(|row| (row.text(0), row.get(1))).collect();
            Ok(partitions.iter().map(|partition| known.get(partition).copied().unwrap_or(0)).collect())
        })
        .await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed> {
        Box::pin(self.store(&commit)).await
    }

    async fn parked(
        &self,
        instance: InstanceId,
        partition: &str,
        after: MessageId,
        limit: u32,
    ) -> Result<Vec<ParkedRow>> {
        self.repeat(|| async {
            let sql = "SELECT reserved, partition, native_id, reason, envelope, since, attempts FROM parked \
                       WHERE instance = $1 AND partition = $2 AND reserved > $3 ORDER BY reserved LIMIT $4";
            let rows = sqlx::query(sql)
                .bind(instance.0)
                .bind(written(partition))
                .bind(after.0)
                .bind(i64::from(limit))
                .fetch_all(&mut *self.lend().await?)
                .await?;
            Ok(rows.iter().map(parked).collect())
        })
        .await
    }
}

async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<InstanceId>, Failure> {
    let find = sqlx::query_scalar("SELECT id FROM instance WHERE name = $1").bind(written(name));
    Ok(find.fetch_optional(connection).await?.map(InstanceId))
}
