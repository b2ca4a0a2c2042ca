//! Messages that were taken back or deleted: which they are, and what they said.

use super::Upstream;
use super::client::CallError;
use super::entry::{Entry, Revoke, State};
use super::notes::{self, Note};
use super::reading::{BLOCK, Step, StepError, Terms, width};
use crate::ids;
use crate::message::MsgData;
use bytes::Bytes;
use chrono::DateTime;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use stele_plugin_api::model::{Message, Revocation};
use stele_plugin_api::ops::{ArchiveFind, FindQuery, MAX_ROWS};
use stele_plugin_api::{Error, ErrorCode};
use tokio::time::{Instant, timeout_at};

/// Pages of a search that are looked at for the messages of one day.
const PAGES: u32 = 50;
/// Messages of one answer of a search: [`FEWER`] × [`FEWER`].
const FOUND: u32 = 100;
/// How long a question that was begun may take, beyond the time of the step.
const SEARCH_TIME: Duration = Duration::from_secs(15);
/// So many times fewer are asked for where they are too large.
const FEWER: u32 = 10;

/// A revoke, as a notice tells it.
pub struct Told {
    /// Number of the notice.
    pub seq: i64,
    pub revoke: Revoke,
    /// Who may see the message.
    pub hints: Vec<String>,
}

/// What revokes were about.
#[derive(Default)]
pub struct Revoked {
    pub found: Vec<Revocation>,
    pub notes: Vec<Note>,
    /// The first notice of what there was no time to look for.
    pub left: Option<i64>,
}

/// What the search told of messages that were taken back or deleted.
#[derive(Default)]
pub struct Recalled {
    /// Which of them are not archived.
    unknown: HashSet<String>,
    /// What they said.
    originals: HashMap<String, Message>,
    /// Those of which it did not answer.
    unanswered: HashSet<String>,
}

impl Upstream {
    /// Which messages these revokes are about. A message that is archived its number tells. Of others the upstream is asked for
    /// their ids, a block of a conversation at a time, those of the first revoke in any case.
    pub(super) async fn revoked(&self, revokes: Vec<Told>, until: Instant) -> Result<Revoked, StepError> {
        let mut revoked = Revoked::default();
        let mut rows = HashMap::new();
        let has_place = |told: &Told| told.revoke.seq > 0 && !told.revoke.conversation.is_empty();
        let revokes: Vec<_> = revokes.into_iter().filter(has_place).collect();
        let mut conversations = BTreeMap::<_, Vec<_>>::new();
        for Told { revoke, .. } in &revokes {
            conversations.entry(revoke.conversation.as_str()).or_default().push(revoke.seq);
        }
        for (conversation, seqs) in conversations {
            let query = FindQuery {
                conversation: Some(conversation.to_owned()),
                seqs,
                limit: MAX_ROWS,
                ..FindQuery::default()
            };
            let found = self.host.call_within::<ArchiveFind>(query, crate::CALL).await.map_err(StepError::Archive)?;
            rows.insert(conversation, found.rows);
        }
        let mut unknown = BTreeMap::<(&str, i64), Vec<&Told>>::new();
        // Blocks in the order of the notices.
        let mut blocks = Vec::new();
        for told in &revokes {
            let revoke = &told.revoke;
            // After the upstream was wiped a number may be that of two messages.
            let is_it = |client_id: Option<&str>| {
                revoke.client_msg_id.is_empty() || client_id.unwrap_or_default() == revoke.client_msg_id
            };
            let mut rows = rows.get(revoke.conversation.as_str()).into_iter().flatten();
            match rows.find(|row| row.seq == revoke.seq && is_it(row.client_id.as_deref())) {
                Some(row) => revoked.found.push(revoke.of(row.native_id.clone())),
                None => {
                    let block = (revoke.conversation.as_str(), (revoke.seq - 1) / BLOCK);
                    let unknown = unknown.entry(block).or_default();
                    if unknown.is_empty() {
                        blocks.push(block);
                    }
                    unknown.push(told);
                }
            }
        }
        for (place, block) in blocks.into_iter().enumerate() {
            let unknown = unknown.remove(&block).unwrap_or_default();
            if place > 0 && Instant::now() >= until {
                let first = unknown.iter().map(|told| told.seq).min();
                revoked.left = [revoked.left, first].into_iter().flatten().min();
                continue;
            }
            // They may be in a page that is being committed, or come later: the marks wait for them.
            let mut ids = self.look_up(block.0, &unknown, until).await?;
            for Told { revoke, .. } in unknown {
                match ids.remove(&revoke.seq) {
                    Some(native_id) => revoked.found.push(revoke.of(native_id)),
                    None => revoked.notes.push(notes::unknown(block.0, revoke.seq)),
                }
            }
        }
        Ok(revoked)
    }

    /// The ids of messages of one block, by their numbers.
    async fn look_up(
        &self,
        conversation: &str,
        revokes: &[&Told],
        until: Instant,
    ) -> Result<HashMap<i64, String>, CallError> {
        let mut wanted: BTreeSet<i64> = revokes.iter().map(|told| told.revoke.seq).collect();
        let hints: BTreeSet<_> = revokes.iter().flat_map(|told| told.hints.iter().cloned()).collect();
        let readers = self.readers(conversation, &Vec::from_iter(hints)).await?;
        let (mut ids, mut at) = (HashMap::new(), 0);
        while at < readers.len() {
            let (Some(first), Some(last)) = (wanted.first().copied(), wanted.last().copied()) else { break };
            let asked = &readers[at..readers.len().min(at + width(until))];
            for seen in self.pull_as(asked, conversation, (first, last), last - first + 1).await? {
                for (seq, entry) in seen {
                    if entry.state > State::Missing && wanted.remove(&seq) {
                        ids.insert(seq, entry.message(conversation).native_id);
                    }
                }
            }
            at += asked.len();
        }
        Ok(ids)
    }

