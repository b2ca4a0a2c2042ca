//! The job table: patterns, what is due, and leases. The history of runs is beside it, in `runs`.
//!
//! A lease is a row, an owner, an end and a number that grows: no lock of a session holds anything.

use super::error::Failure;
use super::text::written;
use super::transact::commit;
use super::{PostgresArchive, runs};
use crate::common::jobs::{ACQUIRE, ASK, DEFINE, JOB, JOBS, KNOWN, MARK, RELEASE, RENEW, lost, record, unknown};
use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use stele_archive::model::Micros;
use stele_archive::{JobKey, JobRecord, JobTable, Lease, Outcome, Result, RunId, RunRecord, RunReport, RunStart};

/// Instances that have jobs.
const INSTANCES: &str = "SELECT DISTINCT instance FROM job ORDER BY instance";
const SWEEP: &str = "UPDATE job SET lease_owner = NULL, lease_until = NULL WHERE instance = $1 AND lease_owner = $2";
/// Whether a lease is held, and stays so until the transaction ends.
const HOLDS: &str = "SELECT fence FROM job \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND lease_owner = $4 AND fence = $5 FOR UPDATE";

#[async_trait]
impl JobTable for PostgresArchive {
    async fn job_define(&self, key: &JobKey, pattern: &str, zone: &str, now: Micros) -> Result<JobRecord> {
        self.repeat(|| async {
            let define = of(DEFINE, key).bind(written(pattern)).bind(written(zone)).bind(now);
            Ok(record(&define.fetch_one(&mut *self.lend().await?).await?)?)
        })
        .await
    }

    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        let rows = self.repeat(|| async { Ok(sqlx::query(JOBS).fetch_all(&mut *self.lend().await?).await?) }).await?;
        rows.iter().map(record).collect()
    }

    async fn job(&self, key: &JobKey) -> Result<Option<JobRecord>> {
        let row = self.repeat(|| async { Ok(of(JOB, key).fetch_optional(&mut *self.lend().await?).await?) }).await?;
        row.as_ref().map(record).transpose()
    }

    async fn job_ask(&self, key: &JobKey) -> Result<()> {
        self.change(|| of(ASK, key)).await?.then_some(()).ok_or_else(|| unknown(key))
    }

    async fn job_mark_due(&self, lease: &Lease, due: Micros) -> Result<()> {
        self.change(|| of_lease(MARK, lease).bind(due)).await?.then_some(()).ok_or_else(|| lost(lease))
    }

    async fn lease_acquire(&self, key: &JobKey, owner: &str, now: Micros, ttl: Micros) -> Result<Option<Lease>> {
        let fence = self
            .repeat(|| async {
                let mut transaction = self.begin().await?;
                let acquire = of(ACQUIRE, key).bind(written(owner)).bind(now.saturating_add(ttl)).bind(now);
                let Some(row) = acquire.fetch_optional(&mut *transaction).await? else {
                    let known: bool = of(KNOWN, key).fetch_one(&mut *transaction).await?.get(0);
                    return if known { Ok(None) } else { Err(unknown(key).into()) };
                };
                // Whoever held it until it expired did not finish.
                runs::lose_of_job(&mut transaction, key, now).await?;
                commit(transaction).await?;
                Ok(Some(row.get(0)))
            })
            .await?;
        Ok(fence.map(|fence| Lease { key: key.clone(), owner: owner.to_owned(), fence }))
    }

    async fn lease_renew(&self, lease: &Lease, now: Micros, ttl: Micros) -> Result<()> {
        let renew = || of_lease(RENEW, lease).bind(now.saturating_add(ttl));
        self.change(renew).await?.then_some(()).ok_or_else(|| lost(lease))
    }

    async fn lease_release(&self, lease: &Lease, failures: u32, retry_at: Option<Micros>) -> Result<()> {
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            let release = of_lease(RELEASE, lease).bind(i64::from(failures)).bind(retry_at);
            if release.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Err(lost(lease).into());
            }
            commit(transaction).await
        })
        .await
    }

    async fn lease_sweep(&self, owner: &str, now: Micros) -> Result<u64> {
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            let instances: Vec<String> = sqlx::query_scalar(INSTANCES).fetch_all(&mut *transaction).await?;
            let mut lost = 0;
            for instance in instances {
                let sweep = sqlx::query(SWEEP).bind(&instance).bind(written(owner));
                sweep.execute(&mut *transaction).await?;
                lost += runs::lose_of_owner(&mut transaction, &instance, owner, now).await?;
            }
            commit(transaction).await?;
            Ok(lost)
        })
        .await
    }

    async fn run_begin(&self, lease: &Lease, start: &RunStart) -> Result<RunId> {
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            if !holds(&mut transaction, lease).await? {
                return Err(lost(lease).into());
            }
            let run = runs::begin(&mut transaction, lease, start).await?;
            commit(transaction).await?;
            Ok(run)
        })
        .await
    }

    async fn run_progress(&self, job: &JobKey, run: RunId, report: &RunReport) -> Result<()> {
        self.repeat(|| async {
            let mut connection = self.lend().await?;
            runs::progress(&mut connection, job, run, report).await
        })
        .await
    }

    async fn run_finish(
        &self,
        job: &JobKey,
        run: RunId,
        outcome: Outcome,
        report: &RunReport,
        now: Micros,
    ) -> Result<()> {
        self.repeat(|| async {
            let mut transaction = self.begin().await?;
            runs::finish(&mut transaction, job, run, outcome, report, now).await?;
            commit(transaction).await
        })
        .await
    }

    async fn runs(&self, instance: Option<&str>, limit: u32) -> Result<Vec<RunRecord>> {
        self.repeat(|| async {
            let mut snapshot = self.read().await?;
            runs::list(&mut snapshot, instance, limit).await
        })
        .await
    }
}

impl PostgresArchive {
    /// Changes one row; whether there was one.
    async fn change<'q>(&self, statement: impl Fn() -> Statement<'q>) -> Result<bool> {
        self.repeat(|| async { Ok(statement().execute(&mut *self.lend().await?).await?.rows_affected() > 0) }).await
    }
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A statement whose first three parameters name a job.
pub(super) fn of<'q>(sql: &'static str, key: &'q JobKey) -> Statement<'q> {
    sqlx::query(sql).bind(written(&key.instance)).bind(written(&key.kind)).bind(written(&key.partition))
}

/// A statement whose first five parameters name a lease.
fn of_lease<'q>(sql: &'static str, lease: &'q Lease) -> Statement<'q> {
    of(sql, &lease.key).bind(written(&lease.owner)).bind(lease.fence)
}

async fn holds(connection: &mut PgConnection, lease: &Lease) -> Result<bool, Failure> {
    Ok(of_lease(HOLDS, lease).fetch_optional(connection).await?.is_some())
}
