//! One conversation being read, an answer after the other.
//!
//! It is read forwards, in the blocks of a hundred in which the upstream keeps it. The first answer begins with the message the
//! archived ones end with: if that is another one, the upstream was wiped or restored, and all is read again, under the new ids.
//! What is missing holds back how far the conversation counts as archived ([`Sightings`](super::sightings::Sightings)). A message of
//! which the upstream, though it has all of it, cannot say at the moment what it was about, is passed and
//! [owed](super::owed::Owed).

use super::Upstream;
use super::client::CallError;
use super::entry::{Entry, State};
use super::notes::{self, Note};
use super::readers;
use super::revokes::Told;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Message, Reached, Revocation};
use tokio::time::Instant;

/// Numbers of an answer: the upstream keeps so many together.
pub const BLOCK: i64 = 100;
/// Time after which a step begins no call that can be made later, and asks all at once whom it has to ask.
pub const STEP_TIME: Duration = Duration::from_secs(15);

/// How far a conversation is read. Part of the cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which conversation, or channel of notices.
    #[serde(rename = "c")]
    pub conversation: String,
    /// As whom it is read.
    #[serde(rename = "r")]
    pub reader: String,
    /// Who else may see it; `None` while nobody was asked for them.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Vec<String>>,
    /// All up to this number is archived, or in pages before.
    #[serde(rename = "f")]
    pub from: i64,
    /// Up to which number it was archived before.
    #[serde(rename = "a")]
    pub archived: i64,
    /// Nothing shows yet that `from` is what is archived.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub unproved: bool,
    /// Its last number, as it was listed.
    #[serde(rename = "l")]
    pub last: i64,
    /// Most numbers of an answer, where they are large; 0 for [`BLOCK`].
    #[serde(rename = "s", default, skip_serializing_if = "is_zero")]
    pub size: i64,
    /// Up to which number nothing was there, from what is archived on.
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    pub empty: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// How many people are asked at once.
pub fn width(until: Instant) -> usize {
    if Instant::now() < until { 1 } else { readers::MOST }
}

/// What an answer brought.
#[derive(Debug, Default)]
pub struct Step {
    /// New messages, in the order of their numbers.
    pub messages: Vec<Message>,
    /// Messages that were taken back.
    pub revocations: Vec<Revocation>,
    /// Messages that are passed though nobody said yet what they said.
    pub owed: Vec<i64>,
    /// What is archived with them.
    pub reached: Option<Reached>,
    /// Nothing is left to read for now.
    pub done: bool,
    /// Whoever it is read as sees nothing of it, nor does anybody else who was asked.
    pub barren: bool,
    /// The upstream has other messages than are archived: the notices are to be read again as well.
    pub reset: bool,
    /// What is odd.
    pub notes: Vec<Note>,
}

impl Step {
    /// Bytes of its messages.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.body.len()).sum()
    }
}

/// Why a conversation was not read.
#[derive(Debug)]
pub enum StepError {
    /// Because of the upstream.
    Upstream(CallError),
    /// Because of the archive.
    Archive(Error),
}

impl From<CallError> for StepError {
    fn from(error: CallError) -> Self {
        Self::Upstream(error)
    }
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Upstream(error) => error.into(),
            StepError::Archive(error) => error,
        }
    }
}

/// What a step may do.
pub struct Terms {
    /// Whether what is missing may be passed.
    pub gaps: Gaps,
    /// Whether what the search does not answer may be passed: it is owed then.
    pub may_owe: bool,
    /// The search did not answer; it is asked nothing more meanwhile.
    pub search_fails: AtomicBool,
    /// When no call is begun any more that can be made later.
    pub until: Instant,
}

/// Whether what is missing may be passed after some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// It may.
    Pass,
    /// It is left to the sync, which tells of it.
    Leave,
}

/// What an answer has, and what that comes to.
struct Found<'a> {
    entries: &'a BTreeMap<i64, Entry>,
    /// Numbers of which nothing is missing.
    there: &'a [i64],
    /// One that is not passed, however long it is missing.
    held: Option<i64>,
}

