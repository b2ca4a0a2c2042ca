//! Messages taken back: marked when they are here, remembered until they come.

use super::commit::Txn;
use super::error::Failure;
use super::messages;
use super::text::written;
use crate::common::message::{NewMessage, by_native};
use crate::common::rows::Columns;
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use stele_archive::model::{COPY, Revocation};

const MARK: &str = "UPDATE message AS m SET revoked_at = j.at, revoked_by = j.by \
    FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS j (id, at, by) \
    WHERE m.instance = $1 AND m.id = j.id AND m.revoked_at IS NULL";

const MARK_ORIGINALS: &str = "UPDATE message AS m SET revoked_at = j.at, revoked_by = j.by \
    FROM unnest($2::text[], $3::bigint[], $4::text[]) AS j (native_id, at, by) \
    WHERE m.instance = $1 AND m.native_id = j.native_id AND m.revoked_at IS NULL";

/// Further copies: what begins with the native id of the first and [`COPY`] is a range of the index.
const MARK_COPIES: &str = "UPDATE message SET revoked_at = $2, revoked_by = $3 \
    WHERE instance = $1 AND native_id >= $4 AND native_id < $5 AND revoked_at IS NULL";
/// The character after [`COPY`].
const AFTER_COPY: char = '$';

/// Mark new messages whose revocation came first.
pub(super) async fn apply_waiting(txn: &mut Txn<'_>, rows: &[NewMessage<'_>]) -> Result<(), Failure> {
    if txn.head.revocations == 0 || rows.is_empty() {
        return Ok(());
    }
    let ids = by_native(rows);
    let take = "DELETE FROM revocation WHERE instance = $1 AND native_id = ANY($2) RETURNING native_id, revoked_at, revoked_by";
    let waiting = sqlx::query(take)
        .bind(txn.instance)
        .bind(ids.keys().map(|native| written(native)).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    if waiting.is_empty() {
        return Ok(());
    }
    txn.head.revocations -= waiting.len() as i64;
    // Of two that mean one message, that of the message itself.
    let mut marks: HashMap<i64, (bool, i64, String)> = HashMap::new();
    for row in &waiting {
        let native = row.text(0);
        for id in &ids[native.as_str()] {
            let own = rows.iter().any(|row| row.id == *id && row.message.native_id == native);
            let mark = (own, row.get(1), row.some_text(2).unwrap_or_default());
            match marks.get(id) {
                Some((true, ..)) => {}
                _ => _ = marks.insert(*id, mark),
            }
        }
    }
    sqlx::query(MARK)
        .bind(txn.instance)
        .bind(marks.keys().copied().collect::<Vec<i64>>())
        .bind(marks.values().map(|(_, at, _)| *at).collect::<Vec<i64>>())
        .bind(marks.values().map(|(.., by)| written(by)).collect::<Vec<_>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

/// Mark the originals; remember what has none yet. The first revocation of a message counts, later ones change nothing.
/// Returns how many did something.
pub(super) async fn revoke(txn: &mut Txn<'_>, revocations: &[Revocation]) -> Result<u64, Failure> {
    const WAIT: &str = "INSERT INTO revocation (instance, native_id, revoked_at, revoked_by) \
        SELECT $1, j.* FROM unnest($2::text[], $3::bigint[], $4::text[]) AS j ON CONFLICT (instance, native_id) DO NOTHING";
    let mut seen = HashSet::new();
    let revocations: Vec<&Revocation> = revocations.iter().filter(|r| seen.insert(r.native_id.as_str())).collect();
    if revocations.is_empty() {
        return Ok(0);
    }
    let originals = messages::known(txn, revocations.iter().map(|revocation| revocation.native_id.as_str())).await?;
    let (here, waiting): (Vec<&Revocation>, Vec<&Revocation>) =
        revocations.into_iter().partition(|revocation| originals.contains(&revocation.native_id));
    let mut done = [0, 0];
    for ((sql, revocations), done) in [(MARK_ORIGINALS, &here), (WAIT, &waiting)].into_iter().zip(&mut done) {
        if revocations.is_empty() {
            continue;
        }
        *done = sqlx::query(sql)
            .bind(txn.instance)
            .bind(revocations.iter().map(|revocation| written(&revocation.native_id)).collect::<Vec<_>>())
            .bind(revocations.iter().map(|revocation| revocation.at).collect::<Vec<i64>>())
            .bind(revocations.iter().map(|revocation| written(&revocation.by)).collect::<Vec<_>>())
            .execute(&mut *txn.connection)
            .await?
            .rows_affected();
    }
    for revocation in here {
        sqlx::query(MARK_COPIES)
            .bind(txn.instance)
            .bind(revocation.at)
            .bind(written(&revocation.by))
            .bind(written(&format!("{}{COPY}", revocation.native_id)))
            .bind(written(&format!("{}{AFTER_COPY}", revocation.native_id)))
            .execute(&mut *txn.connection)
            .await?;
    }
    let [marked, remembered] = done;
    txn.head.revocations += remembered.cast_signed();
    Ok(marked + remembered)
}
