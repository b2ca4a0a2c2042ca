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
//! The watermark is a document ([`Mark`]) that is sent in the same task as the rows it covers, and a task is one transaction of the
//! server. So documents and watermark cannot come apart. Where rows do not fit into one task, or one of them is
//! refused, some tasks go ahead: a search asks only for rows up to the watermark it reports.
//!
//! Each life of an index has its own name in its mark. Every document has the name, and every search asks for it: so what is found was
//! found in the life the search began in. Where nothing is found the mark is looked at afterwards, and when it is another life's the
//! search starts over.
//!
//! What is true is the mark the server was asked for last, and a search relies on one for a second at most. It may go back: another
//! daemon wrote an older one over it, or the server itself was put back to what it was some time ago. So rows that come after more than
//! the index has are not taken in, but read again from where it is. Rows that are sent twice replace themselves.
//!
//! The mark says of which archive the index is. That of another one is left alone, and so is one that a newer version made.
//!
//! # Failures
//!
//! Requests end in time and are repeated where that may help ([`http`]). A task that was canceled or forgotten is sent again. One
//! that fails is cut in two, until the message is alone that the server refuses: it is *parked*, named in the log and
//! in the mark, and the others are taken in ([`feeding`]). At most one task waits at the server: one that takes long is waited
//! for, not sent again. While the server is down everything says so, and what was committed meanwhile is taken in afterwards.

mod asking;
mod deep;
mod document;
mod feeding;
mod grams;
mod http;
mod query;
mod rebuild;
mod server;
mod settings;

use crate::error::IndexError;
use crate::fold::fold;
use crate::index::{IndexHealth, IndexPage, IndexQuery, Rebuild, SearchIndex, Watermark};
use crate::tailer::TailerOptions;
use async_trait::async_trait;
use document::{FORMAT, Mark};
use server::Server;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
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
    /// The mark as it was last seen; `None` before the server first answered.
    known: Mutex<Option<Known>>,
    /// How often it was asked for.
    asked: AtomicU64,
    /// Whether the index was found to be as it must be.
    prepared: AtomicBool,
    /// Held while it is looked at whether it is.
    preparing: tokio::sync::Mutex<()>,
    /// Held while the index in use is written to.
    feeding: tokio::sync::Mutex<feeding::Queue>,
    rebuilding: AtomicBool,
    /// Deletes what a rebuild that was given up has left.
    tidying: Mutex<rebuild::Tidying>,
    notes: Mutex<Notes>,
    progress: watch::Sender<Rev>,
    searches: Semaphore,
}

/// What is known of the index.
struct Known {
    mark: Mark,
    seen: Instant,
    /// The number of the question it answers: an answer that took its time says nothing against one to a later question.
    asked: u64,
}

#[derive(Default)]
struct Notes {
    /// What the latest question failed with.
    unanswered: Option<String>,
    /// What the latest rows failed with.
    refused: Option<String>,
    condemned: Option<String>,
    /// The life that is fed, and how far it was: rows that were read for one do not go into another, nor beyond a gap.
    fed: Option<(String, i64)>,
}

