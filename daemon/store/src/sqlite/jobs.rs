//! The job table: patterns, what is due, and leases. The history of runs is beside it, in `runs`.

use super::SqliteArchive;
use super::error::Failure;
use super::runs;
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use stele_archive::model::Micros;
use stele_archive::{
    ArchiveError, JobKey, JobRecord, JobTable, Lease, Outcome, Result, RunId, RunRecord, RunReport, RunStart,
};

#[async_trait]
impl JobTable for SqliteArchive {
    async fn job_define(&self, key: &JobKey, pattern: &str, zone: &str, now: Micros) -> Result<JobRecord> {
        let mut writer = self.writer().await?;
        let row = sqlx::query(
            "INSERT INTO job (instance, kind, partition, pattern, zone, defined_at) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (instance, kind, partition) DO UPDATE SET pattern = excluded.pattern, zone = excluded.zone, \
             retry_at = CASE WHEN excluded.pattern = '' AND pattern <> '' THEN NULL ELSE retry_at END \
             RETURNING instance, kind, partition, pattern, zone, last_due, failures, retry_at, lease_owner, lease_until",
        )
        .bind(&key.instance)
        .bind(&key.kind)
        .bind(&key.partition)
        .bind(pattern)
        .bind(zone)
        .bind(now)
        .fetch_one(&mut writer.connection)
        .await
        .map_err(Failure)?;
        Ok(record(&row))
    }

    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        let rows = sqlx::query(
            "SELECT instance, kind, partition, pattern, zone, last_due, failures, retry_at, lease_owner, lease_until \
             FROM job ORDER BY instance, kind, partition",
        )
        .fetch_all(&self.0.readers)
        .await
        .map_err(Failure)?;
        Ok(rows.iter().map(record).collect())
    }

    async fn job(&self, key: &JobKey) -> Result<Option<JobRecord>> {
        let row = sqlx::query(
            "SELECT instance, kind, partition, pattern, zone, last_due, failures, retry_at, lease_owner, lease_until \
             FROM job WHERE instance = ? AND kind = ? AND partition = ?",
        )
        .bind(&key.instance)
        .bind(&key.kind)
        .bind(&key.partition)
        .fetch_optional(&self.0.readers)
        .await
        .map_err(Failure)?;
        Ok(row.as_ref().map(record))
    }

    async fn job_mark_due(&self, key: &JobKey, due: Micros) -> Result<()> {
        let mut writer = self.writer().await?;
        let changed = sqlx::query("UPDATE job SET last_due = ? WHERE instance = ? AND kind = ? AND partition = ?")
            .bind(due)
            .bind(&key.instance)
            .bind(&key.kind)
            .bind(&key.partition)
            .execute(&mut writer.connection)
            .await
            .map_err(Failure)?;
        if changed.rows_affected() == 0 { Err(unknown(key)) } else { Ok(()) }
    }

    async fn lease_acquire(&self, key: &JobKey, owner: &str, now: Micros, ttl: Micros) -> Result<Option<Lease>> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let fence: Option<i64> = sqlx::query_scalar(
            "UPDATE job SET lease_owner = ?, lease_until = ?, fence = fence + 1 \
             WHERE instance = ? AND kind = ? AND partition = ? AND (lease_owner IS NULL OR lease_until <= ?) \
             RETURNING fence",
        )
        .bind(owner)
        .bind(now.saturating_add(ttl))
        .bind(&key.instance)
        .bind(&key.kind)
        .bind(&key.partition)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(Failure)?;
        let Some(fence) = fence else {
            let known = sqlx::query_scalar::<_, bool>(
                "SELECT EXISTS (SELECT 1 FROM job WHERE instance = ? AND kind = ? AND partition = ?)",
            )
            .bind(&key.instance)
            .bind(&key.kind)
            .bind(&key.partition)
            .fetch_one(&mut *transaction)
            .await
            .map_err(Failure)?;
            return if known { Ok(None) } else { Err(unknown(key)) };
        };
        // Whoever held it until it expired did not finish.
        runs::lose_of_job(&mut transaction, key, now).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(Some(Lease { key: key.clone(), owner: owner.to_owned(), fence }))
    }

    async fn lease_renew(&self, lease: &Lease, now: Micros, ttl: Micros) -> Result<()> {
        let mut writer = self.writer().await?;
        let changed = sqlx::query(
            "UPDATE job SET lease_until = ? \
             WHERE instance = ? AND kind = ? AND partition = ? AND lease_owner = ? AND fence = ?",
        )
        .bind(now.saturating_add(ttl))
        .bind(&lease.key.instance)
        .bind(&lease.key.kind)
        .bind(&lease.key.partition)
        .bind(&lease.owner)
        .bind(lease.fence)
        .execute(&mut writer.connection)
        .await
        .map_err(Failure)?;
        if changed.rows_affected() == 0 { Err(lost(lease)) } else { Ok(()) }
    }

    async fn lease_release(&self, lease: &Lease, failures: u32, retry_at: Option<Micros>) -> Result<()> {
        let mut writer = self.writer().await?;
        let changed = sqlx::query(
            "UPDATE job SET lease_owner = NULL, lease_until = NULL, failures = ?, retry_at = ? \
             WHERE instance = ? AND kind = ? AND partition = ? AND lease_owner = ? AND fence = ?",
        )
        .bind(failures)
        .bind(retry_at)
        .bind(&lease.key.instance)
        .bind(&lease.key.kind)
        .bind(&lease.key.partition)
        .bind(&lease.owner)
        .bind(lease.fence)
        .execute(&mut writer.connection)
        .await
        .map_err(Failure)?;
        if changed.rows_affected() == 0 { Err(lost(lease)) } else { Ok(()) }
    }

    async fn lease_sweep(&self, owner: &str, now: Micros) -> Result<u64> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        sqlx::query("UPDATE job SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ?")
            .bind(owner)
            .execute(&mut *transaction)
            .await
            .map_err(Failure)?;
        let lost = runs::lose_of_owner(&mut transaction, owner, now).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(lost)
    }

    async fn run_begin(&self, lease: &Lease, start: &RunStart) -> Result<RunId> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        if !holds(&mut transaction, lease).await? {
            return Err(lost(lease));
        }
        let run = runs::begin(&mut transaction, lease, start).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(run)
    }

    async fn run_progress(&self, job: &JobKey, run: RunId, report: &RunReport) -> Result<()> {
        let mut writer = self.writer().await?;
        runs::progress(&mut writer.connection, job, run, report).await
    }

    async fn run_finish(
        &self,
        job: &JobKey,
        run: RunId,
        outcome: Outcome,
        report: &RunReport,
        now: Micros,
    ) -> Result<()> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        runs::finish(&mut transaction, job, run, outcome, report, now).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(())
    }

    async fn runs(&self, instance: Option<&str>, limit: u32) -> Result<Vec<RunRecord>> {
        let mut snapshot = self.read().await?;
        runs::list(&mut snapshot, instance, limit).await
    }
}

