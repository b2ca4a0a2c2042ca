//! Why the daemon does not start.

use super::identity::IdentityError;
use super::lock::LockError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder is in use or cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It is not known which daemon this is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another process runs under this daemon's id.
    #[error(
        "another process runs as this daemon, {id}: this data folder is a copy of that one's, or that one's of this; remove {} and start again, \
         to be another daemon",
        file.display()
    )]
    Twin {
        /// The id.
        id: String,
        /// The file that has it.
        file: PathBuf,
    },
    /// The archive cannot be opened.
    #[error("the archive {place} cannot be opened: {source}")]
    Archive {
        /// Where it is.
        place: String,
        /// Why.
        source: stele_archive::ArchiveError,
    },
    /// The archive does not answer.
    #[error("the archive does not answer: {0}")]
    Query(#[from] stele_archive::ArchiveError),
    /// The search index cannot be opened.
    #[error("the search index cannot be opened: {0}")]
    Index(#[from] stele_search::IndexError),
    /// A folder cannot be made.
    #[error("the folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bucket of files cannot be used.
    #[error("the bucket of files cannot be used: {0}")]
    Bucket(#[source] std::io::Error),
    /// The daemon's own listener cannot be bound.
    #[error("admin.listen {address} cannot be bound: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client does not start.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The job runner does not start.
    #[error("jobs cannot be run: {0}")]
    Jobs(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system gives no randomness.
    #[error("no key for links can be made: {0}")]
    Randomness(#[source] Box<dyn std::error::Error + Send + Sync>),
}
