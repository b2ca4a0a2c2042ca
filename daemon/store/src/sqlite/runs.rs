//! The history of runs.

use super::error::Failure;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use stele_archive::model::Micros;
use stele_archive::{ArchiveError, JobKey, Lease, Outcome, Result, RunId, RunRecord, RunReport, RunStart};

/// Runs kept per job.
const KEPT: i64 = 1000;

pub(super) async fn begin(connection: &mut SqliteConnection, lease: &Lease, start: &RunStart) -> Result<RunId> {
    let id = sqlx::query_scalar(
        "INSERT INTO run (instance, kind, partition, owner, \"trigger\", started_at, outcome, report) \
         VALUES (?, ?, ?, ?, ?, ?, 'running', ?) RETURNING id",
    )
    .bind(&lease.key.instance)
    .bind(&lease.key.kind)
    .bind(&lease.key.partition)
    .bind(&lease.owner)
    .bind(&start.trigger)
    .bind(start.now)
    .bind(json(&RunReport::default())?)
    .fetch_one(connection)
    .await
    .map_err(Failure)?;
    Ok(RunId(id))
}

pub(super) async fn progress(
    connection: &mut SqliteConnection,
    job: &JobKey,
    run: RunId,
    report: &RunReport,
) -> Result<()> {
    sqlx::query("UPDATE run SET report = ? WHERE id = ? AND instance = ? AND outcome = 'running'")
        .bind(json(report)?)
        .bind(run.0)
        .bind(&job.instance)
        .execute(connection)
        .await
        .map_err(Failure)?;
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
    let ended = sqlx::query(
        "UPDATE run SET outcome = ?, report = ?, finished_at = ? WHERE id = ? AND instance = ? AND outcome = 'running'",
    )
    .bind(outcome.as_str())
    .bind(json(report)?)
    .bind(now)
    .bind(run.0)
    .bind(&job.instance)
    .execute(&mut *connection)
    .await
    .map_err(Failure)?;
    if ended.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM run WHERE instance = ? AND kind = ? AND partition = ? AND outcome <> 'running' AND id <= \
         (SELECT id FROM run WHERE instance = ? AND kind = ? AND partition = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
    )
    .bind(&job.instance)
    .bind(&job.kind)
    .bind(&job.partition)
    .bind(&job.instance)
    .bind(&job.kind)
    .bind(&job.partition)
    .bind(KEPT)
    .execute(connection)
    .await
    .map_err(Failure)?;
    Ok(())
}

/// Runs of this job that nobody will finish.
pub(super) async fn lose_of_job(connection: &mut SqliteConnection, key: &JobKey, now: Micros) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE run SET outcome = 'lost', finished_at = ? \
         WHERE instance = ? AND kind = ? AND partition = ? AND outcome = 'running'",
    )
    .bind(now)
    .bind(&key.instance)
    .bind(&key.kind)
    .bind(&key.partition)
    .execute(connection)
    .await?;
    Ok(())
}

/// Runs of this daemon that nobody will finish. Returns how many.
pub(super) async fn lose_of_owner(connection: &mut SqliteConnection, owner: &str, now: Micros) -> Result<u64, Failure> {
    let sql = "UPDATE run SET outcome = 'lost', finished_at = ? WHERE owner = ? AND outcome = 'running'";
    Ok(sqlx::query(sql).bind(now).bind(owner).execute(connection).await?.rows_affected())
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
    rows.iter().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<RunRecord> {
    let outcome: &str = row.get(7);
    Ok(RunRecord {
        id: RunId(row.get(0)),
        job: JobKey { instance: row.get(1), kind: row.get(2), partition: row.get(3) },
        trigger: row.get(4),
        started_at: row.get(5),
        finished_at: row.get(6),
        outcome: Outcome::parse(outcome)
            .ok_or_else(|| ArchiveError::Backend(format!("unknown outcome {outcome:?} of a run").into()))?,
        report: serde_json::from_str(row.get(8)).map_err(|error| ArchiveError::Backend(Box::new(error)))?,
    })
}

fn json(report: &RunReport) -> Result<String> {
    serde_json::to_string(report).map_err(|error| ArchiveError::Backend(Box::new(error)))
}
