//! Talking to systemd: ready, reloading, stopping, status, and that the daemon is alive.

use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::Archive;
use tokio_util::sync::CancellationToken;

/// Tells systemd; nothing happens when it did not start us.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// Says that the daemon is alive, as long as it is: the runtime runs this, and the archive answers. An error of the archive
/// is an answer; a restart would not mend it.
pub async fn watchdog(archive: Arc<dyn Archive>, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let every = (limit / 3).max(Duration::from_millis(100));
    let beat = async {
        loop {
            let _ = archive.last_rev().await;
            tell(&[NotifyState::Watchdog]);
            tokio::time::sleep(every).await;
        }
    };
    stop.run_until_cancelled(beat).await;
}
