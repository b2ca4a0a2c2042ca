//! Pages ahead of their pull.
//!
//! Three things take time, and none needs what the others need: WeCom's reply (network), opening envelopes (all cores),
//! the daemon's commit (disk). So they overlap: while the daemon commits a page the next one is being opened, and the one
//! after that fetched. The bounds are one opened and one sealed page; a stage begins when there is room for its result.
//!
//! Nothing depends on it. The daemon's cursor decides: a pull that asks for something else than the page that is ready
//! throws the pipeline away and starts another.

use super::fetcher::Fetcher;
use super::opener::{Opener, Outcome};
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Pages that wait between two stages.
const PAGES_AHEAD: usize = 1;
/// How long a page ahead may wait to be pulled. An older one might say "nothing new" about a time long gone.
const KEEP: Duration = Duration::from_secs(30);

/// A page that is ready.
#[derive(Debug)]
pub struct Ready {
    /// Seq and fate of each envelope, in order; empty when there are no more.
    pub outcomes: Vec<(u64, Outcome)>,
    /// The reply had only what was known.
    pub repeats: bool,
}

/// Work for one corp from one seq on. Dropping it stops the work.
pub struct Pipeline {
    /// Where the next page begins.
    after: u64,
    limit: u32,
    touched: Instant,
    /// What did not go into the page before.
    rest: Option<Ready>,
    pages: mpsc::Receiver<Result<Ready, Error>>,
    _stages: JoinSet<()>,
}

impl Pipeline {
    /// Starts working on what comes after a seq.
    pub fn start(fetcher: Arc<Fetcher>, opener: Arc<Opener>, after: u64, limit: u32) -> Self {
        let (sealed, mut sealed_pages) = mpsc::channel(PAGES_AHEAD);
        let (opened, pages) = mpsc::channel(PAGES_AHEAD);
        let mut stages = JoinSet::new();
        stages.spawn(async move {
            let mut after = after;
            while let Ok(room) = sealed.reserve().await {
                let fetched = fetcher.fetch(after, limit).await;
                let highest = fetched.as_ref().ok().and_then(|fetched| fetched.envelopes.last()).map(|last| last.seq);
                room.send(fetched);
                match highest {
                    Some(highest) => after = highest,
                    // The end, or an error: whoever pulls next starts afresh.
                    None => break,
                }
            }
        });
        stages.spawn(async move {
            while let Ok(room) = opened.reserve().await {
                let Some(fetched) = sealed_pages.recv().await else { break };
                room.send(match fetched {
                    Ok(fetched) => {
                        let repeats = fetched.repeats;
                        opener.open(fetched.envelopes).await.map(|outcomes| Ready { outcomes, repeats })
                    }
                    Err(error) => Err(error),
                });
            }
        });
        Self { after, limit, touched: Instant::now(), rest: None, pages, _stages: stages }
    }

    /// Whether its next page is what this pull asks for.
    pub fn serves(&self, after: u64, limit: u32) -> bool {
        self.after == after && self.limit == limit && self.touched.elapsed() < KEEP
    }

    /// The next page; `None` when it has ended.
    pub async fn next(&mut self) -> Option<Result<Ready, Error>> {
        let page = match self.rest.take() {
            Some(rest) => Ok(rest),
            None => self.pages.recv().await?,
        };
        self.touched = Instant::now();
        if let Ok(Ready { outcomes, .. }) = &page
            && let Some((seq, _)) = outcomes.last()
        {
            self.after = *seq;
        }
        Some(page)
    }

    /// Takes back what did not fit, of the page it gave last; `after` is the last seq that did.
    pub fn put_back(&mut self, after: u64, outcomes: Vec<(u64, Outcome)>) {
        self.after = after;
        self.rest = Some(Ready { outcomes, repeats: false });
    }
}
