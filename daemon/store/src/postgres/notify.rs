//! Notifications: a wake-up for daemons that share the database. Nothing is right only because one arrived.

use super::PostgresArchive;
use super::error::Failure;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::time::Duration;
use stele_archive::Result;

/// How long a connection to listen on may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What is heard on a channel, over a connection of its own.
#[derive(Debug)]
pub struct Notifications(PgListener);

impl PostgresArchive {
    /// Listens on a channel from now on.
    ///
    /// # Errors
    /// [`Unavailable`](stele_archive::ArchiveError::Unavailable) when the database cannot be reached.
    pub async fn notifications(&self, channel: &str) -> Result<Notifications> {
        let connecting = self.0.connecting.clone();
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT).connect_lazy_with(connecting);
        let mut listener = PgListener::connect_with(&pool).await.map_err(Failure::from)?;
        listener.eager_reconnect(false);
        listener.listen(channel).await.map_err(Failure::from)?;
        Ok(Notifications(listener))
    }

    /// Says something to all who listen on a channel: less than 8000 bytes.
    ///
    /// # Errors
    /// [`Unavailable`](stele_archive::ArchiveError::Unavailable) when the database cannot be reached.
    pub async fn notify(&self, channel: &str, text: &str) -> Result<()> {
        let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(text);
        notify.execute(&self.0.pool).await.map_err(Failure::from)?;
        Ok(())
    }
}

impl Notifications {
    /// What is said next. `None` when the connection was lost, and with it what was said meanwhile.
    ///
    /// # Errors
    /// [`Unavailable`](stele_archive::ArchiveError::Unavailable) when the database cannot be reached.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let said = self.0.try_recv().await.map_err(Failure::from)?;
        Ok(said.map(|said| said.payload().to_owned()))
    }
}
