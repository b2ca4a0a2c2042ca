//! The way out. Every answer reads from one snapshot.

use super::bulk::{Bulk, Values};
use super::error::Failure;
use super::history::Snapshot;
use super::{SqliteArchive, lists, rows};
use crate::common::packing::unpack;
use crate::common::{find, history};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;
use stele_archive::ops::{
    ConversationQuery, ConversationView, FindQuery, JoinedQuery, Membership, MessageQuery, Participation, PersonQuery,
    PersonView,
};
use stele_archive::{
    ConversationList, InstanceId, MessageId, MessageList, PersonId, Queries, Result, Stats, StoredMessage,
};

static FIND: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT native_id, id FROM message WHERE instance = ? AND native_id IN (", "?", ")"));
/// Conversations by native id. Parameters: instance, native ids.
pub(super) static CONVERSATIONS: LazyLock<Bulk> = LazyLock::new(|| {
    let head = format!(
        "SELECT {} FROM conversation AS c JOIN word AS w ON w.id = c.kind WHERE c.instance = ? AND c.native_id IN (",
        rows::CONVERSATION
    );
    Bulk::new(&head, "?", ")")
});

/// What somebody is a member of, sorted: as much as they are a member of. Parameters: instance, person, native id, limit.
pub(super) const JOINED: &str = "SELECT c.native_id FROM participation AS p INDEXED BY participation_member \
    CROSS JOIN conversation AS c ON c.id = p.conversation \
    WHERE p.person = (SELECT id FROM person WHERE instance = ? AND native_id = ?) AND p.member = 1 AND c.native_id > ? \
    ORDER BY c.native_id LIMIT ?";

/// People by native id. Parameters: instance, native id, limit.
pub(super) fn people_sql() -> String {
    format!(
        "SELECT {} FROM person AS p WHERE p.instance = ? AND p.native_id > ? ORDER BY p.native_id LIMIT ?",
        rows::PERSON
    )
}

#[async_trait]
impl Queries for SqliteArchive {
    async fn conversations(&self, instance: InstanceId, query: &ConversationQuery) -> Result<ConversationList> {
        let mut snapshot = self.read().await?;
        lists::conversations(&mut snapshot, instance, query).await
    }

