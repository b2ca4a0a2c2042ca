//! What jobs an instance has, when they run, and how they are seen.

use super::{Schedule, Source};
use crate::media::FetchOptions;
use std::collections::BTreeMap;
use std::sync::Arc;
use stele_archive::model::Micros;
use stele_archive::{ArchiveError, InstanceId, JobKey, JobRecord, Outcome, RunId, RunReport};
use tokio_cron_scheduler::JobSchedulerError;

/// Settings of the runner.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// Name of this daemon in leases; the same after a restart, and that of no other.
    pub owner: String,
    /// Runs of one instance at the same time, files not counted.
    pub concurrency: usize,
    /// How long a lease is good for without being renewed, in microseconds.
    pub lease: Micros,
    /// Pause after a first failure, in microseconds; doubles up to `retry_max`.
    pub retry_min: Micros,
    /// Longest pause after failures, in microseconds.
    pub retry_max: Micros,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            owner: "stele".to_owned(),
            concurrency: 4,
            lease: 60_000_000,
            retry_min: 5_000_000,
            retry_max: 900_000_000,
        }
    }
}

/// When and how one kind of job of an instance runs.
#[derive(Clone, Debug, Default)]
pub struct KindPlan {
    /// `None`: only on request.
    pub schedule: Option<Schedule>,
    /// Runs begin up to this many microseconds after their due time, so that many jobs do not start as one.
    pub jitter: Micros,
    /// Messages asked for at a time.
    pub page_limit: u32,
}

/// An instance and its jobs.
#[derive(Clone)]
pub struct InstanceJobs {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: InstanceId,
    /// How to reach it.
    pub source: Arc<dyn Source>,
    /// The kinds it has: `sync`, `directory`, `recover` (per partition) and `media` (one for all).
    pub plans: BTreeMap<&'static str, KindPlan>,
    /// Bounds of its media job.
    pub media: FetchOptions,
}

/// Something happened to a run.
#[derive(Clone, Debug)]
pub struct RunEvent {
    /// The job.
    pub job: JobKey,
    /// The run.
    pub run: RunId,
    /// `Running` for progress.
    pub outcome: Outcome,
    /// Figures so far.
    pub report: RunReport,
}

/// A job as operators see it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct JobView {
    /// What the table knows; or, as long as the archive keeps this daemon from running it, what this daemon knows.
    #[serde(flatten)]
    pub record: JobRecord,
    /// It runs now, in this daemon or another one, or somebody has asked for it.
    pub running: bool,
    /// When it is due next.
    pub next_due: Option<Micros>,
}

/// Why a run that was asked for does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// The instance has no such job.
    #[error("there is no such job")]
    Unknown,
    /// The daemon or the instance stops.
    #[error("no job begins any more: the daemon or the instance stops")]
    Stopping,
}

/// Why the runner could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The archive does not answer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The scheduler does not start.
    #[error("the scheduler does not start: {0}")]
    Scheduler(#[from] JobSchedulerError),
}
