//! The daemon's side of the plugin boundary: loading, carrying, supervising.
//!
//! ```text
//! Instance ── Supervisor ── Connection ─┬─ Peer (plugin-api: the session, typed calls)
//!                                       └─ Link (a carrier): ChildLink │ InProcessLink ── loader
//! ```
//!
//! * [`Instance`] is what the daemon holds: a name, calls with deadlines, a status, a stop. One task behind it keeps the
//!   plugin alive.
//! * A *connection* is one life of a plugin: a carrier that has loaded it, and the session over that carrier.
//! * A *carrier* moves frames and knows how a plugin ends. It knows neither calls nor configuration.
//! * [`Services`] is what a plugin may ask of the daemon.
//!
//! The rules of the session are not here but in [`stele_plugin_api::session`], which the plugin's side uses as well.

mod backoff;
mod carrier;
mod child;
mod conformance;
mod connection;
mod describe;
mod file;
mod guard;
mod inproc;
mod instance;
mod limits;
mod lines;
mod loader;
mod manners;
mod measure;
mod pace;
mod services;
mod source;
mod spec;
mod stream;
mod supervisor;
mod watchdog;

pub use backoff::RestartPolicy;
pub use carrier::StartError;
pub use child::{plugin_host_main, plugin_keeper_main};
pub use conformance::{assert_conforms, subject};
pub use describe::{Described, Nobody, Opened, describe};
pub use file::FileRules;
pub use instance::Instance;
pub use limits::ProcessLimits;
pub use lines::{LineRate, Passage, harmless};
pub use loader::{LoadError, load};
pub use services::{Incoming, Services};
pub use spec::{Carrier, InstanceSpec, InstanceState, InstanceStatus, Limits};
pub use stele_plugin_api::{
    notify::{LogRecord, MetricRecord},
    peer::Outgoing,
};
pub use stream::ItemStream;
pub use watchdog::Watchdog;
