//! A person's conversations, latest first.
//!
//! The index of lists knows the day of a conversation's latest message, the conversation knows the moment. So a page is
//! found in two steps: the days it spans, from the index alone, and then the conversations of those days in order. What
//! is looked at and not shown is what else the person took part in on the first and last of these days, never more.

use super::error::Failure;
use super::ranges::put;
use super::rows;
use super::text::written;
use crate::common::fold::fold;
use crate::common::rows::listed;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::HashMap;
use stele_archive::ops::{ConversationQuery, ConversationView, PersonView};
use stele_archive::{ConversationList, InstanceId};

/// A person, and how many conversations of each kind they have. Parameters: instance, native id, a kind if only that is asked for.
pub(super) const COUNTED: &str = "SELECT p.id, l.kind, l.n FROM person AS p LEFT JOIN LATERAL ( \
        SELECT kind, n FROM listed WHERE instance = $1 AND person = p.id AND n > 0 \
        AND ($3::text IS NULL OR kind = (SELECT id FROM word WHERE word = $3)) OFFSET 0 \
    ) AS l ON true WHERE p.instance = $1 AND p.native_id = $2";

/// The statement for the days of a page, for a person with so many kinds of conversations: one range per kind, merged in
/// order by the database. Parameters: instance, person, limit, offset, name, and the kinds.
pub(super) fn days_sql(kinds: usize, named: bool) -> String {
    let name = name_sql(named);
    let range = |at: usize| {
        format!(
            "(SELECT l.day FROM participation AS l WHERE l.instance = $1 AND l.person = $2 AND l.kind = ${} \
             AND l.day IS NOT NULL{name} ORDER BY l.day DESC LIMIT $3 + $4)",
            6 + at
        )
    };
    let ranges = (0..kinds).map(range).collect::<Vec<_>>().join(" UNION ALL ");
    format!("SELECT r.day FROM ({ranges}) AS r ORDER BY r.day DESC LIMIT $3 OFFSET $4")
}

/// The statement for the conversations of some days, latest first. Parameters: instance, person, limit, offset, name, kinds,
/// first day, last day.
pub(super) fn page_sql(named: bool) -> String {
    let name = name_sql(named);
    format!(
        "SELECT c.id, c.last_id FROM ( \
             SELECT l.conversation FROM participation AS l WHERE l.instance = $1 AND l.person = $2 \
             AND l.kind = ANY ($6::bigint[]) AND l.day >= $7 AND l.day <= $8{name} OFFSET 0 \
         ) AS l CROSS JOIN LATERAL ( \
             SELECT id, last_at, last_id FROM conversation WHERE instance = $1 AND id = l.conversation LIMIT 1 \
         ) AS c ORDER BY c.last_at DESC, c.last_id DESC LIMIT $3 OFFSET $4"
    )
}

/// The statement for how many there are after a day. Parameters: instance, person, day, kinds, name.
pub(super) fn count_sql(named: bool) -> String {
    let name = name_sql(named);
    format!(
        "SELECT count(*) FROM participation AS l \
         WHERE l.instance = $1 AND l.person = $2 AND l.day > $3 AND l.kind = ANY ($4::bigint[]){name}"
    )
}

fn name_sql(named: bool) -> &'static str {
    if named { " AND strpos(l.label, $5) > 0" } else { "" }
}

/// Conversations. Parameters: instance, ids.
pub(super) fn views_sql() -> String {
    format!(
        "SELECT {} FROM unnest($2::bigint[]) AS j (id) \
         CROSS JOIN LATERAL (SELECT * FROM conversation WHERE instance = $1 AND id = j.id LIMIT 1) AS c \
         CROSS JOIN LATERAL (SELECT word FROM word WHERE id = c.kind LIMIT 1) AS w",
        rows::CONVERSATION
    )
}

/// The other one of each conversation of two. Parameters: instance, ids of conversations, the one. No more than three
/// participants are looked at.
pub(super) fn peers_sql() -> String {
    format!(
        "SELECT j.id, {} FROM unnest($2::bigint[]) AS j (id) \
         CROSS JOIN LATERAL (SELECT pair FROM conversation WHERE instance = $1 AND id = j.id LIMIT 1) AS c \
         CROSS JOIN LATERAL ( \
             SELECT max(person) FILTER (WHERE person <> $3) AS person, count(*) AS n FROM ( \
                 SELECT person FROM participation WHERE instance = $1 AND conversation = j.id AND c.pair LIMIT 3 \
             ) AS first \
         ) AS o \
         CROSS JOIN LATERAL (SELECT * FROM person WHERE instance = $1 AND id = o.person LIMIT 1) AS p WHERE o.n = 2",
        rows::PERSON
    )
}

