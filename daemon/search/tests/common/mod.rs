//! What the tests of this crate share. Not every one of them uses all of it.
#![allow(dead_code)]

pub mod engine;
pub mod meili;
pub mod standin;

use async_trait::async_trait;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stele_archive::{ConversationId, DayCount, FeedRow, InstanceId, PersonId, Rev, StoredMessage};
use stele_search::contract::{MemoryArchive, expected};
use stele_search::fold::fold;
use stele_search::{
    EmbeddedIndex, EmbeddedOptions, IndexError, IndexHealth, IndexPage, IndexQuery, Rebuild, SearchIndex, SearchPage,
    SearchRequest, Tailer, TailerOptions, Watermark, Wished, Within,
};
use tokio::sync::watch;

/// Longest a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn message(text: &str, sent_at: i64) -> StoredMessage {
    StoredMessage {
        instance: InstanceId(1),
        conversation: ConversationId(1),
        sender: Some(PersonId(1)),
        kind: "text".into(),
        sent_at,
        text: text.into(),
        ..StoredMessage::default()
    }
}

/// Adds texts, one second apart.
pub fn add(archive: &MemoryArchive, texts: &[&str]) {
    for text in texts {
        let at = archive.rows().len() as i64 * 1_000_000;
        archive.add(message(text, at));
    }
}

pub fn request(text: &str) -> SearchRequest {
    SearchRequest { text: text.into(), limit: 100, ..SearchRequest::default() }
}

pub fn within(instance: i64, conversation: i64) -> Within {
    Within { id: ConversationId(conversation), instance: InstanceId(instance), native_id: conversation.to_string() }
}

pub fn ids(page: &SearchPage) -> Vec<i64> {
    page.rows.iter().map(|hit| hit.message.id.0).collect()
}

/// Ids and total a scan of the archive gives.
pub fn scan(archive: &MemoryArchive, request: &SearchRequest) -> (Vec<i64>, u64) {
    let page = expected(
        &archive.rows(),
        &IndexQuery {
            phrase: fold(&request.text),
            instances: request.instances.clone(),
            conversation: request.conversation.as_ref().map(|conversation| conversation.id),
            sender: request.sender,
            kinds: request.kinds.clone(),
            except_kinds: request.except_kinds.clone(),
            labels: request.labels.clone(),
            since: request.since,
            until: request.until,
            unexpired_at: request.unexpired_at,
            sort: request.sort,
            beyond: request.beyond,
            offset: request.offset as usize,
            limit: request.limit as usize,
        },
    );
    (page.hits.iter().map(|hit| hit.id.0).collect(), page.total)
}

/// Small batches, so that few messages make several.
pub fn tailer(archive: &Arc<MemoryArchive>, index: &Arc<dyn SearchIndex>) -> Tailer {
    let options = TailerOptions { batch_rows: 7, linger: Duration::ZERO, ..TailerOptions::default() };
    Tailer::new(archive.clone(), index.clone(), options)
}

/// Opens the index, waiting for what the one before left running.
pub async fn open(folder: &Path) -> Arc<dyn SearchIndex> {
    open_with(folder, &EmbeddedOptions::default()).await
}

/// The same, with other options than usual.
pub async fn open_with(folder: &Path, options: &EmbeddedOptions) -> Arc<dyn SearchIndex> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match EmbeddedIndex::open(folder, options.clone()) {
            Ok(index) => return Arc::new(index),
            Err(IndexError::InUse(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(2)).await
            }
            Err(error) => panic!("the index does not open: {error}"),
        }
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Files of the generation in use.
pub fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let number: u64 = std::fs::read_to_string(folder.join("current")).unwrap().trim().parse().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(folder.join(format!("g{number:06}")))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // An engine that runs takes away what its merges have replaced.
        .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0))
        .collect();
    files.sort();
    files
}

/// Names of all generations.
pub fn generations(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('g')).collect()
}

/// An engine that can be switched off, stopped from moving on, and made to lie.
pub struct Moody {
    pub inner: Arc<dyn SearchIndex>,
    /// Does not answer.
    pub down: AtomicBool,
    /// Does not take in.
    pub stuck: AtomicBool,
    /// Begins anew right before the next search.
    pub forgetful: AtomicBool,
    /// Answers every search with the hits of this one.
    pub lie: std::sync::Mutex<Option<IndexQuery>>,
}

impl Moody {
    pub fn new(inner: Arc<dyn SearchIndex>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            down: AtomicBool::default(),
            stuck: AtomicBool::default(),
            forgetful: AtomicBool::default(),
            lie: Default::default(),
        })
    }

    fn mood(&self, switch: &AtomicBool) -> Result<(), IndexError> {
        if switch.load(Ordering::SeqCst) {
            return Err(IndexError::Unavailable("switched off".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl SearchIndex for Moody {
    fn engine(&self) -> &'static str {
        "moody"
    }

    async fn watermark(&self) -> Result<Watermark, IndexError> {
        self.mood(&self.down)?;
        self.inner.watermark().await
    }

    fn progress(&self) -> watch::Receiver<Rev> {
        self.inner.progress()
    }

    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        self.mood(&self.down)?;
        self.mood(&self.stuck)?;
        self.inner.apply(rows, upto).await
    }

    async fn search(&self, query: &IndexQuery) -> Result<IndexPage, IndexError> {
        self.mood(&self.down)?;
        if self.forgetful.swap(false, Ordering::SeqCst) {
            self.inner.clear("it forgot").await?;
        }
        let lie = self.lie.lock().unwrap().clone();
        self.inner.search(lie.as_ref().unwrap_or(query)).await
    }

    async fn day_counts(&self) -> Result<(Rev, Vec<DayCount>), IndexError> {
        self.mood(&self.down)?;
        self.inner.day_counts().await
    }

    async fn clear(&self, reason: &str) -> Result<(), IndexError> {
        self.inner.clear(reason).await
    }

    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, IndexError> {
        self.mood(&self.down)?;
        self.inner.rebuild().await
    }

    async fn verify(&self) -> Result<(), IndexError> {
        self.mood(&self.down)?;
        self.inner.verify().await
    }

    fn condemn(&self, reason: &str) {
        self.inner.condemn(reason);
    }

    async fn wish(&self) -> Result<Option<String>, IndexError> {
        self.inner.wish().await
    }

    async fn wished(&self, life: &str) -> Result<Wished, IndexError> {
        self.inner.wished(life).await
    }

    async fn decline(&self, reason: &str) -> Result<(), IndexError> {
        self.inner.decline(reason).await
    }

    fn health(&self) -> IndexHealth {
        self.inner.health()
    }
}
