//! The job that fetches files: bounded in parallel, resumed at chunk boundaries, retried with growing pauses, and parked
//! with the error when the source no longer has the file. One bad file stops nothing.

use super::{Draft, MediaStore};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::model::Micros;
use stele_archive::{Archive, ArchiveError, Blob, Clock, InstanceId, MediaTask, NextAttempt, RunReport};
use stele_plugin_api::ops::{MediaChunk, MediaRequest};
use stele_plugin_api::{Error, ErrorCode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks read from the catalog at a time.
const BATCH: u32 = 256;
/// Times one attempt goes on after a broken stream, each from the last whole chunk.
const MAX_RESUMES: u32 = 3;
/// Pause before the second attempt; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Micros = 10_000_000;
/// Longest pause between attempts.
const MAX_PAUSE: Micros = 3_600_000_000;
/// Pause after the source refused us: a person must act, so there is no hurry.
const DENIED_PAUSE: Micros = 900_000_000;

/// Where files come from.
#[async_trait]
pub trait MediaSource: Send + Sync {
    /// Begin to stream a file.
    async fn open(&self, request: MediaRequest) -> Result<Box<dyn MediaStream>, Error>;
}

/// A file as it comes.
#[async_trait]
pub trait MediaStream: Send {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Option<Result<(MediaChunk, Bytes), Error>>;
}

/// Bounds of the job.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// Files fetched at the same time.
    pub concurrency: usize,
    /// Largest file in bytes; a larger one is parked.
    pub max_bytes: u64,
    /// Failed attempts after which a file without a deadline is parked; one with a deadline is tried until then.
    pub attempts: u32,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { concurrency: 2, max_bytes: 1 << 30, attempts: 8 }
    }
}

/// Fetches the files of one instance.
pub struct Fetcher {
    /// The archive.
    pub archive: Arc<dyn Archive>,
    /// Where contents go.
    pub store: MediaStore,
    /// Where they come from.
    pub source: Arc<dyn MediaSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The instance.
    pub instance: InstanceId,
    /// Bounds.
    pub options: FetchOptions,
}

/// What ends the job before its files do. No file is to blame, so none of them has spent an attempt.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The archive does not answer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Files cannot be written: the disk is full, the folder is not ours, or the store of files does not answer.
    #[error("files cannot be written: {0}")]
    Store(std::io::Error),
}

