//! What a conversation's history is read by, see [`ranges`](super::ranges).

use super::bulk::{Bulk, Values, id_list};
use super::error::Failure;
use super::ranges::{
    EXPIRED, FIRST_FROM, MERGED, count_sql, day_sql, expired_sql, kinds_sql, page_sql, tally_sql, values,
};
use super::rows;
use crate::common::source::{Count, First, Given, Known, Source, Walk};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use std::sync::LazyLock;
use stele_archive::{ArchiveError, InstanceId, Result, StoredMessage};

/// By number, between an id and another, where numbers ascend with ids. Parameters: the conversation, as JSON arrays the numbers
/// and the kinds to look among, the least id, and the id to stop before.
pub(super) const BETWEEN: &str = "SELECT m.id FROM json_each(?3) AS k CROSS JOIN message AS m INDEXED BY message_by_id \
    ON m.conversation = ?1 AND m.kind = k.value AND m.id >= ?4 AND m.id < ?5 \
    WHERE m.seq IN (SELECT value FROM json_each(?2))";

/// By number, where numbers do not ascend with ids. Parameters: the conversation, as JSON arrays the numbers and the kinds to
/// look among, the limit.
pub(super) const ASTRAY: &str = "SELECT s.id FROM json_each(?3) AS k CROSS JOIN json_each(?2) AS n \
    CROSS JOIN message_by_seq AS s ON s.conversation = ?1 AND s.kind = k.value AND s.seq = n.value \
    ORDER BY s.id DESC LIMIT ?4";

pub(super) static BY_CLIENT: LazyLock<Bulk> = LazyLock::new(|| by_client(""));
pub(super) static BY_CLIENT_THERE: LazyLock<Bulk> = LazyLock::new(|| by_client("AND conversation = ? "));

fn by_client(there: &str) -> Bulk {
    Bulk::new(
        &format!("SELECT id FROM message INDEXED BY message_client WHERE instance = ? {there}AND client_id IN ("),
        "?",
        ") ORDER BY id DESC LIMIT ?",
    )
}

/// A snapshot, to answer for an instance.
pub(super) struct Snapshot<'c> {
    pub connection: &'c mut SqliteConnection,
    pub instance: InstanceId,
}

