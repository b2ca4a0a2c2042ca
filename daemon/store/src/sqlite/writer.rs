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
    /// Whether the connection can begin a write. It cannot once a transaction ended without its driver: on a full disk SQLite
    /// rolls back by itself, the driver's own rollback then fails, and from there on it counts one transaction too many, or
    /// its thread is gone.
    async fn is_sound(&mut self) -> bool {
        // The answer comes after what a dropped transaction has left to do.
        self.connection.ping().await.is_ok() && !self.connection.is_in_transaction()
    }

    /// Begin a write. Dropped without a commit it is rolled back.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>> {
        Ok(self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(Failure)?)
    }
}

impl SqliteArchive {
    /// Wait for the writer, in the order of arrival. One that is broken is replaced first.
    pub(super) async fn writer(&self) -> Result<MappedMutexGuard<'_, Writer>> {
        let mut slot = self.0.writer.lock().await;
        if let Some(writer) = &mut *slot
            && !writer.is_sound().await
        {
            *writer = self.reopen_writer().await?;
        }
        MutexGuard::try_map(slot, Option::as_mut).map_err(|_| ArchiveError::Unavailable("the archive is closed".into()))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options, SqliteArchive};
    use stele_archive::{Pages, StateTable};

    #[tokio::test]
    async fn a_full_disk_costs_the_writes_of_its_time_and_no_later_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = SqliteArchive::open(&folder.path().join("a.db"), &Options::default()).await.expect("opens");
        let instance = archive.instance("hq").await.expect("known");
        let value = vec![7; 64 << 10];
        {
            let mut writer = archive.writer().await.expect("is there");
            // The most pages the file may have, for this connection: SQLite then answers as on a full disk.
            sqlx::query("PRAGMA max_page_count = 1").fetch_all(&mut writer.connection).await.expect("is set");
            let mut transaction = writer.begin().await.expect("begins");
            let insert = sqlx::query("INSERT INTO state (instance, key, value) VALUES (1, 'a', ?)").bind(&value);
            let full = insert.execute(&mut *transaction).await.expect_err("is full");
            assert!(full.to_string().contains("disk is full"), "{full}");
        }
        archive.state_put(instance, "c", Some(&value)).await.expect("there is room again");
        assert_eq!(archive.state_get(instance, "c").await.expect("reads").expect("is there").len(), value.len());
    }
}
