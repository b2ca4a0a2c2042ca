//! Putting the daemon together, keeping it running, and taking it apart without losing anything.
//!
//! # Order
//!
//! Up: lock the data folder → archive → search index → tailer → live delivery → jobs → instances (all at once, each on its
//! own) → listeners. The daemon is ready when every instance has said hello or has had its time to; one that cannot start is
//! reported and stops nobody else.
//!
//! Reload: the plugin of an instance that differs, or that somebody names (`steled plugins reload`), is started anew beside the one
//! that works, calls go to it once it has said what it offers and that it is not worse, and then front and jobs are replaced.
//! Listeners stay open, requests in flight finish, and whoever listens goes on listening. A plugin that does not start so is let go
//! of, and the instance goes on as it was.
//!
//! Down: no plugin waits for a commit any more → listeners stop accepting, finish what is in flight, and tell those who
//! listen → jobs stop at the next page → live delivery ends → plugins say goodbye → the index takes in the rest → the
//! archive is closed → the lock is released. Killed at any point nothing is lost: a page and its cursor are one
//! transaction, and the index heals itself.

mod answering;
mod app;
mod descriptors;
mod error;
mod examine;
mod feeder;
mod identity;
mod instance;
mod instances;
mod listeners;
mod lock;
pub mod logging;
mod metrics;
mod notify;
mod parts;
mod plugin;
mod presence;
mod serve;
mod store;

pub use app::{App, Mode};
pub use error::StartError;
pub use examine::{describe, examine};
pub use identity::IdentityError;
pub use instances::{Changes, plugins_of};
pub use lock::{DataLock, LockError, refuse_foreign};
pub use parts::Parts;
pub use plugin::{OWN_PROGRAM, not_found as plugin_not_found};
pub use serve::{ConfigSource, ServeError, serve};
pub use store::{Store, place};