/// Why a file is not here.
enum Fault {
    Source(Error),
    Store(std::io::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

/// What became of one file.
enum Fetched {
    /// With what is wrong with it.
    Stored(Option<String>),
    /// It is due again later.
    Retry(String),
    /// It is given up.
    Parked(String),
}

impl Fetcher {
    /// Fetches every file that is due, until none is or `stop` says so. `progress` hears of every file.
    pub async fn run(
        self: Arc<Self>,
        stop: &CancellationToken,
        report: &mut RunReport,
        mut progress: impl FnMut(&RunReport) + Send,
    ) -> Result<(), FetchError> {
        loop {
            let due = self.archive.media_due(self.instance, self.clock.now(), BATCH).await?;
            if due.is_empty() || stop.is_cancelled() {
                return Ok(());
            }
            // Before anything is downloaded that could not be kept.
            let Some(answers) = stop.run_until_cancelled(self.store.upkeep()).await else { return Ok(()) };
            answers.map_err(FetchError::Store)?;
            let slots = Arc::new(Semaphore::new(self.options.concurrency.max(1)));
            let mut running = JoinSet::new();
            for task in due {
                let (fetcher, slots, stop) = (Arc::clone(&self), Arc::clone(&slots), stop.clone());
                running.spawn(async move {
                    let _slot = slots.acquire_owned().await.ok()?;
                    stop.run_until_cancelled(fetcher.fetch(&task)).await
                });
            }
            while let Some(ended) = running.join_next().await {
                match ended {
                    Ok(Some(Ok(Fetched::Stored(flaw)))) => {
                        report.stored += 1;
                        flaw.iter().for_each(|flaw| note(report, flaw));
                    }
                    Ok(Some(Ok(Fetched::Retry(reason)))) => {
                        report.retries += 1;
                        note(report, &reason);
                    }
                    Ok(Some(Ok(Fetched::Parked(reason)))) => {
                        report.parked += 1;
                        note(report, &reason);
                    }
                    Ok(Some(Err(error))) => return Err(error),
                    // Stopped: the file stays pending and is due again.
                    Ok(None) => {}
                    Err(panic) => return Err(ArchiveError::Backend(panic.into()).into()),
                }
                progress(report);
            }
            report.pages += 1;
        }
    }

    async fn fetch(&self, task: &MediaTask) -> Result<Fetched, FetchError> {
        if let Some(blob) = self.known(task).await? {
            self.archive.media_stored(task.instance, task.id, &blob, None, self.clock.now()).await?;
            return Ok(Fetched::Stored(None));
        }
        match self.download_checked(task).await {
            Ok((draft, flaw)) => {
                let size = draft.size();
                let blob = draft.keep(&self.store).await.map_err(FetchError::Store)?;
                self.archive.media_stored(task.instance, task.id, &blob, flaw.as_deref(), self.clock.now()).await?;
                metrics::counter!("stele_media_bytes_total").increment(size);
                Ok(Fetched::Stored(flaw.map(|flaw| format!("{} {} stored with a flaw: {flaw}", task.kind, task.id))))
            }
            Err(Fault::Source(error)) => Ok(self.failed(task, &error).await?),
            Err(Fault::Store(error)) => Err(FetchError::Store(error)),
        }
    }

    /// A download whose MD5 is the announced one, or the same wrong one twice: then the announcement is wrong (sources
    /// do that), and the file is kept with that flaw. Two downloads that differ are a broken transfer.
    async fn download_checked(&self, task: &MediaTask) -> Result<(Draft, Option<String>), Fault> {
        let first = self.download(task).await?;
        let Some(flaw) = flaw(task, &first) else { return Ok((first, None)) };
        let again = self.download(task).await?;
        if again.md5() == first.md5() {
            return Ok((again, Some(flaw)));
        }
        match self::flaw(task, &again) {
            None => Ok((again, None)),
            Some(_) => Err(Error::new(ErrorCode::Unavailable, format!("two downloads differ; {flaw}")).into()),
        }
    }

    /// The content, when the announced MD5 is one that is stored, and the announced size its size: sources announce wrong
    /// sums, and of two facts hardly both.
    async fn known(&self, task: &MediaTask) -> Result<Option<Blob>, FetchError> {
        let Some(md5) = task.md5.as_deref().map(str::to_ascii_lowercase) else { return Ok(None) };
        let blob = self.archive.blob(&md5).await?;
        let Some(blob) = blob.filter(|blob| task.size == Some(blob.size)) else { return Ok(None) };
        let found = self.store.find(&md5).await.map_err(FetchError::Store)?;
        Ok(found.filter(|found| found.size == blob.size).map(|_| blob))
    }

    async fn download(&self, task: &MediaTask) -> Result<Draft, Fault> {
        let mut draft = self.store.draft().await.map_err(Fault::Store)?;
        let mut resume = String::new();
        let mut resumes = 0;
        loop {
            let request =
                MediaRequest { partition: task.partition.clone(), handle: task.handle.clone(), resume: resume.clone() };
            let broken = match self.source.open(request).await {
                Ok(mut stream) => loop {
                    match stream.next().await {
                        Some(Ok((chunk, bytes))) => {
                            if draft.size() + bytes.len() as u64 > self.options.max_bytes {
                                let limit = self.options.max_bytes;
                                return Err(
                                    Error::new(ErrorCode::TooLarge, format!("larger than {limit} bytes")).into()
                                );
                            }
                            draft.write(&bytes).await.map_err(Fault::Store)?;
                            resume = chunk.resume;
                            if chunk.last {
                                // To the end, which is on its way: what comes after a stream was dropped comes too late.
                                let _ = stream.next().await;
                                return Ok(draft);
                            }
                        }
                        Some(Err(error)) => break error,
                        None => break Error::new(ErrorCode::Unavailable, "the file ended before its last chunk"),
                    }
                },
                Err(error) => error,
            };
            if !broken.is_transient() || resumes == MAX_RESUMES {
                return Err(broken.into());
            }
            resumes += 1;
            tokio::time::sleep(Duration::from_millis(200 << resumes)).await;
        }
    }

    async fn failed(&self, task: &MediaTask, error: &Error) -> Result<Fetched, ArchiveError> {
        let now = self.clock.now();
        let pause = match error.code {
            ErrorCode::Denied => DENIED_PAUSE,
            _ => (FIRST_PAUSE << task.attempts.min(20)).min(MAX_PAUSE),
        };
        let pause = error.retry_after_ms.map_or(pause, |ms| pause.max(ms as Micros * 1000));
        let is_lost = error.code == ErrorCode::NotFound;
        let hopeless = is_lost || matches!(error.code, ErrorCode::Invalid | ErrorCode::TooLarge);
        let too_late = match task.deadline {
            Some(deadline) => now + pause > deadline && task.attempts > 0,
            None => task.attempts + 1 >= self.options.attempts,
        };
        let next = match hopeless || too_late {
            false => NextAttempt::At(now + pause),
            true if is_lost => NextAttempt::Lost,
            true => NextAttempt::Parked,
        };
        self.archive.media_failed(task.instance, task.id, &error.to_string(), next).await?;
        metrics::counter!("stele_media_failures_total", "code" => error.code.to_string()).increment(1);
        let (kind, id) = (&task.kind, task.id);
        Ok(match next {
            NextAttempt::At(_) => Fetched::Retry(format!("{kind} {id} failed, to be tried again: {error}")),
            NextAttempt::Parked | NextAttempt::Lost => Fetched::Parked(format!("{kind} {id} given up: {error}")),
        })
    }
}

/// Every file keeps its own error besides.
fn note(report: &mut RunReport, notice: &str) {
    if report.note(notice.to_owned()) {
        tracing::warn!("{notice}");
    }
}

/// What is wrong with a content.
fn flaw(task: &MediaTask, draft: &Draft) -> Option<String> {
    let announced = task.md5.as_deref().filter(|announced| !announced.is_empty())?;
    let (md5, size) = (draft.md5(), draft.size());
    if announced.eq_ignore_ascii_case(&md5) {
        return None;
    }
    let expected = task.size.map_or(String::new(), |expected| format!(", {expected} bytes announced"));
    Some(format!("md5 {md5} ({size} bytes) differs from the announced {announced}{expected}"))
}
