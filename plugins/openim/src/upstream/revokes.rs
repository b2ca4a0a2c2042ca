//! Messages that were taken back or deleted: which they are, and what they said.

use super::Upstream;
use super::client::CallError;
use super::entry::{Entry, Revoke, State};
use super::notes::{self, Note};
use super::reading::StepError;
use crate::ids;
use crate::message::MsgData;
use bytes::Bytes;
use chrono::DateTime;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use stele_plugin_api::model::{Message, Revocation};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{ArchiveFind, FindQuery, MAX_ROWS};

/// Pages of a search that are looked at for the messages of one day.
const PAGES: u32 = 50;
/// Messages of one answer of a search: [`FEWER`] × [`FEWER`].
const FOUND: u32 = 100;
/// So many times fewer are asked for where they are too large.
const FEWER: u32 = 10;

impl Upstream {
    /// Which messages these revokes are about. Beside each is who may see its conversation.
    pub(super) async fn revoked(
        &self,
        revokes: Vec<(&Revoke, Vec<String>)>,
    ) -> Result<(Vec<Revocation>, Vec<Note>), StepError> {
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        let mut conversations = BTreeMap::<_, Vec<_>>::new();
        for (revoke, hints) in revokes {
            if revoke.seq > 0 && !revoke.conversation.is_empty() {
                conversations.entry(revoke.conversation.as_str()).or_default().push((revoke, hints));
            }
        }
        for (conversation, revokes) in conversations {
            let query = FindQuery {
                conversation: Some(conversation.to_owned()),
                seqs: revokes.iter().map(|(revoke, _)| revoke.seq).collect(),
                limit: MAX_ROWS,
                ..FindQuery::default()
            };
            let rows = self.host.call_within::<ArchiveFind>(query, crate::CALL).await.map_err(StepError::Archive)?.rows;
            for (revoke, hints) in revokes {
                // After the upstream was wiped a number may be that of two messages.
                let is_it = |client_id: Option<&str>| {
                    revoke.client_msg_id.is_empty() || client_id.unwrap_or_default() == revoke.client_msg_id
                };
                let row = rows.iter().find(|row| row.seq == revoke.seq && is_it(row.client_id.as_deref()));
                let native_id = match row {
                    Some(row) => Some(row.native_id.clone()),
                    // It may be in a page that is being committed, or come later: the mark waits for it.
                    None => self.look_up(conversation, revoke.seq, &hints).await?,
                };
                match native_id {
                    Some(native_id) => found.push(revoke.of(native_id)),
                    None => notes.push(notes::unknown(conversation, revoke.seq)),
                }
            }
        }
        Ok((found, notes))
    }

    /// The id of a message, by its number.
    async fn look_up(&self, conversation: &str, seq: i64, hints: &[String]) -> Result<Option<String>, CallError> {
        for reader in self.readers(conversation, hints).await? {
            let seen = self.client.pull(&reader, conversation, (seq, seq), 1).await?;
            if let Some(entry) = seen.get(&seq).filter(|entry| entry.state > State::Missing) {
                return Ok(Some(entry.message(conversation).native_id));
            }
        }
        Ok(None)
    }

    /// What messages said, as the upstream's search still has it, by their native ids. It is asked for a conversation and a day
    /// at a time: what else it is asked for together it may lose (reference/openim.md §2.5).
    pub(super) async fn originals(&self, conversation: &str, wanted: &[(String, &Entry)]) -> HashMap<String, Message> {
        let mut questions = BTreeMap::<String, (Value, HashMap<&str, i64>)>::new();
        for (native_id, entry) in wanted {
            let Some(filter) = filter(&entry.data) else { continue };
            let question = questions.entry(filter.to_string()).or_insert_with(|| (filter, HashMap::new()));
            question.1.insert(native_id, entry.seq);
        }
        let mut originals = HashMap::new();
        for (filter, mut left) in questions.into_values() {
            if let Err(error) = self.search_for(conversation, &filter, &mut left, &mut originals).await {
                let error = stele_plugin_api::Error::from(error).to_string();
                let what = "what a message said that was taken back cannot be searched for";
                self.host.log_from("upstream", Level::Warn, what, &[("error", &error)]);
            }
        }
        originals
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
