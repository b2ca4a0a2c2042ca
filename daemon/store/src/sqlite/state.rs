//! Small values.

use super::SqliteArchive;
use super::error::Failure;
use async_trait::async_trait;
use bytes::Bytes;
use stele_archive::{InstanceId, Result, StateTable};

#[async_trait]
impl StateTable for SqliteArchive {
    async fn state_get(&self, instance: InstanceId, key: &str) -> Result<Option<Bytes>> {
        let value: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM state WHERE instance = ? AND key = ?")
            .bind(instance.0)
            .bind(key)
            .fetch_optional(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(value.map(Bytes::from))
    }

    async fn state_put(&self, instance: InstanceId, key: &str, value: Option<&[u8]>) -> Result<()> {
        let mut writer = self.writer().await?;
        let statement = match value {
            Some(value) => sqlx::query(
                "INSERT INTO state (instance, key, value) VALUES (?, ?, ?) \
                 ON CONFLICT (instance, key) DO UPDATE SET value = excluded.value",
            )
            .bind(instance.0)
            .bind(key)
            .bind(value),
            None => sqlx::query("DELETE FROM state WHERE instance = ? AND key = ?").bind(instance.0).bind(key),
        };
        statement.execute(&mut writer.connection).await.map_err(Failure)?;
        Ok(())
    }
}
