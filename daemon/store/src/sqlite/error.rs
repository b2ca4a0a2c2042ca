//! From the driver's errors to the archive's.

use stele_archive::ArchiveError;

/// An error of the driver on its way out: `?` turns it into an [`ArchiveError`].
#[derive(Debug)]
pub(crate) struct Failure(pub sqlx::Error);

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl From<Failure> for ArchiveError {
    fn from(Failure(error): Failure) -> Self {
        if is_transient(&error) { Self::Unavailable(Box::new(error)) } else { Self::Backend(Box::new(error)) }
    }
}

impl Failure {
    /// Whether a unique key refused a row.
    pub fn is_duplicate(&self) -> bool {
        self.0.as_database_error().is_some_and(|error| error.is_unique_violation())
    }

    /// Whether somebody else has a lock on the file.
    pub fn is_busy(&self) -> bool {
        const BUSY: i32 = 5;
        code(&self.0) == Some(BUSY)
    }
}

/// Busy, locked, out of memory, read-only, i/o error, disk full, cannot open: a later attempt can meet a better day.
fn is_transient(error: &sqlx::Error) -> bool {
    const PRIMARY: [i32; 7] = [5, 6, 7, 8, 10, 13, 14];
    match error {
        sqlx::Error::Database(_) => code(error).is_some_and(|code| PRIMARY.contains(&code)),
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// What SQLite calls it, without the finer part.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}
