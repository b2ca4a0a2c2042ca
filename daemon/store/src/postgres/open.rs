//! Opening and closing.

use super::error::{Failure, code};
use super::pool::{Pool, silent};
use super::retry;
use super::{Inner, PostgresArchive};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;
use stele_archive::{ArchiveError, Result};
use tokio::time::timeout;

/// Those who migrate at once are kept apart by a row (see [`migrate`]), not by the lock of a session, which few servers besides
/// Postgres itself and no pooler of connections have.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.set_locking(false);
    migrator
});

/// A connection that sat idle for longer is tried before it is used.
pub(super) const FRESH: Duration = Duration::from_millis(500);
/// What an address may say besides where the database is. The driver would write others into the log, with their values.
const PARAMETERS: [&str; 9] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    STATEMENTS.0,
    "host",
    "port",
    "application_name",
    "options[search_path]",
];
/// The parameter for how many prepared statements a connection keeps, and how many that is unless the address says.
const STATEMENTS: (&str, &str) = ("statement-cache-capacity", "256");

/// Where the database is and who may use it: `postgres://user:password@host:port/database`. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// Keeps it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// What is wrong with it, in words that show nothing of it but names of parameters.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`].
    pub fn check(&self) -> Result<()> {
        self.options().map(drop)
    }

    /// Where the database is, in words fit for logs.
    pub fn place(&self) -> String {
        self.options().map_or_else(|_| "in Postgres".to_owned(), |options| place(&options))
    }

    fn options(&self) -> Result<PgConnectOptions> {
        let invalid = |text: String| ArchiveError::Invalid(format!("the address of the database {text}"));
        if !["postgres://", "postgresql://"].iter().any(|scheme| self.0.starts_with(scheme)) {
            return Err(invalid("does not begin with postgres://".to_owned()));
        }
        let query = self.0.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let names: Vec<&str> = pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)).collect();
        if let Some(unknown) = names.iter().find(|name| !PARAMETERS.contains(name)) {
            let known = PARAMETERS.join(", ");
            return Err(invalid(format!("has a parameter {unknown:?}; those there are: {known}")));
        }
        // The driver would prepare each all the same, and forget none at the server.
        let (capacity, _) = STATEMENTS;
        let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(capacity)?.strip_prefix('='));
        if values.any(|value| value.parse() == Ok(0_u32)) {
            return Err(invalid(format!("has {capacity}=0, and an archive needs prepared statements")));
        }
        let defaults = [STATEMENTS, ("application_name", "stele")];
        let mut url = self.0.clone();
        for (name, value) in defaults.into_iter().filter(|(name, _)| !names.contains(name)) {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}{name}={value}"));
        }
        // The driver's own words may repeat a part of the address.
        let options = PgConnectOptions::from_str(&url).map_err(|_| invalid("cannot be understood".to_owned()))?;
        // Nothing is a floating-point number, and a pooler refuses parameters it does not know.
        Ok(options.extra_float_digits(None).disable_statement_logging())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the database is used.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresOptions {
    /// Where it is.
    pub url: PostgresUrl,
    /// Connections for all but pages, which have one of their own; at least 1.
    pub connections: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// How long the server may take to answer what costs it nothing, before the connection counts as lost.
    pub answer_timeout: Duration,
    /// How long a call may take, its repetitions included; but what reads tables whole, and pages.
    pub call_timeout: Duration,
    /// How long a page may take to be committed.
    pub commit_timeout: Duration,
}

impl PostgresOptions {
    /// For a database, everything else as is good for most.
    pub fn new(url: PostgresUrl) -> Self {
        let [acquire_timeout, answer_timeout, call_timeout, commit_timeout] = [10, 5, 25, 120].map(Duration::from_secs);
        Self { url, connections: 8, acquire_timeout, answer_timeout, call_timeout, commit_timeout }
    }
}

impl PostgresArchive {
    /// Open the archive in this database, which may be empty, and bring its schema up to date. Others may have it open, and open it
    /// at the same time.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when the address is none, the database belongs to another program or to a newer Stele, or
    /// a migration was changed after it ran; [`ArchiveError::Unavailable`] when it does not answer.
    pub async fn open(options: &PostgresOptions) -> Result<Self> {
        let archive = Self::with(options)?;
        // Migrations may take their time.
        retry::again(|| async {
            let mut connection = archive.0.connect().await?;
            migrate(&mut connection).await?;
            Ok(connection.close().await?)
        })
        .await?;
        Ok(archive)
    }

