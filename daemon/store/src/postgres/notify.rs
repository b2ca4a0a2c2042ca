//! Notifications: a wake-up for daemons that share the database. Nothing is right only because one arrived.

use super::PostgresArchive;
use super::error::Failure;
use super::pool::silent;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::time::Duration;
use stele_archive::Result;
use tokio::time::timeout;

/// How long a connection to listen on may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What is heard on a channel, over a connection of its own. Let go of, it is told so, and closes when the server answers: of one that
/// fell silent, when the network ends it.
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
        let listen = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok(Notifications(listener))
        };
        Ok(timeout(CONNECT, listen).await.unwrap_or_else(|_| Err(silent(CONNECT))).map_err(Failure::from)?)
    }

    /// Says something to all who listen on a channel: less than 8000 bytes.
    ///
    /// # Errors
    /// [`Unavailable`](stele_archive::ArchiveError::Unavailable) when the database cannot be reached.
    pub async fn notify(&self, channel: &str, text: &str) -> Result<()> {
        // Said twice it wakes twice.
        self.repeat(|| async {
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(text);
            notify.execute(&mut *self.lend().await?).await?;
            Ok(())
        })
        .await
    }
}

impl Notifications {
    /// What is said next. `None` when the connection was lost, and with it what was said meanwhile. Of one that fell silent nothing
    /// tells: whoever listens says something from time to time, and hears whether it comes.
    ///
    /// # Errors
    /// [`Unavailable`](stele_archive::ArchiveError::Unavailable) when the database cannot be reached.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let said = self.0.try_recv().await.map_err(Failure::from)?;
        Ok(said.map(|said| said.payload().to_owned()))
    }
}