    /// What messages that were taken back or deleted said, as the upstream's search still has it. It is asked for a conversation
    /// and a day at a time: what else it is asked for together it may lose (reference/openim.md §2.5).
    pub(super) async fn recall(
        &self,
        conversation: &str,
        entries: &BTreeMap<i64, Entry>,
        terms: &Terms,
    ) -> Result<Recalled, StepError> {
        // What is archived already is never replaced.
        let incomplete = entries.values().filter(|entry| matches!(entry.state, State::Revoked | State::Emptied));
        let wanted: Vec<_> = incomplete.map(|entry| (entry.message(conversation).native_id, entry)).collect();
        let ids = wanted.iter().map(|(id, _)| id.clone()).collect();
        let mut recalled =
            Recalled { unknown: self.unknown(ids).await.map_err(StepError::Archive)?, ..Recalled::default() };
        let mut questions = BTreeMap::<String, (Value, HashMap<&str, i64>)>::new();
        for (native_id, entry) in wanted.iter().filter(|(id, _)| recalled.unknown.contains(id)) {
            let Some(filter) = filter(&entry.data) else { continue };
            let question = questions.entry(filter.to_string()).or_insert_with(|| (filter, HashMap::new()));
            question.1.insert(native_id, entry.seq);
        }
        for (filter, mut left) in questions.into_values() {
            if !terms.search_fails.load(Ordering::Relaxed) && Instant::now() < terms.until {
                let asked = self.search_for(conversation, &filter, &mut left, &mut recalled.originals);
                let late = || Err(CallError::Failed(Error::new(ErrorCode::Deadline, "the search takes too long")));
                let asked = timeout_at(terms.until + SEARCH_TIME, asked).await.unwrap_or_else(|_| late());
                let Err(error) = asked else { continue };
                // The other questions can wait until it answers again.
                terms.search_fails.store(true, Ordering::Relaxed);
                self.warn("what a message said that was taken back cannot be searched for now", &error.into());
            }
            recalled.unanswered.extend(left.into_keys().map(str::to_owned));
        }
        Ok(recalled)
    }

    async fn search_for(
        &self,
        conversation: &str,
        filter: &Value,
        left: &mut HashMap<&str, i64>,
        originals: &mut HashMap<String, Message>,
    ) -> Result<(), CallError> {
        let (mut page, mut rows) = (1, FOUND);
        while page * rows <= PAGES * FOUND {
            let (found, more) = match self.client.search(filter, page, rows).await {
                // Its services do not pass on so much at once.
                Err(error) if error.is_too_large() && rows > 1 => {
                    (page, rows) = ((page - 1) * FEWER + 1, rows / FEWER);
                    continue;
                }
                answer => answer?,
            };
            page += 1;
            for found in found {
                let body = Bytes::from(String::from(Box::<str>::from(found.chat_log)));
                let Some(data) = MsgData::read(&body) else { continue };
                let message = data.message(conversation, body);
                if left.get(message.native_id.as_str()).is_some_and(|seq| *seq == data.seq) && !data.content.is_empty()
                {
                    left.remove(message.native_id.as_str());
                    originals.insert(message.native_id.clone(), message);
                }
            }
            if left.is_empty() || !more {
                break;
            }
        }
        Ok(())
    }
}

impl Recalled {
    /// A message whose words are neither archived nor found, since nobody answered where they would be.
    pub fn is_unanswered(&self, entry: &Entry, conversation: &str) -> bool {
        self.unanswered.contains(&entry.message(conversation).native_id)
    }

    /// The same where the answer is that there are none.
    pub fn is_lost(&self, entry: &Entry, conversation: &str) -> bool {
        let id = entry.message(conversation).native_id;
        self.unknown.contains(&id) && !self.originals.contains_key(&id) && !self.unanswered.contains(&id)
    }

    /// Has a message archived, with what it said if that was found, and marked if it was taken back.
    pub fn tell(&mut self, entry: &Entry, conversation: &str, step: &mut Step) {
        let message = entry.message(conversation);
        let native_id = message.native_id.clone();
        match self.originals.remove(&native_id) {
            Some(original) => step.messages.push(original),
            None if entry.state == State::Whole => step.messages.push(message),
            // Nobody has it any more.
            None if self.unknown.contains(&native_id) => {
                step.notes.push(notes::emptied(conversation, entry.seq));
                step.messages.push(message);
            }
            None => {}
        }
        step.revocations.extend(entry.revoke().map(|revoke| revoke.of(native_id)));
    }
}

/// What finds a message and not much else; `None` where no search finds it.
fn filter(data: &MsgData) -> Option<Value> {
    let day = DateTime::from_timestamp_millis(data.send_time)?.format("%Y-%m-%d").to_string();
    match data.session_type {
        ids::SINGLE => {
            Some(json!({ "sendID": data.send_id, "recvID": data.recv_id, "sessionType": ids::SINGLE, "sendTime": day }))
        }
        ids::GROUP => Some(json!({ "recvID": data.group_id, "sessionType": ids::GROUP, "sendTime": day })),
        _ => None,
    }
}
