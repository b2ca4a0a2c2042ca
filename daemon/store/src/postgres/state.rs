//! Small values.

use super::PostgresArchive;
use super::text::written;
use async_trait::async_trait;
use bytes::Bytes;
use stele_archive::{InstanceId, Result, StateTable};

const PUT: &str = "INSERT INTO state (instance, key, value) VALUES ($1, $2, $3) \
    ON CONFLICT (instance, key) DO UPDATE SET value = excluded.value";
const FORGET: &str = "DELETE FROM state WHERE instance = $1 AND key = $2";

#[async_trait]
impl StateTable for PostgresArchive {
    async fn state_get(&self, instance: InstanceId, key: &str) -> Result<Option<Bytes>> {
        let value: Option<Vec<u8>> = self
            .repeat(|| async {
                let value = sqlx::query_scalar("SELECT value FROM state WHERE instance = $1 AND key = $2");
                Ok(value.bind(instance.0).bind(written(key)).fetch_optional(&mut *self.lend().await?).await?)
            })
            .await?;
        Ok(value.map(Bytes::from))
    }

    async fn state_put(&self, instance: InstanceId, key: &str, value: Option<&[u8]>) -> Result<()> {
        // Done twice it is what it is done once.
        self.repeat(|| async {
            let put = match value {
                Some(value) => sqlx::query(PUT).bind(instance.0).bind(written(key)).bind(value),
                None => sqlx::query(FORGET).bind(instance.0).bind(written(key)),
            };
            put.execute(&mut *self.lend().await?).await?;
            Ok(())
        })
        .await
    }
}
