//! A sync run: pull a page, commit it with its cursor, go on until the source has no more.
//!
//! While a page is committed the next one is pulled: its cursor is in the page already. If the commit fails, what was
//! pulled ahead is dropped, and the next run starts from the cursor that is stored.
//!
//! A stop waits for the commit that goes on, never for the source: one that hangs would keep the daemon from ending, and
//! the page that was asked of it is pulled again, from the same cursor.

use super::Source;
use crate::media::FetchError;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::{Archive, ArchiveError, Clock, Commit, Committed, InstanceId, RunReport, Stream};
use stele_plugin_api::model::{Micros, Notice, Page};
use stele_plugin_api::ops::PullRequest;
use stele_plugin_api::{Error, ErrorCode};
use tokio_util::sync::CancellationToken;

/// Attempts at one page within a run; then the run fails and is retried later, with growing pauses.
const PULL_ATTEMPTS: u32 = 5;
/// Pause before the second attempt; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What a run works on.
pub(super) struct Work {
    pub archive: Arc<dyn Archive>,
    pub source: Arc<dyn Source>,
    pub clock: Arc<dyn Clock>,
    pub instance: InstanceId,
    pub name: String,
    pub partition: String,
    pub page_limit: u32,
}

impl Work {
    /// Notes and logs what a page has to say. A page after the other may have the same to say.
    pub fn tell(&self, page: &Page, report: &mut RunReport) {
        for Notice { code, message } in &page.notices {
            if report.note(format!("{code}: {message}")) {
                tracing::warn!(instance = self.name, partition = self.partition, code, "{message}");
            }
        }
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Plugin(#[from] Error),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Media(#[from] FetchError),
}

impl RunError {
    /// A person must act; there is no hurry to try again.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Plugin(error) if error.code == ErrorCode::Denied)
    }

    /// Time the other side asked for.
    pub fn retry_after(&self) -> Option<Micros> {
        match self {
            Self::Plugin(error) => {
                error.retry_after_ms.map(|ms| Micros::try_from(ms).unwrap_or(Micros::MAX / 1000) * 1000)
            }
            Self::Archive(_) | Self::Media(_) => None,
        }
    }
}

/// Runs until caught up, stopped, or failed. `progress` sees the report after every page. Returns whether it caught up.
pub(super) async fn run(
    work: &Work,
    stream: Stream,
    stop: &CancellationToken,
    report: &mut RunReport,
    mut progress: impl FnMut(&RunReport, &Committed) + Send,
) -> Result<bool, RunError> {
    let (mut cursor, last_commit) = match work.archive.cursor(work.instance, &work.partition, stream).await? {
        Some((cursor, at)) => (Some(cursor), Some(at)),
        None => (None, None),
    };
    let first = pull(work, stream, cursor.clone(), last_commit, report);
    let Some(first) = stop.run_until_cancelled(first).await else { return Ok(false) };
    let mut page = first?;
    loop {
        work.tell(&page, report);
        let now = work.clock.now();
        let commit = Commit {
            instance: work.instance,
            partition: &work.partition,
            stream,
            from: cursor.clone(),
            page: &page,
            now,
        };
        let next_cursor = page.cursor.clone().or_else(|| cursor.clone());
        // A page that neither ends the run nor moves the cursor would be pulled for ever.
        let stuck = !page.caught_up && next_cursor == cursor;
        let go_on = !page.caught_up && !stuck;
        let mut ahead = RunReport::default();
        let storing = async {
            let committed = work.archive.commit(commit).await?;
            report.stored += match stream {
                Stream::Messages => committed.stored.len() as u64,
                Stream::Directory => (page.people.len() + page.conversations.len()) as u64,
            };
            report.known += committed.known;
            report.parked += committed.parked;
            report.pages += 1;
            // Told now, not when the next page is here: that may take its time.
            progress(report, &committed);
            Ok::<_, RunError>(())
        };
        let (stored, next) = tokio::join!(storing, async {
            let next = pull(work, stream, next_cursor.clone(), Some(now), &mut ahead);
            if go_on { stop.run_until_cancelled(next).await } else { None }
        });
        report.retries += ahead.retries;
        ahead.notices.into_iter().for_each(|notice| _ = report.note(notice));
        stored?;
        if page.caught_up {
            return Ok(true);
        }
        if stuck {
            return Err(
                Error::new(ErrorCode::Internal, "the plugin returned a page that does not move its cursor").into()
            );
        }
        cursor = next_cursor;
        page = match next {
            Some(next) => next?,
            None => return Ok(false),
        };
    }
}

/// One page, with a few attempts: most faults of a source pass within seconds.
async fn pull(
    work: &Work,
    stream: Stream,
    cursor: Option<Bytes>,
    last_commit: Option<Micros>,
    report: &mut RunReport,
) -> Result<Page, Error> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let request = PullRequest {
            partition: work.partition.clone(),
            cursor: cursor.clone(),
            limit: work.page_limit,
            last_commit,
        };
        match work.source.pull(stream, request).await {
            Ok(page) => return Ok(page),
            Err(error) if attempt == PULL_ATTEMPTS || !error.is_transient() || error.retry_after_ms.is_some() => {
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(instance = work.name, partition = work.partition, attempt, %error, "pull failed, trying again");
                report.retries += 1;
                report.note(format!("attempt {attempt} failed: {error}"));
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    unreachable!("the last attempt returns")
}
