//! What live delivery reads: two ranges of revisions, as the feed's, and a range of stays.

use super::error::Failure;
use super::{SqliteArchive, rows};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use stele_archive::{Audience, ConversationId, InstanceId, Live, PersonId, Result, Rev, Stay, StoredMessage};

/// The two statements for an instance's messages by revision: those readable at once, and recovered ones. Parameters: 1 the
/// instance, 2 and 3 the revisions after and up to, 4 the limit; with `heard`, 5 the person who heard them.
pub(super) fn news_sql(heard: bool) -> [String; 2] {
    let ranges = [("NOT INDEXED", "id", " AND m.late IS NULL"), ("INDEXED BY message_late", "late", "")];
    ranges.map(|(index, rev, prompt)| {
        // Stays of one person in one conversation do not overlap, so a message meets one at most.
        let stay = format!(
            " CROSS JOIN stay AS s ON s.conversation = m.conversation AND s.person = ?5 AND s.after_rev < m.{rev} \
             AND ifnull(s.until_rev, 9223372036854775807) >= m.{rev}"
        );
        let stay = if heard { stay.as_str() } else { "" };
        format!(
            "SELECT m.{rev}, m.id FROM message AS m {index}{stay} \
             WHERE m.{rev} > ?2 AND m.{rev} <= ?3{prompt} AND m.instance = ?1 ORDER BY m.{rev} LIMIT ?4"
        )
    })
}

/// Who hears a conversation after a revision. Parameters: conversation, revision.
pub(super) const AUDIENCE: &str = "SELECT person, after_rev, ifnull(until_rev, 9223372036854775807) \
    FROM stay INDEXED BY stay_audience WHERE conversation = ? AND ifnull(until_rev, 9223372036854775807) >= ?";

/// Stands for a stay that has not ended.
const OPEN: i64 = i64::MAX;

#[async_trait]
impl Live for SqliteArchive {
    async fn news(&self, instance: InstanceId, after: Rev, upto: Rev, limit: u32) -> Result<Vec<StoredMessage>> {
        let mut snapshot = self.read().await?;
        Ok(between(&mut snapshot, instance, None, (after, upto), limit).await?)
    }

    async fn missed(
        &self,
        instance: InstanceId,
        person: PersonId,
        after: Rev,
        upto: Rev,
        limit: u32,
    ) -> Result<Vec<StoredMessage>> {
        let mut snapshot = self.read().await?;
        Ok(between(&mut snapshot, instance, Some(person), (after, upto), limit).await?)
    }

    async fn audience_versions(&self, conversations: &[ConversationId]) -> Result<Vec<i64>> {
        let ids = super::bulk::id_list(conversations.iter().map(|conversation| conversation.0));
        let sql = "SELECT ifnull((SELECT audience FROM conversation WHERE id = j.value), 0) FROM json_each(?) AS j";
        Ok(sqlx::query_scalar(sql).bind(ids).fetch_all(&self.0.readers).await.map_err(Failure)?)
    }

    async fn audience(&self, conversation: ConversationId, since: Rev) -> Result<Audience> {
        let mut snapshot = self.read().await?;
        let version: Option<i64> = sqlx::query_scalar("SELECT audience FROM conversation WHERE id = ?")
            .bind(conversation.0)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(Failure)?;
        let stays: Vec<(i64, i64, i64)> = sqlx::query_as(AUDIENCE)
            .bind(conversation.0)
            .bind(since.0)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(Failure)?;
        let stay = |(person, after, until): (i64, i64, i64)| Stay {
            person: PersonId(person),
            after: Rev(after),
            until: (until != OPEN).then_some(Rev(until)),
        };
        Ok(Audience { version: version.unwrap_or_default(), stays: stays.into_iter().map(stay).collect() })
    }
}

async fn between(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    person: Option<PersonId>,
    (after, upto): (Rev, Rev),
    limit: u32,
) -> Result<Vec<StoredMessage>, Failure> {
    let mut found = Vec::new();
    for sql in news_sql(person.is_some()) {
        let mut range =
            sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(sql)).bind(instance.0).bind(after.0).bind(upto.0).bind(limit);
        if let Some(person) = person {
            range = range.bind(person.0);
        }
        found.extend(range.fetch_all(&mut *connection).await?);
    }
    // Two ascending runs.
    found.sort();
    found.truncate(limit as usize);
    let ids: Vec<i64> = found.into_iter().map(|(_, id)| id).collect();
    rows::messages(connection, &ids).await
}
