//! The job runner: who may run, what runs, and how it went.

use super::sync::{RunError, Work};
use super::{DIRECTORY, Due, MEDIA, RECOVER, SYNC, Schedule, Source, due, recover, sync};
use crate::media::{FetchOptions, Fetcher, MediaSource, MediaStore};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stele_archive::model::Micros;
use stele_archive::{
    Archive, ArchiveError, Clock, Committed, InstanceId, JobKey, JobRecord, Lease, Outcome, RunId, RunReport, RunStart,
    Stream,
};
use stele_plugin_api::ops::JobStarted;
use tokio::sync::{Semaphore, broadcast};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running job renews its lease this many times before it would expire.
const LEASE_BEATS: u64 = 4;
/// How often progress is written to the history, at most.
const PROGRESS_EVERY: Micros = 1_000_000;
/// Shortest pause when a person must act (a credential, a right): probing a wrong secret can block our address.
const DENIED_PAUSE: Micros = 300_000_000;
/// How often an instance is asked for its partitions.
const DISCOVER_EVERY: Micros = 600_000_000;
/// Pause after an instance could not tell its partitions.
const DISCOVER_RETRY: Micros = 5_000_000;
/// Events a slow listener may fall behind.
const EVENT_BUFFER: usize = 1024;

/// Settings of the runner.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// Name of this daemon in leases; the same after a restart.
    pub owner: String,
    /// Jobs that run at the same time.
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
#[derive(Clone, Debug, serde::Serialize)]
pub struct JobView {
    /// What the table knows.
    #[serde(flatten)]
    pub record: JobRecord,
    /// It runs in this daemon now.
    pub running: bool,
    /// When it is due next.
    pub next_due: Option<Micros>,
    /// Figures of the run that goes on.
    pub report: Option<RunReport>,
}

/// The runner; cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    archive: Arc<dyn Archive>,
    store: MediaStore,
    clock: Arc<dyn Clock>,
    options: JobOptions,
    wake_index: Box<dyn Fn() + Send + Sync>,
    table: Mutex<Table>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
    events: broadcast::Sender<RunEvent>,
}

#[derive(Default)]
struct Table {
    instances: BTreeMap<String, Registered>,
    jobs: BTreeMap<JobKey, Entry>,
}

struct Registered {
    jobs: InstanceJobs,
    stop: CancellationToken,
    discover_at: Micros,
}

struct Entry {
    record: JobRecord,
    plan: KindPlan,
    jitter: Micros,
    running: bool,
    /// Somebody asked for a run while one went on: what they are after may have come after the run looked.
    again: bool,
    report: RunReport,
}

/// What a run needs, taken from the table when it begins.
struct Begun {
    key: JobKey,
    instance: InstanceJobs,
    plan: KindPlan,
    stop: CancellationToken,
    trigger: &'static str,
    due: Option<Micros>,
    failures: u32,
}

