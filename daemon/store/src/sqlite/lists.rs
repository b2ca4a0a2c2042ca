//! A person's conversations, latest first.
//!
//! The index of lists knows the day of a conversation's latest message, the conversation knows the moment. So a page is
//! found in two steps: the days it spans, from the index alone, and then the conversations of those days in order. What
//! is looked at and not shown is what else the person took part in on the first and last of these days, never more.

use super::bulk::id_list;
use super::error::Failure;
use super::rows;
use crate::common::fold::fold;
use crate::common::rows::listed;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use std::collections::HashMap;
use stele_archive::ops::{ConversationQuery, ConversationView, PersonView};
use stele_archive::{ConversationList, InstanceId, Result};

/// The statement for the days of a page, for a person with so many kinds of conversations: one range per kind, merged in
/// order by the database. Each range takes three parameters: person, kind, name; then follow limit and offset.
pub(super) fn days_sql(kinds: usize, named: bool) -> String {
    let name = if named { " AND instr(label, ?) > 0" } else { "" };
    let range = format!(
        "SELECT day FROM participation INDEXED BY participation_list \
         WHERE person = ? AND kind = ? AND day IS NOT NULL{name}"
    );
    let ranges = vec![range; kinds].join(" UNION ALL ");
    format!("{ranges} ORDER BY day DESC LIMIT ? OFFSET ?")
}

/// The statement for the conversations of some days, latest first. Parameters: person, kinds, first day, last day, name,
/// limit, offset.
pub(super) fn page_sql(named: bool) -> String {
    let name = if named { " AND instr(l.label, ?) > 0" } else { "" };
    format!(
        "SELECT c.id, c.last_id FROM participation AS l INDEXED BY participation_list \
         CROSS JOIN conversation AS c ON c.id = l.conversation WHERE l.person = ? \
         AND l.kind IN (SELECT value FROM json_each(?)) AND l.day >= ? AND l.day <= ?{name} \
         ORDER BY c.last_at DESC, c.last_id DESC LIMIT ? OFFSET ?"
    )
}

/// The statement for how many there are after a day. Parameters: person, kinds, day, name.
pub(super) fn count_sql(named: bool) -> String {
    let name = if named { " AND instr(label, ?) > 0" } else { "" };
    format!(
        "SELECT count(*) FROM participation INDEXED BY participation_list \
         WHERE person = ? AND kind IN (SELECT value FROM json_each(?)) AND day > ?{name}"
    )
}

/// Answer the query.
pub(super) async fn conversations(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    query: &ConversationQuery,
) -> Result<ConversationList> {
    let person: Option<i64> = sqlx::query_scalar("SELECT id FROM person WHERE instance = ? AND native_id = ?")
        .bind(instance.0)
        .bind(&query.person)
        .fetch_optional(&mut *connection)
        .await
        .map_err(Failure)?;
    let Some(person) = person else { return Ok(ConversationList::default()) };

    let counted: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT l.kind, l.n FROM listed AS l WHERE l.person = ? AND l.n > 0 \
         AND (? IS NULL OR l.kind = (SELECT id FROM word WHERE word = ?))",
    )
    .bind(person)
    .bind(query.kind.as_ref().map(|kind| kind.as_str()))
    .bind(query.kind.as_ref().map(|kind| kind.as_str()))
    .fetch_all(&mut *connection)
    .await
    .map_err(Failure)?;
    let kinds: Vec<i64> = counted.iter().map(|(kind, _)| *kind).collect();
    let name = query.name.as_deref().map(fold).filter(|name| !name.is_empty());
    let list = Listed { person, list: id_list(kinds.iter().copied()), kinds, name };
    let total: i64 = match &list.name {
        None => counted.iter().map(|(_, n)| n).sum(),
        Some(_) if counted.is_empty() => 0,
        Some(_) => list.count_after(connection, i64::MIN).await?,
    };
    let total = total.cast_unsigned();
    let limit = u64::from(query.limit).min(total.saturating_sub(query.offset));
    if limit == 0 {
        return Ok(ConversationList { rows: Vec::new(), total });
    }
    // Below the total, which is a count of rows.
    let page = list.page(connection, limit.cast_signed(), query.offset.cast_signed()).await?;

    let ids: Vec<i64> = page.iter().map(|(conversation, _)| *conversation).collect();
    let last: Vec<i64> = page.iter().map(|(_, last)| *last).collect();
    let views = views(connection, &ids).await?;
    let peers = peers(connection, &ids, person).await?;
    let messages = rows::messages(connection, &last).await?;
    Ok(ConversationList { rows: listed(messages, views, peers), total })
}

