//! The history of runs.

use super::error::Failure;
use super::jobs::of;
use super::text::written;
use crate::common::jobs::{FINISH, FORGET, KEPT, LOSE, PROGRESS, json, run};
use sqlx::PgConnection;
use stele_archive::model::Micros;
use stele_archive::{JobKey, Lease, Outcome, RunId, RunRecord, RunReport, RunStart};

const BEGIN: &str = "INSERT INTO run (instance, kind, partition, id, owner, trigger, started_at, outcome, report) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'running', $8)";
const LOSE_OF_OWNER: &str = "UPDATE run SET outcome = 'lost', finished_at = $3 \
    WHERE instance = $1 AND owner = $2 AND outcome = 'running'";
/// Of one instance, latest first. Parameters: limit, instance.
pub(super) const LIST: &str = "SELECT id, instance, kind, partition, trigger, started_at, finished_at, outcome, report \
    FROM run WHERE instance = $2 ORDER BY id DESC LIMIT $1";
/// Of all instances that have jobs, latest first. Parameter: limit.
pub(super) const LIST_ALL: &str = "SELECT r.* FROM (SELECT DISTINCT instance FROM job) AS i CROSS JOIN LATERAL ( \
        SELECT id, instance, kind, partition, trigger, started_at, finished_at, outcome, report \
        FROM run WHERE instance = i.instance ORDER BY id DESC LIMIT $1 \
    ) AS r ORDER BY r.id DESC LIMIT $1";

pub(super) async fn begin(connection: &mut PgConnection, lease: &Lease, start: &RunStart) -> Result<RunId, Failure> {
    let next = "UPDATE head SET next_run = next_run + 1 WHERE one = 1 RETURNING next_run - 1";
    let id: i64 = sqlx::query_scalar(next).fetch_one(&mut *connection).await?;
    of(BEGIN, &lease.key)
        .bind(id)
        .bind(written(&lease.owner))
        .bind(written(&start.trigger))
        .bind(start.now)
        .bind(json(&RunReport::default())?)
        .execute(connection)
        .await?;
    Ok(RunId(id))
}

pub(super) async fn progress(
    connection: &mut PgConnection,
    job: &JobKey,
    run: RunId,
    report: &RunReport,
) -> Result<(), Failure> {
    let progress = sqlx::query(PROGRESS).bind(written(&job.instance)).bind(run.0).bind(json(report)?);
    progress.execute(connection).await?;
    Ok(())
}

/// A run that was declared lost meanwhile stays lost: somebody else has taken its place.
pub(super) async fn finish(
    connection: &mut PgConnection,
    job: &JobKey,
    run: RunId,
    outcome: Outcome,
    report: &RunReport,
    now: Micros,
) -> Result<(), Failure> {
    let ended = sqlx::query(FINISH)
        .bind(written(&job.instance))
        .bind(run.0)
        .bind(outcome.as_str())
        .bind(json(report)?)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    if ended.rows_affected() > 0 {
        of(FORGET, job).bind(KEPT).execute(connection).await?;
    }
    Ok(())
}

/// Runs of this job that nobody will finish.
pub(super) async fn lose_of_job(connection: &mut PgConnection, key: &JobKey, now: Micros) -> Result<(), Failure> {
    of(LOSE, key).bind(now).execute(connection).await?;
    Ok(())
}

/// Runs of this daemon, of an instance whose name is as it is written, that nobody will finish. Returns how many.
pub(super) async fn lose_of_owner(
    connection: &mut PgConnection,
    instance: &str,
    owner: &str,
    now: Micros,
) -> Result<u64, Failure> {
    let lose = sqlx::query(LOSE_OF_OWNER).bind(instance).bind(written(owner)).bind(now);
    Ok(lose.execute(connection).await?.rows_affected())
}

pub(super) async fn list(
    connection: &mut PgConnection,
    instance: Option<&str>,
    limit: u32,
) -> Result<Vec<RunRecord>, Failure> {
    let sql = if instance.is_some() { LIST } else { LIST_ALL };
    let rows = sqlx::query(sql).bind(i64::from(limit)).bind(instance.map(written)).fetch_all(connection).await?;
    Ok(rows.iter().map(run).collect::<Result<_, _>>()?)
}
