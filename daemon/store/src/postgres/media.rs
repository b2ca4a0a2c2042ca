//! Files: what is to be fetched, what is stored, what was given up. The counters of the instance follow every change.

use super::PostgresArchive;
use super::error::Failure;
use super::text::written;
use super::transact::commit;
use crate::common::rows::{self, Columns, TASK, task};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection};
use stele_archive::model::Micros;
use stele_archive::{
    ArchiveError, Blob, InstanceId, MediaCatalog, MediaId, MediaTask, MediaTotals, NextAttempt, Result,
};

/// The counters of the states 0, 1 and 2.
const COUNTERS: [&str; 3] = ["media_pending", "media_stored", "media_parked"];

/// Files that are due, in order: read in that order, and not looked up by the time. Parameters: instance, time, limit.
pub(super) fn due_sql() -> String {
    format!(
        "SELECT {TASK} FROM media WHERE instance = $1 AND state = 0 AND retry_at + 0 <= $2 ORDER BY deadline, id LIMIT $3"
    )
}

/// Files given up, latest first. Parameters: instance, limit.
pub(super) fn parked_sql() -> String {
    format!("SELECT {TASK} FROM media WHERE instance = $1 AND state = 2 ORDER BY id DESC LIMIT $2")
}

/// When the next pending file is due. Parameter: instance.
pub(super) const NEXT: &str = "SELECT retry_at FROM media WHERE instance = $1 AND state = 0 ORDER BY retry_at LIMIT 1";

/// Parked files become pending. Parameters: instance, whether lost ones do, too.
const UNPARK: &str = "UPDATE media SET state = 0, attempts = 0, retry_at = 0, lost = false, note = NULL \
    WHERE instance = $1 AND state = 2 AND (NOT lost OR $2)";

#[async_trait]
impl MediaCatalog for PostgresArchive {
    async fn media_due(&self, instance: InstanceId, now: Micros, limit: u32) -> Result<Vec<MediaTask>> {
        let rows = self
            .repeat(|| async {
                let mut snapshot = self.read().await?;
                let due = sqlx::query(AssertSqlSafe(due_sql())).bind(instance.0).bind(now).bind(i64::from(limit));
                Ok(due.fetch_all(&mut *snapshot).await?)
            })
            .await?;
        Ok(rows.iter().map(task).collect())
    }

    async fn blob(&self, md5: &str) -> Result<Option<Blob>> {
        let row = self
            .repeat(|| async {
                let blob = sqlx::query("SELECT md5, size, mime, extension FROM blob WHERE md5 = $1").bind(written(md5));
                Ok(blob.fetch_optional(&mut *self.lend().await?).await?)
            })
            .await?;
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
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            let state = standing(&mut transaction, instance, id).await?;
            sqlx::query("UPDATE media SET state = 1, blob = $3, note = $4 WHERE instance = $1 AND id = $2")
                .bind(instance.0)
                .bind(id.0)
                .bind(written(&blob.md5))
                .bind(flaw.map(written))
                .execute(&mut *transaction)
                .await?;
            add_blob(&mut transaction, instance, blob, now).await?;
            count(&mut transaction, instance, state, 1, 1).await?;
            commit(transaction).await
        })
        .await
    }

    async fn media_failed(&self, instance: InstanceId, id: MediaId, error: &str, next: NextAttempt) -> Result<()> {
        let (new, retry_at) = match next {
            NextAttempt::At(retry_at) => (0_usize, retry_at),
            NextAttempt::Parked | NextAttempt::Lost => (2, 0),
        };
        let update = "UPDATE media SET state = $3, attempts = attempts + 1, retry_at = $4, lost = $5, note = $6 \
                      WHERE instance = $1 AND id = $2";
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            let state = standing(&mut transaction, instance, id).await?;
            if state == 1 {
                return Ok(()); // Another attempt has brought it.
            }
            sqlx::query(update)
                .bind(instance.0)
                .bind(id.0)
                .bind(new as i64)
                .bind(retry_at)
                .bind(next == NextAttempt::Lost)
                .bind(written(error))
                .execute(&mut *transaction)
                .await?;
            count(&mut transaction, instance, state, new, 1).await?;
            commit(transaction).await
        })
        .await
    }

    async fn media_unpark(&self, instance: InstanceId, lost: bool) -> Result<u64> {
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            let unpark = sqlx::query(UNPARK).bind(instance.0).bind(lost);
            let unparked = unpark.execute(&mut *transaction).await?.rows_affected();
            count(&mut transaction, instance, 2, 0, unparked.cast_signed()).await?;
            commit(transaction).await?;
            Ok(unparked)
        })
        .await
    }

    async fn media_parked(&self, instance: InstanceId, limit: u32) -> Result<Vec<(MediaTask, String)>> {
        let rows = self
            .repeat(|| async {
                let mut snapshot = self.read().await?;
                let parked = sqlx::query(AssertSqlSafe(parked_sql())).bind(instance.0).bind(i64::from(limit));
                Ok(parked.fetch_all(&mut *snapshot).await?)
            })
            .await?;
        Ok(rows.iter().map(|row| (task(row), row.some_text(10).unwrap_or_default())).collect())
    }

    async fn media_next(&self, instance: InstanceId) -> Result<Option<Micros>> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            Ok(sqlx::query_scalar(NEXT).bind(instance.0).fetch_optional(&mut *snapshot).await?)
        })
        .await
    }

    async fn media_totals(&self, instance: Option<InstanceId>) -> Result<MediaTotals> {
        let sql = "SELECT coalesce(sum(media_pending), 0)::bigint, coalesce(sum(media_stored), 0)::bigint, \
                   coalesce(sum(media_parked), 0)::bigint, coalesce(sum(blobs), 0)::bigint, \
                   coalesce(sum(bytes), 0)::bigint FROM instance WHERE $1::bigint IS NULL OR id = $1";
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            let row = sqlx::query(sql).bind(instance.map(|instance| instance.0)).fetch_one(&mut *snapshot).await?;
            let mut totals = rows::totals(&row);
            if instance.is_none() {
                // Instances may share contents.
                let all = sqlx::query_as("SELECT blobs, bytes FROM blob_total WHERE one = 1");
                let (blobs, bytes): (i64, i64) = all.fetch_one(&mut *snapshot).await?;
                (totals.blobs, totals.bytes) = (blobs.cast_unsigned(), bytes.cast_unsigned());
            }
            Ok(totals)
        })
        .await
    }
}

