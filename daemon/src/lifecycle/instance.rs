//! One instance: its plugin, its front, its place on a listener, its jobs.

use super::listeners::{Listeners, Mount};
use super::parts::Parts;
use super::plugin::{Plugin, PluginFile, PluginRenderer, spec};
use crate::config::{self, Config, Cron, Zone};
use crate::http::admin::InstanceView;
use crate::http::{Bounds, Front};
use crate::jobs::{self, InstanceJobs, KindPlan, PluginSource, Schedule};
use crate::media::{self, FetchOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stele_archive::InstanceId;
use stele_host::{Instance, InstanceState};
use stele_plugin_api::ops::{self, Description, Op};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Pause before an instance that did not come up is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often pending files are looked for.
const MEDIA_LOOK: Duration = Duration::from_secs(10);

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not yet known.
    Starting,
    /// It answers, is served and has its jobs.
    Up,
    /// It had its time and does not answer, or is not served; it is tried again.
    Unwell,
}

/// Why an instance did not come up.
struct Unwell {
    problem: String,
    /// Whoever keeps the plugin alive has told the operator, and is not to be repeated.
    is_told: bool,
}

impl From<String> for Unwell {
    fn from(problem: String) -> Self {
        Self { problem, is_told: false }
    }
}

/// One instance, running.
pub struct Managed {
    /// As configured.
    pub config: config::Instance,
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    stop: CancellationToken,
    /// [`Managed::run`] is over.
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    id: Option<InstanceId>,
    plugin: Option<Instance>,
    /// The file it was started from.
    file: Option<PluginFile>,
    description: Option<Description>,
    front: Option<Arc<Front>>,
    mount: Option<Mount>,
    /// Where those are served that it takes the place of: callers are answered there until this one is served.
    before: Vec<(Mount, Arc<Front>)>,
    problem: Option<String>,
    /// What the plugin finds wrong with what it was given; it works as far as it can.
    findings: Vec<String>,
    /// Why it is not as the configuration has it.
    kept: Option<String>,
}

