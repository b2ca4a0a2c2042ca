//! One run: under a lease, from its beginning in the history to its end.

use super::due::set_right;
use super::entry::{Ended, Fault, Pause};
use super::plan::RunEvent;
use super::runner::{Begun, Jobs, spread};
use super::sync::{RunError, Work};
use super::{DIRECTORY, MEDIA, RECOVER, REQUEST, SYNC, due, recover, sync};
use crate::media::{Fetcher, MediaSource};
use std::sync::Arc;
use std::time::Duration;
use stele_archive::model::Micros;
use stele_archive::{ArchiveError, Committed, JobKey, JobRecord, Lease, Outcome, RunId, RunReport, RunStart, Stream};
use tokio_util::sync::CancellationToken;

/// A running job renews its lease this many times before it would expire.
const LEASE_BEATS: u64 = 4;
/// How often progress is written to the history, at most.
const PROGRESS_EVERY: Micros = 1_000_000;
/// Shortest pause when a person must act (a credential, a right): probing a wrong secret can block our address.
const DENIED_PAUSE: Micros = 300_000_000;
/// Longest pause, whatever a source asks for.
const MAX_PAUSE: Micros = 86_400_000_000;

impl Jobs {
    /// Runs a job that was marked as running, and unmarks it.
    pub(super) async fn run(&self, mut begun: Begun) {
        let key = begun.key.clone();
        let ended = self.run_in_turn(&mut begun).await;
        let again = {
            let mut table = self.table();
            let Some(entry) = table.jobs.get_mut(&key) else { return };
            (entry.running, entry.waits) = (false, false);
            match ended {
                Ok(ref done) => {
                    entry.pause = None;
                    entry.record.failures = done.failures;
                    entry.record.retry_at = done.retry_at;
                    entry.record.last_due = begun.due.or(entry.record.last_due);
                    // One that was stopped says nothing about why the one before it failed.
                    if done.outcome != Outcome::Cancelled {
                        entry.record.error = done.report.error.clone();
                    }
                }
                // It is due as it was; who asked for it is not forgotten when its instance was only replaced.
                Err(NotRun::Stopped) => entry.again |= begun.trigger == REQUEST,
                Err(NotRun::Elsewhere) => {
                    let until = self.inner.clock.now() + self.inner.options.retry_min;
                    entry.pause = Some(Pause { until, fault: None });
                }
                Err(NotRun::Done(ref record)) => {
                    entry.pause = None;
                    entry.record = record.clone();
                }
                Err(NotRun::Failed { ref error, failures, retry_at }) => {
                    entry.asked |= begun.trigger == REQUEST;
                    let fault = Fault { failures, error: error.to_string() };
                    entry.pause = Some(Pause { until: retry_at, fault: Some(fault) });
                }
            }
            // In one step: nobody is to find it idle in between.
            let again = std::mem::take(&mut entry.again);
            again.then(|| self.mark(&mut table, &key, REQUEST, None)).flatten()
        };
        match ended {
            Ok(done) => {
                let event = RunEvent { job: key.clone(), run: done.run, outcome: done.outcome, report: done.report };
                let _ = self.inner.events.send(event);
            }
            Err(NotRun::Failed { error, .. }) => {
                tracing::error!(instance = key.instance, kind = key.kind, partition = key.partition, %error, "cannot run the job")
            }
            Err(NotRun::Stopped | NotRun::Elsewhere | NotRun::Done(_)) => {}
        }
        again.into_iter().for_each(|begun| self.spawn(begun));
    }

