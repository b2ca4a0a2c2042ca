//! What this daemon holds beside the jobs it runs: turns of its plugins, by leases as jobs are.

use super::HOLD;
use futures::future::join_all;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use stele_archive::model::Micros;
use stele_archive::{Archive, ArchiveError, Clock, JobKey, Lease, Result};

/// Most things that are held of one instance.
const MAX_HELD: usize = 64;

/// What this daemon holds.
pub struct Holds {
    archive: Arc<dyn Archive>,
    clock: Arc<dyn Clock>,
    owner: String,
    /// What was ever asked for. Each is locked by itself: the archive may keep one of them waiting.
    held: Mutex<HashMap<JobKey, Arc<tokio::sync::Mutex<Held>>>>,
}

/// One thing.
#[derive(Default)]
struct Held {
    /// Whether the archive knows of it.
    defined: bool,
    /// The lease, where it was had last.
    lease: Option<Lease>,
}

impl Holds {
    /// Nothing yet. `owner` is the name of this daemon in leases.
    pub fn new(archive: Arc<dyn Archive>, clock: Arc<dyn Clock>, owner: &str) -> Self {
        Self { archive, clock, owner: owner.to_owned(), held: Mutex::default() }
    }

    /// Holds something of an instance for `ttl` microseconds from now. `false` while another daemon does.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Invalid`] when the instance holds too many things already; those of the job table.
    pub async fn hold(&self, instance: &str, name: &str, ttl: Micros) -> Result<bool> {
        let key = key(instance, name);
        let held = self.one(&key)?;
        let mut held = held.lock().await;
        let now = self.clock.now();
        if let Some(lease) = &held.lease {
            match self.archive.lease_renew(lease, now, ttl).await {
                Ok(()) => return Ok(true),
                Err(ArchiveError::LeaseLost { .. }) => held.lease = None,
                Err(error) => return Err(error),
            }
        }
        if !held.defined {
            self.archive.job_define(&key, "", "UTC", now).await?;
            held.defined = true;
        }
        held.lease = self.archive.lease_acquire(&key, &self.owner, now, ttl).await?;
        Ok(held.lease.is_some())
    }

    /// Gives something back.
    pub async fn give_back(&self, instance: &str, name: &str) -> Result<()> {
        let held = self.all().get(&key(instance, name)).cloned();
        match held {
            Some(held) => self.release(&mut held.lock().await.lease).await,
            None => Ok(()),
        }
    }

    /// Gives everything back: the daemon stops. What cannot be given back now expires.
    pub async fn give_back_all(&self) {
        let all: Vec<_> = self.all().iter().map(|(key, held)| (key.clone(), Arc::clone(held))).collect();
        let released = all.into_iter().map(|(job, held)| async move {
            if let Err(error) = self.release(&mut held.lock().await.lease).await {
                tracing::debug!(%job, %error, "a lease was not given back; it expires");
            }
        });
        join_all(released).await;
    }

    fn all(&self) -> MutexGuard<'_, HashMap<JobKey, Arc<tokio::sync::Mutex<Held>>>> {
        self.held.lock().expect("no panic happens while it is locked")
    }

    /// What is asked for, as it stands.
    fn one(&self, key: &JobKey) -> Result<Arc<tokio::sync::Mutex<Held>>> {
        let mut all = self.all();
        if !all.contains_key(key) && all.keys().filter(|other| other.instance == key.instance).count() >= MAX_HELD {
            return Err(ArchiveError::Invalid(format!("an instance holds at most {MAX_HELD} things")));
        }
        Ok(Arc::clone(all.entry(key.clone()).or_default()))
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

    #[tokio::test]
    async fn one_that_waits_for_the_archive_keeps_no_other_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let options = stele_store::Options::default();
        let archive = SqliteArchive::open(&folder.path().join("a.db"), &options).await.unwrap();
        let holds = Holds::new(Arc::new(archive), Arc::new(ManualClock::new(0)), "one");
        let waiting = holds.one(&key("im", "waiting")).unwrap();
        let _waiting = waiting.lock().await;
        assert!(holds.hold("im", "k", 100).await.unwrap());
        holds.give_back("im", "k").await.unwrap();
    }
}
