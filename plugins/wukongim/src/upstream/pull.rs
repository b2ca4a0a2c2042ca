//! `sync.pull`: the next page of all channels.
//!
//! The listing says how many messages each channel has, the archive how many of them it has; the differences are read, several
//! channels at a time. A channel that cannot be read while the upstream works stops no other: it is told, passed, and tried
//! again by the next run, since nothing says that it is archived.

use super::Upstream;
use super::client::CallError;
use super::decode;
use super::lists::Listed;
use super::notes::Notes;
use super::reading::{Reading, Step};
use super::streams::{self, MAX_OPEN, Open};
use super::walk::Walk;
use futures::StreamExt;
use futures::stream;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Conversation, Message, Page};
use stele_plugin_api::ops::{ArchiveGet, ByIds, MAX_IDS, PartitionKeys, PartitionReached, PullRequest};
use tokio::time::Instant;

/// Channels that are read at the same time.
pub const AT_ONCE: usize = 8;
/// Time after which a page goes as it is; the daemon gives a plugin two minutes.
const PAGE_TIME: Duration = Duration::from_secs(20);
/// Time for the streams that were open.
const ENDS_TIME: Duration = Duration::from_secs(10);
/// Bytes of messages after which a page goes as it is.
const PAGE_BYTES: usize = 8 << 20;
/// Most bytes of messages in a page of more than one answer. They are in it twice, and a frame has 64 MiB.
const MAX_BYTES: usize = 20 << 20;
/// Messages of a page when the daemon does not say.
const PAGE: usize = 1000;
/// Attempts at a channel.
const ATTEMPTS: u32 = 3;
/// Pause before another attempt at channels of which none could be read.
const PAUSE: Duration = Duration::from_millis(100);

/// A page being put together.
struct Draft {
    page: Page,
    notes: Notes,
    walk: Walk,
    /// Failed attempts at the channels of the walk, in their order.
    failures: Vec<u32>,
    limit: usize,
    bytes: usize,
}

impl Upstream {
    /// The next page.
    ///
    /// # Errors
    ///
    /// `denied` when the upstream refuses the token; `unavailable`, `deadline` when it does not work now.
    pub async fn pull(&self, request: &PullRequest) -> Result<Page, Error> {
        let mut walk = Walk::read(request.cursor.as_ref());
        if !walk.is_of(self.client.version().await?) {
            walk = Walk::default();
        }
        let limit = if request.limit == 0 { PAGE } else { request.limit as usize };
        let mut draft = Draft {
            page: Page::default(),
            notes: Notes::default(),
            failures: vec![0; walk.reading.len()],
            walk,
            limit,
            bytes: 0,
        };
        // What came since the listing of an earlier process is not in its walk: another one follows it.
        let mut is_old = !draft.walk.is_new() && draft.walk.process != self.process;
        if draft.walk.is_new() {
            self.new_walk(&mut draft).await?;
        }
        let begun = draft.walk.clone();
        let until = Instant::now() + PAGE_TIME;
        while !draft.is_full() {
            if draft.walk.is_new() {
                if !is_old {
                    break;
                }
                if self.new_walk(&mut draft).await.is_err() {
                    break;
                }
                is_old = false;
                continue;
            }
            if draft.walk != begun && Instant::now() >= until {
                break;
            }
            let done =
                if draft.walk.reading.is_empty() { self.list(&mut draft).await } else { self.read(&mut draft).await };
            match done {
                Ok(()) => {}
                // What was learned so far is kept.
                Err(_) if draft.walk != begun => break,
                Err(error) => return Err(error),
            }
        }
        let Draft { mut page, notes, walk, .. } = draft;
        // Also where the page is full of the last messages there are: from this cursor the walk would begin anew.
        page.caught_up = walk.is_new() && !is_old;
        page.notices = notes.told();
        page.cursor = Some(walk.write());
        Ok(page)
    }

