//! The way out. Every answer reads from one snapshot.

use super::history::Snapshot;
use super::text::written;
use super::{PostgresArchive, lists, rows};
use crate::common::{find, history};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};
use std::borrow::Cow;
use std::collections::HashMap;
use stele_archive::ops::{
    ConversationQuery, ConversationView, FindQuery, JoinedQuery, Membership, MessageQuery, Participation, PersonQuery,
    PersonView,
};
use stele_archive::{
    ConversationList, InstanceId, MessageId, MessageList, PersonId, Queries, Result, Stats, StoredMessage,
};

/// Conversations by native id. Parameters: instance, native ids.
pub(super) fn conversations_sql() -> String {
    format!(
        "SELECT {} FROM unnest($2::text[]) AS n (native_id) \
         CROSS JOIN LATERAL (SELECT * FROM conversation WHERE instance = $1 AND native_id = n.native_id LIMIT 1) AS c \
         CROSS JOIN LATERAL (SELECT word FROM word WHERE id = c.kind LIMIT 1) AS w",
        rows::CONVERSATION
    )
}

/// What somebody is a member of, sorted: as much as they are a member of. Parameters: instance, person, native id, limit.
pub(super) const JOINED: &str = "SELECT c.native_id FROM ( \
        SELECT conversation FROM participation WHERE instance = $1 AND member \
        AND person = (SELECT id FROM person WHERE instance = $1 AND native_id = $2) OFFSET 0 \
    ) AS p CROSS JOIN LATERAL ( \
        SELECT native_id FROM conversation WHERE instance = $1 AND id = p.conversation LIMIT 1 \
    ) AS c WHERE c.native_id > $3 ORDER BY c.native_id LIMIT $4";

/// People by native id. Parameters: instance, native ids.
pub(super) fn people_sql() -> String {
    format!(
        "SELECT n.at, {} FROM unnest($2::text[]) WITH ORDINALITY AS n (native_id, at) \
         CROSS JOIN LATERAL (SELECT * FROM person WHERE instance = $1 AND native_id = n.native_id LIMIT 1) AS p",
        rows::PERSON
    )
}

/// People after a native id. Parameters: instance, native id, limit.
pub(super) fn person_list_sql() -> String {
    format!(
        "SELECT {} FROM person AS p WHERE p.instance = $1 AND p.native_id > $2 ORDER BY p.native_id LIMIT $3",
        rows::PERSON
    )
}

/// Messages by native id. Parameters: instance, native ids.
pub(super) const BY_NATIVE: &str = "SELECT m.native_id, m.id FROM unnest($2::text[]) AS n (native_id) \
    CROSS JOIN LATERAL (SELECT native_id, id FROM message WHERE instance = $1 AND native_id = n.native_id LIMIT 1) AS m";

/// Whose messages these are. Parameter: ids.
pub(super) const WHOSE: &str = "SELECT i.id, m.id FROM unnest($1::bigint[]) AS j (id) CROSS JOIN instance AS i \
    CROSS JOIN LATERAL (SELECT id FROM message WHERE instance = i.id AND id = j.id LIMIT 1) AS m";

