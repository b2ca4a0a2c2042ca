//! Sends, done at the upstream first, and archived as it stored them.
//!
//! v2 hands out an id before it stores a message, and may not store it at all (trap 47); it stores again what is sent again
//! (trap 24). So a message is there when it was read back, and one whose outcome nobody knows is looked for in its channel, by
//! the sender's own id, for longer than v2 works on a message, before it is sent again. What could not be found out is
//! remembered: whoever sends it again, with the same `client_msg_no`, has it looked for first. v3 answers when it has stored,
//! and knows what is sent again.

use super::Upstream;
use super::client::{CallError, Version};
use super::decode;
use super::native::Native;
use crate::CALL;
use crate::api::reply::ApiError;
use crate::channel::{AGENT, Channel, PERSON};
use crate::commit::Kept;
use crate::draft::{Draft, Role, STREAM};
use crate::message::BASE64;
use base64::Engine;
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Message, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{ArchiveAppend, ArchiveFind, ArchiveGet, ByIds, FindQuery, MAX_ROWS};
use tokio::time::{Instant, sleep};

/// How long a message is looked for. v2 gives up storing one after five seconds.
const LOOK: Duration = Duration::from_secs(6);
/// Pause before it is looked for again; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Time since its begin after which a send is not tried again: its caller is about to give up.
const AGAIN: Duration = Duration::from_secs(9);
/// Messages among which one is looked for in a channel that is far from archived.
const NEWEST: usize = 100;
/// Sends that are remembered since nobody knows what became of them.
const MAX_DOUBTFUL: usize = 10_000;
/// Time after the start in which everything counts as doubtful: who knows what was under way before.
const EARLY: Duration = Duration::from_secs(120);
/// The reason of a send that v3 did.
const SUCCESS: i64 = 1;

/// Sends nobody knows the outcome of.
pub(super) struct Doubts {
    began: Instant,
    known: Mutex<(HashSet<String>, VecDeque<String>)>,
}

/// What the upstream says of a send.
struct Taken {
    id: i64,
    /// v3 has stored it.
    seq: Option<i64>,
}

impl Upstream {
    /// Sends a message. What it became is archived, unless it is not stored there either.
    ///
    /// # Errors
    ///
    /// 400 when the upstream refuses it, 503 when it does not work now, or nobody knows whether it was done.
    pub async fn relay(&self, draft: &Draft) -> Result<Kept, ApiError> {
        if draft.role != Role::Message || draft.setting & STREAM != 0 {
            return Err(ApiError::bad("streams are not relayed to an upstream"));
        }
        let version = self.client.version().await.map_err(|error| self.told(&error))?;
        // Of what has no place in the channel nothing can be found out later.
        if draft.header.no_persist == 1 || draft.header.sync_once == 1 || !draft.subscribers.is_empty() {
            let taken = self.hand_over(draft).await.map_err(|error| self.told(&error))?;
            return Ok(Kept::As(taken.id, taken.seq.unwrap_or_default()));
        }
        let native = native(draft, version);
        let key = format!("{}\n{}\n{}", native.key(), draft.from_uid, draft.client_msg_no);
        // The same message twice at once is sent once.
        let _turn = self.sends.of(&key).await;
        if draft.once {
            if let Some(first) = self.first(draft).await? {
                return Ok(Kept::Repeats(first));
            }
            if self.doubts.has(&key) {
                if let Some(found) = self.look(&native, draft, None).await? {
                    self.doubts.settle(&key);
                    return Ok(Kept::Repeats(found.0));
                }
                self.doubts.settle(&key);
            }
        }
        let began = Instant::now();
        loop {
            match self.hand_over(draft).await {
                Ok(taken) if version == Version::V3 => {
                    // It is stored; what cannot be read now comes with the sync.
                    if let Err(error) = self.refresh(&native, |_| ()).await {
                        self.warn("what was relayed is not archived yet; the sync does it", &error.into());
                    }
                    return Ok(Kept::As(taken.id, taken.seq.unwrap_or_default()));
                }
                Ok(taken) => {
                    self.doubts.add(&key);
                    let Some((_, seq)) = self.await_it(&native, draft, Some(taken.id)).await? else {
                        let lost = "the upstream took the message, and did not store it";
                        return Err(ApiError { status: 503, message: lost.to_owned() });
                    };
                    self.doubts.settle(&key);
                    return Ok(Kept::As(taken.id, seq));
                }
                Err(error @ CallError::Refused(..)) => return Err(self.told(&error)),
                Err(error) if error.is_denied() => return Err(self.told(&error)),
                Err(error) => {
                    if version == Version::V2 {
                        self.doubts.add(&key);
                        if let Some((id, seq)) = self.await_it(&native, draft, None).await? {
                            self.doubts.settle(&key);
                            return Ok(Kept::As(id.parse().unwrap_or_default(), seq));
                        }
                        // It is not there, and will not be.
                        self.doubts.settle(&key);
                    }
                    if began.elapsed() > AGAIN {
                        return Err(self.told(&error));
                    }
                    sleep(FIRST_PAUSE).await;
                }
            }
        }
    }