    /// Begins a walk, with the streams that were open in the one before.
    async fn new_walk(&self, draft: &mut Draft) -> Result<(), Error> {
        let place = self.client.first_place().await?;
        let open = std::mem::take(&mut draft.walk.open);
        draft.walk = Walk { place, reading: Vec::new(), open, process: self.process };
        self.close(draft).await;
        Ok(())
    }

    /// Archives what the open streams said that have ended meanwhile. Those there is no room for are the first of the next walk.
    async fn close(&self, draft: &mut Draft) {
        let (mut rest, until) = (std::mem::take(&mut draft.walk.open), Instant::now() + ENDS_TIME);
        while !rest.is_empty() && !draft.is_full() && Instant::now() < until {
            let room = draft.limit - draft.page.messages.len();
            let some: Vec<_> = rest.drain(..rest.len().min(room).min(AT_ONCE)).collect();
            let found = self.ends(&some).await;
            for (open, found) in some.into_iter().zip(found) {
                let now = (self.clock)();
                match found {
                    Ok(Some(message)) if streams::open_until(&message, now).is_some() => draft.walk.open.push(open),
                    Ok(Some(message)) => draft.end_stream(self.end(&message)),
                    // The upstream has lost it.
                    Ok(None) => {}
                    Err(_) if now < open.until => draft.walk.open.push(open),
                    Err(error) => draft.notes.unread(&open.native, open.seq, &error),
                }
            }
        }
        draft.walk.open.splice(..0, rest);
    }

    /// Takes the channels of the next page of the listing that have something new.
    async fn list(&self, draft: &mut Draft) -> Result<(), Error> {
        let Some(place) = &draft.walk.place else { return Ok(()) };
        let found = self.client.channels(place).await?;
        found.passed.iter().for_each(|(node, reason)| draft.notes.passed(*node, reason));
        let mut seen = BTreeSet::new();
        let wanted = |listed: &Listed| {
            let native = &listed.native;
            !native.id.is_empty() && (self.config.commands || !native.is_command())
        };
        let wanted = found.channels.into_iter().filter(|one| wanted(one) && seen.insert(one.native.clone()));
        let (untyped, listed): (Vec<_>, Vec<_>) = wanted.partition(|one| one.native.channel_type == 0);
        let said = untyped.iter().filter(|one| one.last != Some(0));
        said.for_each(|one| draft.notes.untyped(&one.native));
        let keys: Vec<_> = listed.iter().map(|listed| listed.native.key()).collect();
        let mut reading = Vec::new();
        for (listed, keys) in listed.chunks(MAX_IDS).zip(keys.chunks(MAX_IDS)) {
            let archived = self.reached(keys.to_vec()).await?;
            for (listed, seq) in listed.iter().zip(archived).filter(|(listed, seq)| listed.last != Some(*seq)) {
                match listed.last {
                    // The node that leads it may be away.
                    Some(0) => draft.notes.fewer(&listed.native, (0, seq)),
                    last => reading.push(Reading::new(listed.native.clone(), seq, last)),
                }
            }
        }
        draft.failures = vec![0; reading.len()];
        (draft.walk.place, draft.walk.reading) = (found.next, reading);
        Ok(())
    }

