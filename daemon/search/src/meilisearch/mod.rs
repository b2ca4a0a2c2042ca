//! The Meilisearch engine: an index on a server that may be shared, may be down, and works off what it is told later.
//!
//! # Exact answers
//!
//! What a text becomes, and why every answer is exact, is argued in [`grams`]; the documents are listed in [`document`].
//! A search is one request in which the server answers at most two questions, one after the other: who must be looked at, if anybody
//! must, and who is a hit without that. The hits that were looked at and those that were not are merged like any other two
//! lists. What must be looked at is bounded ([`asking::MAX_LOOKED_AT`]); beyond that a search is refused, never answered wrong.
//!
//! # Watermark
//!
//! The watermark is a document ([`marks`]) that is sent in the same task as the rows it covers, and a task is one transaction of the
//! server. So documents and watermark cannot come apart. Where rows do not fit into one task, or one of them is
//! refused, some tasks go ahead: a search asks only for rows up to the watermark it reports.
//!
//! What is true is the mark the server was asked for last, and a search relies on one for a second at most. It may go back: another
//! daemon wrote an older one over it, or the server itself was put back to what it was some time ago. So rows that come after more than
//! the index has are not taken in, but read again from where it is. Rows that are sent twice replace themselves.
//!
//! # Several daemons
//!
//! All of them search; whoever has the lease of the index feeds it ([`making`]) and builds one beside it ([`rebuild`]), and no other
//! writes to either. But a lease ends nothing that is on its way: a process may stand still for longer than its lease, and go on where
//! it was. So each *life* of an index has a name of its own, which all its documents have in their ids; which life an index is in
//! a document says that is written when the life begins and never by feeding. What belongs to another life is there without being
//! seen, and takes nothing away. Every search asks for the life it began in: where nothing is found the index is looked at
//! afterwards, and when it is in another life the search starts over.
//!
//! The signs say of which archive the index is, too. That of another one is left alone, and so is one that a newer version made.
//!
//! # Failures
//!
//! Requests end in time and are repeated where that may help ([`http`]). A task that was canceled or forgotten is sent again. One
//! that fails is cut in two, until the message is alone that the server refuses: it is *parked*, named in the log and
//! in the mark, and the others are taken in ([`feeding`]). At most one task waits at the server: one that takes long is waited
//! for, not sent again. While the server is down everything says so, and what was committed meanwhile is taken in afterwards.
//! An index that was found to be wrong, or that somebody wants anew, is [wished](wish) to be replaced.

mod asking;
mod deep;
mod document;
mod feeding;
mod grams;
mod http;
mod known;
mod making;
mod marks;
mod query;
mod rebuild;
mod server;
mod settings;
mod wish;

use crate::error::IndexError;
use crate::fold::fold;
use crate::index::{IndexHealth, IndexPage, IndexQuery, Rebuild, SearchIndex, Watermark, Wished};
use crate::tailer::TailerOptions;
use async_trait::async_trait;
use known::{Known, Notes, silence};
use marks::Owner;
use server::Server;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stele_archive::{DayCount, FeedRow, Rev};
use tokio::sync::{Semaphore, watch};

/// Searches that run at once; others wait for their turn.
const CONCURRENT_SEARCHES: usize = 32;

/// How old what is known of the watermark may be. This often it is looked at when nobody asks, too: other daemons may feed the index.
const FRESH: Duration = Duration::from_secs(1);

/// The same while the server is down.
const DOWN: Duration = Duration::from_secs(5);

/// How long whoever opens the index, or wants to know how far it is, waits for the server; it is asked again afterwards.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the server is, and how it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct MeiliOptions {
    /// Address, such as `http://127.0.0.1:7700`.
    pub url: String,
    /// Key, if one is needed; it is shown nowhere.
    pub key: Option<String>,
    /// Name of the index on the server. Another one, its name with `-new` behind, exists while it is rebuilt.
    pub index: String,
    /// Id of the archive that is indexed.
    pub archive: String,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// An index in the making nothing has happened to for this long is a leftover.
    pub leftover_age: Duration,
}

impl Default for MeiliOptions {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:7700".into(),
            key: None,
            index: "stele".into(),
            archive: String::new(),
            timeout: Duration::from_secs(10),
            leftover_age: Duration::from_secs(1_800),
        }
    }
}

impl fmt::Debug for MeiliOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, key, index, archive, timeout, leftover_age } = self;
        let key = key.as_ref().map(|_| "***");
        f.debug_struct("MeiliOptions")
            .field("url", url)
            .field("key", &key)
            .field("index", index)
            .field("archive", archive)
            .field("timeout", timeout)
            .field("leftover_age", leftover_age)
            .finish()
    }
}

/// The Meilisearch engine. Cheap to clone.
#[derive(Clone)]
pub struct MeiliIndex {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    options: MeiliOptions,
    owner: Owner,
    /// The mark as it was last seen; `None` before the server first answered.
    known: Mutex<Option<Known>>,
    /// How often it was asked for.
    asked: AtomicU64,
    /// When the index was found to be as it must be.
    prepared: Mutex<Option<Instant>>,
    /// Held while it is looked at whether it is; the task that changes its settings, while it is not done.
    preparing: tokio::sync::Mutex<Option<u32>>,
    /// Held while the index in use is written to.
    feeding: tokio::sync::Mutex<feeding::Queue>,
    rebuilding: AtomicBool,
    /// Deletes what a rebuild that was given up has left.
    tidying: Mutex<rebuild::Tidying>,
    notes: Mutex<Notes>,
    progress: watch::Sender<Rev>,
    searches: Semaphore,
}

