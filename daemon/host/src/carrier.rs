//! What both carriers have in common: a plugin that was loaded, where frames go to it, and how it ends.

use crate::loader::LoadError;
use serde::{Deserialize, Serialize};
use std::{fmt, io, path::PathBuf, sync::Arc};
use stele_plugin_api::{
    abi::Descriptor,
    frame::{Decoded, Frame},
};

/// Takes what a plugin sends, and says whether it was awaited ([`stele_plugin_api::session::Session::receive`]). Called on whatever
/// thread has it; returns soon and never blocks.
pub(crate) type Deliver = Arc<dyn Fn(Decoded) -> bool + Send + Sync>;

/// A loaded plugin.
#[async_trait::async_trait]
pub(crate) trait Link: Send + Sync + 'static {
    /// Sends a frame. Never blocks; a frame for a plugin that is gone is dropped.
    fn send(&self, frame: Frame);

    /// Waits until the plugin has taken most of what was sent to it.
    async fn room(&self);

    /// The plugin's process, when it has one of its own.
    fn pid(&self) -> Option<u32>;

    /// What its library says about itself.
    fn about(&self) -> &About;

    /// Waits until the plugin is gone.
    async fn ended(&self) -> Exit;

    /// Ends the plugin after its session is over: asks, and makes it happen after the carrier's own short grace.
    async fn end(&self, grace: std::time::Duration) -> Exit;

    /// Ends the plugin now, as far as the carrier can. Does not wait.
    fn kill(&self);
}

/// What a plugin's library says about itself before it is opened: its descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its payloads are JSON.
    pub(crate) json: bool,
}

impl From<&Descriptor> for About {
    fn from(descriptor: &Descriptor) -> Self {
        let (name, version) = (descriptor.name().to_owned(), descriptor.version().to_owned());
        Self { name, version, json: descriptor.is_json() }
    }
}

/// How a plugin ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// In-process: it was closed.
    Closed,
    /// It sent something that is no frame.
    Protocol(String),
    /// It does not take what is sent to it.
    Stuck,
    /// It did not close in time: its process was ended, or in-process it is left alone.
    NotClosed {
        /// There is a process, which was ended.
        ended: bool,
    },
    /// It went past a limit, and was killed: what it did, and what the limit is.
    OverLimit(String),
    /// Nobody knows.
    Unknown(String),
}

impl Exit {
    /// Whether a plugin that is closed ends so.
    pub(crate) fn is_in_order(&self) -> bool {
        matches!(self, Self::Status(0) | Self::Closed)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the plugin's process exited with status {status}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "the plugin's process was ended by signal {signal} ({name})"),
                None => write!(f, "the plugin's process was ended by signal {signal}"),
            },
            Self::Closed => f.write_str("the plugin was closed"),
            Self::Protocol(reason) => write!(f, "the plugin's process broke the protocol: {reason}"),
            Self::Stuck => f.write_str("the plugin takes nothing that is sent to it"),
            Self::NotClosed { ended: true } => {
                f.write_str("the plugin did not close in time, and its process was ended")
            }
            Self::NotClosed { ended: false } => f.write_str("the plugin did not close in time, and is left alone"),
            Self::OverLimit(how) => write!(f, "the plugin's process {how}"),
            Self::Unknown(reason) => write!(f, "the plugin's process is gone: {reason}"),
        }
    }
}

/// The signals a crash or an operator sends.
fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    const NAMES: [(Signal, &str); 11] = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::HUP, "SIGHUP"),
        (Signal::ILL, "SIGILL"),
        (Signal::INT, "SIGINT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::SYS, "SIGSYS"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
    ];
    NAMES.iter().find(|(known, _)| known.as_raw() == signal).map(|&(_, name)| name)
}

impl StartError {
    /// Whether the next attempt may go better, though nobody mends anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Load(error) => error.may_pass(),
            Self::Refused { may_pass, .. } => *may_pass,
            Self::Spawn { .. } | Self::Lost(_) | Self::Timeout => true,
        }
    }
}

/// Why a plugin could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is no plugin that fits.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin's process refused it.
    #[error("{reason}")]
    Refused {
        /// Its words.
        reason: String,
        /// It may be otherwise in a moment.
        may_pass: bool,
    },
    /// The process could not be started.
    #[error("cannot start {program:?}: {source}")]
    Spawn {
        /// The program that holds plugins.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process ended before it had loaded the plugin.
    #[error("the plugin was not loaded: {0}")]
    Lost(String),
    /// It took longer than [`crate::Limits::start_timeout`].
    #[error("the plugin was not loaded in time")]
    Timeout,
}
