//! How fast the archive of a running daemon takes messages in, and its index.

use crate::daemon::Site;
use anyhow::{Result, ensure};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a daemon may take to know its jobs.
const DEFINED: Duration = Duration::from_secs(30);
/// How long messages may take to be stored and indexed.
const LIMIT: Duration = Duration::from_secs(7_200);

/// Messages a second of an archive: until the last is stored (and found by scanning), and until the index has it.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Rates {
    /// Until it is stored.
    pub stored: f64,
    /// Until it is in the index, too.
    pub indexed: f64,
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored {:.0}/s, stored and indexed {:.0}/s", self.stored, self.indexed)
    }
}

/// Runs the syncs of instances at the same time, which bring so many messages, and waits until all are stored and indexed.
pub async fn sync(site: &Site, instances: &[&str], messages: u64) -> Result<Rates> {
    let (goal, last) = (site.stat("messages").await? + messages, revision(site).await? + messages);
    let mut begin = Instant::now();
    for (place, instance) in instances.iter().enumerate() {
        let defined = Instant::now();
        while let Err(error) = site.request_run_of(instance, "sync").await {
            ensure!(defined.elapsed() < DEFINED, "no sync of {instance} to run: {error:#}");
            tokio::time::sleep(LOOK).await;
            if place == 0 {
                begin = Instant::now();
            }
        }
    }
    let per_second = || messages as f64 / begin.elapsed().as_secs_f64();
    let mut stored = None;
    loop {
        tokio::time::sleep(LOOK).await;
        ensure!(begin.elapsed() < LIMIT, "not done within {LIMIT:?}\n{}", site.log_tail());
        if stored.is_none() && site.stat("messages").await? < goal {
            continue;
        }
        let stored = *stored.get_or_insert_with(per_second);
        if indexed(site).await? >= last {
            return Ok(Rates { stored, indexed: per_second() });
        }
    }
}

/// The revision up to which the index has everything.
pub async fn indexed(site: &Site) -> Result<u64> {
    Ok(site.admin("/api/v1/index").await?["tailer"]["watermark"].as_u64().unwrap_or_default())
}

/// The latest revision the index knows of.
async fn revision(site: &Site) -> Result<u64> {
    Ok(site.admin("/api/v1/index").await?["tailer"]["last_rev"].as_u64().unwrap_or_default())
}
