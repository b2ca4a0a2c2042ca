//! Sealed envelopes in, entries of a page out.
//!
//! The library may never return from an envelope (reference/wecom-archive.md §6), and no thread inside of it can be
//! stopped. So the work is watched: when no envelope is done for [`PATIENCE`], it is given up, which ends the process
//! where that is possible. Whoever asked for the work may have gone before, so the watch stays with the work, and so does
//! the turn: nothing overwrites the record of what is stuck. Work that nobody waits for any more stops between two
//! envelopes, and leaves a record that blames none.

use super::attempt::{Attempts, Care};
use super::entry::Entry;
use super::envelope::Envelope;
use super::open;
use crate::corp::Corp;
use crate::refusal;
use crate::vendor::Fault;
use bytes::Bytes;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stele_plugin_api::model::Parked;
use stele_plugin_api::{Error, Host};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

/// Looks at the work without a change until it is given up. Opening one envelope takes milliseconds; and looks are
/// counted instead of time, because time also passes while the machine gives the process no share of it.
const PATIENCE: u64 = 10;
/// Between two looks. All of them together are far below what the daemon waits for a page (two minutes by default).
const LOOK: Duration = Duration::from_secs(1);

/// What became of an envelope.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It could be read.
    Entry(Box<Entry>),
    /// It is kept until it can.
    Parked(Parked),
}

impl Outcome {
    /// About how many bytes it adds to a page.
    pub fn size(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.messages.iter().map(|message| message.body.len() + message.text.len()).sum(),
            Self::Parked(parked) => parked.envelope.len(),
        }
    }
}

/// Opens envelopes of one corp for one kind of work.
pub struct Opener {
    worker: Arc<Worker>,
    /// Held by the work that goes on. In it is work that was given up, until it ends after all.
    turn: Arc<Mutex<GivenUp>>,
}

type GivenUp = Option<JoinHandle<()>>;
type Opened = Vec<(u64, Outcome)>;
/// Closed when nobody waits for it any more.
type Answer = oneshot::Sender<Result<Opened, Error>>;

struct Worker {
    corp: Arc<Corp>,
    attempts: Attempts,
}

impl Opener {
    /// `work` keeps the records of pulling and recovering apart.
    pub fn new(corp: Arc<Corp>, host: Host, work: &str) -> Result<Self, Error> {
        let attempts = Attempts::new(host, work, corp.id(), corp.library()?);
        Ok(Self { worker: Arc::new(Worker { corp, attempts }), turn: Arc::default() })
    }

    /// Opens envelopes that are in order of seq. Fails only if the library cannot be used at all, or does not return.
    pub async fn open(&self, envelopes: Vec<Envelope>) -> Result<Opened, Error> {
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        let _ended = turn.take_if(|given_up| given_up.is_finished());
        if turn.is_some() {
            return Err(refusal::of_fault(&Fault::NoMore));
        }
        let (mut answer, opened) = oneshot::channel();
        let worker = Arc::clone(&self.worker);
        tokio::spawn(async move {
            let opened = worker.open(&mut turn, envelopes, &mut answer).await;
            // Who has gone does not need it.
            let _ = answer.send(opened);
        });
        opened.await.map_err(|_| Error::internal("opening envelopes panicked"))?
    }

    /// Waits until no work goes on.
    pub async fn rest(&self) {
        drop(self.turn.lock().await);
    }

    /// Whether the library died of this parked envelope, and is still the same.
    pub fn is_hopeless(&self, envelope: &Envelope) -> Result<bool, Error> {
        Ok(envelope.deadly_to.as_deref() == Some(self.worker.corp.library()?))
    }
}

impl Worker {
    async fn open(&self, turn: &mut GivenUp, envelopes: Vec<Envelope>, answer: &mut Answer) -> Result<Opened, Error> {
        let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return Ok(Vec::new()) };
        let page = first.seq..=last.seq;
        if self.attempts.kills_quickly(&page).await {
            tokio::select! {
                () = self.corp.lost.least_life() => {}
                () = answer.closed() => return Ok(Vec::new()),
            }
        }
        let _opening = self.corp.lost.opening().await;
        match self.attempts.begin(&page).await {
            Care::Normal => self.on_all_cores(turn, envelopes).await,
            Care::OneByOne => {
                let mut outcomes = Vec::with_capacity(envelopes.len());
                for envelope in envelopes {
                    if answer.is_closed() {
                        break;
                    }
                    if self.attempts.is_deadly(envelope.seq).await {
                        outcomes.push((envelope.seq, self.deadly(envelope)?));
                        continue;
                    }
                    self.attempts.begin_one(&page, envelope.seq).await;
                    outcomes.append(&mut self.on_all_cores(turn, vec![envelope]).await?);
                }
                self.attempts.end_one_by_one(&page).await;
                Ok(outcomes)
            }
        }
    }

    async fn on_all_cores(&self, turn: &mut GivenUp, envelopes: Vec<Envelope>) -> Result<Opened, Error> {
        let (corp, vendor) = (Arc::clone(&self.corp), Arc::clone(self.corp.vendor()?));
        let done = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&done);
        let mut work = tokio::task::spawn_blocking(move || {
            let read = |envelope: &Envelope| match open::open(&*vendor, &corp.keys, envelope) {
                Ok(plaintext) => Outcome::Entry(Box::new(Entry::read(corp.id(), envelope, plaintext))),
                Err(closed) => park(corp.id(), envelope, &closed.to_string()),
            };
            let outcomes = open::on_all_cores(&envelopes, |envelope| {
                // A fault of the reader must not stop the archive any more than one of the library.
                let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| read(envelope)))
                    .unwrap_or_else(|_| park(corp.id(), envelope, "the plugin failed to read it"));
                done.fetch_add(1, Ordering::Relaxed);
                outcome
            });
            envelopes.iter().map(|envelope| envelope.seq).zip(outcomes).collect()
        });
        let (mut before, mut looks) = (0, 0);
        while looks < PATIENCE {
            if let Ok(opened) = tokio::time::timeout(LOOK, &mut work).await {
                return opened.map_err(|_| Error::internal("opening envelopes panicked"));
            }
            let now = seen.load(Ordering::Relaxed);
            looks = if now == before { looks + 1 } else { 0 };
            before = now;
        }
        let lost = Arc::clone(&self.corp.lost);
        lost.give_up_opening(PATIENCE);
        *turn = Some(tokio::spawn(async move {
            let _: Result<Opened, _> = work.await;
            lost.opening_returned();
        }));
        Err(refusal::of_fault(&Fault::Stuck(PATIENCE)))
    }

    fn deadly(&self, mut envelope: Envelope) -> Result<Outcome, Error> {
        envelope.deadly_to = Some(self.corp.library()?.to_owned());
        Ok(park(
            self.corp.id(),
            &envelope,
            "the vendor library crashed on it, or hung; it is tried again with another library",
        ))
    }
}

/// Keeps an envelope for later.
fn park(corp: &str, envelope: &Envelope, reason: &str) -> Outcome {
    let version = envelope.publickey_ver.map_or_else(|| "none".to_owned(), |version| version.to_string());
    Outcome::Parked(Parked {
        native_id: crate::ids::message(corp, &envelope.msgid(), None),
        reason: format!("seq {}, key version {version}: {reason}", envelope.seq),
        envelope: Bytes::from(serde_json::to_vec(envelope).expect("an envelope is plain data")),
    })
}
