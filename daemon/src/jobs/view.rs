//! Jobs as operators see them, the same from every daemon.

use super::plan::JobView;
use super::runner::{Entry, Jobs};
use std::collections::{BTreeMap, BTreeSet};
use stele_archive::{JobKey, JobRecord, Outcome};

/// Runs of an instance among which that is looked for which another daemon is at.
const HISTORY: u32 = 200;
/// Failing jobs that are named; more are counted.
const MAX_FINDINGS: usize = 10;

impl Jobs {
    /// Every job, by name, as every daemon shows it: what another one runs is told from the job table and the history. While the
    /// archive does not answer it is what this daemon knows.
    pub async fn overview(&self) -> Vec<JobView> {
        let mut records: BTreeMap<JobKey, JobRecord> = self
            .inner
            .archive
            .jobs()
            .await
            .unwrap_or_default()
            .into_iter()
            .map(|record| (record.key.clone(), record))
            .collect();
        let now = self.inner.clock.now();
        let mut views: Vec<JobView> = {
            let table = self.table();
            let view = |(key, entry): (&JobKey, &Entry)| {
                let record = records.remove(key).unwrap_or_else(|| entry.record.clone());
                // One that this daemon is about to try as well, as it was asked to, is the other one's all the same.
                let is_elsewhere = self.is_elsewhere(&record);
                let is_here = entry.running && !is_elsewhere;
                let schedule = entry.plan.schedule.as_ref();
                let scheduled = schedule.and_then(|schedule| schedule.next_after(record.last_due.unwrap_or(now)));
                JobView {
                    running: is_here || is_elsewhere,
                    next_due: record.retry_at.or(scheduled),
                    report: is_here.then(|| entry.report.clone()),
                    error: entry.error.clone(),
                    record,
                }
            };
            table.jobs.iter().map(view).collect()
        };
        let needs_history = |view: &JobView| view.running && view.report.is_none();
        let instances: BTreeSet<String> =
            views.iter().filter(|view| needs_history(view)).map(|view| view.record.key.instance.clone()).collect();
        for instance in instances {
            let runs = self.inner.archive.runs(Some(&instance), HISTORY).await.unwrap_or_default();
            for view in views.iter_mut().filter(|view| needs_history(view)) {
                let mut of_job = runs.iter().filter(|run| run.job == view.record.key);
                let latest = of_job.find(|run| run.outcome == Outcome::Running);
                view.report = latest.map(|run| run.report.clone());
            }
        }
        views
    }

    /// Whether a run of any job goes on in this daemon.
    pub fn is_busy(&self) -> bool {
        self.table().jobs.values().any(|entry| entry.running)
    }

    /// What is not well, one sentence each: instances whose jobs are not known, and jobs that fail.
    pub fn findings(&self) -> Vec<String> {
        let table = self.table();
        let because = |error: &Option<String>| error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let unknown = table.instances.iter().filter(|(_, registered)| registered.error.is_some());
        let unknown = unknown
            .map(|(name, registered)| format!("instance {name}: its jobs are not known{}", because(&registered.error)));
        let failing = table.jobs.iter().filter(|(_, entry)| entry.record.failures > 0).map(|(key, entry)| {
            let times = match entry.record.failures {
                1 => "failed".to_owned(),
                count => format!("failed {count} times in a row"),
            };
            format!("job {key}: {times}{}", because(&entry.error))
        });
        let mut findings: Vec<String> = unknown.chain(failing).collect();
        if findings.len() > MAX_FINDINGS {
            let more = findings.len() - MAX_FINDINGS;
            findings.truncate(MAX_FINDINGS);
            findings.push(format!("{more} more jobs fail"));
        }
        findings
    }

    /// Whether another daemon runs this job.
    pub(super) fn is_elsewhere(&self, record: &JobRecord) -> bool {
        let now = self.inner.clock.now();
        let lease = record.lease.as_ref();
        lease.is_some_and(|(owner, until)| *owner != self.inner.options.owner && *until > now)
    }
}
