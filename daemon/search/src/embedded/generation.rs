//! One tantivy index in its folder, with what is committed and what is seen of it.

use super::EmbeddedOptions;
use super::failure::classify;
use super::schema::{FORMAT, Fields, register_tokenizers};
use super::spans::Spans;
use crate::error::IndexError;
use crate::index::Watermark;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use stele_archive::FeedRow;
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, UserOperation};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, SegmentReader};

/// Documents handed to a worker thread at once. A commit of fewer makes one segment and leaves the other threads alone.
const HAND_OVER_ROWS: usize = 256;

/// Segments up to this size count as one level, in documents: keeps the small commits of a quiet day from piling up.
const SMALL_SEGMENT: u32 = 20_000;

/// Segments of one level that are merged together.
const MERGED_SEGMENTS: usize = 8;

/// Larger segments are left alone, in documents: one merge of them would keep a core busy for minutes.
const LARGE_SEGMENT: usize = 5_000_000;

/// What a search looks at. Documents and watermark are of the same commit.
pub(super) struct View {
    pub searcher: Searcher,
    pub watermark: Watermark,
    /// Those of each segment of the searcher, in its order.
    spans: Vec<Arc<Spans>>,
}

impl View {
    /// What is known of the segments that were seen before is kept.
    fn new(searcher: Searcher, watermark: Watermark, before: Option<&Self>) -> Self {
        let seen: BTreeMap<SegmentId, &Arc<Spans>> =
            before.into_iter().flat_map(Self::segments).map(|(segment, spans)| (segment.segment_id(), spans)).collect();
        let known = |segment: &SegmentReader| seen.get(&segment.segment_id()).copied().cloned().unwrap_or_default();
        let spans = searcher.segment_readers().iter().map(known).collect();
        Self { searcher, watermark, spans }
    }

    /// The segments.
    pub fn segments(&self) -> impl Iterator<Item = (&SegmentReader, &Arc<Spans>)> {
        self.searcher.segment_readers().iter().zip(&self.spans)
    }
}

pub(super) struct Generation {
    pub number: u64,
    pub fields: Fields,
    folder: PathBuf,
    index: Index,
    reader: IndexReader,
    options: EmbeddedOptions,
    /// Opened when something is first taken in; `None` again after a failure.
    writer: Mutex<Option<IndexWriter>>,
    view: Mutex<Arc<View>>,
}

/// What tantivy keeps for us with each commit.
#[derive(serde::Serialize, serde::Deserialize)]
struct Payload {
    format: u64,
    watermark: Watermark,
    /// Documents of the whole index: a list of segments that was tampered with does not add up to it.
    documents: u64,
}

impl Generation {
    /// An empty index in a new folder.
    pub fn create(folder: PathBuf, number: u64, options: &EmbeddedOptions) -> Result<Self, IndexError> {
        std::fs::create_dir_all(&folder).map_err(IndexError::unavailable)?;
        let (schema, _) = Fields::build();
        Index::create_in_dir(&folder, schema).map_err(classify)?;
        Self::open(folder, number, options)
    }

    /// The index in this folder. [`IndexError::Corrupt`] when there is none that can be used.
    pub fn open(folder: PathBuf, number: u64, options: &EmbeddedOptions) -> Result<Self, IndexError> {
        let mut index = Index::open_in_dir(&folder).map_err(classify)?;
        let (schema, fields) = Fields::build();
        if index.schema() != schema {
            return Err(IndexError::Corrupt("its fields are those of another version".into()));
        }
        register_tokenizers(&mut index);
        let payload: Payload = match index.load_metas().map_err(classify)?.payload {
            None => Payload { format: FORMAT, watermark: Watermark::default(), documents: 0 },
            Some(payload) => serde_json::from_str(&payload)
                .map_err(|error| IndexError::Corrupt(format!("its watermark cannot be read: {error}")))?,
        };
        if payload.format != FORMAT {
            return Err(IndexError::Corrupt(format!("its format is {}, not {FORMAT}", payload.format)));
        }
        let reader: IndexReader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(classify)?;
        let searcher = reader.searcher();
        if searcher.num_docs() != payload.documents {
            let (present, documents) = (searcher.num_docs(), payload.documents);
            return Err(IndexError::Corrupt(format!("it has {present} of {documents} documents")));
        }
        let view = Mutex::new(Arc::new(View::new(searcher, payload.watermark, None)));
        let options = options.clone();
        Ok(Self { number, fields, folder, index, reader, options, writer: Mutex::new(None), view })
    }

