//! A person's conversations, latest first: ranges of one index, never a look at messages that are not shown.

use super::bulk::id_list;
use super::error::Failure;
use super::fold::fold;
use super::rows;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use std::collections::HashMap;
use stele_archive::ops::{ConversationQuery, ConversationView, PersonView};
use stele_archive::{ConversationList, InstanceId, ListedConversation};

/// The statement for a person with so many kinds of conversations: one range per kind, merged in order by the database.
/// Each range takes three parameters: person, kind, name; then follow limit and offset.
pub(super) fn list_sql(kinds: usize, named: bool) -> String {
    let name = if named { " AND instr(label, ?) > 0" } else { "" };
    let range = format!(
        "SELECT conversation, last_id, last_at FROM participation INDEXED BY participation_list \
         WHERE person = ? AND kind = ? AND last_id > 0{name}"
    );
    let ranges = vec![range; kinds].join(" UNION ALL ");
    format!("{ranges} ORDER BY last_at DESC, last_id DESC LIMIT ? OFFSET ?")
}

/// How many there are under a name; the ranges of [`list_sql`] without order.
pub(super) const COUNT_NAMED: &str = "SELECT count(*) FROM participation INDEXED BY participation_list \
    WHERE person = ? AND kind IN (SELECT value FROM json_each(?)) AND last_id > 0 AND instr(label, ?) > 0";

/// Answer the query.
pub(super) async fn conversations(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    query: &ConversationQuery,
) -> Result<ConversationList, Failure> {
    let person: Option<i64> = sqlx::query_scalar("SELECT id FROM person WHERE instance = ? AND native_id = ?")
        .bind(instance.0)
        .bind(&query.person)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(person) = person else { return Ok(ConversationList::default()) };

    let counted: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT l.kind, l.n FROM listed AS l WHERE l.person = ? AND l.n > 0 \
         AND (? IS NULL OR l.kind = (SELECT id FROM word WHERE word = ?))",
    )
    .bind(person)
    .bind(query.kind.as_ref().map(|kind| kind.as_str()))
    .bind(query.kind.as_ref().map(|kind| kind.as_str()))
    .fetch_all(&mut *connection)
    .await?;
    let kinds: Vec<i64> = counted.iter().map(|(kind, _)| *kind).collect();
    let name = query.name.as_deref().map(fold).filter(|name| !name.is_empty());
    let total: i64 = match &name {
        None => counted.iter().map(|(_, n)| n).sum(),
        Some(_) if kinds.is_empty() => 0,
        Some(name) => {
            sqlx::query_scalar(COUNT_NAMED)
                .bind(person)
                .bind(id_list(kinds.iter().copied()))
                .bind(name)
                .fetch_one(&mut *connection)
                .await?
        }
    };
    let total = total.cast_unsigned();
    let limit = u64::from(query.limit).min(total.saturating_sub(query.offset));
    if limit == 0 {
        return Ok(ConversationList { rows: Vec::new(), total });
    }

    let sql = list_sql(kinds.len(), name.is_some());
    let mut page = sqlx::query_as::<_, (i64, i64, i64)>(AssertSqlSafe(sql));
    for kind in &kinds {
        page = page.bind(person).bind(*kind);
        if let Some(name) = &name {
            page = page.bind(name);
        }
    }
    // Below the total, which is a count of rows.
    let page = page.bind(limit.cast_signed()).bind(query.offset.cast_signed()).fetch_all(&mut *connection).await?;

    let ids: Vec<i64> = page.iter().map(|(conversation, ..)| *conversation).collect();
    let last: Vec<i64> = page.iter().map(|(_, last, _)| *last).collect();
    let mut views = views(connection, &ids).await?;
    let mut peers = peers(connection, &ids, person).await?;
    let messages = rows::messages(connection, &last).await?;
    let rows = messages
        .into_iter()
        .filter_map(|last| {
            let conversation = views.remove(&last.conversation.0)?;
            Some(ListedConversation { peer: peers.remove(&conversation.id), conversation, last })
        })
        .collect();
    Ok(ConversationList { rows, total })
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
