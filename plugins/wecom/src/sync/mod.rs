//! `sync.pull` and `sync.recover`: from WeCom's envelopes to pages of the archive.

mod attempt;
mod cursor;
mod entry;
mod envelope;
mod fetcher;
mod gap;
mod open;
mod opener;
mod page;
mod pipeline;

pub use cursor::Cursor;
pub use entry::MEDIA_LIFE;
pub use envelope::Envelope;

use crate::config::MAX_PAGE;
use crate::corp::Corp;
use fetcher::Fetcher;
use opener::{Opener, Outcome};
use page::Builder;
use pipeline::Pipeline;
use std::sync::Arc;
use stele_plugin_api::model::{Micros, Notice, Page};
use stele_plugin_api::ops::{PullRequest, RecoverRequest};
use stele_plugin_api::{Error, Host};
use tokio::sync::Mutex;

/// Bytes of messages in one page. A page travels in one frame, which is bounded (64 MiB by default), and a thousand
/// forwarded records can be larger than that.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// The archive of one corp.
pub struct Sync {
    corp: Arc<Corp>,
    page_limit: u32,
    workers: Option<Workers>,
    /// Held by the pull that uses it: there is one at a time.
    pipeline: Mutex<Option<Pipeline>>,
}

/// There when the library is.
struct Workers {
    fetcher: Arc<Fetcher>,
    puller: Arc<Opener>,
    recoverer: Opener,
}

impl Sync {
    /// The archive of this corp, in pages of at most so many messages.
    pub fn new(corp: Arc<Corp>, page_limit: u32, host: &Host) -> Self {
        let workers = || {
            Ok::<_, Error>(Workers {
                fetcher: Arc::new(Fetcher::new(Arc::clone(&corp), page_limit)),
                puller: Arc::new(Opener::new(Arc::clone(&corp), host.clone(), "pull")?),
                recoverer: Opener::new(Arc::clone(&corp), host.clone(), "recover")?,
            })
        };
        // Without a library each call says so itself.
        let workers = workers().ok();
        Self { corp, page_limit, workers, pipeline: Mutex::default() }
    }

    /// The next page after the request's cursor.
    pub async fn pull(&self, request: &PullRequest, now: Micros) -> Result<Page, Error> {
        let workers = self.workers()?;
        self.corp.chat()?;
        let cursor = Cursor::read(request.cursor.as_ref())?;
        let wanted = if request.limit == 0 { MAX_PAGE } else { request.limit };
        let limit = wanted.min(self.page_limit);

        let mut slot = self.pipeline.lock().await;
        let mut pipeline = match slot.take().filter(|pipeline| pipeline.serves(cursor.seq, limit)) {
            Some(pipeline) => pipeline,
            None => Self::start(workers, cursor.seq, limit),
        };
        let mut ready = match pipeline.next().await {
            Some(ready) => ready,
            // It had ended with the page before; what has come since then is a new beginning.
            None => {
                pipeline = Self::start(workers, cursor.seq, limit);
                pipeline.next().await.unwrap_or_else(|| Err(Error::internal("the next page was dropped")))
            }
        }?;
        let Some(highest) = ready.outcomes.last().map(|(seq, _)| *seq) else {
            let repeats = ready.repeats.then(|| Notice {
                code: "repeated-page".to_owned(),
                message: format!("wecom answered with messages up to seq {} only, which are stored", cursor.seq),
            });
            // Of an answer that there is nothing more the daemon should know when it came: the cursor says where and since
            // when. One that repeats itself is no such answer.
            let confirms = request.cursor.is_some() && !ready.repeats;
            let cursor = confirms.then(|| gap::confirmed(cursor, request.last_commit, now).write());
            return Ok(Page { cursor, caught_up: true, notices: Vec::from_iter(repeats), ..Page::default() });
        };
        let rest = ready.outcomes.split_off(Self::fit(&ready.outcomes));
        let highest = ready.outcomes.last().map_or(highest, |(seq, _)| *seq);
        if !rest.is_empty() {
            pipeline.put_back(highest, rest);
        }
        *slot = Some(pipeline);
        drop(slot);

        let mut page = Builder::after(cursor.latest);
        page.notice(Self::gap(cursor, request.last_commit, &ready.outcomes, now));
        page.add(ready.outcomes);
        Ok(page.up_to(highest))
    }

    /// Tries parked envelopes again.
    pub async fn recover(&self, request: RecoverRequest) -> Result<Page, Error> {
        let opener = &self.workers()?.recoverer;
        let mut page = Builder::default();
        let mut envelopes = Vec::with_capacity(request.parked.len());
        for parked in request.parked {
            match serde_json::from_slice::<Envelope>(&parked.envelope) {
                Ok(envelope) if !opener.is_hopeless(&envelope)? => {
                    // What one version of the plugin cannot read another may.
                    let envelope = envelope.malformed.as_deref().and_then(Envelope::read).unwrap_or(envelope);
                    envelopes.push(Envelope { deadly_to: None, ..envelope });
                }
                _ => page.add(vec![(0, Outcome::Parked(parked))]),
            }
        }
        envelopes.sort_by_key(|envelope| envelope.seq);
        page.add(opener.open(envelopes).await?);
        Ok(Page { caught_up: true, ..page.finish() })
    }

    /// Ends in order what works ahead: what is being opened at that moment is not to blame for the end.
    pub async fn close(&self) {
        drop(self.pipeline.lock().await.take());
        if let Some(workers) = &self.workers {
            workers.puller.rest().await;
            workers.recoverer.rest().await;
        }
    }

    /// How many of these fit into one page; at least one. The archive numbers the messages of a page first, then what it
    /// parks: so that both keep their places in the order, nothing readable follows what is parked.
    fn fit(outcomes: &[(u64, Outcome)]) -> usize {
        let (mut bytes, mut parks) = (0, false);
        let is_over = |(_, outcome): &(u64, Outcome)| {
            bytes += outcome.size();
            let is_parked = matches!(outcome, Outcome::Parked(_));
            let ends = parks && !is_parked;
            parks |= is_parked;
            ends || bytes > MAX_PAGE_BYTES
        };
        outcomes.iter().position(is_over).unwrap_or(outcomes.len()).max(1)
    }

    fn start(workers: &Workers, after: u64, limit: u32) -> Pipeline {
        Pipeline::start(Arc::clone(&workers.fetcher), Arc::clone(&workers.puller), after, limit)
    }

    fn workers(&self) -> Result<&Workers, Error> {
        match &self.workers {
            Some(workers) => Ok(workers),
            None => Err(self.corp.library().err().unwrap_or_else(|| Error::internal("the archive did not start"))),
        }
    }

    fn gap(cursor: Cursor, contact: Option<Micros>, outcomes: &[(u64, Outcome)], now: Micros) -> Option<Notice> {
        let (first_seq, _) = outcomes.first()?;
        let first_time = outcomes.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Entry(entry) => entry.sent_at,
            Outcome::Parked(_) => None,
        });
        gap::notice(cursor, contact, *first_seq, first_time.unwrap_or_default(), now)
    }
}
