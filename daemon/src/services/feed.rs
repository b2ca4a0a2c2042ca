//! `archive.feed`: what became readable, for a plugin that follows its instance by itself, and the waiting for it.
//!
//! No commit is missed: whoever waits takes their place in the line of those who are told before they look. At the end of the daemon
//! nobody waits any more.

use super::archive_error;
use crate::bus::Bus;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use stele_archive::{Archive, InstanceId, News, Portion, Rev};
use stele_plugin_api::ops::{FeedQuery, MAX_ROWS};
use stele_plugin_api::{Error, ErrorCode};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest time a feed waits.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Feeds of one instance that wait at the same time: far fewer than the calls a plugin may have under way.
const MAX_WAITING: usize = 16;
/// Texts and bodies of one answer, in bytes; a message that is longer comes alone.
const MAX_BYTES: usize = 8 << 20;
/// How often a feed that waits looks by itself: so late, at most, it tells what another daemon committed of which nobody told this one.
const LOOK: Duration = Duration::from_secs(5);
/// When to come back if too many wait.
const COME_BACK: Duration = Duration::from_secs(1);

/// Whoever is told of commits: the daemon's own parts, and the feeds that wait.
pub struct Commits {
    parts: Box<dyn Fn(Option<InstanceId>) + Send + Sync>,
    others: OnceLock<Bus>,
    lines: Mutex<BTreeMap<InstanceId, Arc<Line>>>,
    stop: CancellationToken,
}

/// The feeds of one instance that wait.
struct Line {
    told: watch::Sender<()>,
    places: Semaphore,
}

impl Commits {
    /// Commits of which `parts` tells the daemon's own parts.
    pub fn new(parts: impl Fn(Option<InstanceId>) + Send + Sync + 'static) -> Self {
        let (others, lines) = (OnceLock::new(), Mutex::default());
        Self { parts: Box::new(parts), others, lines, stop: CancellationToken::new() }
    }

    /// From now on other daemons are told as well.
    pub fn tell_others(&self, bus: Bus) {
        _ = self.others.set(bus);
    }

    /// Something was committed here.
    pub fn tell(&self, instance: InstanceId) {
        self.heard(Some(instance));
        _ = self.others.get().map(|bus| bus.tell(instance));
    }

    /// Something was committed, here or by another daemon; `None`: whose it is nobody knows.
    pub fn heard(&self, instance: Option<InstanceId>) {
        (self.parts)(instance);
        let lines: Vec<Arc<Line>> = {
            let lines = self.lines.lock().expect("no panic happens while the lines are locked");
            let is_meant = |of: &InstanceId| instance.is_none_or(|instance| instance == *of);
            lines.iter().filter(|(of, _)| is_meant(of)).map(|(_, line)| Arc::clone(line)).collect()
        };
        lines.iter().for_each(|line| line.told.send_replace(()));
    }

    /// No feed waits any more.
    pub fn close(&self) {
        self.stop.cancel();
    }

    fn line(&self, instance: InstanceId) -> Arc<Line> {
        let mut lines = self.lines.lock().expect("no panic happens while the lines are locked");
        let line = || Arc::new(Line { told: watch::Sender::new(()), places: Semaphore::new(MAX_WAITING) });
        Arc::clone(lines.entry(instance).or_insert_with(line))
    }
}

/// What became readable after a revision, waited for where there is nothing yet. `unavailable` at the end of the daemon, and
/// `rate_limited` when too many wait.
pub(super) async fn feed(
    archive: &dyn Archive,
    commits: &Commits,
    instance: InstanceId,
    query: &FeedQuery,
) -> Result<News, Error> {
    let Some(after) = query.after else {
        let upto = archive.last_rev().await.map_err(archive_error)?;
        return Ok(News { upto, ..News::default() });
    };
    if query.limit == 0 {
        return Err(Error::new(ErrorCode::Invalid, "a feed has room for one row at least"));
    }
    super::bounded(query.limit as usize, MAX_ROWS as usize, "rows")?;
    let portion = Portion { rows: query.limit, bytes: MAX_BYTES };
    let line = commits.line(instance);
    let mut told = line.told.subscribe();
    let News { messages, mut upto } = look(archive, instance, Rev(after), portion).await?;
    if !messages.is_empty() || query.wait_ms == 0 {
        return Ok(News { messages, upto });
    }
    let deadline = Instant::now() + Duration::from_millis(query.wait_ms).min(MAX_WAIT);
    let _place = line.places.try_acquire().map_err(|_| {
        Error::new(ErrorCode::RateLimited, format!("{MAX_WAITING} feeds wait already")).retry_after(COME_BACK)
    })?;
    loop {
        tokio::select! {
            () = commits.stop.cancelled() => return Err(Error::new(ErrorCode::Unavailable, "the daemon stops")),
            () = tokio::time::sleep_until(deadline) => return Ok(News { upto, ..News::default() }),
            () = tokio::time::sleep(LOOK) => {}
            changed = told.changed() => changed.expect("the line outlives those who wait"),
        }
        let news = look(archive, instance, upto, portion).await?;
        if !news.messages.is_empty() {
            return Ok(news);
        }
        upto = news.upto;
    }
}

/// The first messages after a revision; there are none when there is none up to the latest revision.
async fn look(archive: &dyn Archive, instance: InstanceId, after: Rev, portion: Portion) -> Result<News, Error> {
    let last = archive.last_rev().await.map_err(archive_error)?;
    // A revision that is not there yet is of an archive that was replaced by an older one.
    let mut upto = after.min(last);
    loop {
        let news = archive.news(instance, upto, last, portion).await.map_err(archive_error)?;
        if !news.messages.is_empty() || news.upto >= last {
            return Ok(news);
        }
        upto = news.upto;
    }
}