    /// Up to which numbers these channels are archived.
    pub(super) async fn reached(&self, partitions: Vec<String>) -> Result<Vec<i64>, Error> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.host.call_within::<PartitionReached>(PartitionKeys { partitions }, crate::CALL).await?.seqs)
    }

    /// Reads some of the channels of the walk, one answer of each.
    async fn read(&self, draft: &mut Draft) -> Result<(), Error> {
        let room = draft.limit.saturating_sub(draft.page.messages.len()).max(1);
        let count = draft.walk.reading.len().min(AT_ONCE).min(room);
        let steps = stream::iter(draft.walk.reading[..count].to_vec()).map(|mut reading| async move {
            let step = reading.step(&self.client, room / count, (self.clock)()).await;
            (step, reading)
        });
        // In their places, so that a page is the same whichever answer comes first.
        let steps: Vec<_> = steps.buffered(AT_ONCE).collect().await;
        let works = steps.iter().any(|(step, _)| step.is_ok());
        // A single channel may be refused by itself: by the node that leads it, or by what stands in front of that.
        if !works || steps.iter().any(|(step, _)| step.as_ref().is_err_and(CallError::is_denied)) {
            match self.client.works().await {
                Err(error) if !works || error.is_denied() => return Err(error.into()),
                _ => {}
            }
        }
        let proofs = steps.iter().filter_map(|(step, _)| step.as_ref().ok()?.proof.clone());
        let unknown = self.unknown(proofs.collect()).await?;
        for (place, (step, reading)) in steps.into_iter().enumerate().rev() {
            match step {
                Ok(Step { proof: Some(id), .. }) if unknown.contains(&id) => {
                    draft.notes.reset(&reading.native);
                    draft.failures[place] = 0;
                    draft.walk.reading[place] = reading.again();
                }
                Ok(step) => draft.take(place, reading, step),
                Err(error) => {
                    draft.failures[place] += 1;
                    // It may ask for less the next time.
                    draft.walk.reading[place].each = reading.each;
                    if draft.failures[place] == ATTEMPTS {
                        draft.notes.unreadable(&reading.native, &error);
                        draft.remove(place);
                    }
                }
            }
        }
        if !works {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Which of these messages are not archived.
    pub(super) async fn unknown(&self, native_ids: Vec<String>) -> Result<HashSet<String>, Error> {
        let mut unknown: HashSet<_> = native_ids.iter().cloned().collect();
        if !unknown.is_empty() {
            let known = self.host.call_within::<ArchiveGet>(ByIds { native_ids }, crate::CALL).await?;
            known.rows.iter().for_each(|row| _ = unknown.remove(&row.native_id));
        }
        Ok(unknown)
    }
}

impl Draft {
    fn is_full(&self) -> bool {
        self.page.messages.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn remove(&mut self, place: usize) {
        self.walk.reading.remove(place);
        self.failures.remove(place);
    }

    /// Puts the end of a stream into the page.
    fn end_stream(&mut self, end: Option<(Conversation, Message)>) {
        let Some((conversation, end)) = end else { return };
        self.bytes += end.body.len();
        if !self.page.conversations.contains(&conversation) {
            self.page.conversations.push(conversation);
        }
        self.page.messages.push(end);
    }

    /// Puts what a channel's answer brought into the page, unless that is too much: then it is asked for again.
    fn take(&mut self, place: usize, reading: Reading, step: Step) {
        let bytes: usize = step.messages.iter().map(|message| message.body.len()).sum();
        if self.bytes > 0 && self.bytes + bytes > MAX_BYTES {
            return;
        }
        self.bytes += bytes;
        step.holes.iter().for_each(|hole| self.notes.hole(&reading.native, *hole));
        self.notes.malformed(&reading.native, step.malformed);
        if !step.messages.is_empty() {
            let conversation = decode::conversation(&reading.native);
            if !self.page.conversations.contains(&conversation) {
                self.page.conversations.push(conversation);
            }
        }
        if let Some(last) = reading.last.filter(|last| step.done && *last > reading.from) {
            self.notes.short(&reading.native, (reading.from + 1, last));
        }
        if step.done && reading.from < reading.archived {
            self.notes.fewer(&reading.native, (reading.from, reading.archived));
        }
        for (seq, until) in step.open {
            let open = Open { native: reading.native.clone(), seq, until };
            if self.walk.open.len() >= MAX_OPEN {
                self.notes.stream(&open.native, seq);
            } else if !self.walk.open.contains(&open) {
                self.walk.open.push(open);
            }
        }
        self.page.messages.extend(step.messages);
        if let Some(reached) = step.reached {
            self.page.reached.retain(|known| known.partition != reached.partition);
            self.page.reached.push(reached);
        }
        if step.done {
            self.remove(place);
        } else {
            self.failures[place] = 0;
            self.walk.reading[place] = reading;
        }
    }
}