impl Jobs {
    /// A runner that does nothing until instances are added. `wake_index` is called after every commit.
    pub fn new(
        archive: Arc<dyn Archive>,
        store: MediaStore,
        clock: Arc<dyn Clock>,
        options: JobOptions,
        wake_index: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(options.concurrency.max(1)));
        let inner = Inner {
            archive,
            store,
            clock,
            options,
            wake_index: Box::new(wake_index),
            table: Mutex::default(),
            slots,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            events: broadcast::channel(EVENT_BUFFER).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Gives back what an earlier process of this daemon held, and begins to tick. The scheduler is returned so that its
    /// owner shuts it down; runs are stopped by [`Jobs::shutdown`].
    pub async fn start(&self) -> Result<JobScheduler, StartError> {
        let lost = self.inner.archive.lease_sweep(&self.inner.options.owner, self.inner.clock.now()).await?;
        if lost > 0 {
            tracing::warn!(runs = lost, "runs of an earlier process had not ended; they go on where they stopped");
        }
        let scheduler = JobScheduler::new().await?;
        let jobs = self.clone();
        scheduler
            .add(Job::new_repeated_async(Duration::from_secs(1), move |_, _| {
                let jobs = jobs.clone();
                Box::pin(async move { jobs.tick() })
            })?)
            .await?;
        scheduler.start().await?;
        Ok(scheduler)
    }

    /// Makes an instance's jobs known and asks it for its partitions. When it cannot tell yet, it is asked again later.
    pub async fn add_instance(&self, jobs: InstanceJobs) {
        let name = jobs.name.clone();
        self.remove_instance(&name).await;
        let registered = Registered { jobs, stop: self.inner.stop.child_token(), discover_at: Micros::MAX };
        self.table().instances.insert(name.clone(), registered);
        self.discover(&name).await;
    }

    /// Stops an instance's jobs at the next page and forgets them; their history stays.
    pub async fn remove_instance(&self, name: &str) {
        let Some(registered) = self.table().instances.remove(name) else { return };
        registered.stop.cancel();
        let mut events = self.subscribe();
        while self.table().jobs.iter().any(|(key, entry)| key.instance == name && entry.running) {
            // An event follows every end of a run; a closed or overrun channel only means to look again.
            let _ = tokio::time::timeout(Duration::from_millis(100), events.recv()).await;
        }
        self.table().jobs.retain(|key, _| key.instance != name);
    }

    /// Starts a kind of job of an instance, on one partition or on all, unless it runs. `None` when there is no such job.
    pub fn request(&self, instance: &str, kind: &str, partition: Option<&str>) -> Option<JobStarted> {
        let keys: Vec<JobKey> = self
            .table()
            .jobs
            .keys()
            .filter(|key| key.instance == instance && key.kind == kind)
            .filter(|key| partition.is_none_or(|partition| key.partition == partition || key.partition.is_empty()))
            .cloned()
            .collect();
        let mut answer = JobStarted::default();
        for key in &keys {
            match self.begin(key, "request", None) {
                true => answer.started = true,
                false => answer.running = true,
            }
        }
        (!keys.is_empty()).then_some(answer)
    }

    /// Every job, by name.
    pub fn overview(&self) -> Vec<JobView> {
        let now = self.inner.clock.now();
        self.table()
            .jobs
            .values()
            .map(|entry| {
                let scheduled =
                    entry.plan.schedule.as_ref().and_then(|s| s.next_after(entry.record.last_due.unwrap_or(now)));
                JobView {
                    record: entry.record.clone(),
                    running: entry.running,
                    next_due: entry.record.retry_at.or(scheduled),
                    report: entry.running.then(|| entry.report.clone()),
                }
            })
            .collect()
    }

    /// Hears of every run from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<RunEvent> {
        self.inner.events.subscribe()
    }

    /// Whether any job of these kinds runs or is about to run again.
    pub fn is_idle(&self, kinds: &[&str]) -> bool {
        !self
            .table()
            .jobs
            .iter()
            .any(|(key, entry)| kinds.contains(&key.kind.as_str()) && (entry.running || entry.again))
    }