    /// Waits for its turn and for the lease, and gives the lease back whatever happens.
    async fn run_in_turn(&self, begun: &mut Begun) -> Result<Done, NotRun> {
        let inner = &self.inner;
        if begun.trigger == REQUEST {
            // Written down first: should this daemon not come to it, another one does.
            inner.archive.job_ask(&begun.key).await.map_err(|error| self.not_run(begun, error))?;
        }
        let slots = Arc::clone(&begun.slots);
        let _slot = match begun.key.kind.as_str() {
            // Files never wait for messages, nor messages for files.
            MEDIA => None,
            _ => {
                self.set_waits(begun, begun.trigger != REQUEST);
                let slot = begun.stop.run_until_cancelled(slots.acquire()).await.ok_or(NotRun::Stopped)?;
                self.set_waits(begun, false);
                Some(slot.expect("the semaphore is never closed"))
            }
        };
        // Before the lease is given back or taken: whoever takes it declares unfinished runs lost.
        let unwritten = self.table().jobs.get_mut(&begun.key).and_then(|entry| entry.unwritten.take());
        if let Some(ended) = unwritten {
            self.write_down(&begun.key, ended).await.map_err(|error| self.not_run(begun, error))?;
        }
        let kept = self.table().jobs.get_mut(&begun.key).and_then(|entry| entry.kept.take());
        if let Some(kept) = kept {
            match inner.archive.lease_release(&kept, begun.failures, None).await {
                Ok(()) | Err(ArchiveError::LeaseLost { .. }) => {}
                Err(error) => {
                    self.keep(kept);
                    return Err(self.not_run(begun, error));
                }
            }
        }
        let now = inner.clock.now();
        let lease = inner.archive.lease_acquire(&begun.key, &inner.options.owner, now, inner.options.lease).await;
        let lease = lease.map_err(|error| self.not_run(begun, error))?.ok_or(NotRun::Elsewhere)?;
        // Also when the run could not be written down: the next attempt must not wait until the lease expires.
        let ended = match self.catch_up(begun).await {
            Ok(()) => self.run_leased(begun, &lease).await.map_err(|error| self.not_run(begun, error)),
            Err(not_run) => Err(not_run),
        };
        let (failures, retry_at) = match &ended {
            Err(NotRun::Failed { failures, retry_at, .. }) => (*failures, Some(*retry_at)),
            Err(NotRun::Done(record)) => (record.failures, record.retry_at),
            Ok(done) => (done.failures, done.retry_at),
            Err(NotRun::Stopped | NotRun::Elsewhere) => (begun.failures, None),
        };
        match inner.archive.lease_release(&lease, failures, retry_at).await {
            Ok(()) | Err(ArchiveError::LeaseLost { .. }) => ended,
            Err(error) => {
                self.keep(lease);
                ended.and(Err(self.not_run(begun, error)))
            }
        }
    }

    fn set_waits(&self, begun: &Begun, waits: bool) {
        if let Some(entry) = self.table().jobs.get_mut(&begun.key) {
            entry.waits = waits;
        }
    }

    fn not_run(&self, begun: &Begun, error: ArchiveError) -> NotRun {
        let error = RunError::from(error);
        let (failures, retry_at) = self.again_after(begun, &error);
        NotRun::Failed { error, failures, retry_at }
    }

    /// Takes over what the job table says now that nobody else runs the job: another daemon may have run it since it was looked at, or
    /// asked for. Then it is [done](NotRun::Done).
    async fn catch_up(&self, begun: &mut Begun) -> Result<(), NotRun> {
        let record = self.inner.archive.job(&begun.key).await.map_err(|error| self.not_run(begun, error))?;
        let Some(mut record) = record else { return Ok(()) };
        begun.failures = record.failures;
        let (now, schedule, asked) = (self.inner.clock.now(), begun.plan.schedule.as_ref(), record.asked);
        set_right(&mut record, schedule, now);
        record.lease = None;
        let due = due(&record, schedule, begun.jitter, now).ok_or(NotRun::Done(record))?;
        if !(asked && begun.trigger == REQUEST) {
            (begun.trigger, begun.due) = (due.trigger, due.at);
        }
        Ok(())
    }

    /// Remembers a lease that could not be given back, so that the next run does and need not wait until it expires.
    fn keep(&self, lease: Lease) {
        if let Some(entry) = self.table().jobs.get_mut(&lease.key) {
            entry.kept = Some(lease);
        }
    }

    /// Writes down how a run ended; what cannot be written now is written before the next run.
    async fn write_down(&self, job: &JobKey, ended: Ended) -> Result<(), ArchiveError> {
        let Ended { run, outcome, ref report, at } = ended;
        let written = self.inner.archive.run_finish(job, run, outcome, report, at).await;
        if written.is_err()
            && let Some(entry) = self.table().jobs.get_mut(job)
        {
            entry.unwritten = Some(ended);
        }
        written
    }

