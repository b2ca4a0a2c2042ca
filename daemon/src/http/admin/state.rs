//! What the daemon's own API sees of the daemon.

use crate::config::Secret;
use crate::jobs::Jobs;
use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use stele_archive::{Archive, InstanceId};
use stele_search::{ReindexProgress, SearchIndex, Searcher, TailError, Tailer};

/// The parts of the daemon this API is about.
pub struct Admin {
    /// The archive.
    pub archive: Arc<dyn Archive>,
    /// Searches it.
    pub searcher: Arc<Searcher>,
    /// The search index.
    pub index: Arc<dyn SearchIndex>,
    /// Feeds the index.
    pub reindexing: Arc<Reindexing>,
    /// Runs jobs.
    pub jobs: Jobs,
    /// Instances and plugins.
    pub overview: Arc<dyn Overview>,
    /// The figures.
    pub metrics: PrometheusHandle,
    /// Keys of which callers need one; without any, none is needed.
    pub api_keys: Vec<Secret>,
}

/// Instances and plugins, as far as this API shows and moves them.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Whether the daemon serves.
    fn readiness(&self) -> Readiness;
    /// All instances.
    fn instances(&self) -> Vec<InstanceView>;
    /// All plugins found or configured.
    fn plugins(&self) -> Vec<PluginView>;
    /// Starts the plugin of the instance of this name anew, and of all whose plugin has it; a sentence when there is none. `None` when
    /// the daemon stops meanwhile.
    async fn reload_plugins(&self, name: &str) -> Option<Result<Vec<PluginReload>, String>>;
}

/// Whether the daemon serves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Readiness {
    /// It serves, and its archive answers or has only just ceased to.
    pub ready: bool,
    /// `starting`, `ready`, `degraded` (see the findings) or `stopping`.
    pub status: &'static str,
    /// What is not well; one sentence each.
    pub findings: Vec<String>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Its id in the archive, once it is known.
    pub id: Option<InstanceId>,
    /// Its plugin, as configured.
    pub plugin: String,
    /// Version of the plugin.
    pub version: Option<String>,
    /// `child` or `in-process`.
    pub carrier: &'static str,
    /// `starting`, `running`, `unresponsive`, `restarting`, `failed`, `stopped` or `disabled`.
    pub state: &'static str,
    /// Where its clients find it.
    pub listen: Option<SocketAddr>,
    /// Under which path.
    pub prefix: String,
    /// Process of the plugin.
    pub pid: Option<u32>,
    /// Restarts after crashes.
    pub restarts: u64,
    /// What is not well.
    pub problem: Option<String>,
    /// Calls in flight.
    pub calls_in_flight: usize,
    /// Frames that came too late.
    pub late_frames: u64,
}

/// What became of an instance whose plugin was to be started anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginReload {
    /// The instance.
    pub instance: String,
    /// Version of its plugin now.
    pub version: Option<String>,
    /// Process of the plugin now.
    pub pid: Option<u32>,
    /// Why it goes on as it was, or does not work.
    pub error: Option<String>,
}

/// A plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// Its file; `None` when an instance asks for one that is not there.
    pub path: Option<PathBuf>,
    /// Instances that use it.
    pub instances: Vec<String>,
}

/// Has the index built anew, one rebuild at a time, and knows how far it is.
pub struct Reindexing {
    tailer: Arc<Tailer>,
    state: Mutex<Option<Rebuild>>,
}

/// A rebuild that runs, or the latest one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rebuild {
    /// It goes on.
    pub running: bool,
    /// How far it is.
    pub progress: ReindexProgress,
    /// What it stopped at.
    pub error: Option<String>,
}

impl Reindexing {
    /// Through this tailer.
    pub fn new(tailer: Arc<Tailer>) -> Self {
        Self { tailer, state: Mutex::default() }
    }

    /// The tailer.
    pub fn tailer(&self) -> &Arc<Tailer> {
        &self.tailer
    }

    /// The rebuild that runs, or the latest one since the start.
    pub fn latest(&self) -> Option<Rebuild> {
        self.state().clone()
    }

    /// Begins one in the background; `false` when one runs.
    pub fn begin(self: &Arc<Self>) -> bool {
        {
            let mut state = self.state();
            if state.as_ref().is_some_and(|rebuild| rebuild.running) {
                return false;
            }
            *state = Some(Rebuild { running: true, ..Rebuild::default() });
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = this.run(|_| {}).await {
                tracing::error!(%error, "the search index could not be rebuilt");
            }
        });
        true
    }

    /// Has it built anew, and returns when that is done.
    pub async fn run(&self, shown: impl Fn(ReindexProgress) + Send + Sync) -> Result<ReindexProgress, TailError> {
        let running = |progress| Rebuild { running: true, progress, error: None };
        *self.state() = Some(running(ReindexProgress::default()));
        let result = self.tailer.have_rebuilt(|progress| {
            *self.state() = Some(running(progress));
            shown(progress);
        });
        let result = result.await;
        let mut state = self.state();
        let rebuild = state.get_or_insert_default();
        rebuild.running = false;
        match &result {
            Ok(progress) => rebuild.progress = *progress,
            Err(error) => rebuild.error = Some(error.to_string()),
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, Option<Rebuild>> {
        self.state.lock().expect("no panic happens while the state is locked")
    }
}
