//! One channel being read, an answer after the other.
//!
//! v2 is read forwards. Every answer but the first begins with the message before the wanted ones, since v2 loses the flags of
//! the first one's header (trap 41). v3 is read backwards from its newest message to what is archived; only then everything up
//! to that newest one is. What is missing between two numbers is asked for once more, then told and passed.

use super::client::{CallError, Client, Version};
use super::decode;
use super::lists::{Answer, MESSAGES_V3};
use super::native::Native;
use super::streams;
use serde::{Deserialize, Serialize};
use stele_plugin_api::model::{Message, Micros, Reached};

/// Messages asked for while nobody knows how large they are.
const FIRST: usize = 50;
/// Most messages of an answer.
const MOST: usize = 1000;
/// Bytes an answer should have at most; the daemon takes four times as many.
const ANSWER_BYTES: usize = 4 << 20;

/// How far a channel is read. Part of the cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which channel.
    #[serde(flatten)]
    pub native: Native,
    /// All up to this number is archived, or in pages before.
    #[serde(rename = "f")]
    pub from: i64,
    /// Up to which number it was archived before.
    #[serde(rename = "a", default)]
    pub archived: i64,
    /// Nothing shows yet that `from` is what is archived: the upstream may have lost its messages, and number others from 1.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub unproved: bool,
    /// The number the listing told of, where it did.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
    /// v3: how far back it came.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    /// Bytes of a message in the last answer; 0 where none was seen.
    #[serde(rename = "e", default)]
    pub each: usize,
}

/// A channel being read backwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The newest message that was read.
    #[serde(rename = "t")]
    top: i64,
    /// The oldest one so far.
    #[serde(rename = "o")]
    low: i64,
    /// Where it goes on.
    #[serde(rename = "n")]
    next: String,
}

/// What an answer brought.
#[derive(Debug, Default)]
pub struct Step {
    /// New messages, in the order of their numbers, which they do not have where the archive counts.
    pub messages: Vec<Message>,
    /// Native id of a message that is archived, if the upstream is the one it was.
    pub proof: Option<String>,
    /// What is archived with them.
    pub reached: Option<Reached>,
    /// Nothing is left to read for now.
    pub done: bool,
    /// Numbers of the messages that begin a stream which is still open, and until when those are waited for.
    pub open: Vec<(i64, Micros)>,
    /// Numbers that should be there and are not, each with the last of its stretch.
    pub holes: Vec<(i64, i64)>,
    /// Elements that are no messages.
    pub malformed: usize,
}

impl Reading {
    /// The messages of a channel behind this number.
    pub fn new(native: Native, archived: i64, last: Option<i64>) -> Self {
        let from = last.map_or(archived, |last| last.min(archived));
        Self { native, from, archived, unproved: from > 0, last, back: None, each: 0 }
    }

    /// All messages of the channel, whatever is archived.
    pub fn again(self) -> Self {
        Self { from: 0, unproved: false, back: None, ..self }
    }

    /// Takes the proof from messages in their order, once.
    fn prove(&mut self, messages: &[Message]) -> Option<String> {
        let proof = messages.iter().rfind(|message| message.seq <= Some(self.from)).filter(|_| self.unproved)?;
        self.unproved = false;
        Some(proof.native_id.clone())
    }

    /// The next answer, of at most so many messages. What it brings is counted as read.
    ///
    /// # Errors
    ///
    /// Those of the upstream; then nothing was read, but less may be asked for the next time.
    pub async fn step(&mut self, client: &Client, wanted: usize, now: Micros) -> Result<Step, CallError> {
        let version = client.version().await?;
        let mut limit = self.limit(wanted);
        loop {
            let read = match version {
                Version::V2 => self.forwards(client, limit, now).await,
                Version::V3 => self.backwards(client, limit.min(MESSAGES_V3)).await,
            };
            match read {
                Err(error) if error.is_too_large() && limit > 1 => {
                    limit /= 2;
                    self.each = self.each.max(ANSWER_BYTES / limit);
                }
                Err(error) => {
                    // What takes too long may be too much.
                    if error.is_late() {
                        self.each = self.each.max(ANSWER_BYTES / (limit / 4).max(1));
                    }
                    return Err(error);
                }
                Ok(step) => return Ok(step),
            }
        }
    }

    fn limit(&self, wanted: usize) -> usize {
        let fitting = match self.each {
            0 => FIRST,
            each => ANSWER_BYTES / each,
        };
        wanted.min(fitting).clamp(1, MOST)
    }

