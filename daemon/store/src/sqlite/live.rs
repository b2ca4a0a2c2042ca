//! What live delivery reads: two ranges of revisions, as the feed's; the ranges of somebody's stays, merged; and a range of
//! stays.

use super::error::Failure;
use super::{SqliteArchive, rows};
use crate::common::portion::{Place, Places};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use stele_archive::{Audience, ConversationId, InstanceId, Live, News, PersonId, Portion, Result, Rev, Stay};

/// Revisions that are looked at one by one for each conversation somebody is a member of, before those are walked: about
/// what the walk costs.
const NEAR: i64 = 8;

/// How much somebody is a member of.
pub(super) const JOINED: &str =
    "SELECT count(*) FROM participation INDEXED BY participation_member WHERE person = ? AND member = 1";

/// The two statements for messages by revision: those readable at once, and recovered ones. Parameters: the instance or, with
/// `missed`, the person; the revisions after and up to, the limit.
pub(super) fn news_sql(missed: bool) -> [String; 2] {
    let ranges = [("NOT INDEXED", "id", " AND m.late IS NULL"), ("INDEXED BY message_late", "late", "")];
    ranges.map(|(index, rev, prompt)| {
        // Stays of one person in one conversation do not overlap, so a message meets one at most.
        let heard = format!(
            " CROSS JOIN stay AS s ON s.conversation = m.conversation AND s.person = ?1 AND s.after_rev < m.{rev} \
             AND ifnull(s.until_rev, {OPEN}) >= m.{rev} \
             CROSS JOIN participation AS p ON p.conversation = m.conversation AND p.person = ?1 AND p.member = 1"
        );
        let (heard, of) = if missed { (heard.as_str(), "") } else { ("", " AND m.instance = ?1") };
        format!(
            "SELECT m.{rev}, m.id FROM message AS m {index}{heard} \
             WHERE m.{rev} > ?2 AND m.{rev} <= ?3{prompt}{of} ORDER BY m.{rev} LIMIT ?4"
        )
    })
}

/// The statement for what somebody missed, however far it lies apart. Parameters: the person, the revisions after and up to, the limit.
///
/// Every stay in what they are a member of now is some ranges of revisions: one per kind of message there, and, for want of a
/// kind, that of recovered messages. The ranges are merged by a queue that holds the next place in each of them: from the
/// least of all the walk goes on to the one after it in the same range. A place of a message that was recovered elsewhere
/// in the order has no id here.
pub(super) fn missed_sql() -> String {
    let least = "SELECT min(kind) FROM message INDEXED BY message_by_id WHERE conversation =";
    let next = |range: &str, after: &str, last: &str| {
        format!(
            "ifnull(CASE WHEN {range}.kind IS NULL THEN \
             (SELECT min(late) FROM message INDEXED BY message_late_there \
             WHERE conversation = {range}.conversation AND late > {after} AND late <= {last}) ELSE \
             (SELECT min(id) FROM message INDEXED BY message_by_id \
             WHERE conversation = {range}.conversation AND kind = {range}.kind AND id > {after} AND id <= {last}) END, {OPEN})"
        )
    };
    let (first, last) = ("max(?2, s.after_rev)", format!("min(?3, ifnull(s.until_rev, {OPEN}))"));
    format!(
        "WITH RECURSIVE joined (conversation, kind) AS ( \
             SELECT p.conversation, ({least} p.conversation) \
             FROM participation AS p INDEXED BY participation_member WHERE p.person = ?1 AND p.member = 1 \
             UNION ALL \
             SELECT joined.conversation, ({least} joined.conversation AND kind > joined.kind) \
             FROM joined WHERE joined.kind IS NOT NULL \
         ), walk (place, conversation, kind, last) AS ( \
             SELECT {}, joined.conversation, joined.kind, {last} FROM joined \
             CROSS JOIN stay AS s ON s.conversation = joined.conversation AND s.person = ?1 \
             UNION ALL \
             SELECT {}, walk.conversation, walk.kind, walk.last FROM walk WHERE walk.place < {OPEN} \
             ORDER BY 1 LIMIT ?4 \
         ) SELECT walk.place, CASE WHEN walk.kind IS NULL \
         THEN (SELECT id FROM message INDEXED BY message_late WHERE late = walk.place) \
         ELSE (SELECT id FROM message WHERE id = walk.place AND late IS NULL) END \
         FROM walk WHERE walk.place < {OPEN}",
        next("joined", first, &last),
        next("walk", "walk.place", "walk.last"),
    )
}

