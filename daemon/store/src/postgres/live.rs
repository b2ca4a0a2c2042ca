//! What live delivery reads: a range of revisions; the ranges of somebody's stays, merged; and a range of stays.

use super::error::Failure;
use super::{PostgresArchive, rows};
use crate::common::portion::{Place, Places};
use async_trait::async_trait;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use stele_archive::{Audience, ConversationId, InstanceId, Live, News, PersonId, Portion, Result, Rev, Stay};

/// Revisions that are looked at one by one for each conversation somebody is a member of, before those are walked: about
/// what the walk costs.
const NEAR: i64 = 8;

/// How much somebody is a member of. Parameters: the instance, the person.
pub(super) const JOINED: &str = "SELECT count(*) FROM participation WHERE instance = $1 AND person = $2 AND member";

/// Messages by revision. Parameters: the instance, the revisions after and up to, the limit.
pub(super) const NEWS: &str =
    "SELECT rev, id FROM message WHERE instance = $1 AND rev > $2 AND rev <= $3 ORDER BY rev LIMIT $4";

/// Those that somebody heard. Parameters: the same, the person. Stays of one person in one conversation do not overlap, so a
/// message meets one at most.
pub(super) const HEARD: &str = "SELECT m.rev, m.id FROM message AS m \
    CROSS JOIN LATERAL ( \
        SELECT 1 FROM stay WHERE instance = $1 AND conversation = m.conversation AND person = $5 AND after_rev < m.rev \
        AND coalesce(until_rev, 9223372036854775807) >= m.rev LIMIT 1 \
    ) AS s CROSS JOIN LATERAL ( \
        SELECT 1 FROM participation WHERE instance = $1 AND conversation = m.conversation AND person = $5 AND member \
        LIMIT 1 \
    ) AS p WHERE m.instance = $1 AND m.rev > $2 AND m.rev <= $3 ORDER BY m.rev LIMIT $4";

/// What somebody may have missed, as ranges of revisions: every stay in what they are a member of now is one per kind of message
/// there and, for want of a kind, that of recovered messages. Parameters: the instance, the person, the revisions after and
/// up to.
pub(super) const RANGES: &str = "WITH RECURSIVE joined (conversation, kind) AS ( \
        SELECT p.conversation, (SELECT m.kind FROM message AS m WHERE m.instance = $1 \
            AND m.conversation = p.conversation ORDER BY m.kind LIMIT 1) \
        FROM participation AS p WHERE p.instance = $1 AND p.person = $2 AND p.member \
        UNION ALL \
        SELECT joined.conversation, (SELECT m.kind FROM message AS m WHERE m.instance = $1 \
            AND m.conversation = joined.conversation AND m.kind > joined.kind ORDER BY m.kind LIMIT 1) \
        FROM joined WHERE joined.kind IS NOT NULL \
    ) SELECT joined.conversation, joined.kind, greatest($3, s.after_rev), least($4, s.until_rev) FROM joined \
    CROSS JOIN LATERAL ( \
        SELECT after_rev, until_rev FROM stay WHERE instance = $1 AND conversation = joined.conversation \
        AND person = $2 OFFSET 0 \
    ) AS s WHERE greatest($3, s.after_rev) < least($4, s.until_rev)";

/// The first places in ranges of revisions, so many in each: the number of the range, the revision, the id. Parameters: the
/// instance, and as arrays conversations, kinds, revisions after and up to; the limit.
pub(super) const STEPS: &str = "SELECT j.at, l.rev, l.id FROM \
    unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) WITH ORDINALITY \
    AS j (conversation, kind, after, upto, at) CROSS JOIN LATERAL ( \
        (SELECT id AS rev, id FROM message WHERE instance = $1 AND conversation = j.conversation AND kind = j.kind \
         AND id > j.after AND id <= j.upto AND rev = id ORDER BY id LIMIT $6) \
        UNION ALL \
        (SELECT rev, id FROM message WHERE instance = $1 AND conversation = j.conversation AND j.kind IS NULL \
         AND rev > j.after AND rev <= j.upto AND rev <> id ORDER BY rev LIMIT $6) \
    ) AS l";

/// Who hears a conversation after a revision. Parameters: the instance, the conversation, the revision.
pub(super) const AUDIENCE: &str = "SELECT person, after_rev, until_rev FROM stay \
    WHERE instance = $1 AND conversation = $2 AND until_rev >= $3 UNION ALL \
    SELECT person, after_rev, until_rev FROM stay WHERE instance = $1 AND conversation = $2 AND until_rev IS NULL";

/// The versions of audiences. Parameters: the instance, the conversations.
pub(super) const VERSIONS: &str = "SELECT coalesce(c.audience, 0) FROM unnest($2::bigint[]) WITH ORDINALITY AS j (id, at) \
    LEFT JOIN LATERAL (SELECT audience FROM conversation WHERE instance = $1 AND id = j.id LIMIT 1) AS c ON true \
    ORDER BY j.at";

