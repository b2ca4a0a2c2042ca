//! All instances: brought up side by side, changed one by one.

use super::instance::{Managed, Stage};
use super::listeners::Listeners;
use super::parts::Parts;
use crate::config::{self, Config};
use crate::http::admin::{InstanceView, Overview, PluginReload, PluginView, Readiness};
use async_trait::async_trait;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Instances that are new.
    pub started: Vec<String>,
    /// Instances that differ and were started again.
    pub restarted: Vec<String>,
    /// Instances that are gone.
    pub stopped: Vec<String>,
}

/// All instances.
pub struct Instances {
    parts: Arc<Parts>,
    listeners: Option<Arc<Listeners>>,
    table: RwLock<Table>,
    tasks: TaskTracker,
    started: AtomicBool,
    /// It stops.
    end: CancellationToken,
    /// Reloads go one after the other, whoever asks for them.
    turn: tokio::sync::Mutex<()>,
}

struct Table {
    config: Arc<Config>,
    running: BTreeMap<String, Arc<Managed>>,
}

impl Instances {
    /// None is started yet. Without listeners none is served.
    pub fn new(config: Arc<Config>, parts: Arc<Parts>, listeners: Option<Arc<Listeners>>) -> Self {
        let table = RwLock::new(Table { config, running: BTreeMap::new() });
        Self {
            parts,
            listeners,
            table,
            tasks: TaskTracker::new(),
            started: AtomicBool::new(false),
            end: CancellationToken::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Starts all that are configured and enabled.
    pub fn start(&self) {
        let config = self.config();
        let enabled = || config.instances.iter().filter(|instance| instance.enabled);
        if let Some(listeners) = &self.listeners {
            listeners.configure(enabled().cloned().collect());
        }
        enabled().for_each(|instance| self.start_one(&config, instance));
    }

    /// Waits until each is up or has had its time.
    pub async fn settled(&self) {
        join_all(self.running().iter().map(|instance| instance.settled())).await;
        self.started.store(true, Ordering::SeqCst);
    }

    /// Makes it so as in a new configuration, touching only what differs, be it the file of a plugin, and what was given up:
    /// whoever reloads has mended something, be it the configuration or a file it names.
    pub async fn reload(&self, config: Arc<Config>) -> Changes {
        let _turn = self.turn.lock().await;
        let mut wanted: BTreeMap<&str, &config::Instance> = config
            .instances
            .iter()
            .filter(|instance| instance.enabled)
            .map(|instance| (instance.name.as_str(), instance))
            .collect();
        let (mut differing, mut gone) = (Vec::new(), Vec::new());
        for instance in self.running() {
            match wanted.remove(instance.name()) {
                Some(wanted) if instance.differs(wanted, &config) || instance.is_given_up() => {
                    differing.push((instance, wanted));
                }
                Some(_) => instance.keep(None),
                None => gone.push(instance),
            }
        }
        self.table.write().expect("no panic happens while the table is locked").config = Arc::clone(&config);
        let handing_over = join_all(differing.iter().map(async |(old, wanted)| {
            let successor = Arc::new(Managed::new((*wanted).clone()));
            let handed_over = old.hand_over(&successor, &config, &self.parts).await;
            old.keep(handed_over.as_ref().err().cloned());
            match handed_over {
                Ok(()) => Ok((old, successor)),
                Err(problem) => {
                    tracing::error!(instance = old.name(), problem, "the instance goes on as it was");
                    Err(old)
                }
            }
        }));
        let leaving = join_all(gone.iter().map(async |instance| {
            instance.halt().await;
            let left = instance.leave(self.listeners.as_deref()).await;
            self.parts.live.close(instance.name());
            left
        }));
        let (handed_over, left) = tokio::join!(handing_over, leaving);
        // Addresses change hands when it is known who goes on as before: nobody's is given away for another's mistake.
        let stays = |name: &str| handed_over.iter().filter_map(|one| one.as_ref().err()).find(|old| old.name() == name);
        let placed = config.instances.iter().filter(|instance| instance.enabled);
        let placed = placed.map(|wanted| stays(&wanted.name).map_or(wanted, |old| &old.config).clone());
        if let Some(listeners) = &self.listeners {
            listeners.configure(placed.collect());
        }
        wanted.values().for_each(|instance| self.start_one(&config, instance));
        let replacing = join_all(handed_over.iter().flatten().map(async |(old, successor)| {
            old.make_way(successor).await;
            self.take_in(&config, Arc::clone(successor));
            old.name().to_owned()
        }));
        let taking_down =
            join_all(gone.iter().zip(left).map(|(instance, left)| self.take_down(&config, instance, left)));
        let (restarted, _) = tokio::join!(replacing, taking_down);
        if let Some(listeners) = &self.listeners {
            listeners.reload_tls().await;
        }
        self.settled().await;
        Changes {
            started: wanted.into_keys().map(str::to_owned).collect(),
            restarted,
            stopped: gone.iter().map(|instance| instance.name().to_owned()).collect(),
        }
    }

    /// Takes down an instance that is served no more: its last requests, its jobs, its plugin. It is in the table until that is
    /// done, so that a stop meanwhile knows of it.
    async fn take_down(&self, config: &Config, instance: &Managed, left: Vec<JoinHandle<()>>) {
        join_all(left).await;
        self.parts.jobs.remove_instance(instance.name()).await;
        instance.stop_plugin(Duration::from_secs(config.plugins.stop_timeout_seconds)).await;
        self.table.write().expect("no panic happens while the table is locked").running.remove(instance.name());
    }

    /// From now on it says that it stops.
    pub fn stopping(&self) {
        self.end.cancel();
    }

    /// Ends all plugins.
    pub async fn stop(&self, grace: Duration) {
        // A reload under way is over when it has heard of the end.
        let _turn = self.turn.lock().await;
        let running = self.running();
        join_all(running.iter().map(|instance| instance.stop_plugin(grace))).await;
        // The runner holds the instances, and they what serves them: without this none would ever be let go of.
        for instance in running {
            self.parts.jobs.remove_instance(instance.name()).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.table.write().expect("no panic happens while the table is locked").running.clear();
    }

    fn start_one(&self, config: &Arc<Config>, instance: &config::Instance) {
        self.take_in(config, Arc::new(Managed::new(instance.clone())));
    }

    /// Puts an instance into the table, instead of the one of its name, and has it brought up.
    fn take_in(&self, config: &Arc<Config>, instance: Arc<Managed>) {
        let mut table = self.table.write().expect("no panic happens while the table is locked");
        table.running.insert(instance.name().to_owned(), Arc::clone(&instance));
        let (parts, listeners) = (Arc::clone(&self.parts), self.listeners.clone());
        self.tasks.spawn(instance.run(Arc::clone(config), parts, listeners));
    }

    /// Starts the plugin of an instance anew, from its file as it is now, and puts everything of it anew behind that.
    async fn reload_plugin(&self, old: &Managed, config: &Arc<Config>) -> PluginReload {
        let successor = Arc::new(Managed::new(old.config.clone()));
        let handed_over = old.hand_over(&successor, config, &self.parts).await;
        old.keep(handed_over.as_ref().err().cloned());
        let error = match handed_over {
            Ok(()) => {
                old.make_way(&successor).await;
                self.take_in(config, Arc::clone(&successor));
                let stage = successor.settled().await;
                (stage != Stage::Up).then(|| successor.problem().unwrap_or_else(|| "it is not up yet".to_owned()))
            }
            Err(problem) => {
                tracing::error!(instance = old.name(), problem, "the instance goes on as it was");
                Some(format!("it goes on as it was: {problem}"))
            }
        };
        let view = successor.view();
        let reload = PluginReload { instance: view.name, version: view.version, pid: view.pid, error };
        if reload.error.is_none() {
            tracing::info!(instance = old.name(), pid = reload.pid, "plugin was started anew on request");
        }
        reload
    }

    /// The sentence for a name that no instance that runs has, and no plugin of one.
    fn nobody_meant(&self, name: &str) -> String {
        let config = self.config();
        if let Some(disabled) = config.instances.iter().find(|instance| is_meant(instance, name)) {
            return format!("instance {} is disabled", disabled.name);
        }
        let known = config.instances.iter().map(|instance| format!("{} ({})", instance.name, instance.plugin));
        format!("there is no instance or plugin {name:?}; there are: {}", known.collect::<Vec<_>>().join(", "))
    }

    fn running(&self) -> Vec<Arc<Managed>> {
        self.table.read().expect("no panic happens while the table is locked").running.values().cloned().collect()
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.table.read().expect("no panic happens while the table is locked").config)
    }

    /// What is not well with the instances themselves; one sentence each.
    pub fn unwell(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for instance in self.running().into_iter().filter(|instance| !instance.is_halted()) {
            let up = instance.stage() == Stage::Up;
            let problem = instance.problem();
            metrics::gauge!("stele_instance_up", "instance" => instance.name().to_owned())
                .set(if up && problem.is_none() { 1.0 } else { 0.0 });
            if let Some(problem) = problem.or_else(|| (!up).then(|| "not up yet".to_owned())) {
                findings.push(format!("instance {}: {problem}", instance.name()));
            }
            findings.extend(instance.findings().iter().map(|what| format!("instance {}: {what}", instance.name())));
        }
        findings
    }
}

#[async_trait]
impl Overview for Instances {
    fn readiness(&self) -> Readiness {
        let mut findings = Vec::from_iter(self.parts.answering.finding());
        findings.extend(self.unwell());
        findings.extend(self.parts.jobs.findings());
        let indexing = self.parts.tailer.status().last_error;
        findings.extend(indexing.map(|error| format!("the search index does not take in what is new: {error}")));
        findings.extend(self.parts.media.finding());
        findings.extend(self.parts.bus.finding());
        findings.extend(self.parts.presence.findings());
        let health = self.parts.index.health();
        findings.extend(health.problem.map(|problem| format!("search: {problem}")));
        if health.parked > 0 {
            findings.push(format!("search: {} messages are refused by the engine and not found", health.parked));
        }
        let status = match (self.end.is_cancelled(), self.started.load(Ordering::SeqCst)) {
            (true, _) => "stopping",
            (false, false) => "starting",
            (false, true) if findings.is_empty() => "ready",
            (false, true) => "degraded",
        };
        let ready = matches!(status, "ready" | "degraded") && !self.parts.answering.is_out();
        Readiness { ready, status, findings }
    }

    fn instances(&self) -> Vec<InstanceView> {
        let mut views: Vec<InstanceView> = self.running().iter().map(|instance| instance.view()).collect();
        let disabled = self.config().instances.clone();
        views.extend(disabled.into_iter().filter(|instance| !instance.enabled).map(|instance| {
            let view = Managed::new(instance).view();
            InstanceView { state: "disabled", problem: None, ..view }
        }));
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn plugins(&self) -> Vec<PluginView> {
        plugins_of(&self.config())
    }

    async fn reload_plugins(&self, name: &str) -> Option<Result<Vec<PluginReload>, String>> {
        let reload = async {
            let _turn = self.turn.lock().await;
            let chosen: Vec<_> =
                self.running().into_iter().filter(|instance| is_meant(&instance.config, name)).collect();
            if chosen.is_empty() {
                return Err(self.nobody_meant(name));
            }
            let config = self.config();
            let mut reloads = Vec::new();
            for instance in &chosen {
                reloads.push(self.reload_plugin(instance, &config));
            }
            Ok(join_all(reloads).await)
        };
        self.end.run_until_cancelled(reload).await
    }
}

/// Whether this is the name of the instance, or of its plugin.
fn is_meant(instance: &config::Instance, name: &str) -> bool {
    let plugin = plugin_name(Path::new(&instance.plugin)).unwrap_or_else(|| instance.plugin.clone());
    instance.name == name || plugin.replace('_', "-") == name.replace('_', "-")
}

/// Plugins in the folders, and those instances ask for.
pub fn plugins_of(config: &Config) -> Vec<PluginView> {
    let folders = config.plugins.folders();
    let mut found: BTreeMap<String, PluginView> = BTreeMap::new();
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    for path in files.map(|entry| entry.path()).filter(|path| path.is_file()) {
        if let Some(name) = plugin_name(&path) {
            found.entry(name.clone()).or_insert_with(|| PluginView { name, path: Some(path), instances: Vec::new() });
        }
    }
    for instance in &config.instances {
        let name = instance.plugin.replace('_', "-");
        let view = found.entry(name.clone()).or_insert_with(|| PluginView {
            name,
            path: config::find_plugin(&instance.plugin, &folders),
            instances: Vec::new(),
        });
        view.instances.push(instance.name.clone());
    }
    found.into_values().collect()
}

/// Name of the plugin in a file, by the file's name.
fn plugin_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix("libstele_")?.strip_suffix(".so")?;
    Some(name.replace('_', "-"))
}
