//! Stele's plugin for the quick-im gateway: conversations, tokens, messages and live delivery, kept in the archive.
//!
//! Nothing else is needed: the archive is the only store, and the daemon keeps the connections of listeners. With an upstream, a
//! real quick-im-core, that one's conversations are archived, and what clients do is done there first.

mod api;
mod commit;
pub mod config;
pub mod message;
pub mod msgid;
mod plugin;
pub mod token;
mod upstream;

use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::Micros;

pub use plugin::Gateway;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How long the daemon may take for one call; clients give up after about as long.
const CALL: Duration = Duration::from_secs(20);

stele_plugin_api::export_plugin!(Gateway);
