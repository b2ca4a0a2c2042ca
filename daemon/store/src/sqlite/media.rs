//! Files: what is to be fetched, what is stored, what was given up. The counters of the instance follow every change.

use super::SqliteArchive;
use super::error::Failure;
use crate::common::rows::{self, Columns, TASK, task};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use stele_archive::model::Micros;
use stele_archive::{
    ArchiveError, Blob, InstanceId, MediaCatalog, MediaId, MediaTask, MediaTotals, NextAttempt, Result,
};

/// The counters of the states 0, 1 and 2.
const COUNTERS: [&str; 3] = ["media_pending", "media_stored", "media_parked"];

/// Parked files become pending. Parameters: instance, whether lost ones do, too.
const UNPARK: &str = "UPDATE media SET state = 0, attempts = 0, retry_at = 0, lost = 0, note = NULL \
    WHERE instance = ? AND state = 2 AND lost <= ?";

/// Files that are due, in order. Parameters: instance, time, limit.
pub(super) fn due_sql() -> String {
    format!(
        "SELECT {TASK} FROM media INDEXED BY media_due WHERE instance = ? AND state = 0 AND retry_at <= ? \
         ORDER BY ifnull(deadline, 9223372036854775807), id LIMIT ?"
    )
}

#[async_trait]
impl MediaCatalog for SqliteArchive {
    async fn media_due(&self, instance: InstanceId, now: Micros, limit: u32) -> Result<Vec<MediaTask>> {
        let rows = sqlx::query(AssertSqlSafe(due_sql()))
            .bind(instance.0)
            .bind(now)
            .bind(limit)
            .fetch_all(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(rows.iter().map(task).collect())
    }

    async fn blob(&self, md5: &str) -> Result<Option<Blob>> {
        let blob = sqlx::query("SELECT md5, size, mime, extension FROM blob WHERE md5 = ?").bind(md5);
        let row = blob.fetch_optional(&self.0.readers).await.map_err(Failure)?;
        Ok(row.as_ref().map(rows::blob))
    }

    async fn media_stored(
        &self,
        instance: InstanceId,
        id: MediaId,
        blob: &Blob,
        flaw: Option<&str>,
        now: Micros,
    ) -> Result<()> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let state = standing(&mut transaction, instance, id).await?;
        add_blob(&mut transaction, instance.0, blob, now).await?;
        sqlx::query("UPDATE media SET state = 1, blob = ?, note = ? WHERE id = ?")
            .bind(&blob.md5)
            .bind(flaw)
            .bind(id.0)
            .execute(&mut *transaction)
            .await
            .map_err(Failure)?;
        count(&mut transaction, instance.0, state, 1, 1).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(())
    }

