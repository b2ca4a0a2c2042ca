//! Follows the archive for one event.
//!
//! What became readable is read in the order of revisions, told, and only then passed: the place is kept by the daemon
//! (`state.put`), so that a restart goes on where it was. What was told, but not passed yet, is told again then; receivers know
//! messages by their ids.
//!
//! Of several daemons one follows for an event, as long as it has the [turn](Host::turn); another one goes on where it was.
//!
//! What was sent more than an hour before it came is history, of an upstream, say, and is not told. When a message came nobody
//! knows; but it was after the follower last stood level with the archive. So nothing is taken for history that came in time, however
//! long the receiver kept the follower waiting or the daemon was away.

use super::event::{self, Event};
use super::receiver::Receiver;
use crate::{CALL, Clock};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::Micros;
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{ArchiveFeed, Feed, FeedQuery, MessageView, StateEntry, StateGet, StateKey, StatePut};
use stele_plugin_api::{Error, Host};
use tokio::sync::watch;

/// Time between sending and coming that makes a message history.
const HISTORY: Micros = 3_600_000_000;
/// How long the daemon is asked to wait for something to come.
const WAIT: Duration = Duration::from_secs(30);
/// How old what is kept of the time of standing level may be.
const KEPT: Micros = 600_000_000;
/// Pause after a first failure of the daemon, doubled with every further one, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Messages that are told one by one at the same time.
pub const AT_ONCE: usize = 16;

/// Follows the archive for one event.
pub struct Follower {
    pub host: Host,
    pub clock: Clock,
    pub receiver: Arc<Receiver>,
    pub event: Event,
    /// Most messages taken at once.
    pub count: u32,
    /// How long they are collected.
    pub interval: Duration,
    pub node: u16,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Everything up to this revision was told.
    rev: i64,
    /// When nothing came after it yet.
    level_at: Micros,
}

impl Follower {
    /// Follows for ever, whenever it is its turn. Counts up `begun` once it has a place to begin at, could not get one yet, or it is
    /// the turn of another daemon, which has one.
    pub async fn run(self, begun: watch::Sender<usize>) {
        let mut turn = self.host.turn(self.key());
        let mut beginning = Some(|| begun.send_modify(|begun| *begun += 1));
        let mut begun = || _ = beginning.take().map(|count| count());
        if !matches!(turn.take().await, Ok(true)) {
            begun();
        }
        loop {
            turn.wait().await;
            turn.during(self.follow(&mut begun)).await;
        }
    }

    async fn follow(&self, begun: &mut (impl FnMut() + Send)) {
        let mut beginning = self.begin().await;
        begun();
        let mut pause = PAUSES[0];
        let mut kept = loop {
            match beginning {
                Ok(place) => break place,
                Err(error) => self.rest(&error, &mut pause).await,
            }
            beginning = self.begin().await;
        };
        let (mut place, mut is_collected) = (kept, false);
        loop {
            match self.step(&mut place, &mut kept, &mut is_collected).await {
                Ok(()) => pause = PAUSES[0],
                Err(error) => self.rest(&error, &mut pause).await,
            }
        }
    }

    async fn rest(&self, error: &Error, pause: &mut Duration) {
        let fields = [("event", self.event.name()), ("error", &error.to_string())];
        self.host.log_from("webhook", Level::Warn, "the archive cannot be followed", &fields);
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(PAUSES[1]);
    }

    /// The place it came to, or the latest there is.
    async fn begin(&self) -> Result<Place, Error> {
        let found = self.host.call_within::<StateGet>(StateKey { key: self.key() }, CALL).await?;
        if let Some(place) = found.value.and_then(|value| serde_json::from_slice(&value).ok()) {
            return Ok(place);
        }
        let level_at = (self.clock)();
        let place = Place { rev: self.feed(None, 0, Duration::ZERO).await?.upto, level_at };
        self.keep(place).await?;
        Ok(place)
    }

    /// Tells what comes next, or waits until something does.
    async fn step(&self, place: &mut Place, kept: &mut Place, is_collected: &mut bool) -> Result<(), Error> {
        let asked = (self.clock)();
        let Feed { rows, upto } = self.feed(Some(place.rev), self.count, Duration::ZERO).await?;
        if rows.is_empty() && upto == place.rev {
            place.level_at = asked;
            if place.rev != kept.rev || place.level_at - kept.level_at > KEPT {
                self.keep(*place).await?;
                *kept = *place;
            }
            self.feed(Some(place.rev), 1, WAIT).await?;
            return Ok(());
        }
        let is_full = rows.len() >= self.count as usize;
        if !rows.is_empty() && !is_full && !self.interval.is_zero() && !std::mem::replace(is_collected, true) {
            // Read again, with what comes meanwhile.
            tokio::time::sleep(self.interval).await;
            return Ok(());
        }
        *is_collected = false;
        let oldest = place.level_at - HISTORY;
        let told = rows.into_iter().filter(|row| event::is_told(row) && row.sent_at >= oldest).collect::<Vec<_>>();
        place.rev = upto;
        if !told.is_empty() {
            self.tell(&told).await;
            self.keep(*place).await?;
            *kept = *place;
        }
        Ok(())
    }

    async fn tell(&self, messages: &[MessageView]) {
        match self.event {
            Event::Notify => self.receiver.tell(self.event, messages.len(), event::notify(messages)).await,
            Event::Offline => {
                let tell = |message| self.receiver.tell(self.event, 1, event::offline(message, self.node));
                stream::iter(messages).for_each_concurrent(AT_ONCE, tell).await;
            }
        }
    }

    async fn feed(&self, after: Option<i64>, limit: u32, wait: Duration) -> Result<Feed, Error> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.host.call_within::<ArchiveFeed>(FeedQuery { after, limit, wait_ms }, CALL + wait).await
    }

    async fn keep(&self, place: Place) -> Result<(), Error> {
        let value = serde_json::to_vec(&place).expect("plain values can be written");
        let entry = StateEntry { key: self.key(), value: Some(value.into()) };
        self.host.call_within::<StatePut>(entry, CALL).await.map(drop)
    }

    fn key(&self) -> String {
        format!("webhook/{}", self.event.name())
    }
}
