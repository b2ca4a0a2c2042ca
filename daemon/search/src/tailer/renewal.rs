//! Building an index anew.

use super::{Reconciliation, Sink, Tailer, Taken};
use crate::error::{IndexError, TailError};
use crate::index::Wished;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stele_archive::Rev;
use tokio_util::sync::CancellationToken;

/// How often to look what has become of a wish.
const LOOK: Duration = Duration::from_millis(500);

/// How long the engine may be away while it is followed.
const AWAY: Duration = Duration::from_secs(60);

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReindexProgress {
    /// Revision that was reached.
    pub rev: Rev,
    /// Revision to reach.
    pub last_rev: Rev,
    /// Messages taken in, those without a text included.
    pub rows: u64,
    /// Whoever feeds the index was asked for it, which may be another daemon.
    pub asked: bool,
}

impl Tailer {
    /// Builds an index anew that was found to be wrong, or that somebody wishes for.
    pub(super) async fn mend(&self) -> Result<(), TailError> {
        let Some(reason) = self.index.health().condemned else { return Ok(()) };
        tracing::warn!(reason, "rebuilding the search index");
        let Err(error) = self.replace().await else { return Ok(()) };
        let why = match &error {
            TailError::Index(IndexError::Unavailable(source)) => source.to_string(),
            other => other.to_string(),
        };
        self.index.decline(&why).await?;
        Err(error)
    }

    /// Builds the index anew, and feeds the present one meanwhile: it still answers.
    async fn replace(&self) -> Result<(), TailError> {
        let done = CancellationToken::new();
        let rebuild = async {
            let result = self.reindex(|_| {}).await;
            done.cancel();
            result
        };
        let feed = done.run_until_cancelled(async {
            loop {
                self.pause().await;
                // What goes wrong here goes wrong again in the next round, and is told there.
                let _ = self.catch_up().await;
            }
        });
        match tokio::join!(rebuild, feed).0 {
            Err(TailError::Index(IndexError::Rebuilding)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Builds the index anew, beside the present one, which answers searches meanwhile and goes on being fed. Reports the
    /// progress after each batch.
    ///
    /// # Errors
    ///
    /// [`IndexError::Rebuilding`] when a rebuild is running already; everything that reading or indexing fails with. The
    /// present index is kept then.
    pub async fn reindex(
        &self,
        progress: impl Fn(ReindexProgress) + Send + Sync,
    ) -> Result<ReindexProgress, TailError> {
        let rebuild = self.index.rebuild().await?;
        let sink = Sink::New(&*rebuild);
        let last_rev = self.feed.last_rev().await?;
        let rows = AtomicU64::new(0);
        let report = |batch: Taken| {
            let rows = rows.fetch_add(batch.rows, Ordering::Relaxed) + batch.rows;
            progress(ReindexProgress { rev: batch.upto, last_rev: last_rev.max(batch.upto), rows, asked: false });
        };
        let reached = self.drain(&sink, (Rev(0), Rev(i64::MAX)), &report).await?;
        // The rest, while nobody moves the present one further.
        let _turn = self.turn.lock().await;
        let rev = self.drain(&sink, (reached, Rev(i64::MAX)), &report).await?;
        let (stored, indexed) = (self.feed.day_counts(rev).await?, rebuild.day_counts().await?);
        let compared = Reconciliation::compare(rev, &stored, &indexed);
        if let Some((day, stored, indexed)) = compared.differences.first() {
            return Err(IndexError::unavailable(format!(
                "the new index has {indexed} of the {stored} messages of day {day}, so it is not used"
            ))
            .into());
        }
        rebuild.finish().await?;
        Ok(ReindexProgress { rev, last_rev: rev, rows: rows.into_inner(), asked: false })
    }

    /// Has the index built anew by whoever feeds it, and returns when that is done: this daemon, or, of an index that several share,
    /// whichever has its turn. That one goes on with it when nobody waits any more.
    ///
    /// # Errors
    ///
    /// As [`reindex`](Self::reindex), and [`IndexError::Unavailable`] when the engine is away for a minute.
    pub async fn have_rebuilt(
        &self,
        progress: impl Fn(ReindexProgress) + Send + Sync,
    ) -> Result<ReindexProgress, TailError> {
        let last_rev = self.feed.last_rev().await?;
        let Some(life) = self.index.wish().await? else { return self.reindex(progress).await };
        self.wake();
        let reached = |rev: Rev, rows| ReindexProgress { rev, last_rev: last_rev.max(rev), rows, asked: true };
        progress(reached(Rev(0), 0));
        let mut heard = Instant::now();
        loop {
            match self.index.wished(&life).await {
                Ok(Wished::Replaced { rev, rows }) if rev >= last_rev => {
                    // Where it was done here, the old one is deleted before this returns.
                    drop(self.turn.lock().await);
                    return Ok(reached(rev, rows));
                }
                Ok(Wished::Building { rev, rows } | Wished::Replaced { rev, rows }) => progress(reached(rev, rows)),
                Ok(Wished::Waiting) => {}
                Ok(Wished::Declined(reason)) => return Err(IndexError::unavailable(reason).into()),
                Err(IndexError::Unavailable(_)) if heard.elapsed() < AWAY => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            heard = Instant::now();
            tokio::time::sleep(LOOK).await;
        }
    }
}
