//! The running daemon.

use super::descriptors;
use super::error::StartError;
use super::examine::examine;
use super::instances::{Changes, Instances};
use super::listeners::Listeners;
use super::metrics;
use super::parts::Parts;
use crate::config::{self, Config, Http};
use crate::http::admin::{Admin, AdminHandler, Overview, Readiness};
use crate::http::{Listener, Running};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::{Error, ErrorCode};
use tokio_cron_scheduler::JobScheduler;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How much of the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Serve,
    /// Instances and their jobs on request; nothing is served and nothing is scheduled. For commands.
    Jobs,
}

/// The running daemon.
pub struct App {
    config: Arc<Config>,
    /// What the sections that only a start takes are in use from.
    started_with: Arc<Config>,
    parts: Arc<Parts>,
    instances: Arc<Instances>,
    listeners: Option<Arc<Listeners>>,
    admin: Option<Running>,
    scheduler: Option<JobScheduler>,
    background: TaskTracker,
    stop: CancellationToken,
}

impl App {
    /// Starts the daemon. Instances come up meanwhile: see [`App::settled`].
    pub async fn start(config: Config, mode: Mode) -> Result<Self, StartError> {
        // Two providers are compiled in; whoever relies on the default one panics unless it is chosen. Chosen before: fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let recorder = metrics::recorder();
        let config = Arc::new(config);
        let mut parts = Parts::open(&config).await?;
        let serving = mode == Mode::Serve;
        let limit = if serving { descriptors::raise() } else { None };
        let connections = descriptors::connections_within(limit, &config);
        let bounds = |max_connections| Http { max_connections, ..config.http.clone() };
        let bound = match (serving && config.admin.enabled).then_some(config.admin.listen) {
            None => None,
            Some(address) => {
                let bound = Listener::bind(address, None).await;
                Some(bound.map_err(|source| StartError::Admin { address, source })?)
            }
        };
        if let Some(listener) = &bound {
            parts.write_down(listener.address());
        }
        let parts = Arc::new(parts);
        let listeners = serving.then(|| Arc::new(Listeners::new(bounds(connections.instances))));
        let instances = Arc::new(Instances::new(Arc::clone(&config), Arc::clone(&parts), listeners.clone()));
        let (stop, background) = (CancellationToken::new(), TaskTracker::new());
        let (bus, until) = (parts.bus.clone(), stop.clone());
        background.spawn(async move { bus.run(until).await });
        let admin = bound.map(|listener| {
            let admin = Admin {
                archive: Arc::clone(&parts.archive),
                searcher: Arc::clone(&parts.searcher),
                index: Arc::clone(&parts.index),
                reindexing: Arc::clone(&parts.reindexing),
                jobs: parts.jobs.clone(),
                overview: Arc::clone(&instances) as Arc<dyn Overview>,
                metrics: recorder.clone(),
                api_keys: config.admin.api_keys.clone(),
            };
            tracing::info!(listen = %listener.address(), "serving the daemon's own API");
            let handler = AdminHandler::new(Arc::new(admin), config.http.request_timeout());
            listener.serve(Arc::new(handler), &bounds(connections.admin))
        });
        let scheduler = match serving {
            true => Some(parts.jobs.start().await.map_err(|error| StartError::Jobs(error.into()))?),
            false => {
                parts.sweep_leases().await?;
                None
            }
        };
        let (there, started_with, until) = (Arc::clone(&parts), Arc::clone(&config), stop.clone());
        background.spawn(async move {
            let watch = there.answering.watch(&*there.archive);
            let both = async { tokio::join!(watch, there.is_there(&started_with)) };
            until.run_until_cancelled(both).await;
        });
        // What an earlier process of this daemon held is given back by now.
        let (fed, until) = (Arc::clone(&parts), stop.clone());
        background.spawn(async move { fed.feeder.run(until).await });
        let (renewed, overview, until) = (Arc::clone(&parts), Arc::clone(&instances), stop.clone());
        background.spawn(async move {
            let upkeep = async {
                loop {
                    // The store keeps what it finds wrong, for the readiness.
                    _ = tokio::join!(metrics::renew(&*renewed.archive), renewed.media.upkeep());
                    overview.readiness();
                    recorder.run_upkeep();
                    tokio::time::sleep(metrics::UPKEEP).await;
                }
            };
            until.run_until_cancelled(upkeep).await;
        });
        instances.start();
        Ok(Self {
            started_with: Arc::clone(&config),
            config,
            parts,
            instances,
            listeners,
            admin,
            scheduler,
            background,
            stop,
        })
    }

    /// Waits until every instance is up or has had its time.
    pub async fn settled(&self) -> Readiness {
        self.instances.settled().await;
        self.instances.readiness()
    }

    /// What is not well with the instances themselves, whatever their jobs went through.
    pub fn unwell(&self) -> Vec<String> {
        self.instances.unwell()
    }

    /// The parts that do not depend on instances.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Instances and plugins.
    pub fn overview(&self) -> &dyn Overview {
        &*self.instances
    }

    /// Where the daemon's own API listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Running::address)
    }

    /// The first instance whose plugin refuses what a new configuration has for it; only those that differ are asked.
    pub async fn refused_by(&self, config: &Config) -> Option<(String, Error)> {
        let folders = config.plugins.folders();
        for instance in config.instances.iter().filter(|instance| instance.enabled) {
            if self.config.instances.contains(instance) {
                continue;
            }
            let Some(plugin) = config::find_plugin(&instance.plugin, &folders) else { continue };
            match examine(instance, config, plugin).await {
                Err(error) if error.code == ErrorCode::Invalid => return Some((instance.name.clone(), error)),
                _ => {}
            }
        }
        None
    }

    /// Makes instances so as in a new configuration, touching only those that differ. Other sections need a restart: the
    /// names of those that differ are returned.
    pub async fn reload(&mut self, config: Config) -> (Changes, Vec<&'static str>) {
        let (old, new) = (&*self.started_with, &config);
        let differing = [
            ("data_dir", old.data_dir == new.data_dir),
            ("admin", old.admin == new.admin),
            ("http", old.http == new.http),
            ("archive", old.archive == new.archive),
            ("search", old.search == new.search),
            ("jobs", old.jobs == new.jobs),
            ("media", old.media == new.media),
            ("live", old.live == new.live),
            ("cluster", old.cluster == new.cluster),
            ("plugins", old.plugins == new.plugins),
            ("log.format", old.log.format == new.log.format),
        ];
        let need_restart = differing.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();
        self.config = Arc::new(config);
        let changes = self.instances.reload(Arc::clone(&self.config)).await;
        (changes, need_restart)
    }

    /// Stops: see the order in the documentation of this module.
    pub async fn stop(self) {
        self.instances.stopping();
        self.parts.services.stopping();
        if let Some(listeners) = &self.listeners {
            listeners.stop(self.config.http.drain()).await;
        }
        if let Some(mut scheduler) = self.scheduler
            && let Err(error) = scheduler.shutdown().await
        {
            tracing::debug!(%error, "the scheduler did not stop cleanly");
        }
        self.parts.jobs.shutdown().await;
        self.parts.live.stop().await;
        self.instances.stop(Duration::from_secs(self.config.plugins.stop_timeout_seconds)).await;
        self.parts.services.give_back().await;
        if let Some(admin) = self.admin {
            admin.stop(Duration::from_secs(1)).await;
        }
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        self.parts.close().await;
    }
}
