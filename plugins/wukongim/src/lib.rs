//! Stele's plugin for WuKongIM: its message API (contract 001), served from the archive.
//!
//! Nothing else is needed: the archive is the only store. With an upstream, a real WuKongIM, that one's channels are archived.

pub mod api;
pub mod channel;
mod commit;
pub mod config;
pub mod draft;
mod element;
pub mod id;
pub mod message;
mod plugin;
mod upstream;
mod webhook;

use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::Micros;

pub use plugin::Wukongim;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How long the daemon may take for one call; clients give up after about as long.
const CALL: Duration = Duration::from_secs(20);

stele_plugin_api::export_plugin!(Wukongim);
