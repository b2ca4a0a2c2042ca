//! The files a page's messages refer to.

use super::bulk::{Bulk, Values};
use super::commit::Txn;
use super::error::Failure;
use crate::common::Ids;
use crate::common::message::NewMessage;
use sqlx::Row;
use std::sync::LazyLock;
use stele_archive::model::MediaRef;

static FIND: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("SELECT handle, id FROM media WHERE instance = ? AND handle IN (", "?", ")"));
static CREATE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO media (id, instance, partition, handle, kind, name, size, md5, deadline) VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});
static LINK: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("INSERT OR FAIL INTO message_media (message, position, media) VALUES", "(?, ?, ?)", ""));

/// Make the files known, as pending, and tie them to their messages. Returns how many are new.
pub(super) async fn attach(txn: &mut Txn<'_>, rows: &[NewMessage<'_>]) -> Result<u64, Failure> {
    let mut ids = Ids::new();
    let mut files: Vec<&MediaRef> = Vec::new();
    for file in rows.iter().flat_map(|row| &row.message.media) {
        if ids.insert(&file.handle, 0).is_none() {
            files.push(file);
        }
    }
    for (sql, files) in FIND.cut(&files) {
        let mut values = Values::with_capacity(files.len() + 1);
        values.put(txn.instance)?;
        for file in files {
            values.put(file.handle.as_str())?;
        }
        for row in sqlx::query_with(sql, values.done()).fetch_all(&mut *txn.connection).await? {
            *ids.get_mut(row.get::<&str, _>(0)).expect("asked for") = row.get(1);
        }
    }
    files.retain(|file| ids[file.handle.as_str()] == 0);
    for (sql, files) in CREATE.cut(&files) {
        let mut values = Values::with_capacity(files.len() * 9);
        for file in files {
            let id = txn.memory.next_media;
            txn.memory.next_media += 1;
            ids.insert(&file.handle, id);
            values.put(id)?;
            values.put(txn.instance)?;
            values.put(txn.partition)?;
            values.put(file.handle.as_str())?;
            values.put(file.kind.as_str())?;
            values.put(file.name.as_deref())?;
            values.put(file.size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)))?;
            values.put(file.md5.as_deref())?;
            values.put(file.deadline)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    let mut links = Vec::new();
    for row in rows {
        for (position, file) in row.message.media.iter().enumerate() {
            links.push((row.id, position as i64, ids[file.handle.as_str()]));
        }
    }
    for (sql, links) in LINK.cut(&links) {
        let mut values = Values::with_capacity(links.len() * 3);
        for (message, position, media) in links {
            values.put(*message)?;
            values.put(*position)?;
            values.put(*media)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    txn.counters.media_pending += files.len() as i64;
    Ok(files.len() as u64)
}