impl MeiliIndex {
    /// Uses the index on this server; whoever feeds it begins it where there is none. The server may be down:
    /// [`health`](SearchIndex::health) tells.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unavailable`] when the key can be no key.
    pub async fn open(options: MeiliOptions) -> Result<Self, IndexError> {
        let server = Server::new(&options.url, options.key.as_deref(), options.timeout)?;
        let (progress, _) = watch::channel(Rev(0));
        let inner = Arc::new(Inner {
            server,
            owner: Owner::of(&options.archive),
            options,
            known: Mutex::default(),
            asked: AtomicU64::new(0),
            prepared: Mutex::default(),
            preparing: tokio::sync::Mutex::default(),
            feeding: tokio::sync::Mutex::default(),
            rebuilding: AtomicBool::new(false),
            tidying: Mutex::default(),
            notes: Mutex::default(),
            progress,
            searches: Semaphore::new(CONCURRENT_SEARCHES),
        });
        let late = |_| Err(silence());
        let first = tokio::time::timeout(PATIENCE, inner.look()).await.unwrap_or_else(late);
        if let Err(error) = inner.noted(first) {
            tracing::warn!(%error, url = inner.options.url, "the search engine does not answer yet");
        }
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move { tokio::join!(known::keep_looking(weak.clone()), wish::keep_wishing(weak)) });
        Ok(Self { inner })
    }

    /// How a tailer suits it: a task costs 0.4 s whatever its size and something for each word that is in it, however often; and the
    /// documents of a message are some ten times its text.
    pub fn tailer_options() -> TailerOptions {
        TailerOptions { batch_rows: 30_000, batch_bytes: 4 << 20, ..TailerOptions::default() }
    }
}

impl Inner {
    fn uid(&self) -> &str {
        &self.options.index
    }
}

#[async_trait]
impl SearchIndex for MeiliIndex {
    fn engine(&self) -> &'static str {
        "meilisearch"
    }

    async fn watermark(&self) -> Result<Watermark, IndexError> {
        let mark = match self.inner.fresh() {
            Some(mark) => mark,
            // Whether it answers again is tried by somebody who has time.
            None if self.inner.server.is_silent() => return Err(silence()),
            None => {
                let seen = self.inner.look_in_time().await;
                self.inner.noted(seen)?
            }
        };
        Ok(mark.watermark())
    }

    fn progress(&self) -> watch::Receiver<Rev> {
        self.inner.progress.subscribe()
    }

    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        let taken_in = self.inner.take_in(rows, upto).await;
        self.inner.notes().refused = taken_in.as_ref().err().map(ToString::to_string);
        taken_in
    }

    async fn search(&self, query: &IndexQuery) -> Result<IndexPage, IndexError> {
        debug_assert_eq!(fold(&query.phrase), query.phrase);
        if self.inner.server.is_silent() {
            return Err(silence());
        }
        let _permit = self.inner.searches.acquire().await.map_err(IndexError::unavailable)?;
        let found = self.inner.find(query).await;
        self.inner.noted(found)
    }

    async fn day_counts(&self) -> Result<(Rev, Vec<DayCount>), IndexError> {
        let counted = self.inner.count_days().await;
        self.inner.noted(counted)
    }

    async fn clear(&self, reason: &str) -> Result<(), IndexError> {
        tracing::warn!(reason, "the search index begins anew");
        let cleared = self.inner.replace().await;
        self.inner.noted(cleared)
    }

    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, IndexError> {
        let begun = rebuild::begin(self.inner.clone()).await;
        self.inner.noted(begun)
    }

    /// Compares the settings with what they must be. The server keeps no checksums that could be asked for.
    async fn verify(&self) -> Result<(), IndexError> {
        let prepared = match self.inner.prepare().await {
            Ok(()) => self.inner.look().await.map(drop),
            error => error,
        };
        self.inner.noted(prepared)
    }

    async fn settle(&self) -> Result<(), IndexError> {
        self.inner.keep_prepared().await?;
        self.inner.tidy().await
    }

    fn condemn(&self, reason: &str) {
        self.inner.condemn(reason);
    }

    async fn wish(&self) -> Result<Option<String>, IndexError> {
        self.inner.ask_for_another().await.map(Some)
    }

    async fn wished(&self, life: &str) -> Result<Wished, IndexError> {
        self.inner.wished(life).await
    }

    async fn decline(&self, reason: &str) -> Result<(), IndexError> {
        self.inner.decline(reason).await
    }

    fn health(&self) -> IndexHealth {
        let (documents, parked) =
            self.inner.known().as_ref().map_or((0, 0), |known| (known.mark.documents, known.mark.parked.len() as u64));
        let condemned = self.inner.condemned();
        let notes = self.inner.notes();
        IndexHealth {
            problem: notes.unanswered.clone().or_else(|| notes.refused.clone()),
            condemned,
            documents: documents - parked,
            segments: 1,
            parked,
        }
    }
}
