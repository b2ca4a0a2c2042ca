//! The job table and the history of runs: statements that both backends understand, and what comes of their rows.

use super::rows::Columns;
use stele_archive::{ArchiveError, JobKey, JobRecord, Lease, Outcome, Result, RunId, RunRecord, RunReport};

/// Runs kept per job.
pub(crate) const KEPT: i64 = 1000;

/// The report of a job's latest run with one of these outcomes.
macro_rules! latest {
    ($outcomes:literal) => {
        concat!(
            "(SELECT report FROM run WHERE run.instance = job.instance AND run.kind = job.kind \
             AND run.partition = job.partition AND outcome IN (",
            $outcomes,
            ") ORDER BY id DESC LIMIT 1)"
        )
    };
}

/// Columns of a [`record`].
macro_rules! columns {
    () => {
        concat!(
            "instance, kind, partition, pattern, zone, last_due, failures, retry_at, lease_owner, lease_until, \
             asked IS NOT NULL, CASE WHEN failures > 0 THEN ",
            latest!("'failed', 'succeeded'"),
            " END, CASE WHEN lease_owner IS NOT NULL THEN ",
            latest!("'running'"),
            " END"
        )
    };
}

/// Parameters: the job, its pattern and zone, and the time.
pub(crate) const DEFINE: &str = concat!(
    "INSERT INTO job (instance, kind, partition, pattern, zone, defined_at) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (instance, kind, partition) DO UPDATE SET pattern = excluded.pattern, zone = excluded.zone, \
     retry_at = CASE WHEN excluded.pattern = '' AND job.pattern <> '' THEN NULL ELSE job.retry_at END RETURNING ",
    columns!()
);
pub(crate) const JOBS: &str = concat!("SELECT ", columns!(), " FROM job ORDER BY instance, kind, partition");
/// Parameter: the job.
pub(crate) const JOB: &str =
    concat!("SELECT ", columns!(), " FROM job WHERE instance = $1 AND kind = $2 AND partition = $3");
/// Parameter: the job.
pub(crate) const ASK: &str = "UPDATE job SET asked = fence WHERE instance = $1 AND kind = $2 AND partition = $3";
/// Parameters: the lease, and the due time.
pub(crate) const MARK: &str = "UPDATE job SET last_due = $6 \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND lease_owner = $4 AND fence = $5";
/// Parameters: the job, the owner, the end of the lease, and the time.
pub(crate) const ACQUIRE: &str = "UPDATE job SET lease_owner = $4, lease_until = $5, fence = fence + 1 \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND (lease_owner IS NULL OR lease_until <= $6) RETURNING fence";
/// Parameter: the job.
pub(crate) const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM job WHERE instance = $1 AND kind = $2 AND partition = $3)";
/// Parameters: the lease, and its end.
pub(crate) const RENEW: &str = "UPDATE job SET lease_until = $6 \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND lease_owner = $4 AND fence = $5";
/// What was asked for after the lease was acquired stays. Parameters: the lease, failures, and when to try again.
pub(crate) const RELEASE: &str = "UPDATE job SET lease_owner = NULL, lease_until = NULL, failures = $6, retry_at = $7, \
    asked = CASE WHEN asked >= fence THEN asked END \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND lease_owner = $4 AND fence = $5";

/// Parameters: instance, run, and the report.
pub(crate) const PROGRESS: &str = "UPDATE run SET report = $3 WHERE instance = $1 AND id = $2 AND outcome = 'running'";
/// Parameters: instance, run, outcome, report, and the time.
pub(crate) const FINISH: &str = "UPDATE run SET outcome = $3, report = $4, finished_at = $5 \
    WHERE instance = $1 AND id = $2 AND outcome = 'running'";
/// Parameters: the job, and [`KEPT`].
pub(crate) const FORGET: &str = "DELETE FROM run WHERE instance = $1 AND kind = $2 AND partition = $3 \
    AND outcome <> 'running' AND id <= (SELECT id FROM run WHERE instance = $1 AND kind = $2 AND partition = $3 \
    ORDER BY id DESC LIMIT 1 OFFSET $4)";
/// Runs of a job that nobody will finish. Parameters: the job, and the time.
pub(crate) const LOSE: &str = "UPDATE run SET outcome = 'lost', finished_at = $4 \
    WHERE instance = $1 AND kind = $2 AND partition = $3 AND outcome = 'running'";

/// A job.
pub(crate) fn record(row: &impl Columns) -> Result<JobRecord> {
    let told = |column| row.some_text(column).map(|text| report(&text)).transpose();
    Ok(JobRecord {
        key: JobKey { instance: row.text(0), kind: row.text(1), partition: row.text(2) },
        pattern: row.text(3),
        zone: row.text(4),
        last_due: row.some_number(5),
        failures: u32::try_from(row.number(6)).unwrap_or(u32::MAX),
        retry_at: row.some_number(7),
        lease: row.some_text(8).zip(row.some_number(9)),
        asked: row.flag(10),
        error: told(11)?.and_then(|report| report.error),
        report: told(12)?,
    })
}

/// A run: id, instance, kind, partition, trigger, beginning, end, outcome, report.
pub(crate) fn run(row: &impl Columns) -> Result<RunRecord> {
    let outcome = row.text(7);
    Ok(RunRecord {
        id: RunId(row.number(0)),
        job: JobKey { instance: row.text(1), kind: row.text(2), partition: row.text(3) },
        trigger: row.text(4),
        started_at: row.number(5),
        finished_at: row.some_number(6),
        outcome: Outcome::parse(&outcome)
            .ok_or_else(|| ArchiveError::Backend(format!("unknown outcome {outcome:?} of a run").into()))?,
        report: report(&row.text(8))?,
    })
}

fn report(text: &str) -> Result<RunReport> {
    serde_json::from_str(text).map_err(|error| ArchiveError::Backend(Box::new(error)))
}

/// A report as it is kept.
pub(crate) fn json(report: &RunReport) -> Result<String> {
    serde_json::to_string(report).map_err(|error| ArchiveError::Backend(Box::new(error)))
}

pub(crate) fn lost(lease: &Lease) -> ArchiveError {
    ArchiveError::LeaseLost { job: lease.key.to_string() }
}

pub(crate) fn unknown(key: &JobKey) -> ArchiveError {
    ArchiveError::Invalid(format!("job {:?} is not defined", key.to_string()))
}
