//! Jobs as operators see them, the same from every daemon.

use super::entry::{Entry, Fault, Pause};
use super::plan::JobView;
use super::runner::Jobs;
use std::collections::BTreeMap;
use stele_archive::{JobKey, JobRecord};

/// Failing jobs that are named; more are counted.
const MAX_FINDINGS: usize = 10;

impl Jobs {
    /// Every job, by name, as every daemon shows it: from the job table and the history. While the archive does not answer it is what
    /// this daemon knows.
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
        let table = self.table();
        let view = |(key, entry): (&JobKey, &Entry)| {
            let mut record = records.remove(key).unwrap_or_else(|| entry.record.clone());
            let is_held = record.lease.as_ref().is_some_and(|(_, until)| *until > now);
            let is_here = entry.running && !entry.waits;
            let running = is_held || is_here || record.asked;
            record.report = record.report.filter(|_| running);
            if let Some(Pause { until, fault: Some(Fault { failures, error }) }) = &entry.pause {
                (record.failures, record.retry_at, record.error) = (*failures, Some(*until), Some(error.clone()));
            }
            let schedule = entry.plan.schedule.as_ref();
            let scheduled = schedule.and_then(|schedule| schedule.next_after(record.last_due.unwrap_or(now)));
            JobView { running, next_due: record.retry_at.or(scheduled), record }
        };
        table.jobs.iter().map(view).collect()
    }

    /// Whether a run of any job goes on in this daemon.
    pub fn is_busy(&self) -> bool {
        self.table().jobs.values().any(|entry| entry.running)
    }

    /// What is not well, one sentence each: instances whose jobs are not known, and jobs that fail, in whichever daemon.
    pub fn findings(&self) -> Vec<String> {
        let table = self.table();
        let because = |error: &Option<String>| error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let unknown = table.instances.iter().filter(|(_, registered)| registered.error.is_some());
        let unknown = unknown
            .map(|(name, registered)| format!("instance {name}: its jobs are not known{}", because(&registered.error)));
        let failing = table.jobs.iter().filter_map(|(key, entry)| {
            let (failures, error) = match entry.fault() {
                Some(fault) => (fault.failures, Some(fault.error.clone())),
                None => (entry.record.failures, entry.record.error.clone()),
            };
            let times = match failures {
                0 => return None,
                1 => "failed".to_owned(),
                count => format!("failed {count} times in a row"),
            };
            Some(format!("job {key}: {times}{}", because(&error)))
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