/// Who hears a conversation after a revision. Parameters: conversation, revision.
pub(super) const AUDIENCE: &str = "SELECT person, after_rev, ifnull(until_rev, 9223372036854775807) \
    FROM stay INDEXED BY stay_audience WHERE conversation = ? AND ifnull(until_rev, 9223372036854775807) >= ?";

/// Stands for a stay that has not ended.
const OPEN: i64 = i64::MAX;

#[async_trait]
impl Live for SqliteArchive {
    async fn news(&self, instance: InstanceId, after: Rev, upto: Rev, portion: Portion) -> Result<News> {
        let mut snapshot = self.read().await?;
        let places = between(&mut snapshot, news_sql(false), instance.0, (after.0, upto.0), portion).await?;
        Ok(load(&mut snapshot, places, (after, upto), portion).await?)
    }

    async fn missed(
        &self,
        instance: InstanceId,
        person: PersonId,
        after: Rev,
        upto: Rev,
        portion: Portion,
    ) -> Result<News> {
        let mut snapshot = self.read().await?;
        if !belongs(&mut snapshot, instance, person).await? {
            return Ok(News { messages: Vec::new(), upto });
        }
        let joined: i64 = sqlx::query_scalar(JOINED).bind(person.0).fetch_one(&mut *snapshot).await.map_err(Failure)?;
        let near = upto.0.min(after.0.saturating_add(joined.saturating_mul(NEAR)));
        let mut places = between(&mut snapshot, news_sql(true), person.0, (after.0, near), portion).await?;
        if near < upto.0 && places.len() < portion.rows as usize {
            places = between(&mut snapshot, [missed_sql()], person.0, (after.0, upto.0), portion).await?;
        }
        Ok(load(&mut snapshot, places, (after, upto), portion).await?)
    }

    async fn audience_versions(&self, instance: InstanceId, conversations: &[ConversationId]) -> Result<Vec<i64>> {
        let ids = super::bulk::id_list(conversations.iter().map(|conversation| conversation.0));
        let sql = "SELECT ifnull((SELECT audience FROM conversation WHERE id = j.value AND instance = ?2), 0) \
                   FROM json_each(?1) AS j";
        Ok(sqlx::query_scalar(sql).bind(ids).bind(instance.0).fetch_all(&self.0.readers).await.map_err(Failure)?)
    }

    async fn audience(&self, instance: InstanceId, conversation: ConversationId, since: Rev) -> Result<Audience> {
        let mut snapshot = self.read().await?;
        let sql = "SELECT audience FROM conversation WHERE id = ? AND instance = ?";
        let version: Option<i64> = sqlx::query_scalar(sql)
            .bind(conversation.0)
            .bind(instance.0)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(Failure)?;
        let Some(version) = version else { return Ok(Audience::default()) };
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
        Ok(Audience { version, stays: stays.into_iter().map(stay).collect() })
    }
}

async fn belongs(connection: &mut SqliteConnection, instance: InstanceId, person: PersonId) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM person WHERE id = ? AND instance = ?)";
    Ok(sqlx::query_scalar(sql).bind(person.0).bind(instance.0).fetch_one(connection).await?)
}

/// The places that these statements find.
async fn between(
    connection: &mut SqliteConnection,
    statements: impl IntoIterator<Item = String>,
    of: i64,
    (after, upto): (i64, i64),
    portion: Portion,
) -> Result<Vec<Place>, Failure> {
    let mut places: Vec<Place> = Vec::new();
    for sql in statements {
        let range = sqlx::query_as::<_, Place>(AssertSqlSafe(sql)).bind(of).bind(after).bind(upto).bind(portion.rows);
        places.extend(range.fetch_all(&mut *connection).await?);
    }
    Ok(places)
}

/// The messages of the first places, as many as are brought at once.
async fn load(
    connection: &mut SqliteConnection,
    places: Vec<Place>,
    range: (Rev, Rev),
    portion: Portion,
) -> Result<News, Failure> {
    let places = Places::new(places, range, portion);
    let fitting = rows::fitting(connection, &places.ids, portion.bytes).await?;
    let messages = rows::load(connection, &places.ids[..fitting]).await?;
    Ok(places.bring(messages, fitting))
}