/// A person's list under a filter.
struct Listed {
    person: i64,
    kinds: Vec<i64>,
    /// The kinds as a JSON array.
    list: String,
    /// A part of the folded name.
    name: Option<String>,
}

impl Listed {
    /// How many there are after a day.
    async fn count_after(&self, connection: &mut SqliteConnection, day: i64) -> Result<i64, Failure> {
        let sql = count_sql(self.name.is_some());
        let mut count = sqlx::query_scalar(AssertSqlSafe(sql)).bind(self.person).bind(&self.list).bind(day);
        if let Some(name) = &self.name {
            count = count.bind(name);
        }
        Ok(count.fetch_one(connection).await?)
    }

    /// The conversations of a page, and their latest messages. There are at least `offset + limit` of them.
    async fn page(
        &self,
        connection: &mut SqliteConnection,
        limit: i64,
        offset: i64,
    ) -> Result<Vec<(i64, i64)>, Failure> {
        let mut days = sqlx::query_scalar(AssertSqlSafe(days_sql(self.kinds.len(), self.name.is_some())));
        for kind in &self.kinds {
            days = days.bind(self.person).bind(*kind);
            if let Some(name) = &self.name {
                days = days.bind(name);
            }
        }
        let days: Vec<i64> = days.bind(limit).bind(offset).fetch_all(&mut *connection).await?;
        let (Some(&latest), Some(&earliest)) = (days.first(), days.last()) else { return Ok(Vec::new()) };
        // The page may begin amid its latest day.
        let skipped = if offset == 0 { 0 } else { offset - self.count_after(connection, latest).await? };
        let mut page = sqlx::query_as(AssertSqlSafe(page_sql(self.name.is_some())))
            .bind(self.person)
            .bind(&self.list)
            .bind(earliest)
            .bind(latest);
        if let Some(name) = &self.name {
            page = page.bind(name);
        }
        Ok(page.bind(limit).bind(skipped).fetch_all(connection).await?)
    }
}

async fn views(connection: &mut SqliteConnection, ids: &[i64]) -> Result<HashMap<i64, ConversationView>, Failure> {
    let sql = format!(
        "SELECT {} FROM json_each(?) AS j CROSS JOIN conversation AS c ON c.id = j.value \
         CROSS JOIN word AS w ON w.id = c.kind",
        rows::CONVERSATION
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(id_list(ids.iter().copied())).fetch_all(&mut *connection).await?;
    Ok(found.iter().map(|row| (row.get(0), rows::conversation(row))).collect())
}

/// The other one of each conversation of two.
async fn peers(
    connection: &mut SqliteConnection,
    conversations: &[i64],
    person: i64,
) -> Result<HashMap<i64, PersonView>, Failure> {
    let sql = format!(
        "SELECT c.id, {} FROM json_each(?) AS j CROSS JOIN conversation AS c ON c.id = j.value AND c.pair = 1 \
         CROSS JOIN participation AS o ON o.conversation = c.id AND o.person <> ? \
         CROSS JOIN person AS p ON p.id = o.person \
         WHERE (SELECT count(*) FROM participation AS a WHERE a.conversation = c.id) = 2",
        rows::PERSON
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(id_list(conversations.iter().copied()))
        .bind(person)
        .fetch_all(&mut *connection)
        .await?;
    Ok(found.iter().map(|row| (row.get(0), rows::person(row, 1))).collect())
}
