//! The archive, in whichever database it is.

use super::error::StartError;
use crate::config::{Config, Durability};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stele_archive::{Archive, ArchiveError, Result};
use stele_store::transfer;
use stele_store::{LedgerReport, Options, PostgresArchive, PostgresOptions, PostgresUrl, SqliteArchive};

/// Name of the archive in the data folder.
const FILE: &str = "archive.db";

/// The archive, and what it does besides answering.
#[derive(Clone, Debug)]
pub enum Store {
    /// In a file.
    Sqlite(SqliteArchive),
    /// In a database that other daemons may have open as well.
    Postgres(PostgresArchive),
}

impl Store {
    /// The file of the archive, unless it is in a database elsewhere.
    pub fn file(config: &Config) -> Option<PathBuf> {
        config.archive.url.is_none().then(|| Self::file_in(&config.data_dir))
    }

    /// The file of an archive in a data folder.
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The database elsewhere, if that is where the archive is.
    pub fn database(config: &Config) -> Option<PostgresOptions> {
        let url = PostgresUrl::new(config.archive.url.as_ref()?.expose());
        Some(PostgresOptions { connections: config.archive.connections, ..PostgresOptions::new(url) })
    }

    /// Opens the archive, made where there is none.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let opened = match Self::database(config) {
            Some(options) => PostgresArchive::open(&options).await.map(Self::Postgres),
            None => SqliteArchive::open(&config.data_dir.join(FILE), &sqlite(config)).await.map(Self::Sqlite),
        };
        let opened = match opened {
            Ok(store) => store.is_all_here().await.map(|()| store),
            Err(error) => Err(error),
        };
        opened.map_err(|source| StartError::Archive { place: place(config), source })
    }

    /// Refuses what was moved elsewhere, or has not come whole.
    async fn is_all_here(&self) -> Result<()> {
        let moved = match self {
            Self::Sqlite(store) => transfer::is_away(store).await?,
            Self::Postgres(store) => transfer::is_half_in(store).await?,
        };
        moved.map_or(Ok(()), |moved| Err(ArchiveError::Invalid(moved.to_string())))
    }

    /// Opens the archive only to look at it: this file, or else the configured one.
    ///
    /// # Errors
    /// As the backends say; there must be one.
    pub async fn inspect(config: &Config, file: Option<&Path>) -> Result<Self> {
        match (file, Self::database(config)) {
            (None, Some(options)) => PostgresArchive::inspect(&options).await.map(Self::Postgres),
            (Some(file), _) => SqliteArchive::inspect(file, &Options::default()).await.map(Self::Sqlite),
            (None, None) => {
                SqliteArchive::inspect(&config.data_dir.join(FILE), &Options::default()).await.map(Self::Sqlite)
            }
        }
    }

    /// What it answers.
    pub fn archive(&self) -> Arc<dyn Archive> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Computes the whole chain of hashes again and compares. `seen` is told the messages and the hash of each page.
    pub async fn verify_ledger(&self, seen: impl FnMut(u64, &[u8; 32]) + Send) -> Result<LedgerReport> {
        match self {
            Self::Sqlite(store) => store.verify_ledger(seen).await,
            Self::Postgres(store) => store.verify_ledger(seen).await,
        }
    }

    /// Looks for damage of a file; what was found. A server looks after its own.
    pub async fn check(&self) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(store) => store.check().await,
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Closes it. Calls made later fail as unavailable.
    pub async fn close(&self) -> Result<()> {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Where the archive is, in words that show no secret.
pub fn place(config: &Config) -> String {
    match Store::database(config) {
        Some(options) => options.url.place(),
        None => config.data_dir.join(FILE).display().to_string(),
    }
}

fn sqlite(config: &Config) -> Options {
    let archive = &config.archive;
    Options {
        durability: match archive.durability {
            Durability::Full => stele_store::Durability::Full,
            Durability::Normal => stele_store::Durability::Normal,
        },
        readers: archive.readers,
        writer_cache_kib: archive.writer_cache_mib << 10,
        reader_cache_kib: archive.reader_cache_mib << 10,
        ..Options::default()
    }
}
