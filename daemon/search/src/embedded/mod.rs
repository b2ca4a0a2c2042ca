//! The embedded engine: tantivy, in a folder of its own.
//!
//! # Layout
//!
//! ```text
//! lock           held by the one process that has the index open
//! current        number of the generation in use
//! g000001/       a generation: a tantivy index
//! ```
//!
//! `current` is replaced by renaming, so at any moment exactly one generation is in use. Folders it does not name are
//! rebuilds that were not finished, and are removed when the index is opened.
//!
//! # Watermark
//!
//! tantivy publishes a commit by renaming one file, which also carries a text of ours: the watermark. So documents and
//! watermark cannot come apart, whenever the process dies, and no document needs to be deleted to be replaced.
//!
//! # Damage
//!
//! An index that is missing, of another format or unreadable is replaced by an empty one when it is opened; the tailer
//! then finds the watermark at 0 and fills it again. Damage that shows later (a panic while reading, a vanished folder, a
//! wrong checksum) is reported as [`IndexError::Corrupt`], upon which the tailer calls `clear`.

mod candidates;
mod depth;
mod failure;
mod generation;
mod matches;
mod schema;
mod spans;

use crate::error::IndexError;
use crate::index::{IndexHealth, IndexPage, IndexQuery, Rebuild, SearchIndex, Watermark};
use crate::rank::Top;
use crate::searcher::MAX_WINDOW;
use async_trait::async_trait;
use generation::{Generation, View};
use matches::{Search, values};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use stele_archive::{DayCount, FeedRow, Rev};
use tokio::sync::{Semaphore, watch};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Searches that run at once; others wait for their turn. Each keeps at most twice the ranks of a window and a page.
const CONCURRENT_SEARCHES: usize = 8;

/// How the embedded engine may use the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Threads that index, at least 1.
    pub threads: usize,
    /// Bytes a thread collects before it writes a segment out; 15 million to 4 billion. Used while there is much to take
    /// in, free otherwise.
    pub memory_per_thread: usize,
    /// Threads that merge segments in the background. One leaves the cores to those who wait.
    pub merge_threads: usize,
    /// Hits that a search in an order of time keeps besides its page. What is deeper than that is approached by counting, which costs
    /// time instead of memory.
    pub window: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: cores.min(2), memory_per_thread: 64 << 20, merge_threads: 1, window: MAX_WINDOW as usize }
    }
}

/// The embedded engine. Cheap to clone; the folder is released when the last clone and the last of its tasks is gone.
#[derive(Clone)]
pub struct EmbeddedIndex {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    options: EmbeddedOptions,
    current: Mutex<Arc<Generation>>,
    rebuilding: AtomicBool,
    notes: Mutex<Notes>,
    progress: watch::Sender<Rev>,
    searches: Semaphore,
    /// Held by the process; last, so that it is released after the files are closed.
    _lock: File,
}

#[derive(Default)]
struct Notes {
    problem: Option<String>,
    condemned: Option<String>,
}