    pub fn view(&self) -> Arc<View> {
        self.view.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes in rows and watermark in one commit. Blocks.
    ///
    /// The lock is held from the look at the watermark to the new view. So whatever calls this, and however often it feeds
    /// the same rows (a tailer that was dropped half way leaves this running), each row is in exactly once.
    pub fn apply(&self, rows: &[FeedRow], upto: Watermark) -> Result<(), IndexError> {
        let mut slot = self.writer();
        let present = self.view();
        if upto.rev <= present.watermark.rev {
            return Ok(());
        }
        let result = self.commit(&mut slot, rows, &present, upto);
        if result.is_err() {
            // Dropping the writer forgets what was added and not committed; the next call opens a new one.
            *slot = None;
        }
        result
    }

    fn commit(
        &self,
        slot: &mut Option<IndexWriter>,
        rows: &[FeedRow],
        present: &View,
        upto: Watermark,
    ) -> Result<(), IndexError> {
        self.check_folder()?;
        let writer = match slot {
            Some(writer) => writer,
            None => slot.insert(self.open_writer()?),
        };
        let mut documents = present.searcher.num_docs();
        for chunk in rows.chunks(HAND_OVER_ROWS) {
            let additions: Vec<UserOperation> = chunk
                .iter()
                .filter(|row| row.rev > present.watermark.rev)
                .map(|row| UserOperation::Add(self.fields.document(row)))
                .collect();
            documents += additions.len() as u64;
            writer.run(additions).map_err(classify)?;
        }
        let payload =
            serde_json::to_string(&Payload { format: FORMAT, watermark: upto, documents }).expect("plain numbers");
        let mut prepared = writer.prepare_commit().map_err(classify)?;
        prepared.set_payload(&payload);
        prepared.commit().map_err(classify)?;
        self.refresh(upto)
    }

    fn open_writer(&self) -> Result<IndexWriter, IndexError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(self.options.threads)
            .memory_budget_per_thread(self.options.memory_per_thread)
            .num_merge_threads(self.options.merge_threads)
            .build();
        let writer: IndexWriter = self.index.writer_with_options(options).map_err(classify)?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(MERGED_SEGMENTS);
        policy.set_min_layer_size(SMALL_SEGMENT);
        policy.set_max_docs_before_merge(LARGE_SEGMENT);
        writer.set_merge_policy(Box::new(policy));
        Ok(writer)
    }

    /// Somebody may have deleted the folder under us; the open files would go on as if nothing had happened.
    fn check_folder(&self) -> Result<(), IndexError> {
        if self.folder.join("meta.json").is_file() {
            return Ok(());
        }
        Err(IndexError::Corrupt("its folder was deleted".into()))
    }

    fn refresh(&self, watermark: Watermark) -> Result<(), IndexError> {
        self.reader.reload().map_err(classify)?;
        let view = Arc::new(View::new(self.reader.searcher(), watermark, Some(&self.view())));
        *self.view.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = view;
        Ok(())
    }

    /// Sees the result of merges, so that the files they replaced are let go. Blocks.
    pub fn settle(&self) -> Result<(), IndexError> {
        let _no_commit_meanwhile = self.writer();
        self.check_folder()?;
        let view = self.view();
        let seen: BTreeSet<_> = view.searcher.segment_readers().iter().map(|segment| segment.segment_id()).collect();
        let present: BTreeSet<_> = self.index.searchable_segment_ids().map_err(classify)?.into_iter().collect();
        if seen == present { Ok(()) } else { self.refresh(view.watermark) }
    }

    /// Compares every file with its checksum. Blocks for as long as reading them takes.
    pub fn verify(&self) -> Result<(), IndexError> {
        self.check_folder()?;
        let damaged = self.index.validate_checksum().map_err(classify)?;
        match damaged.iter().next() {
            None => Ok(()),
            Some(file) => Err(IndexError::Corrupt(format!("the checksum of {} is wrong", file.display()))),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<IndexWriter>> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            let mut slot = poisoned.into_inner();
            *slot = None;
            slot
        })
    }
}
