//! Transactions that write.

use super::PostgresArchive;
use super::error::Failure;
use sqlx::{Postgres, Transaction};

/// Begins one. Whoever is frozen, or cut off, amid one is let go of by the server, so that the others can go on; and nobody waits
/// for a row for ever.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL idle_in_transaction_session_timeout = '20s'; SET LOCAL lock_timeout = '60s'";

impl PostgresArchive {
    /// Begin a write. Dropped without a commit it is rolled back.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        Ok(self.0.pool.begin_with(WRITE).await?)
    }
}

/// End it.
pub(super) async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), Failure> {
    transaction.commit().await.map_err(Failure::of_commit)
}