impl Reading {
    /// A conversation archived up to a number, which ends with another.
    pub fn new(conversation: &str, reader: &str, archived: i64, last: i64) -> Self {
        let is_notices = conversation.starts_with("n_");
        // Notices are not archived, so nothing tells which those were; reading them twice changes nothing.
        let from = if is_notices && last < archived { 0 } else { archived };
        Self {
            conversation: conversation.to_owned(),
            reader: reader.to_owned(),
            others: is_notices.then(Vec::new),
            from,
            archived,
            unproved: !is_notices && archived > 0,
            last,
            size: 0,
            empty: 0,
        }
    }

    /// The same from the beginning: what is there is other than what is archived.
    pub fn again(&self) -> Self {
        Self { from: 0, unproved: false, empty: 0, ..self.clone() }
    }

    /// Whether it is a channel of notices.
    pub fn is_notices(&self) -> bool {
        self.conversation.starts_with("n_")
    }

    /// The last number to ask for, when there is room for so many messages.
    fn end(&self, room: usize) -> i64 {
        let block = (self.from / BLOCK + 1) * BLOCK;
        let size = if self.size == 0 { BLOCK } else { self.size }.min(i64::try_from(room).unwrap_or(BLOCK));
        block.min(self.from + size.max(1)).min(self.last)
    }
}

impl Upstream {
    /// Asks for the next messages, at most so many. What is read for is moved on only where that worked; where so many were too
    /// large for an answer, fewer are asked for the next time.
    pub(super) async fn step(&self, reading: &mut Reading, room: usize, terms: &Terms) -> Result<Step, StepError> {
        let end = reading.end(room);
        let step = self.step_to(reading, end, terms).await;
        if let Err(StepError::Upstream(error)) = &step
            && error.is_too_large()
        {
            reading.size = ((end - reading.from) / 2).max(1);
        }
        step
    }

    async fn step_to(&self, reading: &mut Reading, end: i64, terms: &Terms) -> Result<Step, StepError> {
        let first = reading.from + 1;
        // The last one that is archived, if the upstream is the one it was.
        let known = reading.from.min(reading.last);
        let begin = if reading.unproved { known } else { first };
        let answer = self.client.pull(
            &reading.reader,
            &reading.conversation,
            (begin, end.max(begin)),
            end.max(begin) - begin + 1,
        );
        let mut entries = answer.await?;
        if reading.unproved {
            let proof = entries.get(&known).filter(|entry| entry.state > State::Missing);
            let proof = proof.map(|entry| entry.message(&reading.conversation).native_id);
            if !self.unknown(Vec::from_iter(proof)).await.map_err(StepError::Archive)?.is_empty() {
                let note = notes::reset(&reading.conversation);
                *reading = reading.again();
                return Ok(Step { reset: true, notes: vec![note], ..Step::default() });
            }
            reading.unproved = false;
            entries.remove(&known);
        }
        if reading.last <= reading.from {
            let fewer = notes::fewer(&reading.conversation, reading.last, reading.archived);
            let notes = Vec::from_iter((reading.last < reading.archived).then_some(fewer));
            return Ok(Step { done: true, notes, ..Step::default() });
        }
        self.ask_others(reading, (first, end), &mut entries, terms.until).await?;
        let step = if reading.is_notices() {
            self.heed(reading, end, entries, terms).await?
        } else {
            self.take(reading, end, entries, terms).await?
        };
        if reading.from >= reading.last {
            self.sightings.complete(&reading.conversation);
        }
        Ok(step)
    }

