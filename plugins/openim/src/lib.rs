//! Stele's plugin for OpenIM: its message search (contract 002), served from the archive.
//!
//! Nothing else is needed: the archive is the only store. With an upstream, a real OpenIM, that one's conversations are archived.

pub mod answer;
pub mod api;
mod commit;
pub mod config;
pub mod content;
pub mod ids;
mod json;
pub mod message;
mod plugin;
pub mod token;
mod upstream;

use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::Micros;

pub use plugin::Openim;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How long the daemon may take for one call; clients give up after about as long.
const CALL: Duration = Duration::from_secs(20);

stele_plugin_api::export_plugin!(Openim);