    async fn media_failed(&self, instance: InstanceId, id: MediaId, error: &str, next: NextAttempt) -> Result<()> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let state = standing(&mut transaction, instance, id).await?;
        if state == 1 {
            return Ok(()); // Another attempt has brought it.
        }
        let (new, retry_at) = match next {
            NextAttempt::At(retry_at) => (0_usize, retry_at),
            NextAttempt::Parked | NextAttempt::Lost => (2, 0),
        };
        let update =
            "UPDATE media SET state = ?, attempts = attempts + 1, retry_at = ?, lost = ?, note = ? WHERE id = ?";
        sqlx::query(update)
            .bind(new as i64)
            .bind(retry_at)
            .bind(next == NextAttempt::Lost)
            .bind(error)
            .bind(id.0)
            .execute(&mut *transaction)
            .await
            .map_err(Failure)?;
        count(&mut transaction, instance.0, state, new, 1).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(())
    }

    async fn media_unpark(&self, instance: InstanceId, lost: bool) -> Result<u64> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let unparked = sqlx::query(UNPARK)
            .bind(instance.0)
            .bind(lost)
            .execute(&mut *transaction)
            .await
            .map_err(Failure)?
            .rows_affected();
        count(&mut transaction, instance.0, 2, 0, unparked.cast_signed()).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(unparked)
    }

    async fn media_parked(&self, instance: InstanceId, limit: u32) -> Result<Vec<(MediaTask, String)>> {
        let sql = format!("SELECT {TASK} FROM media WHERE instance = ? AND state = 2 ORDER BY id DESC LIMIT ?");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(instance.0)
            .bind(limit)
            .fetch_all(&self.0.readers)
            .await
            .map_err(Failure)?;
        Ok(rows.iter().map(|row| (task(row), row.some_text(10).unwrap_or_default())).collect())
    }

    async fn media_next(&self, instance: InstanceId) -> Result<Option<Micros>> {
        Ok(sqlx::query_scalar("SELECT min(retry_at) FROM media WHERE instance = ? AND state = 0")
            .bind(instance.0)
            .fetch_one(&self.0.readers)
            .await
            .map_err(Failure)?)
    }

    async fn media_totals(&self, instance: Option<InstanceId>) -> Result<MediaTotals> {
        let mut snapshot = self.read().await?;
        let instance = instance.map(|instance| instance.0);
        let row = sqlx::query(
            "SELECT ifnull(sum(media_pending), 0), ifnull(sum(media_stored), 0), ifnull(sum(media_parked), 0), \
             ifnull(sum(blobs), 0), ifnull(sum(bytes), 0) FROM instance WHERE ? IS NULL OR id = ?",
        )
        .bind(instance)
        .bind(instance)
        .fetch_one(&mut *snapshot)
        .await
        .map_err(Failure)?;
        let mut totals = rows::totals(&row);
        if instance.is_none() {
            // Instances may share contents.
            let (blobs, bytes): (i64, i64) = sqlx::query_as("SELECT blobs, bytes FROM blob_total")
                .fetch_one(&mut *snapshot)
                .await
                .map_err(Failure)?;
            (totals.blobs, totals.bytes) = (blobs.cast_unsigned(), bytes.cast_unsigned());
        }
        Ok(totals)
    }
}

async fn standing(connection: &mut SqliteConnection, instance: InstanceId, id: MediaId) -> Result<usize> {
    let found: Option<i64> = sqlx::query_scalar("SELECT state FROM media WHERE id = ? AND instance = ?")
        .bind(id.0)
        .bind(instance.0)
        .fetch_optional(connection)
        .await
        .map_err(Failure)?;
    let state = found.ok_or_else(|| ArchiveError::Invalid(format!("there is no file {id}")))?;
    Ok(usize::try_from(state).expect("0, 1 or 2"))
}

async fn count(connection: &mut SqliteConnection, instance: i64, from: usize, to: usize, files: i64) -> Result<()> {
    if from == to || files == 0 {
        return Ok(());
    }
    let (from, to) = (COUNTERS[from], COUNTERS[to]);
    let sql = format!("UPDATE instance SET {from} = {from} - ?, {to} = {to} + ? WHERE id = ?");
    sqlx::query(AssertSqlSafe(sql))
        .bind(files)
        .bind(files)
        .bind(instance)
        .execute(connection)
        .await
        .map_err(Failure)?;
    Ok(())
}

async fn add_blob(connection: &mut SqliteConnection, instance: i64, blob: &Blob, now: Micros) -> Result<(), Failure> {
    let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
    let new = sqlx::query(
        "INSERT INTO blob (md5, size, mime, extension, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (md5) DO NOTHING",
    )
    .bind(&blob.md5)
    .bind(size)
    .bind(&blob.mime)
    .bind(&blob.extension)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    if new.rows_affected() == 1 {
        sqlx::query("UPDATE blob_total SET blobs = blobs + 1, bytes = bytes + ?")
            .bind(size)
            .execute(&mut *connection)
            .await?;
    }
    let used = sqlx::query("INSERT INTO blob_use (instance, md5) VALUES (?, ?) ON CONFLICT (instance, md5) DO NOTHING")
        .bind(instance)
        .bind(&blob.md5)
        .execute(&mut *connection)
        .await?;
    if used.rows_affected() == 1 {
        sqlx::query("UPDATE instance SET blobs = blobs + 1, bytes = bytes + ? WHERE id = ?")
            .bind(size)
            .bind(instance)
            .execute(connection)
            .await?;
    }
    Ok(())
}
