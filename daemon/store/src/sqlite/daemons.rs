//! What daemons agree on. One daemon at a time has the file open.

use super::SqliteArchive;
use super::error::Failure;
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use stele_archive::model::Micros;
use stele_archive::{Beat, Daemons, Node, Result, free_number};

#[async_trait]
impl Daemons for SqliteArchive {
    async fn agree(&self, key: &str, value: &[u8]) -> Result<Bytes> {
        let mut writer = self.writer().await?;
        sqlx::query("INSERT INTO state (instance, key, value) VALUES (0, ?, ?) ON CONFLICT (instance, key) DO NOTHING")
            .bind(key)
            .bind(value)
            .execute(&mut writer.connection)
            .await
            .map_err(Failure)?;
        let agreed: Vec<u8> = sqlx::query_scalar("SELECT value FROM state WHERE instance = 0 AND key = ?")
            .bind(key)
            .fetch_one(&mut writer.connection)
            .await
            .map_err(Failure)?;
        Ok(agreed.into())
    }

    async fn node(&self, daemon: &str, now: Micros) -> Result<u16> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let seen: Option<u16> = sqlx::query_scalar("UPDATE node SET seen_at = ? WHERE daemon = ? RETURNING number")
            .bind(now)
            .bind(daemon)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(Failure)?;
        let number = match seen {
            Some(number) => number,
            None => {
                let nodes = sqlx::query("SELECT daemon, number, seen_at FROM node")
                    .map(|row| node(&row))
                    .fetch_all(&mut *transaction);
                let nodes = nodes.await.map_err(Failure)?;
                let (number, before) = free_number(&nodes, now)?;
                if let Some(before) = before {
                    let forget = sqlx::query("DELETE FROM node WHERE daemon = ?").bind(&before.daemon);
                    forget.execute(&mut *transaction).await.map_err(Failure)?;
                }
                sqlx::query("INSERT INTO node (daemon, number, seen_at) VALUES (?, ?, ?)")
                    .bind(daemon)
                    .bind(number)
                    .bind(now)
                    .execute(&mut *transaction)
                    .await
                    .map_err(Failure)?;
                number
            }
        };
        transaction.commit().await.map_err(Failure)?;
        Ok(number)
    }

    async fn beat(&self, daemon: &str, _process: &str, now: Micros) -> Result<Beat> {
        let mut writer = self.writer().await?;
        let seen = sqlx::query("UPDATE node SET seen_at = ? WHERE daemon = ?").bind(now).bind(daemon);
        seen.execute(&mut writer.connection).await.map_err(Failure)?;
        Ok(Beat::default())
    }
}

fn node(row: &SqliteRow) -> Node {
    Node { daemon: row.get(0), number: row.get(1), seen_at: row.get(2) }
}