impl Managed {
    /// An instance that is not started yet.
    pub fn new(config: config::Instance) -> Self {
        Self {
            config,
            state: Mutex::default(),
            stage: watch::Sender::new(Stage::Starting),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Waits until it is up, or has had its time.
    pub async fn settled(&self) -> Stage {
        let mut stage = self.stage.subscribe();
        let settled = stage.wait_for(|stage| *stage != Stage::Starting).await;
        settled.map_or(Stage::Unwell, |stage| *stage)
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// What is not well with it.
    pub fn problem(&self) -> Option<String> {
        let state = self.state();
        let crashed =
            state.plugin.as_ref().map(Instance::status).filter(|status| status.state != InstanceState::Running);
        state.problem.clone().or_else(|| {
            let status = crashed?;
            Some(status.last_error.unwrap_or_else(|| format!("the plugin is {}", status.state)))
        })
    }

    /// What keeps it from doing all its work, as its plugin says.
    pub fn findings(&self) -> Vec<String> {
        let state = self.state();
        let kept = state.kept.as_ref().map(|why| format!("it goes on as before the reload: {why}"));
        let before = state.before.iter().filter(|_| self.stage() == Stage::Unwell);
        let before = before.map(|(Mount { address, prefix }, _)| format!("it is still served at {address}{prefix}"));
        state.findings.iter().cloned().chain(kept).chain(before).collect()
    }

    /// Brings it up, and goes on trying until it is up or stopped.
    pub async fn run(self: Arc<Self>, config: Arc<Config>, parts: Arc<Parts>, listeners: Option<Arc<Listeners>>) {
        let _ended = self.ended.clone().drop_guard();
        let bring_up = async {
            loop {
                match self.bring_up(&config, &parts, listeners.as_deref()).await {
                    Ok(()) => break,
                    Err(Unwell { problem, is_told }) => {
                        if self.note(Some(problem.clone())) && !is_told {
                            let plugin = self.shown_plugin(&config);
                            tracing::error!(instance = self.name(), plugin, problem, "the instance is not well");
                        }
                        self.stage.send_replace(Stage::Unwell);
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
            }
            self.note(None);
            self.stage.send_replace(Stage::Up);
            self.look_for_media(&parts).await;
        };
        self.stop.run_until_cancelled(bring_up).await;
    }

    /// Whether it is not as in this configuration: what is configured, or the file of its plugin.
    pub fn differs(&self, wanted: &config::Instance, config: &Config) -> bool {
        let is_new = |started: &PluginFile| PluginFile::find(wanted, config).is_ok_and(|file| file != *started);
        *wanted != self.config || self.state().file.as_ref().is_some_and(is_new)
    }

    /// Hands its plugin over to the one that is to take its place, started anew as that is configured. What is in flight
    /// finishes, and what comes meanwhile is answered, here or there: a front looks for the plugin when it has the request.
    ///
    /// # Errors
    ///
    /// Why the plugin does not start so: then nothing has changed.
    pub async fn hand_over(&self, successor: &Self, config: &Config, parts: &Parts) -> Result<(), String> {
        let Some(plugin) = self.state().plugin.clone() else { return Ok(()) };
        let file = PluginFile::find(&successor.config, config)?;
        let spec = spec(&successor.config, config, file.path.clone(), Some(parts.node));
        plugin.restart(Arc::new(spec)).await.map_err(|error| error.to_string())?;
        let description = self.state().description.clone();
        let mut state = successor.state();
        (state.plugin, state.file, state.description) = (Some(plugin), Some(file), description);
        Ok(())
    }

    /// Ends what it does of itself, and leaves its callers to the one that takes its place.
    pub async fn make_way(&self, successor: &Self) {
        self.halt().await;
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.before);
        before.extend(state.mount.take().zip(state.front.clone()));
        successor.state().before = before;
    }

    /// Notes why it goes on although the configuration has it otherwise; `None` when that is no longer so.
    pub fn keep(&self, why: Option<String>) {
        self.state().kept = why;
    }

    /// Ends what it does of itself; it is still served.
    pub async fn halt(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    /// Whether it does nothing of itself any more.
    pub fn is_halted(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Serves it no more where nobody has taken its place. Returns what ends when the requests in flight on listeners that
    /// this closes have.
    pub async fn leave(&self, listeners: Option<&Listeners>) -> Vec<JoinHandle<()>> {
        let served = {
            let mut state = self.state();
            let mut served = std::mem::take(&mut state.before);
            served.extend(state.mount.take().zip(state.front.clone()));
            served
        };
        let mut draining = Vec::new();
        if let Some(listeners) = listeners {
            for (mount, front) in &served {
                draining.extend(listeners.unmount(mount, front).await);
            }
        }
        draining
    }

    /// Ends the plugin alone.
    pub async fn stop_plugin(&self, grace: Duration) {
        self.stop.cancel();
        let plugin = self.state().plugin.clone();
        if let Some(plugin) = plugin {
            plugin.stop(grace).await;
        }
    }

    /// Whether nobody tries to bring its plugin back any more: it does not start, or fails too often.
    pub fn is_given_up(&self) -> bool {
        self.state().plugin.as_ref().is_some_and(|plugin| plugin.status().state == InstanceState::Failed)
    }

    /// As others see it.
    pub fn view(&self) -> InstanceView {
        let problem = self.problem();
        let state = self.state();
        let mount = state.mount.as_ref().or(state.before.last().map(|(mount, _)| mount));
        let status = state.plugin.as_ref().map(Instance::status);
        InstanceView {
            name: self.name().to_owned(),
            id: state.id,
            plugin: self.config.plugin.clone(),
            version: state.description.as_ref().map(|description| description.version.clone()),
            carrier: match self.config.carrier {
                config::Carrier::Child => "child",
                config::Carrier::InProcess => "in-process",
            },
            state: status.as_ref().map_or("starting", |status| status.state.as_str()),
            listen: mount.map(|mount| mount.address),
            prefix: mount.map_or(&self.config.prefix, |mount| &mount.prefix).clone(),
            pid: status.as_ref().and_then(|status| status.pid),
            restarts: status.as_ref().map_or(0, |status| status.restarts),
            problem,
            calls_in_flight: status.as_ref().map_or(0, |status| status.calls_in_flight),
            late_frames: status.as_ref().map_or(0, |status| status.late_frames),
        }
    }

    async fn bring_up(&self, config: &Config, parts: &Parts, listeners: Option<&Listeners>) -> Result<(), Unwell> {
        let archive_id = parts.archive.instance(self.name()).await.map_err(|error| error.to_string())?;
        parts.services.register(self.name(), self.shown_plugin(config), archive_id);
        self.state().id = Some(archive_id);
        let plugin = self.plugin(config, parts)?;
        let front = self.front(config, parts, &plugin, archive_id);
        // Callers of a configured address get an answer in every state of the plugin.
        if let (Some(address), Some(listeners)) = (self.config.listen, listeners) {
            self.mount(listeners, address, &front).await?;
        }
        let timeout = Duration::from_secs(config.plugins.start_timeout_seconds);
        let description = plugin.ready(timeout).await.map_err(|error| Unwell {
            problem: error.to_string(),
            is_told: plugin.status().state != InstanceState::Running,
        })?;
        front.describe(&description);
        if let Ok(report) = plugin.call::<ops::Health>(ops::Empty {}, timeout).await
            && !report.ok
        {
            self.state().findings = report.findings;
        }
        let recommended = description.default_listen.as_deref().map(str::parse);
        if let (None, Some(listeners), Some(address)) = (self.config.listen, listeners, recommended) {
            let address = address.map_err(|_| "the plugin recommends a listen address that is none".to_owned())?;
            self.mount(listeners, address, &front).await?;
        }
        if let Some(listeners) = listeners {
            // Also when it is served nowhere any more.
            self.leave_before(listeners).await;
        }
        let jobs = self.jobs(config, &description, archive_id, plugin)?;
        parts.jobs.add_instance(jobs).await;
        let version = &description.version;
        tracing::info!(instance = self.name(), plugin = description.name, version, "instance is up");
        self.state().description = Some(description);
        Ok(())
    }

    /// What the log calls its plugin: the file, or what is configured where there is none.
    fn shown_plugin(&self, config: &Config) -> String {
        let started = self.state().file.as_ref().map(|file| file.path.clone());
        let file = started.or_else(|| config::find_plugin(&self.config.plugin, &config.plugins.folders()));
        file.map_or_else(|| self.config.plugin.clone(), |file| file.display().to_string())
    }

    /// The plugin, started when it is not yet.
    fn plugin(&self, config: &Config, parts: &Parts) -> Result<Instance, String> {
        let mut state = self.state();
        if let Some(plugin) = &state.plugin {
            return Ok(plugin.clone());
        }
        let file = PluginFile::find(&self.config, config)?;
        let spec = spec(&self.config, config, file.path.clone(), Some(parts.node));
        let plugin = Instance::start(spec, Arc::clone(&parts.services) as Arc<_>);
        (state.plugin, state.file) = (Some(plugin.clone()), Some(file));
        Ok(plugin)
    }

    /// What its callers meet; the same one at every attempt to bring it up.
    fn front(&self, config: &Config, parts: &Parts, plugin: &Instance, id: InstanceId) -> Arc<Front> {
        let mut state = self.state();
        if let Some(front) = &state.front {
            return Arc::clone(front);
        }
        let backend = Arc::new(Plugin(plugin.clone()));
        let renderer = PluginRenderer { instance: plugin.clone(), services: Arc::clone(&parts.services) };
        let hub = parts.live.open(self.name(), id, Arc::new(renderer));
        let front = Front::new(self.name(), backend, media_router(parts), self.bounds(config)).with_hub(hub);
        let front = Arc::new(front);
        // What it took over is described already, and must not be without its manner for a moment.
        if let Some(description) = &state.description {
            front.describe(description);
        }
        state.front = Some(Arc::clone(&front));
        front
    }

    async fn mount(
        &self,
        listeners: &Listeners,
        address: std::net::SocketAddr,
        front: &Arc<Front>,
    ) -> Result<(), String> {
        if self.state().mount.is_some() {
            // Another attempt to bring it up, after it was mounted.
            return Ok(());
        }
        let mount = listeners.mount(&self.config, address, Arc::clone(front)).await;
        self.state().mount = Some(mount.map_err(|error| error.to_string())?);
        self.leave_before(listeners).await;
        Ok(())
    }

    /// Ends the places where those are served that it has taken the place of. Whoever ends this ends it later.
    async fn leave_before(&self, listeners: &Listeners) {
        let before = self.state().before.clone();
        for (mount, front) in &before {
            // What is in flight there keeps nobody waiting.
            drop(listeners.unmount(mount, front).await);
        }
        self.state().before.clear();
    }

    fn bounds(&self, config: &Config) -> Bounds {
        Bounds {
            max_body_bytes: self.config.max_body_bytes.or(config.http.max_body_bytes),
            rate_limit: self.config.rate_limit,
            public_url: self.config.public_url.clone(),
            ..Bounds::from(&config.http)
        }
    }

    fn jobs(
        &self,
        config: &Config,
        description: &Description,
        id: InstanceId,
        instance: Instance,
    ) -> Result<InstanceJobs, String> {
        let (sync, directory) = (&self.config.sync, &self.config.directory);
        let page_limit = sync.page_limit.unwrap_or(config.jobs.page_limit);
        let plan = |enabled: bool, cron: &Option<Cron>, zone: Option<Zone>, default: &Option<String>, jitter: u64| {
            let pattern = cron.as_ref().map(Cron::as_str).or(default.as_deref()).filter(|_| enabled);
            let zone = zone.unwrap_or(config.jobs.zone).name();
            let schedule = pattern.map(|pattern| Schedule::parse(pattern, zone)).transpose();
            let schedule = schedule.map_err(|error| error.to_string())?;
            Ok::<_, String>(KindPlan { schedule, jitter: micros(Duration::from_secs(jitter)), page_limit })
        };
        let mut plans = BTreeMap::new();
        if description.offers(ops::SyncPull::NAME) {
            let plan = plan(sync.enabled, &sync.cron, sync.zone, &description.default_sync, sync.jitter_seconds)?;
            plans.insert(jobs::SYNC, plan);
        }
        if description.offers(ops::DirectoryPull::NAME) {
            let default = &description.default_directory;
            let plan = plan(directory.enabled, &directory.cron, directory.zone, default, directory.jitter_seconds)?;
            plans.insert(jobs::DIRECTORY, plan);
        }
        if description.offers(ops::SyncRecover::NAME) {
            plans.insert(jobs::RECOVER, KindPlan { page_limit, ..KindPlan::default() });
        }
        if description.offers(ops::MediaFetch::NAME) && self.config.media.enabled {
            plans.insert(jobs::MEDIA, KindPlan { page_limit, ..KindPlan::default() });
        }
        let source = PluginSource {
            instance,
            page_timeout: Duration::from_secs(config.jobs.page_timeout_seconds),
            chunk_timeout: Duration::from_secs(config.media.chunk_timeout_seconds),
        };
        let media = FetchOptions {
            concurrency: self.config.media.concurrency.unwrap_or(config.media.concurrency),
            max_bytes: config.media.max_file_bytes,
            attempts: config.media.attempts,
        };
        Ok(InstanceJobs { name: self.name().to_owned(), id, source: Arc::new(source), plans, media })
    }

    /// Files are fetched when their messages come; those that are to be tried again have no such moment.
    async fn look_for_media(&self, parts: &Parts) {
        let Some(id) = self.state().id.filter(|_| self.config.media.enabled) else { return };
        // A start may bring what was missing, and whatever a crash left half done is due at once.
        loop {
            match parts.archive.media_next(id).await {
                Ok(Some(due)) if due <= parts.clock.now() => {
                    parts.jobs.wake(self.name(), jobs::MEDIA);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(instance = self.name(), %error, "cannot look for pending files"),
            }
            tokio::time::sleep(MEDIA_LOOK).await;
        }
    }

    /// Notes a problem; whether it is a new one.
    fn note(&self, problem: Option<String>) -> bool {
        let mut state = self.state();
        let new = state.problem != problem;
        state.problem = problem;
        new
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens while the state is locked")
    }
}

fn media_router(parts: &Parts) -> axum::Router {
    media::router(parts.links.clone(), parts.media.clone(), Arc::clone(&parts.archive), Arc::clone(&parts.clock))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
