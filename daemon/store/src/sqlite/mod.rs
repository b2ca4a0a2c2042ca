//! The archive in one SQLite file.
//!
//! # One writer, readers that never wait
//!
//! All writes go through one connection behind a fair asynchronous mutex: `BEGIN IMMEDIATE` never meets a rival, ids and
//! revisions need no sequence, and what the writer knows of the archive (the next id, the people of the last pages) may
//! stay in memory. Readers have connections of their own; in WAL mode they see the latest commit and never wait for the
//! next one. A reader holds one snapshot per answer, so that a total and its rows agree.
//!
//! # Memory tells the truth
//!
//! What the writer remembers is taken out when a commit begins and put back when it has succeeded. After an error, a
//! lost connection or a dropped future it is gone, and the next commit reads it from the file again.
//!
//! # Exclusive ownership
//!
//! Two daemons on one file would give the same ids twice. Keeping them apart is the daemon's matter (its data folder has
//! a lock); the unique keys of the schema make a mistake loud.

mod attachments;
mod bulk;
mod commit;
mod conversations;
mod daemons;
mod error;
mod feed;
mod history;
mod jobs;
mod ledger;
mod lists;
mod live;
mod media;
mod memberships;
mod memory;
mod messages;
mod once;
mod open;
mod pages;
mod parked;
mod participation;
mod people;
mod queries;
mod ranges;
mod reached;
mod revocations;
mod rows;
mod runs;
mod state;
mod tallies;
mod writer;

pub use open::{Durability, Options};

pub(crate) use error::Failure;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Sqlite, SqlitePool, Transaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stele_archive::Result;
use writer::Writer;

/// The archive in one SQLite file. A cheap handle.
#[derive(Clone, Debug)]
pub struct SqliteArchive(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// How the connection that writes is made.
    writing: SqliteConnectOptions,
    /// `None` once closed, and in an archive that is only looked at.
    writer: tokio::sync::Mutex<Option<Writer>>,
    readers: SqlitePool,
}

impl SqliteArchive {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A snapshot to read from.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.0.readers.begin().await.map_err(Failure)?)
    }
}

#[cfg(test)]
mod plans;
