//! Domain types and storage traits of the archive: no SQL, no HTTP, no protocol.
//!
//! # Words
//!
//! An [`Archive`] holds messages of many *instances* (configured plugins). What comes in is a
//! [`Page`](stele_plugin_api::model::Page), committed as one transaction with the cursor it was pulled up to
//! ([`Pages::commit`]); what goes out are [`StoredMessage`]s, conversations and people ([`Queries`]). The vocabulary of
//! pages and queries is that of `plugin-api`, defined once there.
//!
//! # Ids and revisions
//!
//! A [`MessageId`] is given in the order of arrival and never changes; an envelope that cannot be read yet reserves one,
//! so that the message has its place when it can. A [`Rev`] is given when a message becomes readable, strictly ascending
//! in commit order: readers that follow the archive (the search tailer, live delivery) remember one `Rev` and miss
//! nothing. With a single writer every reader sees a prefix of the revisions.
//!
//! # Implementing a backend
//!
//! Implement the traits of [`Archive`], run the suite of `contract` (feature `contract`) against it, and nothing else: whatever the
//! suite does not ask for, the daemon does not rely on. Absent is `Option`, not an error. Time is passed in.
#![warn(missing_docs)]

mod clock;
#[cfg(feature = "contract")]
pub mod contract;
mod daemons;
mod error;
mod feed;
mod ids;
mod jobs;
mod label;
mod live;
mod media;
mod pages;
mod queries;
mod state;

pub use clock::{Clock, ManualClock, SystemClock};
pub use daemons::{Beat, Daemons, GONE, NODES, Node, RUNNING, free_number};
pub use error::{ArchiveError, Result};
pub use feed::{DayCount, Feed, FeedRow};
pub use ids::{ConversationId, InstanceId, MediaId, MessageId, PersonId, Rev, RunId};
pub use jobs::{JobKey, JobRecord, JobTable, Lease, Outcome, RunRecord, RunReport, RunStart};
pub use label::label;
pub use live::{Audience, Live, News, Portion, Stay};
pub use media::{Blob, MediaCatalog, MediaTask, MediaTotals, NextAttempt};
pub use pages::{Commit, Committed, Pages, ParkedRow, Stream};
pub use queries::{
    ConversationList, ListedConversation, MAX_ANSWER, MediaState, MessageList, Queries, Stats, StoredMedia,
    StoredMessage,
};
pub use state::StateTable;
pub use stele_plugin_api::{model, ops};

/// Everything the daemon needs of a backend.
pub trait Archive: Pages + Queries + Feed + Live + MediaCatalog + JobTable + StateTable + Daemons {}

impl<T: Pages + Queries + Feed + Live + MediaCatalog + JobTable + StateTable + Daemons> Archive for T {}
