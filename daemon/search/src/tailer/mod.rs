//! Keeps an index in step with its archive.
//!
//! # Nothing lost, nothing doubled
//!
//! The only state is the watermark, and the engine stores it together with the documents it covers. Each round starts
//! from the watermark the engine reports: a crash, a restart, a dropped future or a deleted index only mean that some rows
//! are read again. An engine passes over what it has, so no row is in twice.
//!
//! # Still the same archive?
//!
//! The watermark carries a fingerprint of the row it stands at. When the archive does not have that row (it was restored
//! from an older backup, or another one is in its place), nothing in the index can be trusted, and it begins anew. A
//! reconciliation, once after start and then now and again, compares the number of messages per day on both sides, so
//! that an index that silently stopped or lost something does not go unnoticed.
//!
//! # Batches
//!
//! A commit costs some ten milliseconds whatever its size, so a quiet archive is indexed about once a second (searches
//! see newer messages all the same, see [`Searcher`](crate::Searcher)), and a backlog in batches bounded by rows and by
//! bytes; the next batch is read while one is being taken in. What came meanwhile waits for the next round unless it is a
//! backlog itself: under steady traffic a round would else go on for ever, with commit after commit of a few messages each.

mod reconciliation;
mod renewal;

pub use reconciliation::Reconciliation;
pub use renewal::ReindexProgress;

use crate::error::{IndexError, TailError};
use crate::index::{Rebuild, SearchIndex, Watermark};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use stele_archive::{Feed, FeedRow, Rev};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Rows read from the archive at once.
const PAGE_ROWS: u32 = 4_096;

/// Revisions that are a backlog: what came while others were taken in is taken in at once where it is so many.
const BACKLOG: i64 = 16_384;

/// Longest pause after failures in a row.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// First pause after a failure; doubled with every other one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How an archive is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailerOptions {
    /// Messages of a commit at most.
    pub batch_rows: usize,
    /// Bytes of text of a commit, about.
    pub batch_bytes: usize,
    /// How long messages may wait for others to be committed with.
    pub linger: Duration,
    /// How often to look for messages nobody told about: those another daemon committed.
    pub poll: Duration,
    /// How often archive and index are compared.
    pub reconcile: Duration,
}

impl Default for TailerOptions {
    fn default() -> Self {
        Self {
            batch_rows: 100_000,
            batch_bytes: 32 << 20,
            linger: Duration::from_secs(1),
            poll: Duration::from_secs(5),
            reconcile: Duration::from_secs(6 * 3_600),
        }
    }
}

/// How far the index has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TailStatus {
    /// Everything up to this revision is indexed.
    pub watermark: Rev,
    /// Latest revision of the archive when it was last looked at.
    pub last_rev: Rev,
    /// Revisions between the two.
    pub behind: u64,
    /// Messages taken in since start, those without a text included.
    pub taken_in: u64,
    /// Messages a second in the latest round that took some in.
    pub rate: f64,
    /// What the latest round failed with; `None` since one succeeded.
    pub last_error: Option<String>,
    /// Result of the latest reconciliation.
    pub reconciliation: Option<Reconciliation>,
}

/// Follows an archive with an index.
pub struct Tailer {
    feed: Arc<dyn Feed>,
    index: Arc<dyn SearchIndex>,
    options: TailerOptions,
    wake: Notify,
    /// Held while the index in use is written to.
    turn: tokio::sync::Mutex<()>,
    verified: AtomicBool,
    status: Mutex<TailStatus>,
}

impl Tailer {
    /// Follows this archive. Does nothing before it is run.
    pub fn new(archive: Arc<dyn Feed>, index: Arc<dyn SearchIndex>, mut options: TailerOptions) -> Self {
        options.batch_rows = options.batch_rows.max(1);
        options.batch_bytes = options.batch_bytes.max(1);
        Self {
            feed: archive,
            index,
            options,
            wake: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            verified: AtomicBool::new(false),
            status: Mutex::default(),
        }
    }

    /// Something was committed.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// How far it has come.
    pub fn status(&self) -> TailStatus {
        self.lock().clone()
    }