    /// Has others say what the first reader does not see.
    pub(super) async fn ask_others(
        &self,
        reading: &mut Reading,
        (first, end): (i64, i64),
        entries: &mut BTreeMap<i64, Entry>,
        until: Instant,
    ) -> Result<(), StepError> {
        // A number that has no message has none for anybody.
        let hidden = |entries: &BTreeMap<i64, Entry>| {
            let is_hidden = |seq: &i64| entries.get(seq).is_none_or(|entry| entry.state == State::Emptied);
            (first..=end).filter(is_hidden).collect::<Vec<_>>()
        };
        if hidden(entries).is_empty() {
            return Ok(());
        }
        if reading.others.is_none() {
            let mut others = self.readers(&reading.conversation, std::slice::from_ref(&reading.reader)).await?;
            others.retain(|other| *other != reading.reader);
            reading.others = Some(others);
        }
        let others = reading.others.clone().unwrap_or_default();
        let mut at = 0;
        while at < others.len() {
            let hidden_before = hidden(entries);
            let (Some(begin), Some(end_of)) = (hidden_before.first(), hidden_before.last()) else { break };
            let asked = &others[at..others.len().min(at + width(until))];
            let seen = self.pull_as(asked, &reading.conversation, (*begin, *end_of), end_of - begin + 1).await?;
            for (place, seen) in (at..).zip(seen) {
                let hidden_before = hidden(entries);
                for (seq, entry) in seen {
                    if entries.get(&seq).is_none_or(|known| known.state < entry.state) {
                        entries.insert(seq, entry);
                    }
                }
                // Who sees what the first one does not at all is the better one to ask next.
                if hidden(entries).is_empty() && hidden_before.len() as i64 == end - first + 1 {
                    let worse = std::mem::replace(&mut reading.reader, others[place].clone());
                    if let Some(others) = &mut reading.others {
                        others[place] = worse;
                    }
                }
            }
            at += asked.len();
        }
        Ok(())
    }

    /// What there is of messages.
    async fn take(
        &self,
        reading: &mut Reading,
        end: i64,
        entries: BTreeMap<i64, Entry>,
        terms: &Terms,
    ) -> Result<Step, StepError> {
        let conversation = reading.conversation.clone();
        let mut step = Step::default();
        let entries: BTreeMap<_, _> = entries.into_iter().filter(|(seq, _)| *seq > reading.from).collect();
        let mut recalled = self.recall(&conversation, &entries, terms).await?;
        let is_whole = |entry: &&Entry| match entry.state {
            State::Missing => false,
            _ if recalled.is_unanswered(entry, &conversation) => terms.may_owe,
            _ => !recalled.is_lost(entry, &conversation),
        };
        let whole: Vec<i64> = entries.values().filter(is_whole).map(|entry| entry.seq).collect();
        let is_held = |entry: &&Entry| !terms.may_owe && recalled.is_unanswered(entry, &conversation);
        let held = entries.values().find(is_held).map(|entry| entry.seq);
        let found = Found { there: &whole, entries: &entries, held };
        let upto = self.settle(reading, end, &found, terms, &mut step).await?;
        for (seq, entry) in &entries {
            match entry.state {
                State::Missing => {}
                _ if recalled.is_unanswered(entry, &conversation) => {
                    step.owed.extend((*seq <= upto && terms.may_owe).then_some(*seq));
                }
                // For so long that nobody will have it again.
                _ if recalled.is_lost(entry, &conversation) && *seq > upto => {}
                _ => recalled.tell(entry, &conversation, &mut step),
            }
        }
        step.barren = entries.is_empty();
        Self::advance(reading, end, upto, &mut step);
        Ok(step)
    }

    /// What notices tell of messages that were taken back. What else they tell is nothing to archive.
    async fn heed(
        &self,
        reading: &mut Reading,
        end: i64,
        entries: BTreeMap<i64, Entry>,
        terms: &Terms,
    ) -> Result<Step, StepError> {
        let mut step = Step::default();
        let there: Vec<i64> =
            entries.values().filter(|entry| entry.state > State::Missing).map(|entry| entry.seq).collect();
        let found = Found { there: &there, entries: &entries, held: None };
        let upto = self.settle(reading, end, &found, terms, &mut step).await?;
        let told = entries.values().filter(|entry| entry.state > State::Missing);
        let revokes = told.filter_map(|entry| {
            let (revoke, data) = (entry.revoke()?, &entry.data);
            let hints = [&revoke.by, &data.send_id, &data.recv_id].map(Clone::clone).to_vec();
            Some(Told { seq: entry.seq, revoke, hints })
        });
        let revoked = self.revoked(revokes.collect(), terms.until).await?;
        step.revocations = revoked.found;
        step.notes.extend(revoked.notes);
        // What there was no time for is asked for by the next step.
        let left = revoked.left.map(|seq| seq - 1).filter(|left| *left < upto);
        Self::advance(reading, end, left.unwrap_or(upto), &mut step);
        step.done &= left.is_none();
        Ok(step)
    }

