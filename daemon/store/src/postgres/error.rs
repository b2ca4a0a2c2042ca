//! From the driver's errors to the archive's.

use stele_archive::ArchiveError;

/// An error on its way out: `?` turns it into an [`ArchiveError`].
#[derive(Debug)]
pub(crate) enum Failure {
    /// Of the driver or the server.
    Driver(sqlx::Error),
    /// Of the server, because somebody else did the same at the same time.
    Rival(sqlx::Error),
    /// The connection was lost while a transaction was committed: it was, or it was not.
    InDoubt(sqlx::Error),
    /// The archive's own.
    Archive(ArchiveError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<Failure> for ArchiveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Driver(error) if is_transient(&error) => Self::Unavailable(Box::new(error)),
            Failure::Driver(error) if is_astray(&error) => Self::Invalid(format!(
                "a pooler stands before the database that keeps no prepared statements; PgBouncer does from 1.21 on, with \
                 max_prepared_statements above 0, or in session mode: {error}"
            )),
            Failure::Driver(error) => Self::Backend(Box::new(error)),
            Failure::Rival(error) | Failure::InDoubt(error) => Self::Unavailable(Box::new(error)),
            Failure::Archive(error) => error,
        }
    }
}

impl Failure {
    /// What the end of a transaction came to.
    pub fn of_commit(error: sqlx::Error) -> Self {
        // 40003: the server itself does not know.
        let in_doubt = is_lost(&error) || code(&error).as_deref() == Some("40003");
        if in_doubt { Self::InDoubt(error) } else { Self::Driver(error) }
    }

    /// Whether nothing of the transaction was stored and the same one may succeed: it met a rival, or its connection was lost.
    pub fn may_be_repeated(&self) -> bool {
        match self {
            Self::Driver(error) => is_rivalry(error) || is_lost(error),
            Self::Rival(_) => true,
            Self::InDoubt(_) | Self::Archive(_) => false,
        }
    }
}

/// The server's code of an error ("SQLSTATE").
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Whether a unique key refused a row.
pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// Serialisation failure, deadlock.
fn is_rivalry(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "40001" || code == "40P01")
}

/// The connection ended: by itself, by an administrator (57P01), a crash (57P02), or because it sat idle in a transaction (25P03).
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        _ => code(error).is_some_and(|code| {
            code.starts_with("08") || ["57P01", "57P02", "57P03", "57P05", "25P03"].contains(&code.as_str())
        }),
    }
}

/// A prepared statement is not there, or another one is: the next statement of a connection came to another one of the server.
fn is_astray(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "26000" || code == "42P05")
}

/// A later attempt can meet a better day: besides rivals and lost connections, no resources (53), a read-only server (25006), a lock
/// not had in time (55P03), a statement cancelled (57014).
fn is_transient(error: &sqlx::Error) -> bool {
    is_rivalry(error)
        || is_lost(error)
        || matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
        || code(error)
            .is_some_and(|code| code.starts_with("53") || ["25006", "55P03", "57014"].contains(&code.as_str()))
}
