//! The messages that are stored but not indexed yet, kept ready to be looked through.
//!
//! Each row is read from the archive once and folded once, not once per search: a search only fetches what was committed
//! since the last one, and drops what has been indexed since.
//!
//! # The bound
//!
//! The tailer commits about once a second, so what waits is what arrived in that time and during a commit; at the ingest
//! rates this archive is built for (tens of thousands of messages a second) a little more than one batch. Looking through
//! [`MAX_ROWS`] rows takes single milliseconds and [`MAX_BYTES`] of memory at most, which is what a search may cost. When
//! more waits than that, an archive is being filled for the first time or a backlog worked off: the search then waits a
//! moment for the tailer, and says [`Behind`](crate::SearchError::Behind) rather than answer with less than there is.

use crate::fold::fold;
use crate::index::IndexQuery;
use crate::rank::{Rank, Top, rank};
use std::collections::VecDeque;
use std::sync::Arc;
use stele_archive::{Feed, FeedRow, Result, Rev};
use tokio::sync::Mutex;

/// Most messages that are looked through without an index.
pub(crate) const MAX_ROWS: usize = 50_000;

/// Most bytes of folded text that are kept for it.
pub(crate) const MAX_BYTES: usize = 32 << 20;

/// Rows fetched at once.
const PAGE_ROWS: u32 = 4_096;

/// A message that is not indexed yet; its text is folded.
#[derive(Debug)]
pub(crate) struct Waiting(FeedRow);

/// Messages after a watermark, up to the end of the archive.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything after this revision...
    from: Rev,
    /// ...up to this one is here.
    upto: Rev,
    rows: VecDeque<Arc<Waiting>>,
    bytes: usize,
}

impl State {
    fn restart(&mut self, from: Rev) {
        *self = Self { from, upto: from, ..Self::default() };
    }

    fn drop_indexed(&mut self, watermark: Rev) {
        // An index that was replaced by an emptier one, or one that is ahead of what was read here.
        if watermark < self.from || watermark >= self.upto {
            self.restart(watermark);
        }
        while let Some(row) = self.rows.pop_front_if(|row| row.0.rev <= watermark) {
            self.bytes -= row.0.text.len();
        }
        self.from = watermark;
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }
}

/// What waits to be indexed.
pub(crate) enum Backlog {
    /// All of it.
    Rows(Vec<Arc<Waiting>>),
    /// More than may be looked through; at least this many.
    TooMany(u64),
}

impl Overlay {
    /// All messages after `watermark` that were committed when this was called.
    pub async fn after<F: Feed + ?Sized>(&self, feed: &F, watermark: Rev) -> Result<Backlog> {
        let mut state = self.state.lock().await;
        state.drop_indexed(watermark);
        let mut fetched = 0;
        while !state.is_full() && fetched < MAX_ROWS {
            let page = feed.feed(state.upto, PAGE_ROWS).await?;
            let read = page.len();
            fetched += read;
            if let Some(last) = page.last() {
                state.upto = last.rev;
            }
            for mut row in page {
                row.text = fold(&row.text);
                state.bytes += row.text.len();
                state.rows.push_back(Arc::new(Waiting(row)));
            }
            if read < PAGE_ROWS as usize {
                return Ok(Backlog::Rows(state.rows.iter().cloned().collect()));
            }
        }
        Ok(Backlog::TooMany(state.rows.len().max(fetched) as u64))
    }
}

/// The hits among rows after `watermark` that are beyond the place asked for, in order, and the number of all.
pub(crate) fn hits(rows: &[Arc<Waiting>], query: &IndexQuery, watermark: Rev) -> (Vec<Rank>, u64) {
    let mut top = Top::new(query.sort, query.beyond, rows.len());
    for Waiting(row) in rows.iter().map(|row| &**row) {
        if row.rev > watermark && query.admits(row) && row.text.contains(&query.phrase) {
            top.count(1);
            top.keep(rank(query.sort, &row.text, &query.phrase, row.sent_at, row.id));
        }
    }
    top.finish()
}