    /// One request to send. It may be done whatever comes of it.
    async fn hand_over(&self, draft: &Draft) -> Result<Taken, CallError> {
        let body = json!({
            "header": draft.header, "client_msg_no": draft.client_msg_no, "from_uid": draft.from_uid,
            "channel_id": addressee(draft), "channel_type": if draft.subscribers.is_empty() { draft.channel.channel_type } else { 0 },
            "expire": draft.expire, "subscribers": draft.subscribers, "payload": BASE64.encode(&draft.payload),
            "tag_key": draft.tag_key,
        });
        let read = |answer: &[u8]| {
            let answer: Value = serde_json::from_slice(answer).ok()?;
            let number = |name: &str| answer[name].as_i64().or_else(|| answer["data"][name].as_i64());
            let done = answer["status"] == 200 || answer["reason"].is_i64();
            let taken = Taken { id: number("message_id").unwrap_or_default(), seq: number("message_seq") };
            done.then_some((taken, answer["reason"].as_i64().unwrap_or(SUCCESS)))
        };
        match self.client.call("POST", "/message/send", Some(&body), read).await? {
            (taken, SUCCESS) => Ok(taken),
            (_, reason) => Err(CallError::Refused(400, format!("reason {reason}"))),
        }
    }

    /// The message the archive has of this sender and id, if so.
    async fn first(&self, draft: &Draft) -> Result<Option<String>, ApiError> {
        let query = FindQuery {
            conversation: Some(draft.channel.to_string()),
            client_ids: vec![draft.client_msg_no.clone()],
            limit: MAX_ROWS,
            ..FindQuery::default()
        };
        let found =
            self.host.call_within::<ArchiveFind>(query, CALL).await.map_err(|error| ApiError::failed(&error))?;
        // Several were imported where somebody sent again; they come latest first.
        Ok(found.rows.into_iter().rfind(|row| row.sender == draft.from_uid).map(|row| row.native_id))
    }

