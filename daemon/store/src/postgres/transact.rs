//! Transactions.

use super::PostgresArchive;
use super::error::Failure;
use super::pool::{Lent, silent};
use super::retry;
use tokio::time::timeout;

/// Begins one. Whoever is frozen, or cut off, amid one is let go of by the server, so that the others can go on; and nobody waits
/// for a row for ever.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL idle_in_transaction_session_timeout = '20s'; SET LOCAL lock_timeout = '60s'";

impl PostgresArchive {
    /// A connection, for statements that need no transaction.
    pub(crate) async fn lend(&self) -> Result<Lent, Failure> {
        self.0.pool.lend().await
    }

    /// What is asked amid what may take longer than a call: waited for as long as one may take.
    pub(super) async fn awaited<T>(&self, asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
        let limit = self.0.call_timeout;
        Ok(timeout(limit, asked).await.unwrap_or_else(|_| Err(silent(limit)))?)
    }

    /// Begin a write. Dropped without a commit it is rolled back.
    pub(crate) async fn begin(&self) -> Result<Lent, Failure> {
        self.begin_with(WRITE).await
    }

    /// Begin a transaction. A connection that turns out to be lost, or silent, is let go of for another.
    pub(super) async fn begin_with(&self, statement: &'static str) -> Result<Lent, Failure> {
        let begin = || async {
            let mut lent = self.lend().await?;
            lent.begin(statement).await?;
            Ok(lent)
        };
        retry::again(begin).await
    }
}

/// End it.
pub(crate) async fn commit(transaction: Lent) -> Result<(), Failure> {
    transaction.commit().await.map_err(Failure::of_commit)
}
