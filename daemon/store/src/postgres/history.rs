//! What a conversation's history is read by, see [`ranges`](super::ranges).

use super::error::Failure;
use super::ranges::{
    ASTRAY, BETWEEN, EXPIRED, FIRST_FROM, KINDS, MERGED, by_client_sql, count_sql, day_sql, expired_sql, page_sql, put,
    tally_sql, values,
};
use super::rows;
use super::text::written;
use crate::common::source::{Count, First, Given, Known, Source, Walk};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection};
use stele_archive::{InstanceId, StoredMessage};

/// A snapshot, to answer for an instance.
pub(super) struct Snapshot<'c> {
    pub connection: &'c mut PgConnection,
    pub instance: InstanceId,
}

#[async_trait]
impl Source for Snapshot<'_> {
    type Failure = Failure;

    async fn conversation(&mut self, native_id: &str) -> Result<Option<Known>, Failure> {
        let found: Option<(i64, i64, bool)> =
            sqlx::query_as("SELECT id, messages, own_order FROM conversation WHERE instance = $1 AND native_id = $2")
                .bind(self.instance.0)
                .bind(written(native_id))
                .fetch_optional(&mut *self.connection)
                .await?;
        Ok(found.map(|(conversation, messages, own_order)| Known { conversation, messages, own_order }))
    }

    async fn kinds(&mut self, conversation: i64) -> Result<Vec<i64>, Failure> {
        let kinds = sqlx::query_scalar(KINDS).bind(conversation).bind(self.instance.0);
        Ok(kinds.fetch_all(&mut *self.connection).await?)
    }

    async fn numbers(&mut self, kinds: &[String]) -> Result<Vec<i64>, Failure> {
        let words: Vec<_> = kinds.iter().map(|kind| written(kind)).collect();
        let numbers = sqlx::query_scalar("SELECT id FROM word WHERE word = ANY ($1)").bind(words);
        Ok(numbers.fetch_all(&mut *self.connection).await?)
    }

    async fn count(&mut self, count: Count, given: Given, kinds: &[i64]) -> Result<i64, Failure> {
        let sql = match count {
            Count::Days { some } => tally_sql(some),
            Count::Edge => count_sql(),
            Count::Expired => EXPIRED.to_owned(),
            Count::ExpiredBetween => expired_sql(given.since.is_some(), given.until.is_some()),
        };
        let mut values = values(self.instance.0, &given)?;
        put(&mut values, kinds)?;
        Ok(sqlx::query_scalar_with(AssertSqlSafe(sql), values).fetch_one(&mut *self.connection).await?)
    }

    async fn day(
        &mut self,
        descending: bool,
        some: bool,
        given: Given,
        kinds: &[i64],
    ) -> Result<(i64, i64, i64), Failure> {
        let mut values = values(self.instance.0, &given)?;
        put(&mut values, kinds)?;
        let sql = AssertSqlSafe(day_sql(descending, some));
        Ok(sqlx::query_as_with(sql, values).fetch_one(&mut *self.connection).await?)
    }

    async fn ids(&mut self, walk: Walk, given: Given, kinds: &[i64]) -> Result<Vec<i64>, Failure> {
        let mut values = values(self.instance.0, &given)?;
        if kinds.len() > MERGED {
            put(&mut values, kinds)?;
        } else {
            for kind in kinds {
                put(&mut values, *kind)?;
            }
        }
        let sql = AssertSqlSafe(page_sql(walk, given.shape(), kinds.len()));
        Ok(sqlx::query_scalar_with(sql, values).fetch_all(&mut *self.connection).await?)
    }

    async fn first_from(&mut self, conversation: i64, numbers: &[i64], kinds: &[i64]) -> Result<Vec<First>, Failure> {
        let found: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(FIRST_FROM)
            .bind(conversation)
            .bind(self.instance.0)
            .bind(numbers)
            .bind(kinds)
            .fetch_all(&mut *self.connection)
            .await?;
        Ok(found.into_iter().map(|(wanted, id, seq)| First { wanted, id, seq }).collect())
    }

    async fn keys(&mut self, ids: &[i64]) -> Result<Vec<(i64, i64, i64)>, Failure> {
        let sql = "SELECT m.sent_at, m.seq, m.id FROM unnest($2::bigint[]) AS j (id) CROSS JOIN LATERAL \
                   (SELECT sent_at, seq, id FROM message WHERE instance = $1 AND id = j.id LIMIT 1) AS m";
        Ok(sqlx::query_as(sql).bind(self.instance.0).bind(ids).fetch_all(&mut *self.connection).await?)
    }

    async fn between(
        &mut self,
        conversation: i64,
        numbers: &[i64],
        kinds: &[i64],
        (from, before): (i64, i64),
    ) -> Result<Vec<i64>, Failure> {
        Ok(sqlx::query_scalar(BETWEEN)
            .bind(conversation)
            .bind(self.instance.0)
            .bind(numbers)
            .bind(kinds)
            .bind(from)
            .bind(before)
            .fetch_all(&mut *self.connection)
            .await?)
    }

    async fn astray(
        &mut self,
        conversation: i64,
        numbers: &[i64],
        kinds: &[i64],
        limit: u32,
    ) -> Result<Vec<i64>, Failure> {
        Ok(sqlx::query_scalar(ASTRAY)
            .bind(conversation)
            .bind(self.instance.0)
            .bind(numbers)
            .bind(kinds)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection)
            .await?)
    }

    async fn by_client(
        &mut self,
        conversation: Option<i64>,
        client_ids: &[&str],
        limit: u32,
    ) -> Result<Vec<i64>, Failure> {
        let client_ids: Vec<_> = client_ids.iter().map(|client_id| written(client_id)).collect();
        Ok(sqlx::query_scalar(AssertSqlSafe(by_client_sql(conversation.is_some())))
            .bind(self.instance.0)
            .bind(client_ids)
            .bind(i64::from(limit))
            .bind(conversation)
            .fetch_all(&mut *self.connection)
            .await?)
    }

    async fn messages(&mut self, ids: &[i64]) -> Result<Vec<StoredMessage>, Failure> {
        rows::messages(self.connection, self.instance, ids).await
    }
}
