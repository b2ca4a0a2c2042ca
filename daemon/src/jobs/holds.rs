//! What this daemon holds beside the jobs it runs: turns of its plugins, by leases as jobs are.

use super::HOLD;
use std::collections::HashMap;
use std::sync::Arc;
use stele_archive::model::Micros;
use stele_archive::{Archive, ArchiveError, Clock, JobKey, Lease, Result};
use tokio::sync::Mutex;

/// Most things that are held of one instance.
const MAX_HELD: usize = 64;

/// What this daemon holds.
pub struct Holds {
    archive: Arc<dyn Archive>,
    clock: Arc<dyn Clock>,
    owner: String,
    /// What was ever asked for, and the lease of it where it was had last.
    leases: Mutex<HashMap<JobKey, Option<Lease>>>,
}

impl Holds {
    /// Nothing yet. `owner` is the name of this daemon in leases.
    pub fn new(archive: Arc<dyn Archive>, clock: Arc<dyn Clock>, owner: &str) -> Self {
        Self { archive, clock, owner: owner.to_owned(), leases: Mutex::default() }
    }

    /// Holds something of an instance for `ttl` microseconds from now. `false` while another daemon does.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Invalid`] when the instance holds too many things already; those of the job table.
    pub async fn hold(&self, instance: &str, name: &str, ttl: Micros) -> Result<bool> {
        let key = key(instance, name);
        let mut leases = self.leases.lock().await;
        let now = self.clock.now();
        if let Some(Some(lease)) = leases.get(&key) {
            match self.archive.lease_renew(lease, now, ttl).await {
                Ok(()) => return Ok(true),
                Err(ArchiveError::LeaseLost { .. }) => _ = leases.insert(key.clone(), None),
                Err(error) => return Err(error),
            }
        }
        if !leases.contains_key(&key) {
            if leases.keys().filter(|key| key.instance == instance).count() >= MAX_HELD {
                return Err(ArchiveError::Invalid(format!("an instance holds at most {MAX_HELD} things")));
            }
            self.archive.job_define(&key, "", "UTC", now).await?;
        }
        let lease = self.archive.lease_acquire(&key, &self.owner, now, ttl).await?;
        let is_held = lease.is_some();
        leases.insert(key, lease);
        Ok(is_held)
    }

    /// Gives something back.
    pub async fn give_back(&self, instance: &str, name: &str) -> Result<()> {
        let mut leases = self.leases.lock().await;
        match leases.get_mut(&key(instance, name)) {
            Some(lease) => self.release(lease).await,
            None => Ok(()),
        }
    }

    /// Gives everything back: the daemon stops. What cannot be given back now expires.
    pub async fn give_back_all(&self) {
        for (key, lease) in &mut *self.leases.lock().await {
            if let Err(error) = self.release(lease).await {
                tracing::debug!(job = %key, %error, "a lease was not given back; it expires");
            }
        }
    }

    async fn release(&self, lease: &mut Option<Lease>) -> Result<()> {
        let Some(held) = lease else { return Ok(()) };
        match self.archive.lease_release(held, 0, None).await {
            Ok(()) | Err(ArchiveError::LeaseLost { .. }) => {
                *lease = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn key(instance: &str, name: &str) -> JobKey {
    JobKey { instance: instance.to_owned(), kind: HOLD.to_owned(), partition: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stele_archive::ManualClock;
    use stele_store::SqliteArchive;

    #[tokio::test]
    async fn one_daemon_holds_and_another_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let options = stele_store::Options::default();
        let archive = SqliteArchive::open(&folder.path().join("a.db"), &options).await.unwrap();
        let archive: Arc<dyn Archive> = Arc::new(archive);
        let clock = Arc::new(ManualClock::new(0));
        let holds = |owner| Holds::new(Arc::clone(&archive), clock.clone(), owner);
        let (one, two) = (holds("one"), holds("two"));
        assert!(one.hold("im", "k", 100).await.unwrap());
        assert!(two.hold("other", "k", 100).await.unwrap(), "of another instance");
        assert!(!two.hold("im", "k", 100).await.unwrap());
        clock.advance(90);
        assert!(one.hold("im", "k", 100).await.unwrap());
        clock.advance(90);
        assert!(!two.hold("im", "k", 100).await.unwrap(), "it was renewed");
        clock.advance(10);
        assert!(two.hold("im", "k", 100).await.unwrap(), "nobody renewed it");
        assert!(!one.hold("im", "k", 100).await.unwrap());
        one.give_back_all().await;
        assert!(!one.hold("im", "k", 100).await.unwrap(), "nobody gives back what another holds");
        two.give_back("im", "k").await.unwrap();
        assert!(one.hold("im", "k", 100).await.unwrap());
        one.give_back_all().await;
        assert!(two.hold("im", "k", 100).await.unwrap());
        for number in 0..MAX_HELD - 1 {
            assert!(two.hold("im", &number.to_string(), 100).await.unwrap());
        }
        assert!(two.hold("im", "one too many", 100).await.is_err());
    }
}
