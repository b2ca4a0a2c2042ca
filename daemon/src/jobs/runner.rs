//! The job runner: which jobs there are, which are due, and what runs.

use super::entry::Entry;
use super::plan::{InstanceJobs, JobOptions, KindPlan, NotStarted, RunEvent, StartError};
use super::sync::RunError;
use super::{Due, Holds, MEDIA, RECOVER, REQUEST};
use crate::media::MediaStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stele_archive::model::Micros;
use stele_archive::{Archive, ArchiveError, Clock, InstanceId, JobKey};
use stele_plugin_api::ErrorCode;
use stele_plugin_api::ops::{JobStarted, Partitions};
use tokio::sync::{Semaphore, broadcast};
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often an instance is asked for its partitions.
const DISCOVER_EVERY: Micros = 600_000_000;
/// Pause after an instance could not tell its partitions.
const DISCOVER_RETRY: Micros = 5_000_000;
/// Events a slow listener may fall behind.
const EVENT_BUFFER: usize = 1024;

/// The runner; cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) archive: Arc<dyn Archive>,
    pub(super) store: MediaStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: JobOptions,
    holds: Holds,
    pub(super) on_commit: Box<dyn Fn(InstanceId) + Send + Sync>,
    pub(super) table: Mutex<Table>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) events: broadcast::Sender<RunEvent>,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) instances: BTreeMap<String, Registered>,
    pub(super) jobs: BTreeMap<JobKey, Entry>,
}

pub(super) struct Registered {
    jobs: InstanceJobs,
    /// Turns of its runs. Every instance has its own: one that hangs keeps no other waiting.
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    discover_at: Micros,
    /// Why its jobs could not be defined when it was asked last.
    pub(super) error: Option<String>,
    /// Its partitions were told once.
    defined: bool,
}

/// What a run needs, taken from the table when it begins.
pub(super) struct Begun {
    pub(super) key: JobKey,
    pub(super) instance: InstanceJobs,
    pub(super) plan: KindPlan,
    pub(super) jitter: Micros,
    pub(super) slots: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    pub(super) trigger: &'static str,
    pub(super) due: Option<Micros>,
    pub(super) failures: u32,
}

