//! The way in.

use super::SqliteArchive;
use super::error::Failure;
use crate::common::{keys, rows};
use async_trait::async_trait;
use bytes::Bytes;
use stele_archive::model::Micros;
use stele_archive::{Commit, Committed, InstanceId, MessageId, Pages, ParkedRow, Result, Stream};

#[async_trait]
impl Pages for SqliteArchive {
    async fn instance(&self, name: &str) -> Result<InstanceId> {
        keys::check("the name of an instance", name)?;
        let find = "SELECT id FROM instance WHERE name = ?";
        let mut reader = self.read().await?;
        if let Some(id) = sqlx::query_scalar(find).bind(name).fetch_optional(&mut *reader).await.map_err(Failure)? {
            return Ok(InstanceId(id));
        }
        drop(reader);
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        sqlx::query("INSERT INTO instance (name) VALUES (?) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(Failure)?;
        let id = sqlx::query_scalar(find).bind(name).fetch_one(&mut *transaction).await.map_err(Failure)?;
        transaction.commit().await.map_err(Failure)?;
        Ok(InstanceId(id))
    }

    async fn cursor(&self, instance: InstanceId, partition: &str, stream: Stream) -> Result<Option<(Bytes, Micros)>> {
        let row: Option<(Vec<u8>, i64)> =
            sqlx::query_as("SELECT value, at FROM cursor WHERE instance = ? AND stream = ? AND partition = ?")
                .bind(instance.0)
                .bind(stream.as_str())
                .bind(partition)
                .fetch_optional(&self.0.readers)
                .await
                .map_err(Failure)?;
        Ok(row.map(|(value, at)| (value.into(), at)))
    }

    async fn reached(&self, instance: InstanceId, partitions: &[String]) -> Result<Vec<i64>> {
        self.numbers_reached(instance, partitions).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed> {
        Box::pin(self.store(commit)).await
    }

    async fn parked(
        &self,
        instance: InstanceId,
        partition: &str,
        after: MessageId,
        limit: u32,
    ) -> Result<Vec<ParkedRow>> {
        let sql = "SELECT reserved, partition, native_id, reason, envelope, since, attempts FROM parked \
                   WHERE instance = ? AND partition = ? AND reserved > ? ORDER BY reserved LIMIT ?";
        let rows = sqlx::query(sql)
            .bind(instance.0)
            .bind(partition)
            .bind(after.0)
            .bind(limit)
            .fetch_all(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(rows.iter().map(rows::parked).collect())
    }
}
