//! The one connection that writes.

use super::SqliteArchive;
use super::error::Failure;
use super::memory::Memory;
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};
use stele_archive::{ArchiveError, Result};
use tokio::sync::{MappedMutexGuard, MutexGuard};

/// The one connection that writes, and what it remembers.
#[derive(Debug)]
pub(super) struct Writer {
    pub connection: SqliteConnection,
    /// `None` after a commit that failed: to be read from the file.
    pub memory: Option<Memory>,
}

impl Writer {
    /// Begin a write. Dropped without a commit it is rolled back.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>> {
        Ok(self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(Failure)?)
    }
}

impl SqliteArchive {
    /// Wait for the writer, in the order of arrival.
    pub(super) async fn writer(&self) -> Result<MappedMutexGuard<'_, Writer>> {
        MutexGuard::try_map(self.0.writer.lock().await, Option::as_mut)
            .map_err(|_| ArchiveError::Unavailable("the archive is closed".into()))
    }
}
