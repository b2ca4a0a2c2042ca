//! Sealed envelopes in, entries of a page out.

use super::attempt::{Attempts, Care};
use super::entry::Entry;
use super::envelope::Envelope;
use super::open;
use crate::corp::Corp;
use bytes::Bytes;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use stele_plugin_api::model::Parked;
use stele_plugin_api::{Error, Host};

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
    corp: Arc<Corp>,
    attempts: Attempts,
}

impl Opener {
    /// `work` keeps the records of pulling and recovering apart.
    pub fn new(corp: Arc<Corp>, host: Host, work: &str) -> Result<Self, Error> {
        let attempts = Attempts::new(host, work, corp.id(), corp.library()?);
        Ok(Self { corp, attempts })
    }

    /// Opens envelopes that are in order of seq. Fails only if the library cannot be used at all.
    pub async fn open(&self, envelopes: Vec<Envelope>) -> Result<Vec<(u64, Outcome)>, Error> {
        let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return Ok(Vec::new()) };
        let page = first.seq..=last.seq;
        match self.attempts.begin(&page).await {
            Care::Normal => self.on_all_cores(envelopes).await,
            Care::OneByOne => {
                let mut outcomes = Vec::with_capacity(envelopes.len());
                for envelope in envelopes {
                    if self.attempts.is_deadly(envelope.seq).await {
                        outcomes.push((envelope.seq, self.deadly(envelope)?));
                        continue;
                    }
                    self.attempts.begin_one(&page, envelope.seq).await;
                    outcomes.append(&mut self.on_all_cores(vec![envelope]).await?);
                }
                Ok(outcomes)
            }
        }
    }

    /// Whether the library died of this parked envelope, and is still the same.
    pub fn is_hopeless(&self, envelope: &Envelope) -> Result<bool, Error> {
        Ok(envelope.deadly_to.as_deref() == Some(self.corp.library()?))
    }

    async fn on_all_cores(&self, envelopes: Vec<Envelope>) -> Result<Vec<(u64, Outcome)>, Error> {
        let (corp, vendor) = (Arc::clone(&self.corp), Arc::clone(self.corp.vendor()?));
        let work = move || {
            let read = |envelope: &Envelope| match open::open(&*vendor, &corp.keys, envelope) {
                Ok(plaintext) => Outcome::Entry(Box::new(Entry::read(corp.id(), envelope, plaintext))),
                Err(closed) => park(corp.id(), envelope, &closed.to_string()),
            };
            let outcomes = open::on_all_cores(&envelopes, |envelope| {
                // A fault of the reader must not stop the archive any more than one of the library.
                std::panic::catch_unwind(AssertUnwindSafe(|| read(envelope)))
                    .unwrap_or_else(|_| park(corp.id(), envelope, "the plugin failed to read it"))
            });
            envelopes.iter().map(|envelope| envelope.seq).zip(outcomes).collect()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("opening envelopes panicked"))
    }

    fn deadly(&self, mut envelope: Envelope) -> Result<Outcome, Error> {
        envelope.deadly_to = Some(self.corp.library()?.to_owned());
        Ok(park(self.corp.id(), &envelope, "the vendor library crashed on it; it is tried again with another library"))
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
