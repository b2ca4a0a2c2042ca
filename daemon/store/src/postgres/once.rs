//! Messages that are to be stored once: left out where they repeat another one of their sender.

use super::commit::Txn;
use super::error::Failure;
use super::text::written;
use super::{messages, parked};
use crate::common::once::{self, Key, key};
use crate::common::rows::Columns;
use sqlx::Row;
use std::collections::HashMap;
use stele_archive::model::Message;
use stele_archive::ops::Repeated;

/// Native ids of the first messages by conversation, sender and client id.
const FIRST: &str = "SELECT j.at, m.native_id \
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS j (at, conversation, sender, client_id) \
    JOIN conversation AS c ON c.instance = $1 AND c.native_id = j.conversation \
    JOIN person AS p ON p.instance = $1 AND p.native_id = j.sender \
    CROSS JOIN LATERAL ( \
        SELECT native_id FROM message WHERE instance = $1 AND client_id = j.client_id AND conversation = c.id AND sender = p.id \
        ORDER BY id LIMIT 1) AS m";

/// Take those out of the new messages of a page that repeat another one, and name them. What was parked of them is no
/// longer. New messages that are `trusted` to be it may be known after all; they are none that repeat.
pub(super) async fn leave_out<'a>(
    txn: &mut Txn<'_>,
    fresh: &mut Vec<&'a Message>,
    trusted: bool,
) -> Result<Vec<Repeated>, Failure> {
    let keys: Vec<Key<'a>> =
        fresh.iter().copied().filter(|message| message.once).filter_map(|message| key(message)).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let first = stored(txn, &keys).await?;
    let (again, mut repeated) = once::leave_out(fresh, first);
    if again.is_empty() {
        return Ok(repeated);
    }
    if trusted {
        let known = messages::known(txn, again.iter().map(|message| message.native_id.as_str())).await?;
        repeated.retain(|message| !known.contains(&message.native_id));
    }
    parked::take(txn, &again).await?;
    Ok(repeated)
}

/// Native ids of the stored messages of these keys, the first of each.
async fn stored<'a>(txn: &mut Txn<'_>, keys: &[Key<'a>]) -> Result<HashMap<Key<'a>, String>, Failure> {
    let found = sqlx::query(FIRST)
        .bind(txn.instance)
        .bind((0..keys.len() as i64).collect::<Vec<i64>>())
        .bind(keys.iter().map(|(conversation, ..)| written(conversation)).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, sender, _)| written(sender)).collect::<Vec<_>>())
        .bind(keys.iter().map(|(.., client_id)| written(client_id)).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    Ok(found.iter().map(|row| (keys[row.get::<i64, _>(0) as usize], row.text(1))).collect())
}
