//! Messages that are to be stored once: left out where they repeat another one of their sender.

use super::bulk::{Bulk, Values};
use super::commit::Txn;
use super::error::Failure;
use super::{messages, parked};
use crate::common::once::{self, Key, key};
use sqlx::Row;
use std::collections::HashMap;
use std::sync::LazyLock;
use stele_archive::model::Message;
use stele_archive::ops::Repeated;

/// Native ids of the first messages by conversation, sender and client id.
pub(super) static FIRST: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH j (at, instance, conversation, sender, client_id) AS (VALUES",
        "(?, ?, ?, ?, ?)",
        ") SELECT j.at, m.native_id FROM j \
         CROSS JOIN conversation AS c ON c.instance = j.instance AND c.native_id = j.conversation \
         CROSS JOIN person AS p ON p.instance = j.instance AND p.native_id = j.sender \
         CROSS JOIN message AS m ON m.id = ( \
             SELECT min(id) FROM message INDEXED BY message_client WHERE instance = j.instance \
             AND client_id = j.client_id AND conversation = c.id AND sender = p.id)",
    )
});

/// Take those out of the new messages of a page that repeat another one, and name them. What was parked of them is no
/// longer. New messages that are `trusted` to be it may be known after all; they are none that repeat.
pub(super) async fn leave_out<'a>(
    txn: &mut Txn<'_>,
    fresh: &mut Vec<&'a Message>,
    trusted: bool,
) -> Result<Vec<Repeated>, Failure> {
    let repeatable: Vec<&'a Message> = fresh.iter().copied().filter(|message| message.once).collect();
    if repeatable.is_empty() {
        return Ok(Vec::new());
    }
    let first = stored(txn, &repeatable).await?;
    let (again, mut repeated) = once::leave_out(fresh, first);
    if again.is_empty() {
        return Ok(repeated);
    }
    if trusted {
        let natives: Vec<&str> = again.iter().map(|message| message.native_id.as_str()).collect();
        let known = messages::known(txn, &natives).await?;
        repeated.retain(|message| !known.contains(&message.native_id));
    }
    parked::take(txn, &again).await?;
    Ok(repeated)
}

/// Native ids of the stored messages that some of these repeat, the first of each.
async fn stored<'a>(txn: &mut Txn<'_>, once: &[&'a Message]) -> Result<HashMap<Key<'a>, String>, Failure> {
    let keys: Vec<Key<'_>> = once.iter().filter_map(|message| key(message)).collect();
    let mut first = HashMap::with_capacity(keys.len());
    for (sql, keys) in FIRST.cut(&keys) {
        let mut values = Values::with_capacity(keys.len() * 5);
        for (at, (conversation, sender, client_id)) in keys.iter().enumerate() {
            values.put(at as i64)?;
            values.put(txn.instance)?;
            for text in [conversation, sender, client_id] {
                values.put(*text)?;
            }
        }
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            first.insert(keys[row.get::<i64, _>(0) as usize], row.get(1));
        }
    }
    Ok(first)
}