#[async_trait]
impl Source for Snapshot<'_> {
    type Failure = ArchiveError;

    async fn conversation(&mut self, native_id: &str) -> Result<Option<Known>> {
        let found: Option<(i64, i64, bool)> =
            sqlx::query_as("SELECT id, messages, own_order FROM conversation WHERE instance = ? AND native_id = ?")
                .bind(self.instance.0)
                .bind(native_id)
                .fetch_optional(&mut *self.connection)
                .await
                .map_err(Failure)?;
        Ok(found.map(|(conversation, messages, own_order)| Known { conversation, messages, own_order }))
    }

    async fn kinds(&mut self, conversation: i64) -> Result<Vec<i64>> {
        let kinds = sqlx::query_scalar(AssertSqlSafe(kinds_sql())).bind(conversation);
        Ok(kinds.fetch_all(&mut *self.connection).await.map_err(Failure)?)
    }

    async fn numbers(&mut self, kinds: &[String]) -> Result<Vec<i64>> {
        let mut numbers = Vec::with_capacity(kinds.len());
        for word in kinds {
            let number = sqlx::query_scalar::<_, i64>("SELECT id FROM word WHERE word = ?").bind(word);
            numbers.extend(number.fetch_optional(&mut *self.connection).await.map_err(Failure)?);
        }
        Ok(numbers)
    }

    async fn count(&mut self, count: Count, given: Given, kinds: &[i64]) -> Result<i64> {
        let sql = match count {
            Count::Days { some } => tally_sql(some),
            Count::Edge => count_sql(),
            Count::Expired => EXPIRED.to_owned(),
            Count::ExpiredBetween => expired_sql(given.since.is_some(), given.until.is_some()),
        };
        let mut values = values(&given)?;
        values.put(id_list(kinds.iter().copied()))?;
        let number = sqlx::query_scalar_with(AssertSqlSafe(sql), values.done());
        Ok(number.fetch_one(&mut *self.connection).await.map_err(Failure)?)
    }

    async fn day(&mut self, descending: bool, some: bool, given: Given, kinds: &[i64]) -> Result<(i64, i64, i64)> {
        let mut values = values(&given)?;
        values.put(id_list(kinds.iter().copied()))?;
        let day = sqlx::query_as_with(AssertSqlSafe(day_sql(descending, some)), values.done());
        Ok(day.fetch_one(&mut *self.connection).await.map_err(Failure)?)
    }

    async fn ids(&mut self, walk: Walk, given: Given, kinds: &[i64]) -> Result<Vec<i64>> {
        let mut values = values(&given)?;
        if kinds.len() > MERGED {
            values.put(id_list(kinds.iter().copied()))?;
        } else {
            for kind in kinds {
                values.put(*kind)?;
            }
        }
        let sql = AssertSqlSafe(page_sql(walk, given.shape(), kinds.len()));
        let page = sqlx::query_as_with(sql, values.done());
        let found: Vec<(i64, i64)> = page.fetch_all(&mut *self.connection).await.map_err(Failure)?;
        Ok(found.into_iter().map(|(id, _)| id).collect())
    }

    async fn first_from(&mut self, conversation: i64, numbers: &[i64], kinds: &[i64]) -> Result<Vec<First>> {
        let found: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(FIRST_FROM)
            .bind(conversation)
            .bind(id_list(numbers.iter().copied()))
            .bind(id_list(kinds.iter().copied()))
            .fetch_all(&mut *self.connection)
            .await
            .map_err(Failure)?;
        Ok(found.into_iter().map(|(wanted, id, seq)| First { wanted, id, seq }).collect())
    }

    async fn keys(&mut self, ids: &[i64]) -> Result<Vec<(i64, i64, i64)>> {
        let sql = "SELECT m.sent_at, m.seq, m.id FROM json_each(?) AS j CROSS JOIN message AS m ON m.id = j.value";
        let keys = sqlx::query_as(sql).bind(id_list(ids.iter().copied()));
        Ok(keys.fetch_all(&mut *self.connection).await.map_err(Failure)?)
    }

    async fn between(
        &mut self,
        conversation: i64,
        numbers: &[i64],
        kinds: &[i64],
        (from, before): (i64, i64),
    ) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar(BETWEEN)
            .bind(conversation)
            .bind(id_list(numbers.iter().copied()))
            .bind(id_list(kinds.iter().copied()))
            .bind(from)
            .bind(before)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(Failure)?)
    }

    async fn astray(&mut self, conversation: i64, numbers: &[i64], kinds: &[i64], limit: u32) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar(ASTRAY)
            .bind(conversation)
            .bind(id_list(numbers.iter().copied()))
            .bind(id_list(kinds.iter().copied()))
            .bind(limit)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(Failure)?)
    }

    async fn by_client(&mut self, conversation: Option<i64>, client_ids: &[&str], limit: u32) -> Result<Vec<i64>> {
        let statement = if conversation.is_some() { &BY_CLIENT_THERE } else { &BY_CLIENT };
        let mut found = Vec::new();
        for (sql, client_ids) in statement.cut(client_ids) {
            let mut values = Values::with_capacity(client_ids.len() + 3);
            values.put(self.instance.0)?;
            if let Some(conversation) = conversation {
                values.put(conversation)?;
            }
            for client_id in client_ids {
                values.put(*client_id)?;
            }
            values.put(limit)?;
            let ids = sqlx::query_scalar_with::<_, i64, _>(sql, values.done());
            found.extend(ids.fetch_all(&mut *self.connection).await.map_err(Failure)?);
        }
        Ok(found)
    }

    async fn messages(&mut self, ids: &[i64]) -> Result<Vec<StoredMessage>> {
        rows::messages(self.connection, ids).await
    }
}