    /// Open the archive in this database only to look at it: its schema is left as it is.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when the database holds no archive of this schema; [`ArchiveError::Unavailable`] when it does not
    /// answer.
    pub async fn inspect(options: &PostgresOptions) -> Result<Self> {
        let archive = Self::with(options)?;
        let version = archive
            .repeat(|| async {
                let mut snapshot = archive.read().await?;
                let found = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success");
                match found.fetch_one(&mut *snapshot).await {
                    Err(error) if code(&error).as_deref() == Some("42P01") => Ok(None),
                    found => Ok::<Option<i64>, Failure>(found?),
                }
            })
            .await?;
        if version != newest() {
            let text = format!("{} holds no archive of this version of stele", archive.place());
            return Err(ArchiveError::Invalid(text));
        }
        Ok(archive)
    }

    fn with(options: &PostgresOptions) -> Result<Self> {
        let connecting = options.url.options()?;
        let (pool, writer) = (Pool::new(connecting.clone(), options), tokio::sync::Mutex::new(None));
        let PostgresOptions { acquire_timeout, answer_timeout, call_timeout, commit_timeout, .. } = *options;
        let inner = Inner { connecting, pool, writer, acquire_timeout, answer_timeout, call_timeout, commit_timeout };
        Ok(Self(Arc::new(inner)))
    }

    /// Close all connections. Calls made later fail as unavailable.
    pub async fn close(&self) -> Result<()> {
        self.0.pool.close().await;
        let Some(writer) = self.0.writer.lock().await.take() else { return Ok(()) };
        let limit = self.0.answer_timeout;
        Ok(timeout(limit, writer.close()).await.unwrap_or_else(|_| Err(silent(limit).into()))?)
    }
}

/// Where the database is, without who may use it.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    format!("{} at {host}:{port}", options.get_database().unwrap_or(options.get_username()))
}

/// The version of the schema that this program knows.
fn newest() -> Option<i64> {
    MIGRATOR.iter().map(|migration| migration.version).max()
}

/// Bring the schema up to date, in one transaction that holds a row while it does. Of those who meet where there is no such row
/// yet, one makes it, and the others meet an error and come again.
async fn migrate(connection: &mut PgConnection) -> Result<(), Failure> {
    const ROW: [&str; 4] = [
        // It tells what is there already.
        "SET LOCAL client_min_messages = warning",
        "CREATE TABLE IF NOT EXISTS migrating (one integer PRIMARY KEY CHECK (one = 1))",
        "INSERT INTO migrating (one) VALUES (1) ON CONFLICT (one) DO NOTHING",
        "SELECT one FROM migrating WHERE one = 1 FOR UPDATE",
    ];
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut *connection).await?;
    if !["UTF8", "UTF-8"].contains(&encoding.to_uppercase().as_str()) {
        let text = format!("the database has the encoding {encoding}, and an archive needs UTF8");
        return Err(ArchiveError::Invalid(text).into());
    }
    let mut transaction = connection.begin().await?;
    for statement in ROW {
        sqlx::query(statement).execute(&mut *transaction).await.map_err(|error| match code(&error).as_deref() {
            Some("23505" | "42P07" | "42710") => Failure::Rival(error),
            Some("42501" | "3F000") => Failure::Archive(ArchiveError::Invalid(format!(
                "the user of the archive may make no tables in the database: let the user own it, or GRANT USAGE, CREATE ON SCHEMA \
                 public to them ({error})"
            ))),
            _ => error.into(),
        })?;
    }
    MIGRATOR.run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => Failure::Archive(ArchiveError::Invalid(format!(
            "the database was written by a newer stele (schema {version}, this one knows {}); upgrade stele or restore a backup",
            newest().unwrap_or(0),
        ))),
        MigrateError::VersionMismatch(version) => Failure::Archive(ArchiveError::Invalid(format!(
            "the database was written by another build of stele: its schema {version} is not this one's",
        ))),
        MigrateError::ExecuteMigration(error, _) if code(&error).as_deref() == Some("42P07") => {
            Failure::Archive(ArchiveError::Invalid(format!("the database holds tables of another program: {error}")))
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => Failure::Archive(ArchiveError::Backend(Box::new(other))),
    })?;
    transaction.commit().await?;
    Ok(())
}