    /// Up to which number nothing is missing that could still come.
    async fn settle(
        &self,
        reading: &mut Reading,
        end: i64,
        Found { there, entries, held }: &Found<'_>,
        terms: &Terms,
        step: &mut Step,
    ) -> Result<i64, StepError> {
        let first = reading.from + 1;
        let missing: Vec<i64> = (first..=end).filter(|seq| there.binary_search(seq).is_err()).collect();
        let Some(from) = missing.first().copied() else { return Ok(end) };
        let mut given_up = match terms.gaps {
            Gaps::Pass => self.sightings.missing(&reading.conversation, from, reading.last),
            Gaps::Leave => 0,
        };
        // Whether it can be had, nobody has answered.
        given_up = held.map_or(given_up, |held| given_up.min(held - 1));
        // What is not answered at all may be there, and not for whoever was asked, or not now.
        let absent = missing.iter().find(|seq| **seq <= given_up && !entries.contains_key(seq)).copied();
        if let Some(absent) = absent
            && !self.sees_the_end(reading, absent, terms.until).await?
        {
            given_up = absent - 1;
        }
        let upto = missing.iter().find(|seq| **seq > given_up).map_or(end, |seq| seq - 1);
        let mut passed = missing
            .into_iter()
            .filter(|seq| *seq <= upto && entries.get(seq).is_none_or(|entry| entry.state == State::Missing));
        let mut run = passed.next().map(|seq| (seq, seq));
        while let Some((first, last)) = run {
            let next = passed.next();
            if next == Some(last + 1) {
                run = Some((first, last + 1));
                continue;
            }
            // What is deleted because it is old goes by whole blocks, and something is left behind it.
            let is_behind = first == reading.archived.max(reading.empty) + 1;
            let is_old = is_behind && last % BLOCK == 0 && last < reading.last;
            reading.empty = if is_old { last } else { reading.empty };
            let note = if is_old { notes::lost } else { notes::gap };
            step.notes.push(note(&reading.conversation, (first, last)));
            run = next.map(|seq| (seq, seq));
        }
        Ok(upto)
    }

    /// Whether somebody who is asked sees the end of a conversation, so that what they do not see before is not to be had.
    pub(super) async fn sees_the_end(&self, reading: &Reading, from: i64, until: Instant) -> Result<bool, StepError> {
        let readers = [&reading.reader].into_iter().chain(reading.others.iter().flatten());
        let readers: Vec<_> = readers.cloned().collect();
        let range = if reading.is_notices() { (reading.last, reading.last) } else { (from, reading.last) };
        let mut at = 0;
        while at < readers.len() {
            let asked = &readers[at..readers.len().min(at + width(until))];
            let seen = self.pull_as(asked, &reading.conversation, range, 1).await?;
            if seen.iter().any(|seen| seen.contains_key(&reading.last)) {
                return Ok(true);
            }
            at += asked.len();
        }
        Ok(false)
    }

    /// The same numbers as several people see them, all asked at once.
    pub(super) async fn pull_as(
        &self,
        readers: &[String],
        conversation: &str,
        range: (i64, i64),
        most: i64,
    ) -> Result<Vec<BTreeMap<i64, Entry>>, CallError> {
        let asked = readers.iter().map(|reader| self.client.pull(reader, conversation, range, most));
        futures::future::try_join_all(asked).await
    }

    fn advance(reading: &mut Reading, end: i64, upto: i64, step: &mut Step) {
        if upto > reading.from {
            reading.from = upto;
            step.reached = Some(Reached { partition: reading.conversation.clone(), seq: upto });
        }
        step.done = upto >= reading.last || upto < end;
    }
}