    /// Stops every run at its next page and waits until they have ended.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().expect("no panic happens while the job table is locked")
    }

    /// Looks at every job once and starts those that are due.
    fn tick(&self) {
        let now = self.inner.clock.now();
        let (due_jobs, to_discover) = {
            let mut table = self.table();
            let mut to_discover = Vec::new();
            for (name, registered) in &mut table.instances {
                if registered.discover_at <= now {
                    registered.discover_at = Micros::MAX;
                    to_discover.push(name.clone());
                }
            }
            let due_jobs: Vec<(JobKey, Due)> = table
                .jobs
                .iter()
                .filter(|(_, entry)| !entry.running)
                .filter_map(|(key, entry)| {
                    let due = due(&entry.record, entry.plan.schedule.as_ref(), entry.jitter, now)?;
                    Some((key.clone(), due))
                })
                .collect();
            (due_jobs, to_discover)
        };
        for (key, due) in due_jobs {
            self.begin(&key, due.trigger, due.at);
        }
        for name in to_discover {
            let jobs = self.clone();
            self.inner.tasks.spawn(async move { jobs.discover(&name).await });
        }
    }

    /// Asks an instance for its partitions and defines their jobs.
    async fn discover(&self, name: &str) {
        let Some((instance, stop)) =
            self.table().instances.get(name).map(|registered| (registered.jobs.clone(), registered.stop.clone()))
        else {
            return;
        };
        let found = match stop.run_until_cancelled(self.define(&instance)).await {
            None => return,
            Some(Ok(())) => DISCOVER_EVERY,
            Some(Err(error)) => {
                tracing::warn!(instance = name, %error, "cannot define the instance's jobs yet");
                DISCOVER_RETRY
            }
        };
        let now = self.inner.clock.now();
        if let Some(registered) = self.table().instances.get_mut(name) {
            registered.discover_at = now + found;
        }
    }

    async fn define(&self, instance: &InstanceJobs) -> Result<(), RunError> {
        let partitions = instance.source.discover().await?.partitions;
        for (&kind, plan) in &instance.plans {
            let names: Vec<String> = match kind {
                MEDIA => vec![String::new()],
                _ => partitions.iter().map(|partition| partition.key.clone()).collect(),
            };
            for partition in names {
                let key = JobKey { instance: instance.name.clone(), kind: kind.to_owned(), partition };
                if self.table().jobs.contains_key(&key) {
                    continue;
                }
                let (pattern, zone) = plan.schedule.as_ref().map_or(("", "UTC"), |s| (s.pattern(), s.zone()));
                let record = self.inner.archive.job_define(&key, pattern, zone, self.inner.clock.now()).await?;
                let entry = Entry {
                    record,
                    plan: plan.clone(),
                    jitter: spread(&key, plan.jitter),
                    running: false,
                    again: false,
                    report: RunReport::default(),
                };
                self.table().jobs.insert(key.clone(), entry);
                // The configuration may have brought the key that parked envelopes wait for.
                if kind == RECOVER
                    && !self.inner.archive.parked(instance.id, &key.partition, Default::default(), 1).await?.is_empty()
                {
                    self.begin(&key, "request", None);
                }
            }
        }
        Ok(())
    }

    /// Starts a run unless one goes on; then that one is followed by another if this was a request.
    fn begin(&self, key: &JobKey, trigger: &'static str, due: Option<Micros>) -> bool {
        if self.inner.stop.is_cancelled() {
            return false;
        }
        let begun = {
            let mut table = self.table();
            let Table { instances, jobs } = &mut *table;
            let (Some(registered), Some(entry)) = (instances.get(&key.instance), jobs.get_mut(key)) else {
                return false;
            };
            if entry.running {
                entry.again |= trigger == "request";
                return false;
            }
            entry.running = true;
            entry.report = RunReport::default();
            Begun {
                key: key.clone(),
                instance: registered.jobs.clone(),
                plan: entry.plan.clone(),
                stop: registered.stop.clone(),
                trigger,
                due,
                failures: entry.record.failures,
            }
        };
        let jobs = self.clone();
        self.inner.tasks.spawn(async move { jobs.run(begun).await });
        true
    }

    async fn run(&self, begun: Begun) {
        let key = begun.key.clone();
        let ended = self.run_leased(&begun).await;
        let again = {
            let mut table = self.table();
            let Some(entry) = table.jobs.get_mut(&key) else { return };
            entry.running = false;
            match ended {
                Ok(ref done) => {
                    entry.record.failures = done.failures;
                    entry.record.retry_at = done.retry_at;
                    entry.record.last_due = begun.due.or(entry.record.last_due);
                }
                // Another daemon has the lease, or the table does not answer: look again after a pause.
                Err(_) => entry.record.retry_at = Some(self.inner.clock.now() + self.inner.options.retry_min),
            }
            std::mem::take(&mut entry.again)
        };
        match ended {
            Ok(done) => {
                let event = RunEvent { job: key.clone(), run: done.run, outcome: done.outcome, report: done.report };
                let _ = self.inner.events.send(event);
            }
            Err(Some(error)) => {
                tracing::error!(instance = key.instance, kind = key.kind, partition = key.partition, %error, "cannot run the job")
            }
            Err(None) => {}
        }
        if again {
            self.begin(&key, "request", None);
        }
    }

    /// `Err(None)`: another daemon runs it.
    async fn run_leased(&self, begun: &Begun) -> Result<Done, Option<ArchiveError>> {
        let inner = &self.inner;
        let _slot = match begun.key.kind.as_str() {
            // Files never wait for messages, nor messages for files.
            MEDIA => None,
            _ => Some(Arc::clone(&inner.slots).acquire_owned().await.expect("the semaphore is never closed")),
        };
        let archive = &inner.archive;
        let lease = archive
            .lease_acquire(&begun.key, &inner.options.owner, inner.clock.now(), inner.options.lease)
            .await?
            .ok_or(None)?;
        let start = RunStart { trigger: begun.trigger.to_owned(), now: inner.clock.now() };
        let run = archive.run_begin(&lease, &start).await?;
        let span_key = &begun.key;
        tracing::debug!(instance = span_key.instance, kind = span_key.kind, partition = span_key.partition, %run, trigger = begun.trigger, "run begins");

        let stop = begun.stop.child_token();
        let mut report = RunReport::default();
        let result = {
            let body = self.body(begun, run, &stop, &mut report);
            let beat = self.keep_lease(&lease, &stop);
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
        archive.run_finish(run, outcome, &report, inner.clock.now()).await?;
        if let Some(due) = begun.due {
            archive.job_mark_due(&begun.key, due).await?;
        }
        match archive.lease_release(&lease, failures, retry_at).await {
            Ok(()) | Err(ArchiveError::LeaseLost { .. }) => {}
            Err(error) => return Err(Some(error)),
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
        match result {
            Ok(true) => (Outcome::Succeeded, 0, None),
            Ok(false) => (Outcome::Cancelled, begun.failures, None),
            Err(error) => {
                let failures = begun.failures.saturating_add(1);
                let options = &self.inner.options;
                let mut pause = options.retry_min.saturating_mul(1 << (failures - 1).min(30)).min(options.retry_max);
                if error.is_denied() {
                    pause = pause.max(DENIED_PAUSE);
                }
                pause = pause.max(error.retry_after().unwrap_or(0));
                // A tenth more or less, so that many failed jobs do not come back as one.
                pause += spread(&begun.key, pause / 10);
                (Outcome::Failed, failures, Some(self.inner.clock.now() + pause))
            }
        }
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
                (inner.wake_index)();
                metrics::counter!("stele_messages_stored_total", "instance" => begun.key.instance.clone())
                    .increment(committed.stored.len() as u64);
            }
            if committed.media > 0 {
                self.request(&begun.key.instance, MEDIA, None);
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
                *report = Arc::new(fetcher).run(stop, |report| shown.show(report)).await?;
                Ok(!stop.is_cancelled())
            }
        }
    }
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