    /// Looks for a message until it is there, or has to be.
    async fn await_it(
        &self,
        native: &Native,
        draft: &Draft,
        id: Option<i64>,
    ) -> Result<Option<(String, i64)>, ApiError> {
        let (until, mut pause) = (Instant::now() + LOOK, FIRST_PAUSE);
        loop {
            let is_last = Instant::now() >= until;
            match self.look(native, draft, id).await {
                Ok(None) if is_last => return Ok(None),
                Err(error) if is_last => return Err(error),
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) | Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Reads what is new in the channel, and looks for a message in it: by its id, or by its sender's own. Says its native id and
    /// number.
    async fn look(&self, native: &Native, draft: &Draft, id: Option<i64>) -> Result<Option<(String, i64)>, ApiError> {
        let wanted = id.map(|id| id.to_string());
        let is_it = |message: &Message| match &wanted {
            Some(id) => message.native_id == *id,
            None => message.client_id.as_ref() == Some(&draft.client_msg_no) && message.sender == draft.from_uid,
        };
        let mut found = None;
        let refreshed = self.refresh(native, |message| {
            if is_it(message) {
                found = Some((message.native_id.clone(), message.seq));
            }
        });
        let is_whole = refreshed.await.map_err(|error| {
            self.warn("what was relayed could not be looked for", &error.into());
            ApiError { status: 503, message: "the upstream does not answer".to_owned() }
        })?;
        // Where the archive counts, it has the number.
        let found = match found {
            Some((id, Some(seq))) => return Ok(Some((id, seq))),
            found => found.map(|(id, _)| id),
        };
        // Whoever else read the channel has archived it.
        let known = match found.or_else(|| wanted.clone()) {
            Some(id) => Some(id),
            None => self.first(draft).await?,
        };
        let archived = match known {
            Some(id) => self.archived(id).await?,
            None => None,
        };
        if archived.is_some() || is_whole {
            return Ok(archived);
        }
        // The channel is far from archived: the message alone is, out of its turn.
        let read = |elements: &[&_]| decode::messages(elements, native).0;
        let newest = self.client.newest_messages(native, NEWEST, read).await.map_err(|error| self.told(&error))?;
        let Some(mut message) = newest.read.into_iter().find(is_it) else { return Ok(None) };
        let version = self.client.version().await.map_err(|error| self.told(&error))?;
        message.seq = message.seq.filter(|_| !native.is_counted_here(version));
        let id = message.native_id.clone();
        let conversations = vec![decode::conversation(native)];
        let page = Page { messages: vec![message], conversations, ..Page::default() };
        self.host.call_within::<ArchiveAppend>(page, CALL).await.map_err(|error| ApiError::failed(&error))?;
        self.archived(id).await
    }

    /// A message by its id, and its number, if it is archived.
    async fn archived(&self, native_id: String) -> Result<Option<(String, i64)>, ApiError> {
        let by = ByIds { native_ids: vec![native_id] };
        let found = self.host.call_within::<ArchiveGet>(by, CALL).await.map_err(|error| ApiError::failed(&error))?;
        Ok(found.rows.into_iter().next().map(|row| (row.native_id, row.seq)))
    }

    /// What the caller may know of it; operators learn more from the log.
    fn told(&self, error: &CallError) -> ApiError {
        if let CallError::Refused(_, words) = error {
            return ApiError::bad(format!("the upstream refuses it: {words}"));
        }
        self.warn("a send was not relayed, or nobody knows", &error.clone().into());
        ApiError { status: 503, message: "the upstream does not answer".to_owned() }
    }

    pub(super) fn warn(&self, what: &str, error: &Error) {
        self.host.log_from("upstream", Level::Warn, what, &[("error", &error.to_string())]);
    }
}

impl Default for Doubts {
    fn default() -> Self {
        Self { began: Instant::now(), known: Mutex::default() }
    }
}

impl Doubts {
    fn has(&self, key: &str) -> bool {
        self.began.elapsed() < EARLY || self.known().0.contains(key)
    }

    fn add(&self, key: &str) {
        let (known, order) = &mut *self.known();
        if known.insert(key.to_owned()) {
            order.push_back(key.to_owned());
        }
        if order.len() > MAX_DOUBTFUL
            && let Some(first) = order.pop_front()
        {
            known.remove(&first);
        }
    }

    fn settle(&self, key: &str) {
        let (known, order) = &mut *self.known();
        if known.remove(key) {
            order.retain(|other| other != key);
        }
    }

    fn known(&self) -> MutexGuard<'_, (HashSet<String>, VecDeque<String>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the upstream stores it. Between two whose sums are equal v2 has a channel for each direction (trap 45).
fn native(draft: &Draft, version: Version) -> Native {
    let Channel { channel_type, id } = &draft.channel;
    let (from, to) = (&draft.from_uid, draft.channel.recipient(&draft.from_uid));
    let sum = |uid: &str| crc32fast::hash(uid.as_bytes());
    let id = if *channel_type == PERSON && version == Version::V2 && from != to && sum(from) == sum(to) {
        format!("{to}@{from}")
    } else {
        id.clone()
    };
    Native { channel_type: *channel_type, id }
}

/// What a sender calls the channel.
fn addressee(draft: &Draft) -> &str {
    if !draft.subscribers.is_empty() {
        return "";
    }
    let recipient = draft.channel.recipient(&draft.from_uid);
    let bare = recipient.strip_suffix("____cmd").unwrap_or(recipient);
    let behind = || bare.strip_prefix(draft.from_uid.as_str()).and_then(|rest| rest.strip_prefix('@'));
    if draft.channel.channel_type == AGENT { behind().unwrap_or(bare) } else { bare }
}
