//! The messages of a page: which are new, and how they are stored.

use super::commit::Txn;
use super::error::Failure;
use super::head::next;
use super::text::written;
use crate::common::Ids;
use crate::common::hash::Entry;
use crate::common::message::{NewMessage, Numbers, astray, first_of_each};
use crate::common::packing::pack;
use crate::common::rows::Columns;
use crate::common::standing::Standing;
use serde_json::json;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use stele_archive::model::Message;

/// Messages per statement.
const BATCH: usize = 500;

const INSERT: &str = "INSERT INTO message (instance, id, rev, conversation, seq, sender, sent_at, kind, expires_at, native_id, \
    client_id, recipients, labels, text, body) \
    SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], \
    $9::bigint[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[], $15::bytea[]) AS j";

/// The messages the archive does not have, in the order of the page; of those with one native id only the first.
/// `trusted` ones are taken for new: the unique key of the table catches those that are not.
pub(super) async fn fresh<'a>(
    txn: &mut Txn<'_>,
    messages: &'a [Message],
    trusted: bool,
) -> Result<Vec<&'a Message>, Failure> {
    let mut fresh = first_of_each(messages);
    if !trusted && !fresh.is_empty() {
        let known = known(txn, fresh.iter().map(|message| message.native_id.as_str())).await?;
        fresh.retain(|message| !known.contains(&message.native_id));
    }
    Ok(fresh)
}

/// Those of these native ids that the archive has.
pub(super) async fn known<'n>(
    txn: &mut Txn<'_>,
    natives: impl Iterator<Item = &'n str>,
) -> Result<HashSet<String>, Failure> {
    let found = sqlx::query("SELECT native_id FROM message WHERE instance = $1 AND native_id = ANY($2)")
        .bind(txn.instance)
        .bind(natives.map(written).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    Ok(found.iter().map(|row| row.text(0)).collect())
}

/// Give ids, revisions and numbers, in the order of the page.
pub(super) async fn number<'a>(
    txn: &mut Txn<'_>,
    fresh: &[&'a Message],
    people: &Ids<'_>,
    conversations: &Ids<'_>,
    standing: &mut HashMap<i64, Standing>,
    reserved: &HashMap<String, i64>,
) -> Result<Vec<NewMessage<'a>>, Failure> {
    let mut words: HashMap<&str, i64> = HashMap::new();
    for message in fresh {
        if !words.contains_key(message.kind.as_str()) {
            words.insert(&message.kind, txn.word(&message.kind).await?);
        }
    }
    let numbers = Numbers { people, conversations, words: &words, reserved };
    let rows = numbers.give(fresh, standing, || next(&mut txn.head.next_id));
    if let Some(last) = rows.last() {
        txn.head.last_rev = last.rev;
    }
    Ok(rows)
}

/// Store them. While the database works on some, the next ones are made ready and hashed.
pub(super) async fn insert(
    txn: &mut Txn<'_>,
    rows: &[NewMessage<'_>],
    mut entry: Option<&mut Entry<'_>>,
) -> Result<(), Failure> {
    let instance = txn.instance;
    let mut statements = rows.chunks(BATCH).map(|rows| {
        let statement = statement(instance, rows);
        if let Some(entry) = &mut entry {
            entry.hash(rows.len());
        }
        statement
    });
    let mut next = statements.next();
    while let Some(statement) = next {
        let store = statement.execute(&mut *txn.connection);
        let (stored, prepared) = tokio::join!(store, async { statements.next() });
        stored?;
        next = prepared;
    }
    Ok(())
}

fn statement<'q>(instance: i64, rows: &'q [NewMessage<'_>]) -> Query<'q, Postgres, PgArguments> {
    let numbers = |number: fn(&NewMessage<'_>) -> i64| rows.iter().map(number).collect::<Vec<i64>>();
    let some_numbers = |number: fn(&NewMessage<'_>) -> Option<i64>| rows.iter().map(number).collect::<Vec<_>>();
    let labels = |row: &NewMessage<'_>| (!row.labels.is_empty()).then(|| json!(row.labels).to_string());
    sqlx::query(INSERT)
        .bind(instance)
        .bind(numbers(|row| row.id))
        .bind(numbers(|row| row.rev))
        .bind(numbers(|row| row.conversation))
        .bind(numbers(|row| row.seq))
        .bind(some_numbers(|row| row.sender))
        .bind(numbers(|row| row.message.sent_at))
        .bind(numbers(|row| row.kind))
        .bind(some_numbers(|row| row.message.expires_at))
        .bind(rows.iter().map(|row| written(&row.message.native_id)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.message.client_id.as_deref().map(written)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| pack(&row.recipients)).collect::<Vec<_>>())
        .bind(rows.iter().map(labels).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| written(&row.message.text)).collect::<Vec<Cow<'_, str>>>())
        .bind(rows.iter().map(|row| &*row.message.body).collect::<Vec<&[u8]>>())
}

/// Keep the order by number of conversations where it is not that by id. A conversation that had none of its own until
/// now gets it for all its messages.
pub(super) async fn keep_order(
    txn: &mut Txn<'_>,
    rows: &[NewMessage<'_>],
    standing: &HashMap<i64, Standing>,
) -> Result<(), Failure> {
    let (first, rows) = astray(rows, standing);
    if !first.is_empty() {
        let sql = "INSERT INTO message_by_seq (instance, conversation, kind, seq, id, sent_at) \
                   SELECT instance, conversation, kind, seq, id, sent_at FROM message \
                   WHERE instance = $1 AND conversation = ANY($2)";
        sqlx::query(sql).bind(txn.instance).bind(first).execute(&mut *txn.connection).await?;
    }
    if rows.is_empty() {
        return Ok(());
    }
    let numbers = |number: fn(&NewMessage<'_>) -> i64| rows.iter().map(|row| number(row)).collect::<Vec<i64>>();
    let sql = "INSERT INTO message_by_seq (instance, conversation, kind, seq, id, sent_at) \
               SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS j";
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(numbers(|row| row.conversation))
        .bind(numbers(|row| row.kind))
        .bind(numbers(|row| row.seq))
        .bind(numbers(|row| row.id))
        .bind(numbers(|row| row.message.sent_at))
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}