struct Done {
    run: RunId,
    outcome: Outcome,
    report: RunReport,
    failures: u32,
    retry_at: Option<Micros>,
}

/// Shows how far a run has come: at once to listeners, now and then in the history.
struct Progress<'a> {
    jobs: &'a Jobs,
    key: &'a JobKey,
    run: RunId,
    written: Micros,
}

impl Progress<'_> {
    fn show(&mut self, report: &RunReport) {
        if let Some(entry) = self.jobs.table().jobs.get_mut(self.key) {
            entry.report = report.clone();
        }
        let inner = &self.jobs.inner;
        let event =
            RunEvent { job: self.key.clone(), run: self.run, outcome: Outcome::Running, report: report.clone() };
        let _ = inner.events.send(event);
        let now = inner.clock.now();
        if now - self.written >= PROGRESS_EVERY {
            self.written = now;
            let (archive, run, report) = (Arc::clone(&inner.archive), self.run, report.clone());
            inner.tasks.spawn(async move {
                if let Err(error) = archive.run_progress(run, &report).await {
                    tracing::warn!(%run, %error, "cannot write the progress of a run");
                }
            });
        }
    }
}

/// A delay within `width` that is always the same for a job.
fn spread(key: &JobKey, width: Micros) -> Micros {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    if width <= 0 { 0 } else { (hasher.finish() % width.unsigned_abs()) as Micros }
}