impl EmbeddedIndex {
    /// Opens the index in this folder, or begins one. Blocks for milliseconds.
    ///
    /// # Errors
    ///
    /// [`IndexError::InUse`] when another process has it open, [`IndexError::Unavailable`] when the folder cannot be
    /// written.
    pub fn open(folder: impl Into<PathBuf>, options: EmbeddedOptions) -> Result<Self, IndexError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(IndexError::unavailable)?;
        let lock = File::create(folder.join("lock")).map_err(IndexError::unavailable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IndexError::InUse(folder)),
            Err(TryLockError::Error(error)) => return Err(IndexError::unavailable(error)),
        }
        let present = match read_current(&folder) {
            None => Err(IndexError::Corrupt("there is none yet".into())),
            Some(number) => guarded(|| Generation::open(generation_folder(&folder, number), number, &options)),
        };
        let generation = match present {
            Ok(generation) => generation,
            Err(IndexError::Corrupt(reason)) => {
                tracing::info!(folder = %folder.display(), reason, "beginning a new search index");
                let number = next_number(&folder);
                let generation = Generation::create(generation_folder(&folder, number), number, &options)?;
                write_current(&folder, number).map_err(IndexError::unavailable)?;
                generation
            }
            Err(other) => return Err(other),
        };
        remove_others(&folder, generation.number);
        let (progress, _) = watch::channel(generation.view().watermark.rev);
        Ok(Self {
            inner: Arc::new(Inner {
                folder,
                options,
                current: Mutex::new(Arc::new(generation)),
                rebuilding: AtomicBool::new(false),
                notes: Mutex::default(),
                progress,
                searches: Semaphore::new(CONCURRENT_SEARCHES),
                _lock: lock,
            }),
        })
    }

    /// Runs something that blocks. A panic inside is damage: tantivy asserts what it reads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let inner = self.inner.clone();
        let result = tokio::task::spawn_blocking(move || guarded(|| work(&inner)))
            .await
            .unwrap_or_else(|error| Err(IndexError::unavailable(error)));
        let mut notes = self.inner.notes();
        match &result {
            Ok(_) => notes.problem = None,
            Err(IndexError::Rebuilding) => {}
            Err(error) => notes.problem = Some(error.to_string()),
        }
        drop(notes);
        result
    }
}

impl Inner {
    fn current(&self) -> Arc<Generation> {
        self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Another generation takes over. The old folder is removed; searches that still look at it keep its files open.
    fn install(&self, generation: Arc<Generation>) -> Result<(), IndexError> {
        let mut current = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        fs::create_dir_all(&self.folder).map_err(IndexError::unavailable)?;
        write_current(&self.folder, generation.number).map_err(IndexError::unavailable)?;
        let old = std::mem::replace(&mut *current, generation);
        self.progress.send_replace(current.view().watermark.rev);
        *self.notes() = Notes::default();
        remove_folder(old.folder());
        Ok(())
    }

    fn create_next(&self) -> Result<Generation, IndexError> {
        let number = next_number(&self.folder).max(self.current().number + 1);
        Generation::create(generation_folder(&self.folder, number), number, &self.options)
    }
}

#[async_trait]
impl SearchIndex for EmbeddedIndex {
    fn engine(&self) -> &'static str {
        "embedded"
    }

    async fn watermark(&self) -> Result<Watermark, IndexError> {
        Ok(self.inner.current().view().watermark)
    }

    fn progress(&self) -> watch::Receiver<Rev> {
        self.inner.progress.subscribe()
    }

    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        self.blocking(move |inner| {
            let generation = inner.current();
            generation.apply(&rows, upto)?;
            inner.progress.send_replace(inner.current().view().watermark.rev);
            Ok(())
        })
        .await
    }

    async fn search(&self, query: &IndexQuery) -> Result<IndexPage, IndexError> {
        let _permit = self.inner.searches.acquire().await.map_err(IndexError::unavailable)?;
        let mut query = query.clone();
        self.blocking(move |inner| {
            let generation = inner.current();
            let view = generation.view();
            depth::approach(&view, &generation.fields, inner.options.window, &mut query).map_err(failure::classify)?;
            let mut top = Top::new(query.sort, query.beyond, query.window());
            for (segment, spans) in view.segments() {
                let search = Search { segment, fields: &generation.fields, query: &query };
                search.collect(|| spans.of(segment), &mut top).map_err(failure::classify)?;
            }
            let (mut hits, total) = top.finish();
            hits.drain(..query.offset.min(hits.len()));
            Ok(IndexPage { hits, total, watermark: view.watermark.rev })
        })
        .await
    }

    async fn day_counts(&self) -> Result<(Rev, Vec<DayCount>), IndexError> {
        self.blocking(|inner| {
            let view = inner.current().view();
            Ok((view.watermark.rev, days(&view)?))
        })
        .await
    }

    async fn clear(&self, reason: &str) -> Result<(), IndexError> {
        tracing::warn!(reason, "the search index begins anew");
        self.blocking(|inner| inner.install(Arc::new(inner.create_next()?))).await
    }

    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, IndexError> {
        if self.inner.rebuilding.swap(true, Ordering::AcqRel) {
            return Err(IndexError::Rebuilding);
        }
        let busy = Busy(self.inner.clone());
        let generation = self.blocking(|inner| inner.create_next()).await?;
        Ok(Box::new(EmbeddedRebuild { index: self.clone(), generation: Some(Arc::new(generation)), _busy: busy }))
    }

    async fn verify(&self) -> Result<(), IndexError> {
        self.blocking(|inner| inner.current().verify()).await
    }

    async fn settle(&self) -> Result<(), IndexError> {
        self.blocking(|inner| inner.current().settle()).await
    }

    fn condemn(&self, reason: &str) {
        self.inner.notes().condemned.get_or_insert_with(|| reason.to_owned());
    }

    fn health(&self) -> IndexHealth {
        let view = self.inner.current().view();
        let notes = self.inner.notes();
        IndexHealth {
            problem: notes.problem.clone(),
            condemned: notes.condemned.clone(),
            documents: view.searcher.num_docs(),
            segments: view.searcher.segment_readers().len() as u64,
            parked: 0,
        }
    }
}

