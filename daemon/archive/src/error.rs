//! What can go wrong in a backend.

/// Result of an archive operation.
pub type Result<T, E = ArchiveError> = std::result::Result<T, E>;

/// What can go wrong in a backend. Absent rows are `Option`s, not errors.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Somebody else moved the cursor since the page was pulled: the page must be dropped and pulled again.
    #[error("the cursor of partition {partition:?} moved since this page was pulled")]
    CursorMoved {
        /// The partition.
        partition: String,
    },
    /// The lease was lost to another daemon.
    #[error("the lease of job {job:?} was lost")]
    LeaseLost {
        /// The job.
        job: String,
    },
    /// What was handed in breaks a rule of the archive; committing it again cannot help.
    #[error("invalid input: {0}")]
    Invalid(String),
    /// The messages asked for are too long to be read at once; asking for fewer of them helps.
    #[error("the messages hold more than {most} bytes")]
    TooLarge {
        /// Texts and bodies of one answer, in bytes.
        most: usize,
    },
    /// The backend does not answer now; trying again can help.
    #[error("archive unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The backend answered with an error.
    #[error("archive error: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ArchiveError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
