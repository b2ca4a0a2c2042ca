//! The messages of a page: which are new, and how they are stored.

use super::bulk::{Bulk, Values, id_list};
use super::commit::Txn;
use super::error::Failure;
use crate::common::Ids;
use crate::common::hash::Entry;
use crate::common::message::{NewMessage, Numbers, astray, first_of_each};
use crate::common::packing::pack;
use crate::common::standing::Standing;
use serde_json::json;
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use stele_archive::model::Message;

static KNOWN: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT native_id FROM message WHERE instance = ? AND native_id IN (", "?", ")"));
static INSERT: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO message (id, instance, conversation, seq, sender, sent_at, kind, expires_at, native_id, \
         client_id, recipients, text, body, labels) VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});
static RECOVER: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO message (id, instance, conversation, seq, sender, sent_at, kind, expires_at, native_id, \
         client_id, recipients, text, body, labels, late) VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

// OR FAIL here and elsewhere: a statement that fails ends the transaction anyway, so SQLite need not keep what would undo
// the statement alone.

static ASTRAY: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("INSERT OR FAIL INTO message_by_seq (conversation, kind, seq, id, sent_at) VALUES", "(?, ?, ?, ?, ?)", "")
});

/// The messages the archive does not have, in the order of the page; of those with one native id only the first.
/// `trusted` ones are taken for new: the unique key of the table catches those that are not.
pub(super) async fn fresh<'a>(
    txn: &mut Txn<'_>,
    messages: &'a [Message],
    trusted: bool,
) -> Result<Vec<&'a Message>, Failure> {
    let mut fresh = first_of_each(messages);
    if !trusted {
        let natives: Vec<&str> = fresh.iter().map(|message| message.native_id.as_str()).collect();
        let known = known(txn, &natives).await?;
        fresh.retain(|message| !known.contains(&message.native_id));
    }
    Ok(fresh)
}

/// Those of these native ids that the archive has.
pub(super) async fn known(txn: &mut Txn<'_>, natives: &[&str]) -> Result<HashSet<String>, Failure> {
    let mut known = HashSet::new();
    for (sql, natives) in KNOWN.cut(natives) {
        let mut values = Values::with_capacity(natives.len() + 1);
        values.put(txn.instance)?;
        for native in natives {
            values.put(*native)?;
        }
        let found = sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await?;
        known.extend(found.iter().map(|row| row.get::<String, _>(0)));
    }
    Ok(known)
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
            words.insert(&message.kind, txn.memory.word(txn.connection, &message.kind).await?);
        }
    }
    let numbers = Numbers { people, conversations, words: &words, reserved };
    let rows = numbers.give(fresh, standing, || txn.memory.next());
    if let Some(last) = rows.last() {
        txn.memory.last_rev = last.rev;
    }
    Ok(rows)
}

/// Store them. While the database works on some rows, the next ones are made ready and hashed.
pub(super) async fn insert(
    txn: &mut Txn<'_>,
    rows: &[NewMessage<'_>],
    mut entry: Option<&mut Entry<'_>>,
) -> Result<(), Failure> {
    let (plain, late): (Vec<&NewMessage>, Vec<&NewMessage>) = rows.iter().partition(|row| row.id == row.rev);
    for (bulk, rows) in [(&*INSERT, plain), (&*RECOVER, late)] {
        let mut statements = bulk.cut(&rows).map(|(sql, rows)| {
            let values = values(txn.instance, rows)?;
            if let Some(entry) = &mut entry {
                entry.hash(rows.len());
            }
            Ok::<_, Failure>((sql, values))
        });
        let mut next = statements.next().transpose()?;
        while let Some((sql, values)) = next {
            let store = sqlx::query_with(sql, values.done()).execute(&mut *txn.connection);
            let (stored, prepared) = tokio::join!(store, async { statements.next().transpose() });
            stored?;
            next = prepared?;
        }
    }
    Ok(())
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
        let sql = "INSERT OR FAIL INTO message_by_seq (conversation, kind, seq, id, sent_at) \
                   SELECT m.conversation, m.kind, m.seq, m.id, m.sent_at FROM json_each(?) AS j \
                   CROSS JOIN message AS m INDEXED BY message_by_id ON m.conversation = j.value";
        sqlx::query(sql).bind(id_list(first)).execute(&mut *txn.connection).await?;
    }
    for (sql, rows) in ASTRAY.cut(&rows) {
        let mut values = Values::with_capacity(rows.len() * 5);
        for row in rows {
            for number in [row.conversation, row.kind, row.seq, row.id, row.message.sent_at] {
                values.put(number)?;
            }
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(())
}

fn values(instance: i64, rows: &[&NewMessage<'_>]) -> Result<Values, Failure> {
    let mut values = Values::with_capacity(rows.len() * 15);
    for row in rows {
        let message = row.message;
        values.put(row.id)?;
        values.put(instance)?;
        values.put(row.conversation)?;
        values.put(row.seq)?;
        values.put(row.sender)?;
        values.put(message.sent_at)?;
        values.put(row.kind)?;
        values.put(message.expires_at)?;
        values.put(message.native_id.as_str())?;
        values.put(message.client_id.as_deref())?;
        values.put(pack(&row.recipients))?;
        values.put(message.text.as_str())?;
        values.put(&*message.body)?;
        values.put((!row.labels.is_empty()).then(|| json!(row.labels).to_string()))?;
        if row.id != row.rev {
            values.put(row.rev)?;
        }
    }
    Ok(values)
}