/// Lets the next rebuild begin.
struct Busy(Arc<Inner>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.rebuilding.store(false, Ordering::Release);
    }
}

struct EmbeddedRebuild {
    index: EmbeddedIndex,
    /// Taken when it is finished.
    generation: Option<Arc<Generation>>,
    _busy: Busy,
}

#[async_trait]
impl Rebuild for EmbeddedRebuild {
    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        let generation = self.generation.clone().expect("present until it is finished");
        self.index.blocking(move |_| generation.apply(&rows, upto)).await
    }

    async fn day_counts(&self) -> Result<Vec<DayCount>, IndexError> {
        let generation = self.generation.clone().expect("present until it is finished");
        self.index.blocking(move |_| days(&generation.view())).await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), IndexError> {
        let generation = self.generation.clone().expect("present until it is finished");
        self.index.blocking(move |inner| inner.install(generation)).await?;
        self.generation = None;
        Ok(())
    }
}

impl Drop for EmbeddedRebuild {
    fn drop(&mut self) {
        if let Some(generation) = &self.generation {
            remove_folder(generation.folder());
        }
    }
}

/// Messages with a text per day.
fn days(view: &View) -> Result<Vec<DayCount>, IndexError> {
    let mut days: BTreeMap<i64, u64> = BTreeMap::new();
    for segment in view.searcher.segment_readers() {
        let columns = segment.fast_fields();
        let sent_at = values(columns.i64(schema::SENT_AT).map_err(failure::classify)?, 0);
        let lengths = values(columns.u64(schema::LENGTH).map_err(failure::classify)?, 0);
        for doc in (0..segment.max_doc()).filter(|doc| lengths.get_val(*doc) > 0) {
            *days.entry(sent_at.get_val(doc).div_euclid(DAY)).or_default() += 1;
        }
    }
    Ok(days.into_iter().map(|(day, messages)| DayCount { day, messages }).collect())
}

/// Runs what reads files; a panic is damage.
fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text");
        Err(IndexError::Corrupt(format!("reading it failed: {text}")))
    })
}

fn generation_folder(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("g{number:06}"))
}

fn read_current(folder: &Path) -> Option<u64> {
    fs::read_to_string(folder.join("current")).ok()?.trim().parse().ok()
}

fn write_current(folder: &Path, number: u64) -> std::io::Result<()> {
    let temporary = folder.join("current.new");
    fs::write(&temporary, format!("{number}\n"))?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, folder.join("current"))?;
    File::open(folder)?.sync_all()
}

/// The numbers of all generations there are folders of.
fn numbers(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_prefix('g')?.parse().ok()).collect()
}

fn next_number(folder: &Path) -> u64 {
    numbers(folder).into_iter().max().unwrap_or(0) + 1
}

fn remove_others(folder: &Path, kept: u64) {
    for number in numbers(folder) {
        if number != kept {
            remove_folder(&generation_folder(folder, number));
        }
    }
}

/// What cannot be removed now is removed when the index is next opened.
fn remove_folder(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "an old search index could not be removed");
    }
}
