//! What daemons agree on.

use super::PostgresArchive;
use super::error::Failure;
use super::transact::commit;
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;
use stele_archive::model::Micros;
use stele_archive::{Beat, Daemons, Node, RUNNING, Result, free_number};

#[async_trait]
impl Daemons for PostgresArchive {
    async fn agree(&self, key: &str, value: &[u8]) -> Result<Bytes> {
        const GIVE: &str =
            "INSERT INTO state (instance, key, value) VALUES (0, $1, $2) ON CONFLICT (instance, key) DO NOTHING";
        self.repeat(|| async {
            // Whoever meets another one here waits until that one's is stored.
            let mut connection = self.lend().await?;
            sqlx::query(GIVE).bind(key).bind(value).execute(&mut *connection).await?;
            let agreed = sqlx::query_scalar("SELECT value FROM state WHERE instance = 0 AND key = $1").bind(key);
            Ok(Bytes::from(agreed.fetch_one(&mut *connection).await.map(|value: Vec<u8>| value)?))
        })
        .await
    }

    async fn node(&self, daemon: &str, now: Micros) -> Result<u16> {
        self.repeat(|| self.number(daemon, now)).await
    }

    async fn beat(&self, daemon: &str, process: &str, now: Micros) -> Result<Beat> {
        self.repeat(|| self.heard(daemon, process, now)).await
    }
}

impl PostgresArchive {
    async fn heard(&self, daemon: &str, process: &str, now: Micros) -> Result<Beat, Failure> {
        let mut transaction = self.begin().await?;
        let before = sqlx::query_as("SELECT process, seen_at FROM node WHERE daemon = $1 FOR UPDATE").bind(daemon);
        let before: Option<(String, Micros)> = before.fetch_optional(&mut *transaction).await?;
        let heard = sqlx::query("UPDATE node SET process = $1, seen_at = $2 WHERE daemon = $3");
        heard.bind(process).bind(now).bind(daemon).execute(&mut *transaction).await?;
        let others = sqlx::query_scalar("SELECT count(*) FROM node WHERE daemon <> $1 AND seen_at > $2").bind(daemon);
        let others: i64 = others.bind(now.saturating_sub(RUNNING)).fetch_one(&mut *transaction).await?;
        commit(transaction).await?;
        let other = before.filter(|(other, _)| !other.is_empty() && other != process);
        Ok(Beat { other, others: others.cast_unsigned() })
    }

    async fn number(&self, daemon: &str, now: Micros) -> Result<u16, Failure> {
        let mut transaction = self.begin().await?;
        // One after the other: no two find the same number free.
        sqlx::query("SELECT one FROM head WHERE one = 1 FOR UPDATE").fetch_one(&mut *transaction).await?;
        let seen = sqlx::query_scalar::<_, i32>("UPDATE node SET seen_at = $1 WHERE daemon = $2 RETURNING number");
        let seen = seen.bind(now).bind(daemon).fetch_optional(&mut *transaction).await?;
        let number = match seen {
            Some(number) => u16::try_from(number).unwrap_or_default(),
            None => {
                let nodes = sqlx::query("SELECT daemon, number, seen_at FROM node").map(|row| node(&row));
                let nodes = nodes.fetch_all(&mut *transaction).await?;
                let (number, before) = free_number(&nodes, now)?;
                if let Some(before) = before {
                    let forget = sqlx::query("DELETE FROM node WHERE daemon = $1").bind(&before.daemon);
                    forget.execute(&mut *transaction).await?;
                }
                sqlx::query("INSERT INTO node (daemon, number, seen_at) VALUES ($1, $2, $3)")
                    .bind(daemon)
                    .bind(i32::from(number))
                    .bind(now)
                    .execute(&mut *transaction)
                    .await?;
                number
            }
        };
        commit(transaction).await?;
        Ok(number)
    }
}

fn node(row: &PgRow) -> Node {
    Node { daemon: row.get(0), number: u16::try_from(row.get::<i32, _>(1)).unwrap_or_default(), seen_at: row.get(2) }
}