impl Jobs {
    /// A runner that does nothing until instances are added. `on_commit` is called after every commit of an
    /// instance.
    pub fn new(
        archive: Arc<dyn Archive>,
        store: MediaStore,
        clock: Arc<dyn Clock>,
        options: JobOptions,
        on_commit: impl Fn(InstanceId) + Send + Sync + 'static,
    ) -> Self {
        let holds = Holds::new(Arc::clone(&archive), Arc::clone(&clock), &options.owner);
        let inner = Inner {
            holds,
            archive,
            store,
            clock,
            options,
            on_commit: Box::new(on_commit),
            table: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            events: broadcast::channel(EVENT_BUFFER).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What this daemon holds beside the jobs it runs.
    pub fn holds(&self) -> &Holds {
        &self.inner.holds
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
        let jobs = self.clone();
        self.inner.tasks.spawn(async move { jobs.watch().await });
        Ok(scheduler)
    }

    /// Makes an instance's jobs known and asks it for its partitions. When it cannot tell yet, it is asked again later.
    ///
    /// One that is known already is replaced: its runs stop at the next page. Its jobs are known all the while, and none
    /// runs twice: what is asked for meanwhile begins when the run of before has ended.
    pub async fn add_instance(&self, jobs: InstanceJobs) {
        let name = jobs.name.clone();
        let slots = Arc::new(Semaphore::new(self.inner.options.concurrency.max(1)));
        let stop = self.inner.stop.child_token();
        let registered = Registered { jobs, slots, stop, discover_at: Micros::MAX, error: None, defined: false };
        let before = self.table().instances.insert(name.clone(), registered);
        if let Some(before) = before {
            before.stop.cancel();
        }
        self.discover(&name).await;
    }

    /// Stops an instance's jobs at the next page and forgets them; their history stays.
    pub async fn remove_instance(&self, name: &str) {
        // Cancelled before anybody else sees the table, so that a discovery that goes on adds no job any more. It stays in
        // the table until its runs have ended, so that who asks for one is told that it stops.
        {
            let table = self.table();
            let Some(registered) = table.instances.get(name) else { return };
            registered.stop.cancel();
        }
        let mut events = self.subscribe();
        while self.table().jobs.iter().any(|(key, entry)| key.instance == name && entry.running) {
            // An event follows every end of a run; a closed or overrun channel only means to look again.
            let _ = tokio::time::timeout(Duration::from_millis(100), events.recv()).await;
        }
        let mut table = self.table();
        // Unless it was added again meanwhile.
        if table.instances.get(name).is_some_and(|registered| registered.stop.is_cancelled()) {
            table.instances.remove(name);
            table.jobs.retain(|key, _| key.instance != name);
        }
    }

    /// Starts a kind of job of an instance, on one partition or on all, unless it runs, here or in another daemon. One that does is
    /// followed by another run.
    ///
    /// # Errors
    ///
    /// When there is no such job, or none begins any more.
    pub async fn request(&self, instance: &str, kind: &str, partition: Option<&str>) -> Result<JobStarted, NotStarted> {
        let keys = self.asked_for(instance, kind, partition)?;
        // A table that does not answer is told of by the run.
        let records = self.inner.archive.jobs().await.unwrap_or_default();
        for record in records.iter().filter(|record| !record.asked && keys.contains(&record.key)) {
            // Every daemon shows it before this is answered.
            if self.inner.archive.job_ask(&record.key).await.is_err() {
                break;
            }
        }
        let runs_elsewhere =
            |key: &JobKey| records.iter().any(|record| record.key == *key && self.is_elsewhere(record));
        let mut answer = JobStarted::default();
        for key in &keys {
            match self.begin(key, REQUEST, None) && !runs_elsewhere(key) {
                true => answer.started = true,
                false => answer.running = true,
            }
        }
        Ok(answer)
    }

    /// The jobs that such a request is about.
    fn asked_for(&self, instance: &str, kind: &str, partition: Option<&str>) -> Result<Vec<JobKey>, NotStarted> {
        let table = self.table();
        let is_stopping = |registered: &Registered| registered.stop.is_cancelled();
        if self.inner.stop.is_cancelled() || table.instances.get(instance).is_some_and(is_stopping) {
            return Err(NotStarted::Stopping);
        }
        let ours = table.jobs.keys().filter(|key| key.instance == instance && key.kind == kind);
        let asked = |key: &&JobKey| partition.is_none_or(|of| key.partition == of || key.partition.is_empty());
        let keys: Vec<JobKey> = ours.filter(asked).cloned().collect();
        if keys.is_empty() { Err(NotStarted::Unknown) } else { Ok(keys) }
    }

    /// [Starts](Jobs::request) a job because a person asks for it: then files that were given up are tried again, too,
    /// also those the source has said it does not have.
    pub async fn request_by_hand(
        &self,
        instance: &str,
        kind: &str,
        partition: Option<&str>,
    ) -> Result<Result<JobStarted, NotStarted>, ArchiveError> {
        // Before anything is changed: files that nobody would try stay as they are.
        if let Err(reason) = self.asked_for(instance, kind, partition) {
            return Ok(Err(reason));
        }
        let id = self.table().instances.get(instance).map(|registered| registered.jobs.id);
        if let (MEDIA, Some(id)) = (kind, id) {
            self.inner.archive.media_unpark(id, true).await?;
        }
        Ok(self.request(instance, kind, partition).await)
    }

    /// Starts a job that has something to do, unless it failed and its time to be tried again has not come.
    pub fn wake(&self, instance: &str, kind: &str) {
        let now = self.inner.clock.now();
        let pauses =
            |entry: &Entry| entry.is_paused(now) || entry.record.retry_at.is_some_and(|retry_at| retry_at > now);
        let ours = |key: &&JobKey| key.instance == instance && key.kind == kind;
        let keys: Vec<JobKey> = {
            let table = self.table();
            let ready = table.jobs.iter().filter(|(_, entry)| !pauses(entry)).map(|(key, _)| key);
            ready.filter(ours).cloned().collect()
        };
        keys.iter().for_each(|key| _ = self.begin(key, REQUEST, None));
    }

    /// Hears of every run from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<RunEvent> {
        self.inner.events.subscribe()
    }

    /// Stops every run at its next page and waits until they have ended.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
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
                .iter_mut()
                .filter(|(_, entry)| !entry.running)
                .filter_map(|(key, entry)| Some((key.clone(), entry.due(now)?)))
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
        let Some((instance, stop, first)) = self
            .table()
            .instances
            .get(name)
            .map(|registered| (registered.jobs.clone(), registered.stop.clone(), !registered.defined))
        else {
            return;
        };
        let (pause, error) = match stop.run_until_cancelled(self.define(&instance, &stop, first)).await {
            None => return,
            Some(Ok(())) => (DISCOVER_EVERY, None),
            Some(Err(error)) => (DISCOVER_RETRY, Some(error.to_string())),
        };
        let now = self.inner.clock.now();
        let mut table = self.table();
        // Another one may have taken its place meanwhile.
        if let Some(registered) = table.instances.get_mut(name).filter(|_| !stop.is_cancelled()) {
            // Once, and not at every attempt.
            if let Some(error) = error.as_ref().filter(|error| registered.error.as_ref() != Some(*error)) {
                tracing::warn!(instance = name, error, "cannot define the instance's jobs yet");
            }
            registered.discover_at = now + pause;
            registered.defined |= error.is_none();
            registered.error = error;
        }
    }

