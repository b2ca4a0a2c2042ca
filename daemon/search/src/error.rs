//! What can go wrong in an engine, and what a search can answer instead of a page.

use std::path::PathBuf;
use std::time::Duration;
use stele_archive::ArchiveError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong in an engine.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another process writes to this index.
    #[error("the index in {} is in use by another process: only one may write to it at a time", .0.display())]
    InUse(PathBuf),
    /// The index cannot be trusted any more and must be rebuilt.
    #[error("the index is damaged: {0}")]
    Corrupt(String),
    /// The engine does not answer now; trying again can help.
    #[error("the search engine is unavailable: {0}")]
    Unavailable(#[source] Source),
    /// It would cost more than a search may, and cannot be answered with less; a narrower one can.
    #[error("{0}; narrow the search")]
    TooMany(String),
    /// A rebuild is running already.
    #[error("the index is being rebuilt already")]
    Rebuilding,
}

impl IndexError {
    pub(crate) fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }
}

/// What following the archive can stop at.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The engine.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What a search can answer instead of a page.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The request cannot be answered as it is.
    #[error("invalid search: {0}")]
    Invalid(String),
    /// More messages wait to be indexed than a search may look through; the tailer is working on it.
    #[error("the search index is {behind} messages behind the archive")]
    Behind {
        /// At least this many messages are not indexed yet.
        behind: u64,
        /// Worth trying again after this.
        retry_after: Duration,
    },
    /// The engine is down, and the question is too wide to be answered without it.
    #[error("search is unavailable: {reason}")]
    Unavailable {
        /// What the engine said.
        reason: String,
        /// Worth trying again after this.
        retry_after: Duration,
    },
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl SearchError {
    /// When to try again, if that can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Behind { retry_after, .. } | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Invalid(_) | Self::Archive(_) => None,
        }
    }
}