#[async_trait]
impl Live for PostgresArchive {
    async fn news(&self, instance: InstanceId, after: Rev, upto: Rev, portion: Portion) -> Result<News> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            let places = between(&mut snapshot, instance, None, (after.0, upto.0), portion).await?;
            load(&mut snapshot, instance, places, (after, upto), portion).await
        })
        .await
    }

    async fn missed(
        &self,
        instance: InstanceId,
        person: PersonId,
        after: Rev,
        upto: Rev,
        portion: Portion,
    ) -> Result<News> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            let joined = sqlx::query_scalar(JOINED).bind(instance.0).bind(person.0);
            let joined: i64 = joined.fetch_one(&mut *snapshot).await?;
            let near = upto.0.min(after.0.saturating_add(joined.saturating_mul(NEAR)));
            let mut places = between(&mut snapshot, instance, Some(person), (after.0, near), portion).await?;
            if near < upto.0 && places.len() < portion.rows as usize {
                places = walk(&mut snapshot, instance, person, (after.0, upto.0), portion).await?;
            }
            load(&mut snapshot, instance, places, (after, upto), portion).await
        })
        .await
    }

    async fn audience_versions(&self, instance: InstanceId, conversations: &[ConversationId]) -> Result<Vec<i64>> {
        let ids: Vec<i64> = conversations.iter().map(|conversation| conversation.0).collect();
        self.repeat(|| async {
            Ok(sqlx::query_scalar(VERSIONS).bind(instance.0).bind(&ids).fetch_all(&mut *self.lend().await?).await?)
        })
        .await
    }

    async fn audience(&self, instance: InstanceId, conversation: ConversationId, since: Rev) -> Result<Audience> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            let version = sqlx::query_scalar("SELECT audience FROM conversation WHERE instance = $1 AND id = $2");
            let version = version.bind(instance.0).bind(conversation.0).fetch_optional(&mut *snapshot).await?;
            let Some(version) = version else { return Ok(Audience::default()) };
            let stays: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(AUDIENCE)
                .bind(instance.0)
                .bind(conversation.0)
                .bind(since.0)
                .fetch_all(&mut *snapshot)
                .await?;
            let stay = |(person, after, until): (i64, i64, Option<i64>)| Stay {
                person: PersonId(person),
                after: Rev(after),
                until: until.map(Rev),
            };
            Ok(Audience { version, stays: stays.into_iter().map(stay).collect() })
        })
        .await
    }
}

/// The first places between two revisions; with a person, those that they heard.
async fn between(
    connection: &mut PgConnection,
    instance: InstanceId,
    person: Option<PersonId>,
    (after, upto): (i64, i64),
    portion: Portion,
) -> Result<Vec<Place>, Failure> {
    let sql = if person.is_some() { HEARD } else { NEWS };
    Ok(sqlx::query_as(sql)
        .bind(instance.0)
        .bind(after)
        .bind(upto)
        .bind(i64::from(portion.rows))
        .bind(person.map(|person| person.0))
        .fetch_all(connection)
        .await?)
}

/// A range of revisions, and how far it has been read.
struct Range {
    conversation: i64,
    kind: Option<i64>,
    after: i64,
    upto: i64,
}

/// The first places of what somebody missed, however far they lie apart.
///
/// Of each range one place is read, then two, then four: only of ranges that have more and whose last place read is among the
/// first ones found. So what is read is the ranges, and about three times what is asked for.
async fn walk(
    connection: &mut PgConnection,
    instance: InstanceId,
    person: PersonId,
    (after, upto): (i64, i64),
    portion: Portion,
) -> Result<Vec<Place>, Failure> {
    let found: Vec<(i64, Option<i64>, i64, i64)> = sqlx::query_as(RANGES)
        .bind(instance.0)
        .bind(person.0)
        .bind(after)
        .bind(upto)
        .fetch_all(&mut *connection)
        .await?;
    let mut ranges: Vec<Range> =
        found.into_iter().map(|(conversation, kind, after, upto)| Range { conversation, kind, after, upto }).collect();
    let mut places: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut width = 1;
    while !ranges.is_empty() && portion.rows > 0 {
        let column = |of: fn(&Range) -> i64| ranges.iter().map(of).collect::<Vec<_>>();
        let steps: Vec<(i64, i64, i64)> = sqlx::query_as(STEPS)
            .bind(instance.0)
            .bind(column(|range| range.conversation))
            .bind(ranges.iter().map(|range| range.kind).collect::<Vec<_>>())
            .bind(column(|range| range.after))
            .bind(column(|range| range.upto))
            .bind(width)
            .fetch_all(&mut *connection)
            .await?;
        let mut read = vec![0; ranges.len()];
        for (at, rev, id) in steps {
            let at = at as usize - 1;
            read[at] += 1;
            ranges[at].after = ranges[at].after.max(rev);
            places.insert((rev, id));
        }
        while places.len() > portion.rows as usize {
            places.pop_last();
        }
        let last = places.last().map(|(rev, _)| *rev).filter(|_| places.len() == portion.rows as usize);
        let mut at = 0;
        ranges.retain(|range| {
            at += 1;
            read[at - 1] == width && last.is_none_or(|last| range.after < last)
        });
        width *= 2;
    }
    Ok(places.into_iter().map(|(rev, id)| (rev, Some(id))).collect())
}

/// The messages of the first places, as many as are brought at once.
async fn load(
    connection: &mut PgConnection,
    instance: InstanceId,
    places: Vec<Place>,
    range: (Rev, Rev),
    portion: Portion,
) -> Result<News, Failure> {
    let places = Places::new(places, range, portion);
    let fitting = rows::fitting(connection, instance, &places.ids, portion.bytes).await?;
    let messages = rows::load(connection, instance, &places.ids[..fitting]).await?;
    Ok(places.bring(messages, fitting))
}