/// Answer the query.
pub(super) async fn conversations(
    connection: &mut PgConnection,
    instance: InstanceId,
    query: &ConversationQuery,
) -> Result<ConversationList, Failure> {
    let counted: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(COUNTED)
        .bind(instance.0)
        .bind(written(&query.person))
        .bind(query.kind.as_ref().map(|kind| written(kind.as_str())))
        .fetch_all(&mut *connection)
        .await?;
    let Some(&(person, ..)) = counted.first() else { return Ok(ConversationList::default()) };
    let kinds: Vec<i64> = counted.iter().filter_map(|(_, kind, _)| *kind).collect();
    let name = query.name.as_deref().map(fold).filter(|name| !name.is_empty());
    let name = name.map(|name| written(&name).into_owned());
    let list = Listed { instance, person, kinds, name };
    let total: i64 = match &list.name {
        _ if list.kinds.is_empty() => 0,
        None => counted.iter().filter_map(|(.., n)| *n).sum(),
        Some(_) => list.count_after(connection, i64::MIN).await?,
    };
    let total = total.cast_unsigned();
    let limit = u64::from(query.limit).min(total.saturating_sub(query.offset));
    if limit == 0 {
        return Ok(ConversationList { rows: Vec::new(), total });
    }
    // Below the total, which is a count of rows.
    let page = list.page(connection, limit.cast_signed(), query.offset.cast_signed()).await?;

    let (ids, last): (Vec<i64>, Vec<i64>) = page.into_iter().unzip();
    let views = views(connection, instance, &ids).await?;
    let peers = peers(connection, instance, &ids, person).await?;
    let messages = rows::messages(connection, instance, &last).await?;
    Ok(ConversationList { rows: listed(messages, views, peers), total })
}

/// A person's list under a filter.
struct Listed {
    instance: InstanceId,
    person: i64,
    kinds: Vec<i64>,
    /// A part of the folded name, as it is written.
    name: Option<String>,
}

impl Listed {
    /// How many there are after a day.
    async fn count_after(&self, connection: &mut PgConnection, day: i64) -> Result<i64, Failure> {
        Ok(sqlx::query_scalar(AssertSqlSafe(count_sql(self.name.is_some())))
            .bind(self.instance.0)
            .bind(self.person)
            .bind(day)
            .bind(&self.kinds)
            .bind(&self.name)
            .fetch_one(connection)
            .await?)
    }

    /// The conversations of a page, and their latest messages. There are at least `offset + limit` of them.
    async fn page(&self, connection: &mut PgConnection, limit: i64, offset: i64) -> Result<Vec<(i64, i64)>, Failure> {
        let mut values = self.values(limit, offset)?;
        for kind in &self.kinds {
            put(&mut values, *kind)?;
        }
        let sql = AssertSqlSafe(days_sql(self.kinds.len(), self.name.is_some()));
        let days: Vec<i64> = sqlx::query_scalar_with(sql, values).fetch_all(&mut *connection).await?;
        let (Some(&latest), Some(&earliest)) = (days.first(), days.last()) else { return Ok(Vec::new()) };
        // The page may begin amid its latest day.
        let skipped = if offset == 0 { 0 } else { offset - self.count_after(connection, latest).await? };
        let mut values = self.values(limit, skipped)?;
        put(&mut values, &self.kinds)?;
        put(&mut values, earliest)?;
        put(&mut values, latest)?;
        let sql = AssertSqlSafe(page_sql(self.name.is_some()));
        Ok(sqlx::query_as_with(sql, values).fetch_all(connection).await?)
    }

    fn values(&self, limit: i64, offset: i64) -> Result<PgArguments, Failure> {
        let mut values = PgArguments::default();
        for value in [self.instance.0, self.person, limit, offset] {
            put(&mut values, value)?;
        }
        put(&mut values, &self.name)?;
        Ok(values)
    }
}

async fn views(
    connection: &mut PgConnection,
    instance: InstanceId,
    ids: &[i64],
) -> Result<HashMap<i64, ConversationView>, Failure> {
    let found = sqlx::query(AssertSqlSafe(views_sql())).bind(instance.0).bind(ids).fetch_all(connection).await?;
    Ok(found.iter().map(|row| (row.get(0), rows::conversation(row))).collect())
}

async fn peers(
    connection: &mut PgConnection,
    instance: InstanceId,
    conversations: &[i64],
    person: i64,
) -> Result<HashMap<i64, PersonView>, Failure> {
    let peers = sqlx::query(AssertSqlSafe(peers_sql())).bind(instance.0).bind(conversations).bind(person);
    let found = peers.fetch_all(connection).await?;
    Ok(found.iter().map(|row| (row.get(0), rows::person(row, 1))).collect())
}