    /// Runs until it is told to stop. Failures are logged, kept in the status, and tried again.
    ///
    /// Stopping drops what is under way: the engine finishes the commit it is in, or forgets it.
    pub async fn run(&self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        let mut pause = FIRST_PAUSE;
        let mut compared: Option<Instant> = None;
        loop {
            match self.attend(&mut compared).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    tracing::warn!(%error, engine = self.index.engine(), "indexing failed, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                    continue;
                }
            }
            self.pause().await;
        }
    }

    /// One look: take in what is new, then whatever else is due.
    async fn attend(&self, compared: &mut Option<Instant>) -> Result<(), TailError> {
        self.catch_up().await?;
        if self.index.health().condemned.is_none() && compared.is_none_or(|at| at.elapsed() >= self.options.reconcile) {
            self.reconcile().await?;
            *compared = Some(Instant::now());
        }
        self.mend().await?;
        match self.index.settle().await {
            Err(IndexError::Corrupt(reason)) => {
                let _turn = self.turn.lock().await;
                self.index.clear(&reason).await?;
                self.wake.notify_one();
            }
            result => result?,
        }
        Ok(())
    }

    /// Waits until there may be something to take in.
    async fn pause(&self) {
        if tokio::time::timeout(self.options.poll, self.wake.notified()).await.is_ok() {
            tokio::time::sleep(self.options.linger).await;
        }
    }

    /// Looks how far the index is that another daemon feeds. A failure is kept in the status.
    pub async fn stand_by(&self) {
        let look = async {
            let (watermark, last_rev) = (self.index.watermark().await?, self.feed.last_rev().await?);
            self.observe(watermark.rev, last_rev);
            Ok::<_, TailError>(())
        };
        let result = look.await;
        self.lock().last_error = result.err().map(|error| error.to_string());
    }

    /// Takes in everything that was committed when this was called.
    pub async fn catch_up(&self) -> Result<(), TailError> {
        let result = self.round().await;
        self.lock().last_error = result.as_ref().err().map(ToString::to_string);
        result
    }

    async fn round(&self) -> Result<(), TailError> {
        let _turn = self.turn.lock().await;
        loop {
            match self.advance().await {
                Err(TailError::Index(IndexError::Corrupt(reason))) => self.index.clear(&reason).await?,
                Ok(missing) if missing >= BACKLOG => {}
                result => return result.map(drop),
            }
        }
    }

    /// Takes in everything that is there; returns how many revisions came meanwhile.
    async fn advance(&self) -> Result<i64, TailError> {
        if !self.verified.load(Ordering::Acquire) {
            self.index.verify().await?;
            self.verified.store(true, Ordering::Release);
        }
        let watermark = self.index.watermark().await?;
        self.same_archive(watermark).await?;
        let began = Instant::now();
        let last_rev = self.feed.last_rev().await?;
        self.observe(watermark.rev, last_rev);
        let sink = Sink::Present(&*self.index);
        let report = |batch: Taken| {
            metrics::counter!("stele_search_indexed_total").increment(batch.rows);
            self.observe(batch.upto, last_rev);
            let mut status = self.lock();
            status.taken_in += batch.rows;
            status.rate = batch.taken_in as f64 / began.elapsed().as_secs_f64().max(1e-6);
        };
        let reached = self.drain(&sink, (watermark.rev, last_rev), report).await?;
        Ok(self.feed.last_rev().await?.0 - reached.0)
    }

    async fn same_archive(&self, watermark: Watermark) -> Result<(), TailError> {
        if watermark.rev == Rev(0) {
            return Ok(());
        }
        let row = self.feed.feed(Rev(watermark.rev.0 - 1), 1).await?.into_iter().next();
        if row.is_some_and(|row| Watermark::at(&row) == watermark) {
            return Ok(());
        }
        Err(IndexError::Corrupt("it was made from another archive".into()).into())
    }

    /// Feeds a sink what comes after a revision, until it has another one or nothing is left; reads ahead by one batch.
    /// Returns the revision reached.
    async fn drain(
        &self,
        sink: &Sink<'_>,
        (after, until): (Rev, Rev),
        taken: impl Fn(Taken) + Send,
    ) -> Result<Rev, TailError> {
        let mut reached = after;
        let mut next = self.read_batch(after).await?;
        let mut taken_in = 0;
        while let Some(upto) = next.last().map(Watermark::at) {
            let batch = std::mem::take(&mut next);
            let rows = batch.len() as u64;
            taken_in += rows;
            let ahead = async { if upto.rev < until { self.read_batch(upto.rev).await } else { Ok(Vec::new()) } };
            let (applied, read) = tokio::join!(sink.apply(batch, upto), ahead);
            applied?;
            next = read?;
            reached = upto.rev;
            taken(Taken { upto: upto.rev, rows, taken_in });
        }
        Ok(reached)
    }

    /// The rows after a revision, at most a batch.
    async fn read_batch(&self, after: Rev) -> Result<Vec<FeedRow>, TailError> {
        let mut rows: Vec<FeedRow> = Vec::new();
        let mut bytes = 0;
        while rows.len() < self.options.batch_rows && bytes < self.options.batch_bytes {
            let wanted = u32::try_from(self.options.batch_rows - rows.len()).unwrap_or(u32::MAX).min(PAGE_ROWS);
            let page = self.feed.feed(rows.last().map_or(after, |row| row.rev), wanted).await?;
            let complete = page.len() < wanted as usize;
            bytes += page.iter().map(|row| row.text.len()).sum::<usize>();
            rows.extend(page);
            if complete {
                break;
            }
        }
        Ok(rows)
    }

    fn observe(&self, watermark: Rev, last_rev: Rev) {
        let mut status = self.lock();
        status.watermark = watermark;
        status.last_rev = last_rev.max(watermark);
        status.behind = u64::try_from(status.last_rev.0 - watermark.0).unwrap_or(0);
        metrics::gauge!("stele_search_watermark").set(watermark.0 as f64);
        metrics::gauge!("stele_search_behind").set(status.behind as f64);
    }

    fn lock(&self) -> MutexGuard<'_, TailStatus> {
        self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A batch is in.
#[derive(Clone, Copy)]
struct Taken {
    upto: Rev,
    /// Its rows.
    rows: u64,
    /// Rows since the beginning, this batch included.
    taken_in: u64,
}

/// Where rows go.
enum Sink<'a> {
    Present(&'a dyn SearchIndex),
    New(&'a dyn Rebuild),
}

impl Sink<'_> {
    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), TailError> {
        match self {
            Self::Present(index) => index.apply(rows, upto).await?,
            Self::New(rebuild) => rebuild.apply(rows, upto).await?,
        }
        Ok(())
    }
}
