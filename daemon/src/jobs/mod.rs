//! Scheduled and requested work: syncs, directory refreshes, media fetches, recoveries.
//!
//! tokio-cron-scheduler ticks once a second; *what* is due is decided here from the job table (pattern, IANA zone, last
//! due time, failures). So a missed run is caught up after downtime, a change of clocks does not shift a pattern, and a
//! job never overlaps with itself: it runs under a lease with a fencing number, also between daemons.
//!
//! A due time is marked as taken care of when its run ends, not when it begins: a run that dies with its daemon is due
//! again, at its next start or in another daemon. So is one that somebody asked for: that is written down before anything else, and
//! every daemon looks now and then what others have left.

mod due;
mod entry;
mod holds;
mod left;
mod plan;
mod plugin;
mod recover;
mod run;
mod runner;
mod schedule;
mod source;
mod sync;
mod view;

pub use due::{Due, due};
pub use holds::Holds;
pub use plan::{InstanceJobs, JobOptions, JobView, KindPlan, NotStarted, RunEvent, StartError};
pub use plugin::PluginSource;
pub use runner::Jobs;
pub use schedule::{Schedule, ScheduleError};
pub use source::Source;

/// Pull messages of a partition.
pub const SYNC: &str = "sync";
/// Pull people and conversations of a partition.
pub const DIRECTORY: &str = "directory";
/// Try parked envelopes of a partition again.
pub const RECOVER: &str = "recover";
/// Fetch files of an instance.
pub const MEDIA: &str = "media";
/// The trigger of a run that somebody asked for.
const REQUEST: &str = "request";
/// What is held beside jobs: a turn of a plugin. It never runs, and is in no list of jobs.
pub const HOLD: &str = "hold";
