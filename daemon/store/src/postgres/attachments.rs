//! The files a page's messages refer to.

use super::commit::Txn;
use super::error::Failure;
use super::head::next;
use super::text::written;
use crate::common::Ids;
use crate::common::message::NewMessage;
use crate::common::rows::Columns;
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use stele_archive::model::MediaRef;

/// Make the files known, as pending, and tie them to their messages. Returns how many are new.
pub(super) async fn attach(txn: &mut Txn<'_>, rows: &[NewMessage<'_>]) -> Result<u64, Failure> {
    const LINK: &str = "INSERT INTO message_media (instance, message, position, media) \
        SELECT $1, j.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS j";
    let mut seen = HashSet::new();
    let files = rows.iter().flat_map(|row| &row.message.media).filter(|file| seen.insert(file.handle.as_str()));
    let files: Vec<&MediaRef> = files.collect();
    if files.is_empty() {
        return Ok(0);
    }
    let found = sqlx::query("SELECT handle, id FROM media WHERE instance = $1 AND handle = ANY($2)")
        .bind(txn.instance)
        .bind(files.iter().map(|file| written(&file.handle)).collect::<Vec<_>>())
        .fetch_all(&mut *txn.connection)
        .await?;
    let found: HashMap<String, i64> = found.iter().map(|row| (row.text(0), row.get(1))).collect();
    let mut ids = Ids::new();
    let mut new: Vec<(i64, &MediaRef)> = Vec::new();
    for file in files {
        let id = found.get(&file.handle).copied().unwrap_or_else(|| {
            let id = next(&mut txn.head.next_media);
            new.push((id, file));
            id
        });
        ids.insert(&file.handle, id);
    }
    create(txn, &new).await?;
    let links =
        || rows.iter().flat_map(|row| row.message.media.iter().enumerate().map(move |(at, file)| (row, at, file)));
    sqlx::query(LINK)
        .bind(txn.instance)
        .bind(links().map(|(row, ..)| row.id).collect::<Vec<i64>>())
        .bind(links().map(|(_, at, _)| at as i64).collect::<Vec<i64>>())
        .bind(links().map(|(.., file)| ids[file.handle.as_str()]).collect::<Vec<i64>>())
        .execute(&mut *txn.connection)
        .await?;
    txn.counters.media_pending += new.len() as i64;
    Ok(new.len() as u64)
}

async fn create(txn: &mut Txn<'_>, new: &[(i64, &MediaRef)]) -> Result<(), Failure> {
    const CREATE: &str = "INSERT INTO media (instance, partition, id, handle, kind, name, size, md5, deadline) \
        SELECT $1, $2, j.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[]) \
        AS j";
    if new.is_empty() {
        return Ok(());
    }
    let size = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    sqlx::query(CREATE)
        .bind(txn.instance)
        .bind(written(txn.partition))
        .bind(new.iter().map(|(id, _)| *id).collect::<Vec<i64>>())
        .bind(new.iter().map(|(_, file)| written(&file.handle)).collect::<Vec<_>>())
        .bind(new.iter().map(|(_, file)| written(file.kind.as_str())).collect::<Vec<_>>())
        .bind(new.iter().map(|(_, file)| file.name.as_deref().map(written)).collect::<Vec<_>>())
        .bind(new.iter().map(|(_, file)| file.size.map(size)).collect::<Vec<_>>())
        .bind(new.iter().map(|(_, file)| file.md5.as_deref().map(written)).collect::<Vec<_>>())
        .bind(new.iter().map(|(_, file)| file.deadline.unwrap_or(i64::MAX)).collect::<Vec<i64>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}
