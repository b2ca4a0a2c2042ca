//! The plugin of an instance: where its file is, how it is started, how requests and messages reach it.

use crate::config::{self, Config};
use crate::http::Backend;
use crate::live::{Renderer, Unrendered};
use crate::services::DaemonServices;
use async_trait::async_trait;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stele_archive::StoredMessage;
use stele_host::{Carrier, FileRules, Instance, InstanceSpec, Limits, ProcessLimits, Watchdog};
use stele_plugin_api::ops::{self, HttpReply, HttpRequest, LiveEvent, RenderRequest};
use stele_plugin_api::{Error, ErrorCode};

/// The program that runs, also when its file was replaced or is gone: daemon and plugin's process are one version at any time.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// Time a plugin may take to render a batch of messages.
const RENDER: Duration = Duration::from_secs(15);

/// A plugin's file as it was at some time: it is another one when anything of this differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PluginFile {
    pub path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl PluginFile {
    /// The file of an instance's plugin as it is now.
    ///
    /// # Errors
    ///
    /// That there is none.
    pub fn find(instance: &config::Instance, config: &Config) -> Result<Self, String> {
        let folders = config.plugins.folders();
        let not_found = || not_found(&instance.plugin, &folders);
        let path = config::find_plugin(&instance.plugin, &folders).ok_or_else(not_found)?;
        let file = std::fs::metadata(&path).map_err(|_| not_found())?;
        let modified = (file.mtime(), file.mtime_nsec());
        Ok(Self { path, device: file.dev(), inode: file.ino(), size: file.size(), modified })
    }
}

/// The plugin of an instance as a backend of its front.
pub(super) struct Plugin(pub Instance);

#[async_trait]
impl Backend for Plugin {
    fn name(&self) -> String {
        self.0.spec().shown_plugin()
    }

    async fn handle(&self, request: HttpRequest, deadline: Duration) -> Result<HttpReply, Error> {
        self.0.call::<ops::HttpHandle>(request, deadline).await
    }
}

/// The plugin of an instance as whoever knows what listeners get.
pub(super) struct PluginRenderer {
    pub instance: Instance,
    pub services: Arc<DaemonServices>,
}

#[async_trait]
impl Renderer for PluginRenderer {
    async fn render(&self, messages: &[StoredMessage]) -> Result<Vec<Option<LiveEvent>>, Unrendered> {
        let request = RenderRequest { messages: self.services.shown(messages) };
        self.instance.ready(RENDER).await.map_err(Unrendered::Away)?;
        let process = self.instance.status().pid;
        let rendered = self.instance.call::<ops::LiveRender>(request, RENDER).await;
        rendered.map(|rendered| rendered.events).map_err(|error| match error.code {
            // A plugin that is gone is gone from the status before its calls fail.
            ErrorCode::Unavailable if self.instance.status().pid == process => Unrendered::Away(error),
            ErrorCode::Unavailable | ErrorCode::Deadline => Unrendered::Fatal(error),
            ErrorCode::RateLimited | ErrorCode::Cancelled => Unrendered::Away(error),
            _ => Unrendered::Failed(error),
        })
    }
}

/// How its plugin is started, by the daemon of this number; by whoever only looks at it, without one.
pub(super) fn spec(instance: &config::Instance, config: &Config, plugin: PathBuf, node: Option<u16>) -> InstanceSpec {
    InstanceSpec {
        name: instance.name.clone(),
        plugin,
        file: FileRules {
            sha256: instance.sha256.clone(),
            allow_writable: config.plugins.allow_writable,
            folders: Some(config.plugins.folders()),
        },
        carrier: match instance.carrier {
            config::Carrier::Child => Carrier::Child,
            config::Carrier::InProcess => Carrier::InProcess,
        },
        config: instance.config.value().clone(),
        texts: instance.config.texts(),
        node,
        host_program: PathBuf::from(OWN_PROGRAM),
        limits: Limits {
            max_frame_bytes: config.plugins.max_frame_mib << 20,
            start_timeout: Duration::from_secs(config.plugins.start_timeout_seconds),
            // No request may take longer, and jobs wait for no call when they are to stop.
            drain: config.http.request_timeout(),
            stop_grace: Duration::from_secs(config.plugins.stop_timeout_seconds),
            watchdog: Watchdog::after(Duration::from_secs(config.plugins.silence_seconds)),
            process: process_limits(&instance.limits),
            ..Limits::default()
        },
    }
}

fn process_limits(limits: &config::InstanceLimits) -> ProcessLimits {
    ProcessLimits {
        memory: limits.memory_mib.map(|mib| mib << 20),
        open_files: limits.open_files,
        cpu_percent: limits.cpu_percent,
        cpu_window: Duration::from_secs(limits.cpu_window_seconds),
        nice: limits.nice,
    }
}

/// The sentence for a plugin that is not there.
pub fn not_found(plugin: &str, folders: &[PathBuf]) -> String {
    if plugin.contains('/') || plugin.ends_with(".so") {
        return format!("there is no plugin file {plugin}");
    }
    let folders: Vec<String> = folders.iter().map(|folder: &PathBuf| Path::display(folder).to_string()).collect();
    format!("there is no plugin {plugin:?} in {}", folders.join(", "))
}
