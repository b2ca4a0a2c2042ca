//! Transactions that write.

use super::PostgresArchive;
use super::error::Failure;
use super::retry;
use sqlx::{Postgres, Transaction};

/// Begins one. Whoever is frozen, or cut off, amid one is let go of by the server, so that the others can go on; and nobody waits
/// for a row for ever.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL idle_in_transaction_session_timeout = '20s'; SET LOCAL lock_timeout = '60s'";

impl PostgresArchive {
    /// Begin a write. Dropped without a commit it is rolled back.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        self.begin_with(WRITE).await
    }

    /// Begin a transaction, in a task of its own: the driver rolls back what it knows of, and of one whose caller gives up before the
    /// server has answered it knows nothing. The connection would go back to the others amid it, and what they write would be lost.
    ///
    /// A connection that turns out to be lost is let go of for another.
    pub(super) async fn begin_with(&self, statement: &'static str) -> Result<Transaction<'static, Postgres>, Failure> {
        let mut attempts = 1;
        loop {
            match self.try_to_begin(statement).await {
                Err(failure) if failure.may_be_repeated() && retry::is_worth(attempts) => retry::pause(attempts).await,
                begun => return begun,
            }
            attempts += 1;
        }
    }

    async fn try_to_begin(&self, statement: &'static str) -> Result<Transaction<'static, Postgres>, Failure> {
        let pool = self.0.pool.clone();
        match tokio::spawn(async move { pool.begin_with(statement).await }).await {
            Ok(begun) => Ok(begun?),
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime is ending.
            Err(_) => Err(sqlx::Error::PoolClosed.into()),
        }
    }
}

/// End it.
pub(super) async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), Failure> {
    transaction.commit().await.map_err(Failure::of_commit)
}
