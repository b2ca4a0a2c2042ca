//! What an instance is started from, and what is seen of it from outside.

use crate::{backoff::RestartPolicy, file::FileRules, limits::ProcessLimits, watchdog::Watchdog};
use serde_json::Value;
use std::{fmt, path::PathBuf, time::Duration};

/// Where a plugin runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// In a process of its own, which may crash without harm to anybody else.
    #[default]
    Child,
    /// In the daemon's process: for trusted plugins on a hot path. A crash of the plugin is a crash of the daemon.
    InProcess,
}

/// As the configuration calls it.
impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Child => "child",
            Self::InProcess => "in-process",
        })
    }
}

/// Bounds of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payload and body of one frame, both ways.
    pub max_frame_bytes: u32,
    /// Calls of the plugin that may be worked on at once; more fail at once with `too_large`.
    pub max_incoming_calls: u32,
    /// Items of one stream that may be on their way to a reader that has not taken them yet.
    pub stream_credit: u32,
    /// From starting a plugin to its answer to hello.
    pub start_timeout: Duration,
    /// How long a call waits for a plugin that is being started or restarted, within its own deadline.
    pub wait_for_start: Duration,
    /// Time the calls in flight get on a plugin that was replaced, before it is stopped.
    pub drain: Duration,
    /// Grace of a stop nobody asked for: the replaced plugin of a reload, the last handle dropped.
    pub stop_grace: Duration,
    /// What follows a crash.
    pub restart: RestartPolicy,
    /// When a plugin that answers nothing counts as one that hangs.
    pub watchdog: Watchdog,
    /// What its process may take of the machine.
    pub process: ProcessLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 64 * 1024 * 1024,
            max_incoming_calls: 256,
            stream_credit: 8,
            start_timeout: Duration::from_secs(20),
            wait_for_start: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            restart: RestartPolicy::default(),
            watchdog: Watchdog::default(),
            process: ProcessLimits::default(),
        }
    }
}

/// What an instance is started from. Its `Debug` shows no configuration, which holds secrets.
#[derive(Clone)]
pub struct InstanceSpec {
    /// Name of the instance, unique in the daemon.
    pub name: String,
    /// The plugin's cdylib.
    pub plugin: PathBuf,
    /// What that file has to be.
    pub file: FileRules,
    /// Where it runs.
    pub carrier: Carrier,
    /// The instance's configuration, handed to the plugin by hello, secrets resolved.
    pub config: Value,
    /// JSON pointers of its text that may stand for a number or a truth value: what variables and files say.
    pub texts: Vec<String>,
    /// Number of this daemon, which no other daemon of the archive has: told to the plugin.
    pub node: Option<u16>,
    /// The program that holds a plugin when run with the argument `plugin-host`: normally the daemon's own executable.
    pub host_program: PathBuf,
    /// Bounds.
    pub limits: Limits,
}

/// What the log calls an instance and its plugin.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) instance: String,
    pub(crate) plugin: String,
}

impl InstanceSpec {
    /// What the log calls the plugin: its file.
    pub fn shown_plugin(&self) -> String {
        self.plugin.display().to_string()
    }

    pub(crate) fn names(&self) -> Names {
        Names { instance: self.name.clone(), plugin: self.shown_plugin() }
    }
}

impl fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceSpec")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("file", &self.file)
            .field("carrier", &self.carrier)
            .field("config", &format_args!("<hidden>"))
            .field("host_program", &self.host_program)
            .field("limits", &self.limits)
            .finish()
    }
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// The plugin is being loaded and greeted.
    Starting,
    /// Calls are answered.
    Running,
    /// It runs in this process and does not answer, which nobody can end. Calls are still sent, and it is running again once it
    /// says something; [`crate::Instance::restart`] puts a new one beside it.
    Unresponsive,
    /// It crashed and is started again after a while.
    Restarting,
    /// It cannot be started, or crashed too often; [`crate::Instance::restart`] tries again.
    Failed,
    /// It was told to stop.
    Stopped,
}

impl InstanceState {
    /// The word for logs, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Unresponsive => "unresponsive",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is seen of an instance from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// What it is doing.
    pub state: InstanceState,
    /// Process of the plugin, when it has one of its own.
    pub pid: Option<u32>,
    /// Restarts after a crash since the instance was started.
    pub restarts: u64,
    /// What went wrong last, for operators; without secrets.
    pub last_error: Option<String>,
    /// Calls to the plugin that are in flight.
    pub calls_in_flight: usize,
    /// Frames that came too late for their call, since the instance was started.
    pub late_frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_configuration() {
        let spec = InstanceSpec {
            name: "hq".into(),
            plugin: "/p.so".into(),
            file: FileRules::default(),
            carrier: Carrier::Child,
            config: serde_json::json!({ "secret": "s3cr3t" }),
            texts: Vec::new(),
            node: None,
            host_program: "/h".into(),
            limits: Limits::default(),
        };
        let shown = format!("{spec:?}");
        assert!(shown.contains("hq") && !shown.contains("s3cr3t") && !shown.contains("secret"), "{shown}");
    }
}
