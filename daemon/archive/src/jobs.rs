//! The job table: what is due is decided from it, so that a restart, a clock change or a second daemon do no harm.

use crate::{Result, RunId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;
use stele_plugin_api::model::Micros;

/// Name of a job: what runs, of which instance, on which partition. The unit that never overlaps with itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct JobKey {
    /// Name of the instance.
    pub instance: String,
    /// `sync`, `directory`, `media` or `recover`.
    pub kind: String,
    /// The partition; empty when the job is for the whole instance.
    pub partition: String,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, kind, partition } = self;
        match partition.as_str() {
            "" => write!(f, "{instance} {kind}"),
            _ => write!(f, "{instance} {kind} {partition}"),
        }
    }
}

/// What the table knows of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobRecord {
    /// Its name.
    pub key: JobKey,
    /// Cron pattern; empty for jobs that only run on request.
    pub pattern: String,
    /// IANA zone of the pattern.
    pub zone: String,
    /// The due time of the latest run that was started by the pattern.
    pub last_due: Option<Micros>,
    /// Runs that failed in a row.
    pub failures: u32,
    /// Not before this, after failures.
    pub retry_at: Option<Micros>,
    /// Somebody has asked for a run, and none that began since then has ended.
    pub asked: bool,
    /// Who holds the lease now, and until when.
    pub lease: Option<(String, Micros)>,
    /// What the latest run that was not stopped failed at, while there are [`failures`](Self::failures).
    pub error: Option<String>,
    /// Figures of the run that goes on, while somebody holds the lease.
    pub report: Option<RunReport>,
}

/// The right to run a job, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub key: JobKey,
    /// The daemon that holds it.
    pub owner: String,
    /// Grows with every acquisition; a write with an old one is refused.
    pub fence: i64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It runs, or its daemon died while it did.
    Running,
    /// All was done.
    Succeeded,
    /// It stopped at an error.
    Failed,
    /// It was asked to stop; the next run goes on where it stopped.
    Cancelled,
    /// Its daemon died.
    Lost,
}

impl Outcome {
    /// The word in tables and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The outcome of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Lost]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

/// A run begins.
#[derive(Clone, Debug, PartialEq)]
pub struct RunStart {
    /// Why: `schedule`, `request`, `retry`, `catch-up`.
    pub trigger: String,
    /// When.
    pub now: Micros,
}

/// How far a run has come; also its final figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// Messages (or people, or files) stored.
    pub stored: u64,
    /// Messages that were known already.
    pub known: u64,
    /// Envelopes or files parked.
    pub parked: u64,
    /// Pages committed.
    pub pages: u64,
    /// Attempts that failed and were tried again.
    pub retries: u64,
    /// Facts for the operator, oldest first, bounded.
    pub notices: Vec<String>,
    /// What it stopped at.
    pub error: Option<String>,
}

impl RunReport {
    /// Most notices a report keeps.
    pub const MAX_NOTICES: usize = 50;

    /// Keeps a notice, once and within the bound; whoever notes something writes it to the log as well. Whether it is a
    /// new one.
    pub fn note(&mut self, notice: String) -> bool {
        if self.notices.contains(&notice) {
            return false;
        }
        if self.notices.len() < Self::MAX_NOTICES {
            self.notices.push(notice);
        } else if self.notices.len() == Self::MAX_NOTICES {
            self.notices.push("further notices are in the log".to_owned());
        }
        true
    }
}

/// A run in the history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The job.
    pub job: JobKey,
    /// Why it ran.
    pub trigger: String,
    /// When it began.
    pub started_at: Micros,
    /// When it ended.
    pub finished_at: Option<Micros>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its figures.
    pub report: RunReport,
}

/// The job table and the history of runs.
#[async_trait]
pub trait JobTable: Send + Sync {
    /// Make a job known, or change its pattern and zone. What it went through is kept; one that loses its pattern is not to
    /// be tried again.
    async fn job_define(&self, key: &JobKey, pattern: &str, zone: &str, now: Micros) -> Result<JobRecord>;

    /// All jobs, by name.
    async fn jobs(&self) -> Result<Vec<JobRecord>>;

    /// One job, if it was ever defined.
    async fn job(&self, key: &JobKey) -> Result<Option<JobRecord>>;

    /// Somebody asks for a run, of whichever daemon: it is [`asked`](JobRecord::asked) for until a lease is given back that was
    /// acquired after this. [`Invalid`](crate::ArchiveError::Invalid) for a job that was never defined.
    async fn job_ask(&self, key: &JobKey) -> Result<()>;

    /// The pattern's run of `due` was taken care of. [`LeaseLost`](crate::ArchiveError::LeaseLost) when somebody else has the lease:
    /// they know better what is due.
    async fn job_mark_due(&self, lease: &Lease, due: Micros) -> Result<()>;

    /// Acquire the lease for `ttl` microseconds; `None` while somebody else holds it. A lease of this `owner` from
    /// before counts as held by somebody else as long as it is not expired or released. Unfinished runs of whoever let
    /// the lease expire are marked as lost. [`Invalid`](crate::ArchiveError::Invalid) for a job that was never defined.
    async fn lease_acquire(&self, key: &JobKey, owner: &str, now: Micros, ttl: Micros) -> Result<Option<Lease>>;

    /// Hold it longer. [`LeaseLost`](crate::ArchiveError::LeaseLost) when somebody else has it.
    async fn lease_renew(&self, lease: &Lease, now: Micros, ttl: Micros) -> Result<()>;

    /// Give it back, with the state for the next run: failures in a row, and the earliest time to try again.
    /// [`LeaseLost`](crate::ArchiveError::LeaseLost) when somebody else has it; then nothing is changed.
    async fn lease_release(&self, lease: &Lease, failures: u32, retry_at: Option<Micros>) -> Result<()>;

    /// Give back every lease of this owner and mark its unfinished runs as lost: a daemon does so when it starts.
    /// Returns how many runs were lost.
    async fn lease_sweep(&self, owner: &str, now: Micros) -> Result<u64>;

    /// A run begins. [`LeaseLost`](crate::ArchiveError::LeaseLost) when somebody else has the lease.
    async fn run_begin(&self, lease: &Lease, start: &RunStart) -> Result<RunId>;

    /// How far a run of this job has come. Nothing is changed once it has ended, or was marked as lost.
    async fn run_progress(&self, job: &JobKey, run: RunId, report: &RunReport) -> Result<()>;

    /// It ended; a run that was marked as lost stays lost. Keeps the latest 1,000 runs of each job and forgets older ones.
    async fn run_finish(
        &self,
        job: &JobKey,
        run: RunId,
        outcome: Outcome,
        report: &RunReport,
        now: Micros,
    ) -> Result<()>;

    /// The history, latest first, of one instance or of all.
    async fn runs(&self, instance: Option<&str>, limit: u32) -> Result<Vec<RunRecord>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_kept_once_and_within_the_bound() {
        let mut report = RunReport::default();
        for number in 0..2 * RunReport::MAX_NOTICES {
            assert!(report.note(format!("notice {number}")));
        }
        assert!(!report.note("notice 0".to_owned()));
        assert_eq!(report.notices.len(), RunReport::MAX_NOTICES + 1);
        assert_eq!(report.notices.last().map(String::as_str), Some("further notices are in the log"));
    }
}
