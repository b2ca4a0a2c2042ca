//! What other daemons leave: jobs that are due and that nobody is at, since whoever was asked for them, or failed at them, is gone.

use super::runner::Jobs;
use std::time::Duration;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);

impl Jobs {
    /// Takes note of them again and again, until the daemon stops.
    pub(super) async fn watch(&self) {
        let watch = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                self.look().await;
            }
        };
        self.inner.stop.run_until_cancelled(watch).await;
    }

    /// Takes note of them: the next tick finds them due. An archive that does not answer is told of by runs.
    async fn look(&self) {
        let left = self.inner.archive.jobs_left(self.inner.clock.now()).await.unwrap_or_default();
        let mut table = self.table();
        for record in left {
            if let Some(entry) = table.jobs.get_mut(&record.key).filter(|entry| !entry.running) {
                entry.record = record;
            }
        }
    }
}
