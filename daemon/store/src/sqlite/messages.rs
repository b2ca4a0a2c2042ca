//! The messages of a page: which are new, and how they are stored.

use super::bulk::{Bulk, Values, id_list};
use super::commit::{Ids, Txn};
use super::conversations::Standing;
use super::error::Failure;
use super::ledger::Entry;
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

/// A message on its way into the table.
pub(super) struct NewMessage<'a> {
    pub message: &'a Message,
    pub id: i64,
    pub rev: i64,
    pub conversation: i64,
    pub seq: i64,
    pub sender: Option<i64>,
    pub recipients: Vec<i64>,
    /// Ascending, each once.
    pub labels: Vec<&'a str>,
    pub kind: i64,
}

/// The messages the archive does not have, in the order of the page; of those with one native id only the first.
/// `trusted` ones are taken for new: the unique key of the table catches those that are not.
pub(super) async fn fresh<'a>(
    txn: &mut Txn<'_>,
    messages: &'a [Message],
    trusted: bool,
) -> Result<Vec<&'a Message>, Failure> {
    let mut seen = HashSet::with_capacity(messages.len());
    if trusted {
        return Ok(messages.iter().filter(|message| seen.insert(message.native_id.as_str())).collect());
    }
    let natives: Vec<&str> =
        messages.iter().map(|message| message.native_id.as_str()).filter(|native| seen.insert(*native)).collect();
    for native in known(txn, &natives).await? {
        seen.remove(native.as_str());
    }
    Ok(messages.iter().filter(|message| seen.remove(message.native_id.as_str())).collect())
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
    let mut rows = Vec::with_capacity(fresh.len());
    for &message in fresh {
        let kind = txn.memory.word(txn.connection, &message.kind).await?;
        let rev = txn.memory.next();
        let id = reserved.get(&message.native_id).copied().unwrap_or(rev);
        let conversation = conversations[message.conversation.as_str()];
        let standing = standing.get_mut(&conversation).expect("every conversation of the page was read");
        rows.push(NewMessage {
            message,
            id,
            rev,
            conversation,
            seq: standing.add((id, id == rev), message.sent_at, message.seq),
            sender: people.get(message.sender.as_str()).copied(),
            recipients: message.recipients.iter().filter_map(|native| people.get(native.as_str()).copied()).collect(),
            labels: distinct(&message.labels),
            kind,
        });
    }
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
    let first = id_list(standing.iter().filter(|(_, standing)| standing.is_first_astray()).map(|(id, _)| *id));
    if first.len() > 2 {
        let sql = "INSERT OR FAIL INTO message_by_seq (conversation, kind, seq, id, sent_at) \
                   SELECT m.conversation, m.kind, m.seq, m.id, m.sent_at FROM json_each(?) AS j \
                   CROSS JOIN message AS m INDEXED BY message_by_id ON m.conversation = j.value";
        sqlx::query(sql).bind(first).execute(&mut *txn.connection).await?;
    }
    let astray = |row: &&NewMessage<'_>| {
        let standing = &standing[&row.conversation];
        standing.own_order && !standing.is_first_astray()
    };
    let rows: Vec<&NewMessage> = rows.iter().filter(astray).collect();
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

/// Labels in the order they are kept in.
fn distinct(labels: &[String]) -> Vec<&str> {
    let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Labels as they are kept. What is no list of them has been tampered with, and tells none.
pub(super) fn labels(kept: Option<&str>) -> Vec<String> {
    kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default()
}

/// Ids as LEB128, one after the other; nothing for nobody.
pub(super) fn pack(ids: &[i64]) -> Option<Vec<u8>> {
    if ids.is_empty() {
        return None;
    }
    let mut packed = Vec::with_capacity(ids.len() * 3);
    for id in ids {
        let mut rest = id.cast_unsigned();
        while rest >= 0x80 {
            packed.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        packed.push(rest as u8);
    }
    Some(packed)
}

/// The ids in what [`pack`] made.
pub(super) fn unpack(packed: &[u8]) -> Vec<i64> {
    let (mut ids, mut id, mut shift) = (Vec::new(), 0_u64, 0);
    for byte in packed {
        id |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            ids.push(id.cast_signed());
            (id, shift) = (0, 0);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{pack, unpack};

    #[test]
    fn recipients_survive_packing() {
        for ids in [vec![1], vec![127, 128, 129], vec![i64::MAX, 1, 0], (1..5000).collect()] {
            assert_eq!(unpack(&pack(&ids).expect("somebody")), ids);
        }
        assert_eq!(pack(&[]), None);
    }
}