    async fn conversation(&self, instance: InstanceId, native_id: &str) -> Result<Option<ConversationView>> {
        let sql = format!(
            "SELECT {} FROM conversation AS c JOIN word AS w ON w.id = c.kind WHERE c.instance = ? AND c.native_id = ?",
            rows::CONVERSATION
        );
        let found = sqlx::query(AssertSqlSafe(sql))
            .bind(instance.0)
            .bind(native_id)
            .fetch_optional(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(found.as_ref().map(rows::conversation))
    }

    async fn conversations_by_native(
        &self,
        instance: InstanceId,
        native_ids: &[String],
    ) -> Result<Vec<ConversationView>> {
        let mut snapshot = self.read().await?;
        let natives: Vec<&String> = native_ids.iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut conversations = Vec::with_capacity(natives.len());
        for (sql, natives) in CONVERSATIONS.cut(&natives) {
            let mut values = Values::with_capacity(natives.len() + 1);
            values.put(instance.0)?;
            for native in natives {
                values.put(native.as_str())?;
            }
            let found = sqlx::query_with(sql, values.done()).fetch_all(&mut *snapshot).await.map_err(Failure)?;
            conversations.extend(found.iter().map(rows::conversation));
        }
        Ok(conversations)
    }

    async fn takes_part(&self, instance: InstanceId, conversation: &str, person: &str) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM participation WHERE \
                   conversation = (SELECT id FROM conversation WHERE instance = ? AND native_id = ?) AND \
                   person = (SELECT id FROM person WHERE instance = ? AND native_id = ?))";
        Ok(sqlx::query_scalar(sql)
            .bind(instance.0)
            .bind(conversation)
            .bind(instance.0)
            .bind(person)
            .fetch_one(&self.0.readers)
            .await
            .map_err(Failure)?)
    }

    async fn membership(&self, instance: InstanceId, who: &Participation) -> Result<Membership> {
        let sql = format!(
            "SELECT {}, ifnull((SELECT member FROM participation WHERE conversation = c.id AND \
             person = (SELECT id FROM person WHERE instance = c.instance AND native_id = ?)), 0) AS member \
             FROM conversation AS c JOIN word AS w ON w.id = c.kind WHERE c.instance = ? AND c.native_id = ?",
            rows::CONVERSATION
        );
        let found = sqlx::query(AssertSqlSafe(sql))
            .bind(&who.person)
            .bind(instance.0)
            .bind(&who.conversation)
            .fetch_optional(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(found.map_or_else(Membership::default, |row| Membership {
            conversation: Some(rows::conversation(&row)),
            member: row.get("member"),
        }))
    }

    async fn joined(&self, instance: InstanceId, query: &JoinedQuery) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(JOINED)
            .bind(instance.0)
            .bind(&query.person)
            .bind(&query.after)
            .bind(query.limit)
            .fetch_all(&self.0.readers)
            .await
            .map_err(Failure)?)
    }

    async fn people(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<PersonView>> {
        let sql = format!("SELECT {} FROM person AS p WHERE p.instance = ? AND p.native_id = ?", rows::PERSON);
        let sql: std::sync::Arc<str> = sql.into();
        let mut snapshot = self.read().await?;
        let mut people = Vec::with_capacity(native_ids.len());
        for native_id in native_ids {
            let found = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(instance.0)
                .bind(native_id)
                .fetch_optional(&mut *snapshot)
                .await
                .map_err(Failure)?;
            people.extend(found.map(|row| rows::person(&row, 0)));
        }
        Ok(people)
    }

    async fn person_list(&self, instance: InstanceId, query: &PersonQuery) -> Result<Vec<PersonView>> {
        let found = sqlx::query(AssertSqlSafe(people_sql()))
            .bind(instance.0)
            .bind(&query.after)
            .bind(query.limit)
            .fetch_all(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(found.iter().map(|row| rows::person(row, 0)).collect())
    }

    async fn person_id(&self, instance: InstanceId, native_id: &str) -> Result<Option<PersonId>> {
        let id = sqlx::query_scalar("SELECT id FROM person WHERE instance = ? AND native_id = ?")
            .bind(instance.0)
            .bind(native_id)
            .fetch_optional(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(id.map(PersonId))
    }

    async fn messages(&self, instance: InstanceId, query: &MessageQuery) -> Result<MessageList> {
        let mut snapshot = self.read().await?;
        history::messages(&mut Snapshot { connection: &mut snapshot, instance }, query).await
    }

    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<StoredMessage>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mut snapshot = self.read().await?;
        rows::messages(&mut snapshot, &ids).await
    }

    async fn messages_by_native(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<StoredMessage>> {
        let mut snapshot = self.read().await?;
        let mut known: HashMap<String, i64> = HashMap::with_capacity(native_ids.len());
        for (sql, natives) in FIND.cut(native_ids) {
            let mut values = Values::with_capacity(natives.len() + 1);
            values.put(instance.0)?;
            for native in natives {
                values.put(native.as_str())?;
            }
            let found = sqlx::query_with(sql, values.done()).fetch_all(&mut *snapshot).await.map_err(Failure)?;
            known.extend(found.iter().map(|row| (row.get(0), row.get(1))));
        }
        let ids: Vec<i64> = native_ids.iter().filter_map(|native| known.get(native).copied()).collect();
        rows::messages(&mut snapshot, &ids).await
    }

    async fn find(&self, instance: InstanceId, query: &FindQuery) -> Result<Vec<StoredMessage>> {
        let mut snapshot = self.read().await?;
        find::messages(&mut Snapshot { connection: &mut snapshot, instance }, query).await
    }

    async fn stats(&self, instance: Option<InstanceId>) -> Result<Stats> {
        let sql = "SELECT ifnull(sum(messages), 0), ifnull(sum(conversations), 0), ifnull(sum(people), 0), \
                   ifnull(sum(parked), 0) FROM instance WHERE ? IS NULL OR id = ?";
        let instance = instance.map(|instance| instance.0);
        let row = sqlx::query(sql).bind(instance).bind(instance).fetch_one(&self.0.readers).await.map_err(Failure)?;
        let number = |column: usize| row.get::<i64, _>(column).cast_unsigned();
        Ok(Stats { messages: number(0), conversations: number(1), people: number(2), parked: number(3) })
    }
}

impl SqliteArchive {
    /// Native ids of those a message was sent to, in the order the source named them; none for an unknown message.
    pub async fn recipients(&self, message: MessageId) -> Result<Vec<String>> {
        let mut snapshot = self.read().await?;
        let packed: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT recipients FROM message WHERE id = ?")
            .bind(message.0)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(Failure)?;
        let ids = unpack(&packed.flatten().unwrap_or_default());
        let sql = "SELECT p.native_id FROM json_each(?) AS j CROSS JOIN person AS p ON p.id = j.value";
        let found =
            sqlx::query(sql).bind(super::bulk::id_list(ids)).fetch_all(&mut *snapshot).await.map_err(Failure)?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }
}
