//! Opening, checking and closing the file.

use super::error::Failure;
use super::memory::Memory;
use super::writer::Writer;
use super::{Inner, SqliteArchive};
use futures::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::{ArchiveError, Result};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Marks the file as ours (`PRAGMA application_id`): "STEL".
const APPLICATION_ID: i32 = 0x5354_454c;
/// Bytes of a page of the file.
const PAGE_SIZE: u32 = 8192;
/// Bytes of the log that stay on disk after a checkpoint.
const LOG_LIMIT: i64 = 128 << 20;
/// Prepared statements a connection keeps.
const STATEMENTS: usize = 200;

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power failure: the log is flushed to the disk by every commit. What an archive should promise.
    #[default]
    Full,
    /// A crash of the daemon, and any failure without a broken file; a power failure can take the last commits back,
    /// together with their cursors, so that the next sync brings them again.
    Normal,
}

/// How the file is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What a commit survives.
    pub durability: Durability,
    /// Connections that read at the same time; at least 1.
    pub readers: u32,
    /// Page cache of the writer, in KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reader, in KiB.
    pub reader_cache_kib: u32,
    /// Bytes of the file that are mapped into memory rather than copied.
    pub mmap_bytes: u64,
    /// Pages of the log (8 KiB each) after which a commit moves them into the file.
    pub checkpoint_pages: u32,
    /// How long a statement waits for a lock another process holds, e.g. a backup.
    pub busy_timeout: Duration,
    /// How long a request waits for a free reader.
    pub acquire_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            readers: 4,
            writer_cache_kib: 64 << 10,
            reader_cache_kib: 4 << 10,
            mmap_bytes: 1 << 30,
            checkpoint_pages: 16_384,
            busy_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(10),
        }
    }
}

impl SqliteArchive {
    /// Open the archive in this file, created when it is missing, and bring its schema up to date.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when the file belongs to another program or to a newer Stele, or a migration was
    /// changed after it ran; [`ArchiveError::Unavailable`] when the file cannot be opened.
    pub async fn open(path: &Path, options: &Options) -> Result<Self> {
        let writer = open_writer(path.display().to_string(), writer_options(path, options)).await?;
        Ok(Self::with(Some(writer), path, options))
    }

    /// Whether somebody has the file open, be it only to read it.
    ///
    /// # Errors
    /// [`ArchiveError::Unavailable`] when it cannot be opened.
    pub async fn is_in_use(path: &Path) -> Result<bool> {
        // A connection that wants the file for itself gets it when there is no other.
        let alone = SqliteConnectOptions::new().filename(path).locking_mode(SqliteLockingMode::Exclusive);
        let looked = async {
            let mut connection = alone.busy_timeout(Duration::ZERO).disable_statement_logging().connect().await?;
            sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await?;
            connection.close().await
        };
        match looked.await.map_err(Failure) {
            Ok(()) => Ok(false),
            Err(failure) if failure.is_busy() => Ok(true),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Open the archive in this file only to look at it; others may have it open and write. Calls that write fail as
    /// unavailable.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when the file is no archive of this schema; [`ArchiveError::Unavailable`] when it cannot be
    /// opened.
    pub async fn inspect(path: &Path, options: &Options) -> Result<Self> {
        let archive = Self::with(None, path, options);
        let mut reader = archive.read().await?;
        let schema = "SELECT max(version) FROM _sqlx_migrations WHERE success";
        let id: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *reader).await.map_err(Failure)?;
        let version: Option<i64> = match id == APPLICATION_ID {
            true => sqlx::query_scalar(schema).fetch_one(&mut *reader).await.map_err(Failure)?,
            false => None,
        };
        if version != MIGRATOR.iter().map(|migration| migration.version).max() {
            return Err(ArchiveError::Invalid(format!("{} is no archive of this version of stele", path.display())));
        }
        Ok(archive)
    }

    fn with(writer: Option<Writer>, path: &Path, options: &Options) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .min_connections(0)
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(reader_options(path, options));
        let (writing, writer) = (writer_options(path, options), tokio::sync::Mutex::new(writer));
        Self(Arc::new(Inner { path: path.to_owned(), writing, writer, readers }))
    }

