//! Who feeds the search index.
//!
//! One in the data folder is fed by its daemon. One on a server is shared by the daemons of the archive, and fed, and built anew, by
//! whoever has the lease of it; any of them may wish that it be built anew. A lease that is lost, or cannot be renewed just now, cuts
//! off nothing that must not go on: what a daemon writes to the index that stood still meanwhile does it no harm, see
//! [`stele_search::MeiliIndex`].

use crate::jobs::Jobs;
use std::sync::Arc;
use std::time::Duration;
use stele_search::Tailer;
use tokio_util::sync::CancellationToken;

/// What is held of no instance.
const DAEMONS: &str = "";
/// Name of the lease.
const INDEX: &str = "index";
/// It is renewed, and waited for, this many times before it would expire.
const BEATS: u32 = 4;
/// Time the index gets for what is left when the daemon stops; what it does not take in then is taken in at the next start.
const FINAL_COMMIT: Duration = Duration::from_secs(10);

/// Feeds the index, or waits for its turn to.
pub(super) struct Feeder {
    tailer: Arc<Tailer>,
    /// How long a turn lasts without being renewed, where daemons take turns.
    turns: Option<(Jobs, Duration)>,
}

impl Feeder {
    /// Of an index that only this daemon has.
    pub fn alone(tailer: Arc<Tailer>) -> Self {
        Self { tailer, turns: None }
    }

    /// Of an index of all daemons, under leases of this length.
    pub fn in_turns(tailer: Arc<Tailer>, jobs: Jobs, lease: Duration) -> Self {
        Self { tailer, turns: Some((jobs, lease)) }
    }

    /// Runs until it is told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        match &self.turns {
            None => self.tailer.run(stop).await,
            Some((jobs, lease)) => _ = stop.run_until_cancelled(self.take_turns(jobs, *lease)).await,
        }
    }

    async fn take_turns(&self, jobs: &Jobs, lease: Duration) {
        let beat = lease / BEATS;
        loop {
            while !holds(jobs, lease).await.unwrap_or(false) {
                self.tailer.stand_by().await;
                tokio::time::sleep(beat).await;
            }
            tracing::info!("this daemon feeds the search index from now on");
            let lost = async {
                while holds(jobs, lease).await.unwrap_or(true) {
                    tokio::time::sleep(beat).await;
                }
            };
            tokio::select! {
                () = self.tailer.run(CancellationToken::new()) => {}
                () = lost => tracing::info!("another daemon feeds the search index from now on"),
            }
        }
    }

    /// Waits for something that whoever feeds the index does: where daemons take turns, that is this one if nobody else does.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let Some((jobs, lease)) = &self.turns else { return work.await };
        let feeding = async {
            self.take_turns(jobs, *lease).await;
            std::future::pending().await
        };
        tokio::select! {
            done = work => done,
            never = feeding => never,
        }
    }

    /// Has the index take in what is left, unless another daemon sees to that.
    pub async fn finish(&self) {
        if let Some((jobs, lease)) = &self.turns {
            if !holds(jobs, *lease).await.unwrap_or(false) {
                return;
            }
            self.take_in_the_rest().await;
            if let Err(error) = jobs.holds().give_back(DAEMONS, INDEX).await {
                tracing::debug!(%error, "the lease of the search index was not given back; it expires");
            }
        } else {
            self.take_in_the_rest().await;
        }
    }

    async fn take_in_the_rest(&self) {
        match tokio::time::timeout(FINAL_COMMIT, self.tailer.catch_up()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the search index did not take in the rest; it will at the next start")
            }
            Err(_) => tracing::warn!("the search index had no time for the rest; it takes it in at the next start"),
        }
    }
}

/// Whether it is this daemon's turn; `None` where the archive does not say.
async fn holds(jobs: &Jobs, lease: Duration) -> Option<bool> {
    let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
    jobs.holds().hold(DAEMONS, INDEX, lease).await.ok()
}
