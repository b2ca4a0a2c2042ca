//! The job table: patterns, what is due, and leases. The history of runs is beside it, in `runs`.

use super::error::Failure;
use super::{SqliteArchive, runs};
use crate::common::jobs::{ACQUIRE, ASK, DEFINE, JOB, JOBS, KNOWN, MARK, RELEASE, RENEW, lost, record, unknown};
use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Row, Sqlite, SqliteConnection};
use stele_archive::model::Micros;
use stele_archive::{JobKey, JobRecord, JobTable, Lease, Outcome, Result, RunId, RunRecord, RunReport, RunStart};

const SWEEP: &str = "UPDATE job SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ?";
/// Parameter: the lease.
const HOLDS: &str = "SELECT EXISTS (SELECT 1 FROM job \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND lease_owner = $4 AND fence = $5)";

#[async_trait]
impl JobTable for SqliteArchive {
    async fn job_define(&self, key: &JobKey, pattern: &str, zone: &str, now: Micros) -> Result<JobRecord> {
        let mut writer = self.writer().await?;
        let define = of(DEFINE, key).bind(pattern).bind(zone).bind(now);
        record(&define.fetch_one(&mut writer.connection).await.map_err(Failure)?)
    }

    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        let rows = sqlx::query(JOBS).fetch_all(&self.0.readers).await.map_err(Failure)?;
        rows.iter().map(record).collect()
    }

    async fn job(&self, key: &JobKey) -> Result<Option<JobRecord>> {
        let row = of(JOB, key).fetch_optional(&self.0.readers).await.map_err(Failure)?;
        row.as_ref().map(record).transpose()
    }

    async fn job_ask(&self, key: &JobKey) -> Result<()> {
        self.change(of(ASK, key)).await?.then_some(()).ok_or_else(|| unknown(key))
    }

    async fn job_mark_due(&self, lease: &Lease, due: Micros) -> Result<()> {
        self.change(of_lease(MARK, lease).bind(due)).await?.then_some(()).ok_or_else(|| lost(lease))
    }

    async fn lease_acquire(&self, key: &JobKey, owner: &str, now: Micros, ttl: Micros) -> Result<Option<Lease>> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let acquire = of(ACQUIRE, key).bind(owner).bind(now.saturating_add(ttl)).bind(now);
        let Some(row) = acquire.fetch_optional(&mut *transaction).await.map_err(Failure)? else {
            let known: bool = of(KNOWN, key).fetch_one(&mut *transaction).await.map_err(Failure)?.get(0);
            return if known { Ok(None) } else { Err(unknown(key)) };
        };
        // Whoever held it until it expired did not finish.
        runs::lose_of_job(&mut transaction, key, now).await?;
        transaction.commit().await.map_err(Failure)?;
        Ok(Some(Lease { key: key.clone(), owner: owner.to_owned(), fence: row.get(0) }))
    }

    async fn lease_renew(&self, lease: &Lease, now: Micros, ttl: Micros) -> Result<()> {
        let renew = of_lease(RENEW, lease).bind(now.saturating_add(ttl));
        self.change(renew).await?.then_some(()).ok_or_else(|| lost(lease))
    }

    async fn lease_release(&self, lease: &Lease, failures: u32, retry_at: Option<Micros>) -> Result<()> {
        let release = of_lease(RELEASE, lease).bind(failures).bind(retry_at);
        self.change(release).await?.then_some(()).ok_or_else(|| lost(lease))
    }

    async fn lease_sweep(&self, owner: &str, now: Micros) -> Result<u64> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        sqlx::query(SWEEP).bind(owner).execute(&mut *transaction).await.map_err(Failure)?;
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

impl SqliteArchive {
    /// Changes one row; whether there was one.
    async fn change(&self, statement: Statement<'_>) -> Result<bool> {
        let mut writer = self.writer().await?;
        Ok(statement.execute(&mut writer.connection).await.map_err(Failure)?.rows_affected() > 0)
    }
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement whose first three parameters name a job.
pub(super) fn of<'q>(sql: &'static str, key: &'q JobKey) -> Statement<'q> {
    sqlx::query(sql).bind(&key.instance).bind(&key.kind).bind(&key.partition)
}

/// A statement whose first five parameters name a lease.
fn of_lease<'q>(sql: &'static str, lease: &'q Lease) -> Statement<'q> {
    of(sql, &lease.key).bind(&lease.owner).bind(lease.fence)
}

async fn holds(connection: &mut SqliteConnection, lease: &Lease) -> Result<bool, Failure> {
    Ok(of_lease(HOLDS, lease).fetch_one(connection).await?.get(0))
}
