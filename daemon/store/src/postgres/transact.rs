//! Short transactions that write.

use super::PostgresArchive;
use super::error::{Failure, code};
use sqlx::{Postgres, Transaction};
use stele_archive::ArchiveError;

impl PostgresArchive {
    /// Begin a write. Dropped without a commit it is rolled back.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        Ok(self.0.pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?)
    }
}

/// End it. What met a rival here was not stored; of all else that goes wrong now nobody knows, so it is not done again by itself.
pub(super) async fn commit(transaction: Transaction<'static, Postgres>) -> Result<(), Failure> {
    transaction.commit().await.map_err(|error| match code(&error).as_deref() {
        Some("40001" | "40P01") => Failure::Driver(error),
        _ => Failure::Archive(ArchiveError::Unavailable(Box::new(error))),
    })
}