    /// Makes the jobs of an instance those of its partitions. `first`: nothing has come of its plans yet.
    async fn define(&self, instance: &InstanceJobs, stop: &CancellationToken, first: bool) -> Result<(), RunError> {
        let mut wanted = BTreeSet::new();
        let partitions = partitions(instance).await?.partitions;
        for (&kind, plan) in &instance.plans {
            let names: Vec<String> = match kind {
                MEDIA => vec![String::new()],
                _ => partitions.iter().map(|partition| partition.key.clone()).collect(),
            };
            for partition in names {
                let key = JobKey { instance: instance.name.clone(), kind: kind.to_owned(), partition };
                wanted.insert(key.clone());
                let is_new = !self.table().jobs.contains_key(&key);
                if !first && !is_new {
                    continue;
                }
                let (pattern, zone) = plan.schedule.as_ref().map_or(("", "UTC"), |s| (s.pattern(), s.zone()));
                let record = self.inner.archive.job_define(&key, pattern, zone, self.inner.clock.now()).await?;
                {
                    let mut table = self.table();
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    let jitter = spread(&key, plan.jitter);
                    match table.jobs.get_mut(&key) {
                        // It may run, for the instance as it was before: only what is planned changes.
                        Some(entry) => {
                            if plan.schedule.is_none() && entry.plan.schedule.is_some() {
                                entry.record.retry_at = None;
                            }
                            (entry.record.pattern, entry.record.zone) = (record.pattern, record.zone);
                            (entry.plan, entry.jitter) = (plan.clone(), jitter);
                        }
                        None => _ = table.jobs.insert(key.clone(), Entry::new(record, plan.clone(), jitter)),
                    }
                }
                // The configuration may have brought what parked envelopes and files wait for: a key, a higher limit.
                let has_work = match kind {
                    RECOVER => {
                        let parked = self.inner.archive.parked(instance.id, &key.partition, Default::default(), 1);
                        !parked.await?.is_empty()
                    }
                    MEDIA => self.inner.archive.media_unpark(instance.id, false).await? > 0,
                    _ => false,
                };
                if has_work {
                    self.begin(&key, REQUEST, None);
                }
            }
        }
        let mut table = self.table();
        if !stop.is_cancelled() {
            // A run that ends finds its job gone: nothing follows it.
            table.jobs.retain(|key, _| key.instance != instance.name || wanted.contains(key));
        }
        Ok(())
    }

    /// Starts a run unless one goes on; then that one is followed by another if this was a request.
    pub(super) fn begin(&self, key: &JobKey, trigger: &'static str, due: Option<Micros>) -> bool {
        let begun = self.mark(&mut self.table(), key, trigger, due);
        let begins = begun.is_some();
        begun.into_iter().for_each(|begun| self.spawn(begun));
        begins
    }

    /// Marks a job as running, unless it is or must not.
    pub(super) fn mark(
        &self,
        table: &mut Table,
        key: &JobKey,
        trigger: &'static str,
        due: Option<Micros>,
    ) -> Option<Begun> {
        let (registered, entry) = (table.instances.get(&key.instance)?, table.jobs.get_mut(key)?);
        if self.inner.stop.is_cancelled() || registered.stop.is_cancelled() {
            return None;
        }
        if entry.running {
            entry.again |= trigger == REQUEST;
            return None;
        }
        entry.running = true;
        // The job table knows until there was a run.
        entry.record.asked = false;
        let trigger = if std::mem::take(&mut entry.asked) { REQUEST } else { trigger };
        Some(Begun {
            key: key.clone(),
            instance: registered.jobs.clone(),
            plan: entry.plan.clone(),
            jitter: entry.jitter,
            slots: Arc::clone(&registered.slots),
            stop: registered.stop.clone(),
            trigger,
            due,
            failures: entry.fault().map_or(entry.record.failures, |fault| fault.failures),
        })
    }

    /// Runs what was marked.
    pub(super) fn spawn(&self, begun: Begun) {
        let jobs = self.clone();
        self.inner.tasks.spawn(async move { jobs.run(begun).await });
    }
}

/// The partitions of an instance. One that has no jobs, or no partitions, need not be able to tell.
async fn partitions(instance: &InstanceJobs) -> Result<Partitions, RunError> {
    if instance.plans.is_empty() {
        return Ok(Partitions::default());
    }
    match instance.source.discover().await {
        Err(error) if error.code == ErrorCode::Unsupported => Ok(Partitions::default()),
        partitions => Ok(partitions?),
    }
}

/// A delay within `width` that is always the same for a job.
pub(super) fn spread(key: &JobKey, width: Micros) -> Micros {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    if width <= 0 { 0 } else { (hasher.finish() % width.unsigned_abs()) as Micros }
}