#[async_trait]
impl Queries for PostgresArchive {
    async fn conversations(&self, instance: InstanceId, query: &ConversationQuery) -> Result<ConversationList> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            lists::conversations(&mut snapshot, instance, query).await
        })
        .await
    }

    async fn conversation(&self, instance: InstanceId, native_id: &str) -> Result<Option<ConversationView>> {
        Ok(self.conversations_by_native(instance, &[native_id.to_owned()]).await?.pop())
    }

    async fn conversations_by_native(
        &self,
        instance: InstanceId,
        native_ids: &[String],
    ) -> Result<Vec<ConversationView>> {
        let mut natives = many(native_ids);
        natives.sort_unstable();
        natives.dedup();
        let found = self
            .repeat(|| async {
                let sql = AssertSqlSafe(conversations_sql());
                Ok(sqlx::query(sql).bind(instance.0).bind(&natives).fetch_all(&mut *self.lend().await?).await?)
            })
            .await?;
        Ok(found.iter().map(rows::conversation).collect())
    }

    async fn takes_part(&self, instance: InstanceId, conversation: &str, person: &str) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM participation WHERE instance = $1 AND \
                   conversation = (SELECT id FROM conversation WHERE instance = $1 AND native_id = $2) AND \
                   person = (SELECT id FROM person WHERE instance = $1 AND native_id = $3))";
        self.repeat(|| async {
            let takes_part = sqlx::query_scalar(sql).bind(instance.0).bind(written(conversation)).bind(written(person));
            Ok(takes_part.fetch_one(&mut *self.lend().await?).await?)
        })
        .await
    }

    async fn membership(&self, instance: InstanceId, who: &Participation) -> Result<Membership> {
        let sql = format!(
            "SELECT {}, coalesce((SELECT member FROM participation WHERE instance = $1 AND conversation = c.id AND \
             person = (SELECT id FROM person WHERE instance = $1 AND native_id = $3)), false) \
             FROM conversation AS c CROSS JOIN LATERAL (SELECT word FROM word WHERE id = c.kind LIMIT 1) AS w \
             WHERE c.instance = $1 AND c.native_id = $2",
            rows::CONVERSATION
        );
        let found = self
            .repeat(|| async {
                Ok(sqlx::query(AssertSqlSafe(sql.clone()))
                    .bind(instance.0)
                    .bind(written(&who.conversation))
                    .bind(written(&who.person))
                    .fetch_optional(&mut *self.lend().await?)
                    .await?)
            })
            .await?;
        Ok(found.map_or_else(Membership::default, |row| Membership {
            conversation: Some(rows::conversation(&row)),
            member: row.get(11),
        }))
    }

    async fn joined(&self, instance: InstanceId, query: &JoinedQuery) -> Result<Vec<String>> {
        let found: Vec<String> = self
            .repeat(|| async {
                let mut snapshot = self.read().await?;
                Ok(sqlx::query_scalar(JOINED)
                    .bind(instance.0)
                    .bind(written(&query.person))
                    .bind(written(&query.after))
                    .bind(i64::from(query.limit))
                    .fetch_all(&mut *snapshot)
                    .await?)
            })
            .await?;
        Ok(found.into_iter().map(super::text::read).collect())
    }

    async fn people(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<PersonView>> {
        let natives = many(native_ids);
        let mut found = self
            .repeat(|| async {
                let sql = AssertSqlSafe(people_sql());
                Ok(sqlx::query(sql).bind(instance.0).bind(&natives).fetch_all(&mut *self.lend().await?).await?)
            })
            .await?;
        found.sort_by_key(|row| row.get::<i64, _>(0));
        Ok(found.iter().map(|row| rows::person(row, 1)).collect())
    }

    async fn person_list(&self, instance: InstanceId, query: &PersonQuery) -> Result<Vec<PersonView>> {
        let found = self
            .repeat(|| async {
                let mut snapshot = self.read().await?;
                Ok(sqlx::query(AssertSqlSafe(person_list_sql()))
                    .bind(instance.0)
                    .bind(written(&query.after))
                    .bind(i64::from(query.limit))
                    .fetch_all(&mut *snapshot)
                    .await?)
            })
            .await?;
        Ok(found.iter().map(|row| rows::person(row, 0)).collect())
    }

    async fn person_id(&self, instance: InstanceId, native_id: &str) -> Result<Option<PersonId>> {
        let id = self
            .repeat(|| async {
                let id = sqlx::query_scalar("SELECT id FROM person WHERE instance = $1 AND native_id = $2");
                Ok(id.bind(instance.0).bind(written(native_id)).fetch_optional(&mut *self.lend().await?).await?)
            })
            .await?;
        Ok(id.map(PersonId))
    }

    async fn messages(&self, instance: InstanceId, query: &MessageQuery) -> Result<MessageList> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            history::messages(&mut Snapshot { connection: &mut snapshot, instance }, query).await
        })
        .await
    }

    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<StoredMessage>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            let found: Vec<(i64, i64)> = sqlx::query_as(WHOSE).bind(&ids).fetch_all(&mut *snapshot).await?;
            let whose: HashMap<i64, i64> = found.into_iter().map(|(instance, id)| (id, instance)).collect();
            rows::messages_of(&mut snapshot, &whose, &ids).await
        })
        .await
    }

    async fn messages_by_native(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<StoredMessage>> {
        let natives = many(native_ids);
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            let found = sqlx::query_as(BY_NATIVE).bind(instance.0).bind(&natives).fetch_all(&mut *snapshot).await?;
            let known: HashMap<String, i64> = found.into_iter().collect();
            let ids: Vec<i64> = natives.iter().filter_map(|native| known.get(&**native).copied()).collect();
            rows::messages(&mut snapshot, instance, &ids).await
        })
        .await
    }

    async fn find(&self, instance: InstanceId, query: &FindQuery) -> Result<Vec<StoredMessage>> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            find::messages(&mut Snapshot { connection: &mut snapshot, instance }, query).await
        })
        .await
    }

    async fn stats(&self, instance: Option<InstanceId>) -> Result<Stats> {
        let sql = "SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(conversations), 0)::bigint, \
                   coalesce(sum(people), 0)::bigint, coalesce(sum(parked), 0)::bigint FROM instance \
                   WHERE $1::bigint IS NULL OR id = $1";
        let instance = instance.map(|instance| instance.0);
        let row = self
            .repeat(|| async { Ok(sqlx::query(sql).bind(instance).fetch_one(&mut *self.lend().await?).await?) })
            .await?;
        let number = |column: usize| row.get::<i64, _>(column).cast_unsigned();
        Ok(Stats { messages: number(0), conversations: number(1), people: number(2), parked: number(3) })
    }
}

/// Texts as they are written.
fn many(texts: &[String]) -> Vec<Cow<'_, str>> {
    texts.iter().map(|text| written(text)).collect()
}
