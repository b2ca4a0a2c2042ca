//! What is owed: messages that were taken back or deleted, of which the upstream's search did not answer what they said.
//!
//! Nothing waits for them: what is behind them is archived meanwhile. The list is part of the cursor, so a page that passes such a
//! message is committed together with the promise to ask again, and that is done at the end of every walk, until the search
//! answers. Only its answer decides that a message is not to be had any more.

use super::Upstream;
use super::entry::State;
use super::notes;
use super::reading::{BLOCK, Gaps, Reading, Step, StepError, Terms};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Messages that are owed at most: they are part of the cursor. What would be one more holds its conversation back.
const MOST: usize = 5000;

/// What is owed of a block of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    #[serde(rename = "c")]
    pub conversation: String,
    /// As whom it was read.
    #[serde(rename = "r")]
    pub reader: String,
    /// Numbers of the messages; there are some.
    #[serde(rename = "n")]
    pub seqs: BTreeSet<i64>,
}

impl Owed {
    /// Keeps so many numbers, at least one, and returns the others.
    pub fn split_off(&mut self, count: usize) -> BTreeSet<i64> {
        let first = self.seqs.iter().nth(count.max(1)).copied();
        first.map(|first| self.seqs.split_off(&first)).unwrap_or_default()
    }

    /// The same, and these.
    pub fn with(mut self, mut seqs: BTreeSet<i64>) -> Self {
        self.seqs.append(&mut seqs);
        self
    }
}

/// All that is owed, in the order in which it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Debts(VecDeque<Owed>);

impl Debts {
    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.0.len()
    }

    /// Nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many messages there are.
    pub fn messages(&self) -> usize {
        self.0.iter().map(|owed| owed.seqs.len()).sum()
    }

    /// Whether there may be more.
    pub fn has_room(&self) -> bool {
        self.messages() < MOST
    }

    /// These are owed as well; they are asked for last.
    pub fn add(&mut self, conversation: &str, reader: &str, seqs: &[i64]) {
        for seq in seqs {
            let block = (seq - 1) / BLOCK;
            let is_it = |owed: &&mut Owed| {
                owed.conversation == conversation && owed.seqs.first().is_some_and(|first| (first - 1) / BLOCK == block)
            };
            match self.0.iter_mut().find(is_it) {
                Some(owed) => _ = owed.seqs.insert(*seq),
                None => self.0.push_back(Owed {
                    conversation: conversation.to_owned(),
                    reader: reader.to_owned(),
                    seqs: BTreeSet::from([*seq]),
                }),
            }
        }
    }

    /// These are next again.
    pub fn put_back(&mut self, owed: Owed) {
        self.0.push_front(owed);
    }

    /// Takes the next ones.
    pub fn next(&mut self) -> Option<Owed> {
        self.0.pop_front()
    }
}

impl Upstream {
    /// Asks again for what is owed. What still is, the step tells.
    pub(super) async fn ask_again(&self, owed: &Owed, terms: &Terms) -> Result<Step, StepError> {
        let conversation = &owed.conversation;
        let (Some(first), Some(last)) = (owed.seqs.first().copied(), owed.seqs.last().copied()) else {
            return Ok(Step::default());
        };
        let mut reading = Reading::new(conversation, &owed.reader, first - 1, last);
        let mut entries = self.client.pull(&owed.reader, conversation, (first, last), last - first + 1).await?;
        self.ask_others(&mut reading, (first, last), &mut entries, terms.until).await?;
        entries.retain(|seq, _| owed.seqs.contains(seq));
        let mut step = Step::default();
        let absent: Vec<i64> = owed.seqs.iter().filter(|seq| !entries.contains_key(seq)).copied().collect();
        if !absent.is_empty() {
            let seqs = self.client.last_seqs(std::slice::from_ref(conversation)).await?;
            reading.last = seqs.get(conversation).copied().unwrap_or_default();
            // It may be that they cannot be read just now.
            if reading.last == 0 || reading.last >= first && !self.sees_the_end(&reading, first, terms.until).await? {
                step.owed.extend(absent);
            } else {
                step.notes.extend(absent.into_iter().map(|seq| notes::gap(conversation, (seq, seq))));
            }
        }
        let mut recalled = self.recall(conversation, &entries, terms).await?;
        // Where the answer is that there is none, it may be one that is wrong just now.
        let kept = format!("{conversation} from {first}");
        let lost = entries.values().filter(|entry| recalled.is_lost(entry, conversation)).map(|entry| entry.seq);
        let lost: Vec<i64> = lost.collect();
        let given_up = match (lost.first(), terms.gaps) {
            (Some(first), Gaps::Pass) => self.sightings.missing(&kept, *first, last),
            _ => 0,
        };
        for (seq, entry) in &entries {
            match entry.state {
                State::Missing => step.notes.push(notes::gap(conversation, (*seq, *seq))),
                _ if recalled.is_unanswered(entry, conversation) => step.owed.push(*seq),
                _ if lost.contains(seq) && *seq > given_up => step.owed.push(*seq),
                _ => recalled.tell(entry, conversation, &mut step),
            }
        }
        if step.owed.is_empty() {
            self.sightings.complete(&kept);
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_kept_by_blocks_and_bounded() {
        let mut debts = Debts::default();
        debts.add("sg_a", "u", &[3, 100, 101]);
        debts.add("sg_a", "v", &[3, 7]);
        debts.add("sg_b", "u", &[3]);
        assert_eq!((debts.blocks(), debts.messages()), (3, 5));
        let next = debts.next().unwrap();
        assert_eq!((next.conversation.as_str(), &next.seqs), ("sg_a", &BTreeSet::from([3, 7, 100])));
        let mut next = next;
        assert_eq!((next.split_off(0), next.seqs.len()), (BTreeSet::from([7, 100]), 1));
        assert!(next.split_off(1).is_empty() && debts.has_room());
        debts.add("sg_c", "u", &(1..=MOST as i64).collect::<Vec<_>>());
        assert!(!debts.has_room());
    }
}