async fn holds(connection: &mut SqliteConnection, lease: &Lease) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM job \
               WHERE instance = ? AND kind = ? AND partition = ? AND lease_owner = ? AND fence = ?)";
    Ok(sqlx::query_scalar(sql)
        .bind(&lease.key.instance)
        .bind(&lease.key.kind)
        .bind(&lease.key.partition)
        .bind(&lease.owner)
        .bind(lease.fence)
        .fetch_one(connection)
        .await?)
}

fn name(key: &JobKey) -> String {
    format!("{} {} {}", key.instance, key.kind, key.partition).trim_end().to_owned()
}

fn lost(lease: &Lease) -> ArchiveError {
    ArchiveError::LeaseLost { job: name(&lease.key) }
}

fn unknown(key: &JobKey) -> ArchiveError {
    ArchiveError::Invalid(format!("job {:?} is not defined", name(key)))
}

fn record(row: &SqliteRow) -> JobRecord {
    JobRecord {
        key: JobKey { instance: row.get(0), kind: row.get(1), partition: row.get(2) },
        pattern: row.get(3),
        zone: row.get(4),
        last_due: row.get(5),
        failures: row.get(6),
        retry_at: row.get(7),
        lease: row.get::<Option<String>, _>(8).zip(row.get(9)),
    }
}
