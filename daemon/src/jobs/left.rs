//! What other daemons do and leave: jobs that failed, or succeeded, and those that are due and that nobody is at, since whoever was
//! asked for them, or failed at them, is gone.

use super::runner::Jobs;
use std::time::Duration;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);

impl Jobs {
    /// Takes note of it again and again, until the daemon stops.
    pub(super) async fn watch(&self) {
        let watch = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                self.look().await;
            }
        };
        self.inner.stop.run_until_cancelled(watch).await;
    }

    /// Takes note of it: the next tick finds what is due. An archive that does not answer is told of by runs.
    async fn look(&self) {
        let records = self.inner.archive.jobs().await.unwrap_or_default();
        let mut table = self.table();
        for record in records {
            let at_rest = table.jobs.get_mut(&record.key).filter(|entry| !entry.running);
            let Some(entry) = at_rest.filter(|_| !self.is_elsewhere(&record)) else { continue };
            if entry.record != record {
                // Somebody could write it down: what this daemon waits for has come.
                entry.pause = None;
                entry.record = record;
            }
        }
    }
}