    async fn forwards(&mut self, client: &Client, limit: usize, now: Micros) -> Result<Step, CallError> {
        // The one before comes along, unless a single message is all that fits.
        let overlap = usize::from(self.from > 0 && !(limit == 1 && self.each > ANSWER_BYTES / 2));
        let start = if overlap == 1 { self.from } else { self.from + 1 };
        let native = &self.native;
        let ask = async || {
            client.messages_from(native, start, limit + overlap, |elements| decode::messages(elements, native)).await
        };
        let mut answer = ask().await?;
        let holes = |answer: &Answer<(Vec<Message>, usize)>| holes(&answer.read.0, self.from);
        if !holes(&answer).is_empty() {
            answer = ask().await?;
        }
        let each = answer.bytes / answer.elements.max(1);
        let is_short = answer.elements < limit + overlap;
        let holes = holes(&answer);
        let (mut messages, malformed) = answer.read;
        let proof = self.prove(&messages);
        self.unproved = false;
        messages.retain(|message| message.seq > Some(self.from));
        let open = messages.iter().filter_map(|message| message.seq.zip(streams::open_until(message, now)));
        let mut step = Step { proof, holes, malformed, open: open.collect(), ..Step::default() };
        // An answer that is full of what is known would come again for ever.
        step.done = is_short || messages.is_empty();
        if let Some(last) = messages.last().and_then(|message| message.seq) {
            self.from = last;
            self.each = each;
            step.reached = Some(Reached { partition: self.native.key(), seq: last });
            // What came since the listing comes with the next one.
            step.done |= self.last.is_some_and(|told| told <= last);
        }
        if self.native.is_counted_here(Version::V2) {
            messages.iter_mut().for_each(|message| message.seq = None);
        }
        step.messages = messages;
        Ok(step)
    }

    async fn backwards(&mut self, client: &Client, limit: usize) -> Result<Step, CallError> {
        let cursor = self.back.as_ref().map_or_else(String::new, |back| back.next.clone());
        let native = &self.native;
        let read = |elements: &[&_]| decode::messages(elements, native);
        let answer = client.messages_before(native, &cursor, limit, read).await?;
        let each = answer.bytes / answer.elements.max(1);
        let (mut messages, malformed) = answer.read;
        let oldest = messages.first().and_then(|message| message.seq);
        let below = self.back.as_ref().map(|back| back.low);
        let proof = self.prove(&messages);
        messages.retain(|message| message.seq > Some(self.from) && below.is_none_or(|low| message.seq < Some(low)));
        let newest = messages.last().and_then(|message| message.seq);
        let top = self.back.as_ref().map(|back| back.top).or(newest);
        let low = messages.first().and_then(|message| message.seq).or(below);
        let mut step = Step { proof, malformed, ..Step::default() };
        step.done = match (&answer.next, oldest) {
            (Some(next), Some(oldest)) => oldest <= self.from + i64::from(!self.unproved) || *next == cursor,
            _ => true,
        };
        // Between what this answer has, and what the one before it had.
        let lowest = if step.done { self.from } else { low.unwrap_or(self.from + 1) - 1 };
        step.holes = holes(&messages, lowest);
        match (newest, below) {
            (Some(newest), Some(below)) if newest + 1 < below => step.holes.push((newest + 1, below - 1)),
            (None, Some(below)) if step.done && self.from + 1 < below => step.holes.push((self.from + 1, below - 1)),
            _ => {}
        }
        step.messages = messages;
        self.each = if answer.elements > 0 { each } else { self.each };
        match (step.done, top, low, answer.next) {
            (false, Some(top), Some(low), Some(next)) => self.back = Some(Back { top, low, next }),
            (_, Some(top), ..) => {
                step.reached = Some(Reached { partition: self.native.key(), seq: top });
                (self.from, self.back) = (top, None);
            }
            _ => {}
        }
        Ok(step)
    }
}

/// The numbers behind `from` that are missing between messages in their order.
fn holes(messages: &[Message], from: i64) -> Vec<(i64, i64)> {
    let mut expected = from + 1;
    let mut holes = Vec::new();
    for seq in messages.iter().filter_map(|message| message.seq).filter(|seq| *seq > from) {
        if seq > expected {
            holes.push((expected, seq - 1));
        }
        expected = seq + 1;
    }
    holes
}