/// The state of a file, which stays as it is until the transaction ends.
async fn standing(connection: &mut PgConnection, instance: InstanceId, id: MediaId) -> Result<usize, Failure> {
    let state = sqlx::query_scalar("SELECT state FROM media WHERE instance = $1 AND id = $2 FOR UPDATE");
    let state: Option<i64> = state.bind(instance.0).bind(id.0).fetch_optional(connection).await?;
    let state = state.ok_or_else(|| ArchiveError::Invalid(format!("there is no file {id}")))?;
    Ok(usize::try_from(state).expect("0, 1 or 2"))
}

async fn count(
    connection: &mut PgConnection,
    instance: InstanceId,
    from: usize,
    to: usize,
    files: i64,
) -> Result<(), Failure> {
    if from == to || files == 0 {
        return Ok(());
    }
    let (from, to) = (COUNTERS[from], COUNTERS[to]);
    let sql = format!("UPDATE instance SET {from} = {from} - $2, {to} = {to} + $2 WHERE id = $1");
    sqlx::query(AssertSqlSafe(sql)).bind(instance.0).bind(files).execute(connection).await?;
    Ok(())
}

async fn add_blob(
    connection: &mut PgConnection,
    instance: InstanceId,
    blob: &Blob,
    now: Micros,
) -> Result<(), Failure> {
    let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
    let new = sqlx::query(
        "INSERT INTO blob (md5, size, mime, extension, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (md5) DO NOTHING",
    )
    .bind(written(&blob.md5))
    .bind(size)
    .bind(written(&blob.mime))
    .bind(written(&blob.extension))
    .bind(now)
    .execute(&mut *connection)
    .await?;
    if new.rows_affected() == 1 {
        sqlx::query("UPDATE blob_total SET blobs = blobs + 1, bytes = bytes + $1 WHERE one = 1")
            .bind(size)
            .execute(&mut *connection)
            .await?;
    }
    let used =
        sqlx::query("INSERT INTO blob_use (instance, md5) VALUES ($1, $2) ON CONFLICT (instance, md5) DO NOTHING")
            .bind(instance.0)
            .bind(written(&blob.md5))
            .execute(&mut *connection)
            .await?;
    if used.rows_affected() == 1 {
        sqlx::query("UPDATE instance SET blobs = blobs + 1, bytes = bytes + $2 WHERE id = $1")
            .bind(instance.0)
            .bind(size)
            .execute(connection)
            .await?;
    }
    Ok(())
}