    async fn run_leased(&self, begun: &Begun, lease: &Lease) -> Result<Done, ArchiveError> {
        let (inner, archive) = (&self.inner, &self.inner.archive);
        let start = RunStart { trigger: begun.trigger.to_owned(), now: inner.clock.now() };
        let run = archive.run_begin(lease, &start).await?;
        let span_key = &begun.key;
        tracing::debug!(instance = span_key.instance, kind = span_key.kind, partition = span_key.partition, %run, trigger = begun.trigger, "run begins");

        let stop = begun.stop.child_token();
        let mut report = RunReport::default();
        let result = {
            let body = self.body(begun, run, &stop, &mut report);
            let beat = self.keep_lease(lease, &stop);
            tokio::pin!(body);
            tokio::select! {
                result = &mut body => result,
                error = beat => {
                    // Without the lease another daemon may run the job: stop at the next page. The cursor's comparison
                    // keeps even that page from being stored twice.
                    stop.cancel();
                    body.await.and(Err(error.into()))
                }
            }
        };
        let (outcome, failures, retry_at) = self.judge(begun, &result);
        report.error = result.err().map(|error| error.to_string());
        match outcome {
            Outcome::Failed => {
                let error = report.error.as_deref().unwrap_or_default();
                tracing::error!(
                    instance = span_key.instance,
                    kind = span_key.kind,
                    partition = span_key.partition,
                    failures,
                    error,
                    "run failed"
                );
            }
            _ if report.stored + report.parked > 0 => tracing::info!(
                instance = span_key.instance,
                kind = span_key.kind,
                partition = span_key.partition,
                stored = report.stored,
                known = report.known,
                parked = report.parked,
                "run {}",
                outcome.as_str(),
            ),
            _ => tracing::debug!(
                instance = span_key.instance,
                kind = span_key.kind,
                partition = span_key.partition,
                "run {}",
                outcome.as_str()
            ),
        }
        metrics::counter!("stele_job_runs_total", "kind" => span_key.kind.clone(), "outcome" => outcome.as_str())
            .increment(1);
        let ended = Ended { run, outcome, report: report.clone(), at: inner.clock.now() };
        self.write_down(&begun.key, ended).await?;
        if let Some(due) = begun.due {
            match archive.job_mark_due(lease, due).await {
                // Whoever has it now decides what is due.
                Ok(()) | Err(ArchiveError::LeaseLost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Done { run, outcome, report, failures, retry_at })
    }

    /// Renews the lease until it cannot.
    async fn keep_lease(&self, lease: &Lease, stop: &CancellationToken) -> ArchiveError {
        let beat = Duration::from_micros(self.inner.options.lease.unsigned_abs() / LEASE_BEATS);
        loop {
            tokio::time::sleep(beat).await;
            match self.inner.archive.lease_renew(lease, self.inner.clock.now(), self.inner.options.lease).await {
                Err(error) if !error.is_transient() => {
                    stop.cancel();
                    return error;
                }
                _ => {}
            }
        }
    }

    fn judge(&self, begun: &Begun, result: &Result<bool, RunError>) -> (Outcome, u32, Option<Micros>) {
        let (outcome, failures, retry_at) = match result {
            Ok(true) => (Outcome::Succeeded, 0, None),
            // What is left is due at once: after a restart nobody would think of it before the pattern comes round again.
            Ok(false) => (Outcome::Cancelled, begun.failures, Some(self.inner.clock.now())),
            Err(error) => {
                let (failures, retry_at) = self.again_after(begun, error);
                (Outcome::Failed, failures, Some(retry_at))
            }
        };
        (outcome, failures, retry_at.filter(|_| !self.is_switched_off(begun)))
    }

    /// Whether nobody wants the rest of a run: its schedule was taken away meanwhile, and nobody has asked for it.
    fn is_switched_off(&self, begun: &Begun) -> bool {
        let is_unscheduled = || self.table().jobs.get(&begun.key).is_some_and(|entry| entry.plan.schedule.is_none());
        begun.trigger != REQUEST && begun.plan.schedule.is_some() && is_unscheduled()
    }

    /// Failures in a row with this one, and when to try again.
    fn again_after(&self, begun: &Begun, error: &RunError) -> (u32, Micros) {
        let failures = begun.failures.saturating_add(1);
        let options = &self.inner.options;
        let mut pause = options.retry_min.saturating_mul(1 << (failures - 1).min(30)).min(options.retry_max);
        if error.is_denied() {
            pause = pause.max(DENIED_PAUSE);
        }
        pause = pause.max(error.retry_after().unwrap_or(0)).min(MAX_PAUSE);
        // A tenth more or less, so that many failed jobs do not come back as one.
        pause += spread(&begun.key, pause / 10);
        (failures, self.inner.clock.now() + pause)
    }

    async fn body(
        &self,
        begun: &Begun,
        run: RunId,
        stop: &CancellationToken,
        report: &mut RunReport,
    ) -> Result<bool, RunError> {
        let inner = &self.inner;
        let work = Work {
            archive: Arc::clone(&inner.archive),
            source: Arc::clone(&begun.instance.source),
            clock: Arc::clone(&inner.clock),
            instance: begun.instance.id,
            name: begun.instance.name.clone(),
            partition: begun.key.partition.clone(),
            page_limit: begun.plan.page_limit,
        };
        let mut shown = Progress { jobs: self, key: &begun.key, run, written: inner.clock.now() };
        let on_page = |report: &RunReport, committed: &Committed| {
            if !committed.stored.is_empty() {
                (inner.on_commit)(begun.instance.id);
                metrics::counter!("stele_messages_stored_total", "instance" => begun.key.instance.clone())
                    .increment(committed.stored.len() as u64);
            }
            if committed.media > 0 {
                self.wake(&begun.key.instance, MEDIA);
            }
            shown.show(report);
        };
        match begun.key.kind.as_str() {
            SYNC => sync::run(&work, Stream::Messages, stop, report, on_page).await,
            DIRECTORY => sync::run(&work, Stream::Directory, stop, report, on_page).await,
            RECOVER => recover::run(&work, stop, report, on_page).await,
            _ => {
                let source: Arc<dyn MediaSource> = begun.instance.source.clone();
                let fetcher = Fetcher {
                    archive: work.archive,
                    store: inner.store.clone(),
                    source,
                    clock: work.clock,
                    instance: work.instance,
                    options: begun.instance.media,
                };
                Arc::new(fetcher).run(stop, report, |report| shown.show(report)).await?;
                Ok(!stop.is_cancelled())
            }
        }
    }
}

/// Why there was no run.
enum NotRun {
    /// Its instance or the daemon stops.
    Stopped,
    /// Another daemon runs it.
    Elsewhere,
    /// Another daemon has run it, and it is not due any more; what the job table says.
    Done(JobRecord),
    /// The job table does not answer.
    Failed { error: RunError, failures: u32, retry_at: Micros },
}

struct Done {
    run: RunId,
    outcome: Outcome,
    report: RunReport,
    failures: u32,
    retry_at: Option<Micros>,
}

/// Shows how far a run has come: at once to listeners, now and then in the history, where every daemon finds it.
struct Progress<'a> {
    jobs: &'a Jobs,
    key: &'a JobKey,
    run: RunId,
    written: Micros,
}

impl Progress<'_> {
    fn show(&mut self, report: &RunReport) {
        let inner = &self.jobs.inner;
        let event =
            RunEvent { job: self.key.clone(), run: self.run, outcome: Outcome::Running, report: report.clone() };
        let _ = inner.events.send(event);
        let now = inner.clock.now();
        if now - self.written >= PROGRESS_EVERY {
            self.written = now;
            let (archive, job) = (Arc::clone(&inner.archive), self.key.clone());
            let (run, report) = (self.run, report.clone());
            inner.tasks.spawn(async move {
                if let Err(error) = archive.run_progress(&job, run, &report).await {
                    tracing::warn!(%run, %error, "cannot write the progress of a run");
                }
            });
        }
    }
}
