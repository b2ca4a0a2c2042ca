//! Tells the other daemons of an archive that something was committed, and hears it of them.
//!
//! # Only a wake-up
//!
//! What is heard wakes whoever follows the archive here (index, live delivery, feeds that wait); they read what is new by their own
//! cursors. So nothing is right only because a message came, and one that is lost costs time alone: whoever follows looks by
//! itself every five seconds at the latest (`TailerOptions::poll`, the hub's sweep, the feed's look), and so late, at most, is what another
//! daemon committed noticed without a bus. Searches, histories and lists read the archive, and are never late.
//!
//! # What is sent
//!
//! A word with the sender's own name of this run and the ids of the instances that were committed to. Commits of a burst go
//! together; one's own words are passed over. Subject or channel carry the archive's id, so that archives that share a
//! server do not hear each other.
//!
//! # Carriers
//!
//! None (one daemon), [NATS](nats), or on Postgres its own [notifications](notify). A carrier that is down stops nobody: what was
//! committed meanwhile is said once it is back, and everybody who was away looks at everything then.

mod nats;
mod notify;
mod word;

pub use nats::{NatsAccess, NatsServers};

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stele_archive::InstanceId;
use stele_store::PostgresArchive;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use word::Word;

/// Commits within this time go together.
const TOGETHER: Duration = Duration::from_millis(2);
/// First and longest pause before a carrier is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What is done with what was heard: an instance that was committed to, or any may have been.
pub type Heard = Arc<dyn Fn(Option<InstanceId>) + Send + Sync>;

/// How words reach other daemons.
pub enum Carrier {
    /// There are no others.
    None,
    /// Through NATS.
    Nats(NatsAccess),
    /// Through the database.
    Notify(PostgresArchive),
}

/// The bus; cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    carrier: Carrier,
    archive_id: String,
    /// Name of this run of the daemon, unlike any other.
    own: String,
    /// What has not been said yet; `None`: nobody listens.
    unsaid: Option<Mutex<BTreeSet<InstanceId>>>,
    news: Notify,
    state: Mutex<State>,
    heard: Heard,
}

/// What the bus is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Whom it speaks through.
    carrier: &'static str,
    connected: bool,
    /// Why not.
    trouble: Option<String>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("state", &*self.0.state()).finish_non_exhaustive()
    }
}

impl Bus {
    /// The bus of an archive of this id. Nothing is said or heard before it is [run](Bus::run).
    pub fn new(carrier: Carrier, archive_id: String, heard: Heard) -> Self {
        let name = match &carrier {
            Carrier::None => "",
            Carrier::Nats(_) => "NATS",
            Carrier::Notify(_) => "the database's notifications",
        };
        let unsaid = (!matches!(carrier, Carrier::None)).then(Mutex::default);
        let state = Mutex::new(State { carrier: name, ..State::default() });
        let own = uuid::Uuid::now_v7().simple().to_string();
        Self(Arc::new(Inner { carrier, archive_id, own, unsaid, news: Notify::new(), state, heard }))
    }

    /// Something was committed here. Returns at once.
    pub fn tell(&self, instance: InstanceId) {
        if let Some(unsaid) = &self.0.unsaid
            && locked(unsaid).insert(instance)
        {
            self.0.news.notify_one();
        }
    }

    /// What is not well, in one sentence.
    pub fn finding(&self) -> Option<String> {
        let State { carrier, connected, trouble } = self.0.state().clone();
        (self.0.unsaid.is_some() && !connected).then(|| {
            let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            format!("what other daemons commit is noticed up to five seconds late: {carrier} cannot be used{why}")
        })
    }

    /// Speaks and listens until it is told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let archive_id = &self.0.archive_id;
        let talk = async {
            match &self.0.carrier {
                Carrier::None => {}
                Carrier::Nats(access) => nats::run(self, access, archive_id).await,
                Carrier::Notify(archive) => notify::run(self, archive, archive_id).await,
            }
        };
        stop.run_until_cancelled(Box::pin(talk)).await;
    }

    /// Waits until there is something to say, and takes it.
    async fn to_say(&self) -> Word {
        let unsaid = || self.0.unsaid.as_ref().map(locked);
        // Looked at first: whoever waited here before may have been given up after they were woken.
        while unsaid().is_none_or(|unsaid| unsaid.is_empty()) {
            self.0.news.notified().await;
        }
        tokio::time::sleep(TOGETHER).await;
        let instances = unsaid().map(|mut unsaid| std::mem::take(&mut *unsaid)).unwrap_or_default();
        Word { from: self.0.own.clone(), instances }
    }

    /// A word that tells nobody anything, unlike any of another number.
    fn greeting(&self, number: u64) -> Word {
        Word { from: format!("{}-{number}", self.0.own), instances: BTreeSet::new() }
    }

    fn is_connected(&self) -> bool {
        self.0.state().connected
    }

    /// A word was not sent: it is said later.
    fn unsay(&self, word: Word) {
        if let Some(unsaid) = &self.0.unsaid {
            locked(unsaid).extend(word.instances);
            self.0.news.notify_one();
        }
    }

    fn said(&self) {
        metrics::counter!("stele_bus_said_total").increment(1);
    }

    /// A word came.
    fn hear(&self, payload: &[u8]) {
        let Some(word) = Word::parse(payload) else {
            tracing::debug!("a word of the bus cannot be understood");
            return (self.0.heard)(None);
        };
        if word.from != self.0.own && !word.instances.is_empty() {
            metrics::counter!("stele_bus_heard_total").increment(1);
            word.instances.iter().for_each(|instance| (self.0.heard)(Some(*instance)));
        }
    }

    /// The carrier is there, as it was not before: what was said meanwhile was missed.
    fn connected(&self) {
        let State { carrier, connected, .. } = {
            let mut state = self.0.state();
            let carrier = state.carrier;
            std::mem::replace(&mut *state, State { carrier, connected: true, trouble: None })
        };
        if !connected {
            metrics::gauge!("stele_bus_connected").set(1.0);
            tracing::info!(carrier, "the daemons of this archive hear each other");
            (self.0.heard)(None);
            self.0.news.notify_one();
        }
    }

    /// Why the carrier is not there, or will not be.
    fn lost_because(&self, trouble: String) {
        let State { connected, trouble: known, .. } = self.0.state().clone();
        match connected || known.is_some() {
            true => self.0.state().trouble = Some(trouble),
            false => self.lost(Some(trouble)),
        }
    }

    /// The carrier is not there. Said once, not at every attempt.
    fn lost(&self, trouble: Option<String>) {
        let before = {
            let mut state = self.0.state();
            let trouble = trouble.or_else(|| state.trouble.clone());
            let carrier = state.carrier;
            std::mem::replace(&mut *state, State { carrier, connected: false, trouble })
        };
        metrics::gauge!("stele_bus_connected").set(0.0);
        if before.connected || before.trouble.is_none() {
            let State { carrier, trouble, .. } = self.0.state().clone();
            let why = trouble.unwrap_or_default();
            tracing::warn!(carrier, why, "what other daemons commit is noticed late until the bus is back");
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic happens while it is locked")
}

/// Pause before the next attempt, after so many that failed.
fn pause(failures: u32) -> Duration {
    let (first, longest) = PAUSES;
    first.saturating_mul(1 << failures.min(16)).min(longest)
}