    /// A new connection that writes, instead of one that is broken.
    pub(super) async fn reopen_writer(&self) -> Result<Writer> {
        open_writer(self.0.path.display().to_string(), self.0.writing.clone()).await
    }

    /// Move the log into the file and close it. Calls made later fail as unavailable.
    pub async fn close(&self) -> Result<()> {
        self.0.readers.close().await;
        match self.0.writer.lock().await.take() {
            Some(Writer { connection, .. }) => close_writer(connection).await,
            None => Ok(()),
        }
    }

    /// Look for damage (`PRAGMA quick_check`). Reads the whole file. What was found; empty when all is well.
    pub async fn check(&self) -> Result<Vec<String>> {
        let mut reader = self.read().await?;
        let found: Vec<String> =
            sqlx::query_scalar("PRAGMA quick_check").fetch_all(&mut *reader).await.map_err(Failure)?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }
}

/// Owned arguments and a boxed future: the driver's are not provably `Send` for borrowed ones of any lifetime.
fn open_writer(path: String, options: SqliteConnectOptions) -> BoxFuture<'static, Result<Writer>> {
    Box::pin(async move {
        let mut connection = options.connect().await.map_err(Failure)?;
        claim(&mut connection, path.clone()).await?;
        migrate(&mut connection, path).await?;
        forget_statistics(&mut connection).await?;
        let memory = Memory::load(&mut connection).await?;
        Ok(Writer { connection, memory: Some(memory) })
    })
}

/// Plans are those that `plans.rs` tests, whatever was counted: every statement is written for one index. And counting 10 million
/// messages takes SQLite minutes, in which nobody could stop.
async fn forget_statistics(connection: &mut SqliteConnection) -> Result<()> {
    for drop in ["DROP TABLE IF EXISTS sqlite_stat1", "DROP TABLE IF EXISTS sqlite_stat4"] {
        sqlx::query(drop).execute(&mut *connection).await.map_err(Failure)?;
    }
    Ok(())
}

fn close_writer(mut connection: SqliteConnection) -> BoxFuture<'static, Result<()>> {
    Box::pin(async move {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&mut connection).await.map_err(Failure)?;
        connection.close().await.map_err(Failure)?;
        Ok(())
    })
}

fn common(path: &Path, options: &Options) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(options.busy_timeout)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENTS)
        .pragma("mmap_size", options.mmap_bytes.to_string())
        .pragma("temp_store", "memory")
        .pragma("trusted_schema", "off")
        .disable_statement_logging()
}

fn writer_options(path: &Path, options: &Options) -> SqliteConnectOptions {
    let synchronous = match options.durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Normal => SqliteSynchronous::Normal,
    };
    common(path, options)
        .create_if_missing(true)
        .page_size(PAGE_SIZE)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("cache_size", format!("-{}", options.writer_cache_kib))
        .pragma("wal_autocheckpoint", options.checkpoint_pages.max(1).to_string())
        .pragma("journal_size_limit", LOG_LIMIT.to_string())
}

fn reader_options(path: &Path, options: &Options) -> SqliteConnectOptions {
    common(path, options).pragma("cache_size", format!("-{}", options.reader_cache_kib)).pragma("query_only", "on")
}

/// Refuse the file of another program; mark a new one as ours.
async fn claim(connection: &mut SqliteConnection, path: String) -> Result<()> {
    let id: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(Failure)?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await.map_err(Failure)?;
    if id != 0 || tables != 0 {
        return Err(ArchiveError::Invalid(format!("{path} is a database of another program")));
    }
    let claim = sqlx::AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}"));
    sqlx::query(claim).execute(connection).await.map_err(Failure)?;
    Ok(())
}

async fn migrate(connection: &mut SqliteConnection, path: String) -> Result<()> {
    MIGRATOR.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => ArchiveError::Invalid(format!(
            "{} was written by a newer stele (schema {version}, this one knows {}); upgrade stele or restore a backup",
            path,
            MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0),
        )),
        MigrateError::VersionMismatch(version) => ArchiveError::Invalid(format!(
            "{} was written by another build of stele: its schema {version} is not this one's",
            path,
        )),
        MigrateError::Execute(error) => Failure(error).into(),
        other => ArchiveError::Backend(Box::new(other)),
    })
}