impl MeiliIndex {
    /// Uses the index on this server, and begins it where there is none. The server may be down: then this is done as soon as it is up,
    /// and [`health`](SearchIndex::health) tells.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unavailable`] when the key can be no key.
    pub async fn open(options: MeiliOptions) -> Result<Self, IndexError> {
        let server = Server::new(&options.url, options.key.as_deref(), options.timeout)?;
        let (progress, _) = watch::channel(Rev(0));
        let inner = Arc::new(Inner {
            server,
            options,
            known: Mutex::default(),
            asked: AtomicU64::new(0),
            prepared: AtomicBool::new(false),
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
        tokio::spawn(keep_looking(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// How a tailer suits it: a task costs 0.4 s whatever its size and something for each word that is in it, however often; and the
    /// documents of a message are some ten times its text.
    pub fn tailer_options() -> TailerOptions {
        TailerOptions { batch_rows: 30_000, batch_bytes: 4 << 20, ..TailerOptions::default() }
    }
}

fn silence() -> IndexError {
    IndexError::unavailable("the server does not answer")
}

/// Looks at the watermark now and then: somebody may wait for it to move, and another daemon may move it.
async fn keep_looking(index: Weak<Inner>) {
    let mut pause = FRESH;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = index.upgrade() else { return };
        pause = FRESH;
        if inner.fresh().is_none() || inner.server.is_silent() {
            let seen = inner.look().await;
            pause = if inner.noted(seen).is_ok() { FRESH } else { DOWN };
        }
    }
}

impl Inner {
    fn uid(&self) -> &str {
        &self.options.index
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is known, if it was seen just now.
    fn fresh(&self) -> Option<Mark> {
        self.known().as_ref().filter(|known| known.seen.elapsed() < FRESH).map(|known| known.mark.clone())
    }

    /// The number of a question after the mark that is about to be asked.
    fn ask_anew(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps what was seen in answer to a question; returns what is known now.
    fn see(&self, mark: Mark, asked: u64) -> Mark {
        let mut known = self.known();
        let seen = Instant::now();
        let now = match known.take() {
            Some(later) if later.asked > asked => Known { seen, ..later },
            _ => Known { mark, seen, asked },
        };
        let mark = now.mark.clone();
        *known = Some(now);
        drop(known);
        self.notes().fed.get_or_insert_with(|| (mark.life.clone(), mark.at));
        let rev = Rev(mark.at);
        self.progress.send_if_modified(|seen| std::mem::replace(seen, rev) != rev);
        mark
    }

    /// Whether it is the mark of our archive, and one that may be replaced.
    fn is_ours(&self, mark: &Mark) -> Result<(), IndexError> {
        if !mark.archive.is_empty() && mark.archive != self.options.archive {
            return Err(IndexError::unavailable(format!(
                "the index {:?} of the server belongs to another archive: choose another name, or delete it there",
                self.uid()
            )));
        }
        Ok(())
    }

    /// Whether it is the mark of an index that can be used.
    fn is_fit(&self, mark: &Mark) -> Result<(), IndexError> {
        self.is_ours(mark)?;
        match mark.format {
            FORMAT => Ok(()),
            format => Err(IndexError::Corrupt(format!("its format is {format}, not {FORMAT}"))),
        }
    }

    /// Another index has taken the place of the one before.
    fn install(&self, mark: Mark) {
        *self.notes() = Notes::default();
        self.see(mark, self.ask_anew());
        self.prepared.store(true, Ordering::Release);
    }

    /// Forgets what is known, so that it is looked at again.
    fn forget(&self) {
        self.prepared.store(false, Ordering::Release);
        *self.known() = None;
    }

    /// Asks the server how far the index is; begins it where there is none.
    async fn look(&self) -> Result<Mark, IndexError> {
        let asked = self.ask_anew();
        let mark = match self.prepared.load(Ordering::Acquire) {
            true => self.server.mark(self.uid()).await?,
            false => None,
        };
        let mark = match mark {
            Some(mark) => mark,
            None => self.prepare().await?,
        };
        self.is_fit(&mark)?;
        Ok(self.see(mark, asked))
    }

    /// The same for somebody who waits for the answer. What must be made first may take the server longer.
    async fn look_in_time(&self) -> Result<Mark, IndexError> {
        if !self.prepared.load(Ordering::Acquire) {
            return self.look().await;
        }
        tokio::time::timeout(PATIENCE, self.look()).await.unwrap_or_else(|_| {
            self.server.fell_silent();
            Err(silence())
        })
    }

    /// Makes the index what it must be, whatever there is.
    async fn prepare(&self) -> Result<Mark, IndexError> {
        let _one_at_a_time = self.preparing.lock().await;
        let uid = self.uid();
        let present = self.server.settings(uid).await?;
        let mark = if present.is_some() { self.server.mark(uid).await? } else { None };
        let mark = match (present, mark) {
            (_, Some(mark)) if self.is_fit(&mark).is_err() => return Ok(mark),
            (_, Some(mark)) => {
                self.server.prepare(uid).await?;
                mark
            }
            (None, None) => {
                self.server.prepare(uid).await?;
                self.begin(uid).await?
            }
            (Some(settings), None) => {
                let is_empty = self.server.documents(uid).await? == 0;
                if !is_empty && settings["searchableAttributes"] != settings::wanted()["searchableAttributes"] {
                    return Err(IndexError::unavailable(format!(
                        "the index {uid:?} of the server belongs to somebody else: choose another name"
                    )));
                }
                if is_empty {
                    self.server.prepare(uid).await?;
                    self.begin(uid).await?
                } else {
                    self.replaced().await?
                }
            }
        };
        // A key that may not use it would be found out when the index must be built anew, and cannot be.
        let new = self.new_uid();
        self.server.idle(&new).await.map_err(|error| {
            IndexError::unavailable(format!(
                "the index {new:?}, which is there during a rebuild, cannot be used: {error}"
            ))
        })?;
        self.prepared.store(true, Ordering::Release);
        Ok(mark)
    }

    /// Gives an empty index its mark.
    async fn begin(&self, uid: &str) -> Result<Mark, IndexError> {
        let mark = Mark::begin(self.options.archive.clone(), new_life());
        feeding::Feeding { server: &self.server, uid, queue: &mut feeding::Queue::default() }
            .take_in(Vec::new(), mark)
            .await
    }

    /// Remembers what went wrong with a question, or that nothing did.
    fn noted<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        match &result {
            Ok(_) => self.notes().unanswered = None,
            Err(IndexError::Rebuilding | IndexError::TooMany(_)) => {}
            Err(error) => self.notes().unanswered = Some(error.to_string()),
        }
        result
    }

    /// What is known of the index, or what it is when nothing is.
    async fn present(&self) -> Result<Mark, IndexError> {
        let known = self.known().as_ref().map(|known| known.mark.clone());
        match known {
            Some(mark) => Ok(mark),
            None => self.look().await,
        }
    }

    async fn take_in(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        let mut queue = self.feeding.lock().await;
        let present = self.look().await?;
        let before = self.notes().fed.replace((present.life.clone(), present.at));
        match before {
            Some((life, _)) if life != present.life => {
                return Err(IndexError::unavailable("the index began anew: its watermark is another one"));
            }
            Some((_, at)) if at > present.at => {
                return Err(IndexError::unavailable(format!(
                    "the index went back from revision {at} to {}: what it lacks is taken in again",
                    present.at
                )));
            }
            _ => {}
        }
        if upto.rev.0 <= present.at {
            return Ok(());
        }
        let rows: Vec<FeedRow> = rows.into_iter().filter(|row| row.rev.0 > present.at).collect();
        let mark = present.moved(upto, rows.len() as u64);
        let mark =
            feeding::Feeding { server: &self.server, uid: self.uid(), queue: &mut queue }.take_in(rows, mark).await?;
        self.notes().fed = Some((mark.life.clone(), mark.at));
        self.see(mark, self.ask_anew());
        Ok(())
    }
}

/// The name of a life: no two that were begun in different milliseconds have the same.
fn new_life() -> String {
    format!("{:016x}", uuid::Uuid::now_v7().as_u128() >> 64)
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
        self.inner.prepared.store(false, Ordering::Release);
        let seen = self.inner.look().await;
        self.inner.noted(seen).map(drop)
    }

    async fn settle(&self) -> Result<(), IndexError> {
        self.inner.tidy().await
    }

    fn condemn(&self, reason: &str) {
        self.inner.notes().condemned.get_or_insert_with(|| reason.to_owned());
    }

    fn health(&self) -> IndexHealth {
        let (documents, parked) =
            self.inner.known().as_ref().map_or((0, 0), |known| (known.mark.documents, known.mark.parked.len() as u64));
        let notes = self.inner.notes();
        IndexHealth {
            problem: notes.unanswered.clone().or_else(|| notes.refused.clone()),
            condemned: notes.condemned.clone(),
            documents: documents - parked,
            segments: 1,
            parked,
        }
    }
}
