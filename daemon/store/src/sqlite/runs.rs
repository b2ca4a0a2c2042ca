//! The history of runs.

use super::error::Failure;
use super::jobs::of;
use crate::common::jobs::{FINISH, FORGET, KEPT, LOSE, PROGRESS, json, run};
use sqlx::{Row, SqliteConnection};
use stele_archive::model::Micros;
use stele_archive::{JobKey, Lease, Outcome, Result, RunId, RunRecord, RunReport, RunStart};

const BEGIN: &str = "INSERT INTO run (instance, kind, partition, owner, \"trigger\", started_at, outcome, report) \
    VALUES ($1, $2, $3, $4, $5, $6, 'running', $7) RETURNING id";
const LOSE_OF_OWNER: &str = "UPDATE run SET outcome = 'lost', finished_at = ? WHERE owner = ? AND outcome = 'running'";

pub(super) async fn begin(connection: &mut SqliteConnection, lease: &Lease, start: &RunStart) -> Result<RunId> {
    let begin = of(BEGIN, &lease.key).bind(&lease.owner).bind(&start.trigger).bind(start.now);
    let row = begin.bind(json(&RunReport::default())?).fetch_one(connection).await.map_err(Failure)?;
    Ok(RunId(row.get(0)))
}

pub(super) async fn progress(
    connection: &mut SqliteConnection,
    job: &JobKey,
    run: RunId,
    report: &RunReport,
) -> Result<()> {
    let progress = sqlx::query(PROGRESS).bind(&job.instance).bind(run.0).bind(json(report)?);
    progress.execute(connection).await.map_err(Failure)?;
    Ok(())
}

/// A run that was declared lost meanwhile stays lost: somebody else has taken its place.
pub(super) async fn finish(
    connection: &mut SqliteConnection,
    job: &JobKey,
    run: RunId,
    outcome: Outcome,
    report: &RunReport,
    now: Micros,
) -> Result<()> {
    let finish = sqlx::query(FINISH).bind(&job.instance).bind(run.0).bind(outcome.as_str()).bind(json(report)?);
    let ended = finish.bind(now).execute(&mut *connection).await.map_err(Failure)?;
    if ended.rows_affected() > 0 {
        of(FORGET, job).bind(KEPT).execute(connection).await.map_err(Failure)?;
    }
    Ok(())
}

/// Runs of this job that nobody will finish.
pub(super) async fn lose_of_job(connection: &mut SqliteConnection, key: &JobKey, now: Micros) -> Result<(), Failure> {
    of(LOSE, key).bind(now).execute(connection).await?;
    Ok(())
}

/// Runs of this daemon that nobody will finish. Returns how many.
pub(super) async fn lose_of_owner(connection: &mut SqliteConnection, owner: &str, now: Micros) -> Result<u64, Failure> {
    Ok(sqlx::query(LOSE_OF_OWNER).bind(now).bind(owner).execute(connection).await?.rows_affected())
}

pub(super) async fn list(
    connection: &mut SqliteConnection,
    instance: Option<&str>,
    limit: u32,
) -> Result<Vec<RunRecord>> {
    const COLUMNS: &str = "id, instance, kind, partition, \"trigger\", started_at, finished_at, outcome, report";
    let sql = match instance {
        Some(_) => format!("SELECT {COLUMNS} FROM run WHERE instance = ? ORDER BY id DESC LIMIT ?"),
        None => format!("SELECT {COLUMNS} FROM run ORDER BY id DESC LIMIT ?"),
    };
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    if let Some(instance) = instance {
        query = query.bind(instance);
    }
    let rows = query.bind(limit).fetch_all(connection).await.map_err(Failure)?;
    rows.iter().map(run).collect()
}
