//! Sends, done at the upstream first, and archived as it stored them.
//!
//! v2 hands out an id before it stores a message, and may not store it at all (trap 47); it stores again what is sent again
//! (trap 24). So a message is there when it was read back, and one whose outcome nobody knows is looked for in its channel, by
//! the sender's own id, for longer than v2 works on a message, before it is sent again. A send goes on whether its caller waits
//! or not; it is noted before it goes out ([`doubts`](super::doubts)), so whoever sends it again, with the same `client_msg_no`,
//! has it looked for first, whatever became of caller, plugin and daemon. v3 answers when it has stored, and knows what is sent
//! again.
//!
//! What is in a channel of commands is looked for by v2's search, since messagesync cannot name all of them, and archived as it
//! was sent. What names `subscribers` loses its `client_msg_no` there: it can never be looked for.

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
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Message, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{ArchiveAppend, ArchiveFind, ArchiveGet, ByIds, FindQuery, MAX_ROWS};
use tokio::time::{Instant, sleep};

/// How long a message is looked for since the upstream answers. v2 gives up storing one after five seconds.
const LOOK: Duration = Duration::from_secs(6);
/// How long it is looked for in all, also where the upstream does not answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Pause before it is looked for again; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Time since it first went out after which a send is not tried again: its caller is about to give up.
const AGAIN: Duration = Duration::from_secs(9);
/// Time since it came after which a send that waited for its turn does not go out: its caller has given up.
const LATE: Duration = Duration::from_secs(25);
/// Messages among which one is looked for in a channel that is far from archived.
const NEWEST: usize = 100;
/// Most sends under way, with or without a caller.
pub(super) const MAX_UNDER_WAY: usize = 1024;
/// The reason of a send that v3 did.
const SUCCESS: i64 = 1;

/// What the upstream says of a send.
struct Taken {
    /// Its id, where it tells one.
    id: Option<i64>,
    /// v3 has stored it.
    seq: Option<i64>,
}

/// Why a send has no outcome.
enum Undone {
    /// It was not done, and will not be.
    Not(ApiError),
    /// Nobody knows.
    Unknown(ApiError),
}

/// What is said of a send that could not be found out about in time.
const UNKNOWN: &str =
    "nobody knows yet whether the upstream has stored it: with a client_msg_no, send it again under the same one";
/// What is said of a send that nothing will be known of.
const NOT_TO_BE_KNOWN: &str = "nobody knows whether the upstream has sent it, and with subscribers it cannot be found out; \
    it is not sent again under this client_msg_no";

impl Upstream {
    /// Sends a message, to the end, whether its caller waits or not. What it became is archived, unless it is not stored there
    /// either. `spare` is its id where the upstream tells none.
    ///
    /// # Errors
    ///
    /// 400 when the upstream refuses it, 429 when too much is under way, 503 when it does not work now, or nobody knows whether it
    /// was done.
    pub async fn relay(self: &Arc<Self>, draft: &Arc<Draft>, spare: i64) -> Result<Kept, ApiError> {
        if draft.role != Role::Message || draft.setting & STREAM != 0 {
            return Err(ApiError::bad("streams are not relayed to an upstream"));
        }
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return Err(ApiError { status: 429, message: "too many sends are under way".to_owned() });
        };
        let (upstream, draft) = (Arc::clone(self), Arc::clone(draft));
        let task = tokio::spawn(async move {
            let _place = place;
            upstream.send(&draft, spare).await
        });
        task.await.unwrap_or_else(|error| Err(ApiError::failed(&Error::internal(error.to_string()))))
    }

    async fn send(&self, draft: &Draft, spare: i64) -> Result<Kept, ApiError> {
        let came = Instant::now();
        let version = self.client.version().await.map_err(|error| self.told(&error))?;
        // Of what is not stored nothing can be found out later.
        if draft.header.no_persist == 1 {
            let taken = self.hand_over(draft).await.map_err(|error| self.told(&error))?;
            return Ok(Kept::As(taken.id.unwrap_or(spare), 0));
        }
        let native = native(draft, version);
        let key = format!("{}\n{}\n{}", native.key(), draft.from_uid, draft.client_msg_no);
        // The same message twice at once is sent once.
        let _turn = self.sends.of(&key).await;
        if came.elapsed() > LATE {
            return Err(unavailable("the upstream does not answer"));
        }
        if draft.once {
            if let Some(first) = self.first(draft).await? {
                return Ok(Kept::Repeats(first));
            }
            let needs_note = version == Version::V2 || !draft.subscribers.is_empty();
            let looks = match needs_note {
                true => self.doubts.note(&key).await.map_err(|error| ApiError::failed(&error))?,
                false => 0,
            };
            if looks > 0 && !draft.subscribers.is_empty() {
                return Err(unavailable(NOT_TO_BE_KNOWN));
            }
            for _ in 0..looks {
                if let Some((first, _)) = self.await_it(&native, draft, None).await? {
                    self.doubts.settle(&key);
                    return Ok(Kept::Repeats(first));
                }
            }
        }
        let outcome = self.until_done(draft, &native, version, spare).await;
        // Of every other error nobody knows what it means.
        if !matches!(outcome, Err(Undone::Unknown(_))) {
            self.doubts.settle(&key);
        }
        outcome.map_err(|(Undone::Not(error) | Undone::Unknown(error))| error)
    }

    /// Sends it, and again where it is certain that it is not there.
    async fn until_done(&self, draft: &Draft, native: &Native, version: Version, spare: i64) -> Result<Kept, Undone> {
        let began = Instant::now();
        loop {
            match self.hand_over(draft).await {
                Ok(taken) if version == Version::V3 || !draft.subscribers.is_empty() => {
                    let id = taken.id.unwrap_or(spare);
                    // It is stored. Of what is in a channel of commands what was sent is archived; else it can be read, and
                    // what cannot be now comes with the sync.
                    let seq = if native.is_command() {
                        self.keep(draft, native, version, id, taken.seq).await.map_err(Undone::Unknown)?.1
                    } else {
                        if let Err(error) = self.refresh(native, |_| ()).await {
                            self.warn("what was relayed is not archived yet; the sync does it", &error.into());
                        }
                        taken.seq.unwrap_or_default()
                    };
                    return Ok(Kept::As(id, seq));
                }
                Ok(taken) => {
                    let found = self.await_it(native, draft, taken.id).await.map_err(Undone::Unknown)?;
                    let lost = || Undone::Not(unavailable("the upstream took the message, and did not store it"));
                    let (id, seq) = found.ok_or_else(lost)?;
                    return Ok(Kept::As(id.parse().unwrap_or_default(), seq));
                }
                Err(error @ CallError::Refused(..)) => return Err(Undone::Not(self.told(&error))),
                Err(error) if error.is_denied() => return Err(Undone::Not(self.told(&error))),
                Err(error) if !draft.subscribers.is_empty() => {
                    self.told(&error);
                    return Err(Undone::Unknown(unavailable(NOT_TO_BE_KNOWN)));
                }
                Err(error) => {
                    if version == Version::V2
                        && let Some((id, seq)) = self.await_it(native, draft, None).await.map_err(Undone::Unknown)?
                    {
                        return Ok(Kept::As(id.parse().unwrap_or_default(), seq));
                    }
                    // With v2 it is not there, and will not be.
                    if began.elapsed() > AGAIN {
                        return Err(Undone::Not(self.told(&error)));
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
            let taken = Taken { id: number("message_id").filter(|id| *id > 0), seq: number("message_seq") };
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

    /// Looks for a message until it is there, or can come no more: the upstream has answered for longer than it works on one.
    async fn await_it(
        &self,
        native: &Native,
        draft: &Draft,
        id: Option<i64>,
    ) -> Result<Option<(String, i64)>, ApiError> {
        let (until, mut pause, mut answers_since) = (Instant::now() + PATIENCE, FIRST_PAUSE, None);
        loop {
            let asked = Instant::now();
            match self.look(native, draft, id).await {
                Ok(Some(found)) => return Ok(Some(found)),
                // What was under way while it did not answer only begins now.
                Ok(None) if asked >= *answers_since.get_or_insert_with(Instant::now) + LOOK => return Ok(None),
                Ok(None) => {}
                Err(_) => answers_since = None,
            }
            if asked >= until {
                return Err(unavailable(UNKNOWN));
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
        if native.is_command() {
            let elements =
                self.client.search(native, &draft.client_msg_no).await.map_err(|error| self.unread(&error.into()))?;
            let elements: Vec<_> = elements.iter().map(AsRef::as_ref).collect();
            let Some(found) = decode::messages(&elements, native).0.into_iter().find(is_it) else { return Ok(None) };
            let id = found.native_id.parse().unwrap_or_default();
            return self.keep(draft, native, Version::V2, id, found.seq).await.map(Some);
        }
        let mut found = None;
        let refreshed = self.refresh(native, |message| {
            if is_it(message) {
                found = Some((message.native_id.clone(), message.seq));
            }
        });
        let is_whole = refreshed.await.map_err(|error| self.unread(&error.into()))?;
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

    /// Archives a message as it was sent. Says its native id and number.
    async fn keep(
        &self,
        draft: &Draft,
        native: &Native,
        version: Version,
        id: i64,
        seq: Option<i64>,
    ) -> Result<(String, i64), ApiError> {
        let seq = seq.filter(|_| !native.is_counted_here(version));
        let page = Page {
            messages: vec![Message { seq, once: false, ..draft.message(id) }],
            conversations: draft.conversations().collect(),
            people: draft.person().into_iter().collect(),
            ..Page::default()
        };
        self.host.call_within::<ArchiveAppend>(page, CALL).await.map_err(|error| ApiError::failed(&error))?;
        let missing = || ApiError::failed(&Error::internal("what was archived is not there"));
        self.archived(id.to_string()).await?.ok_or_else(missing)
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
        unavailable("the upstream does not answer")
    }

    fn unread(&self, error: &Error) -> ApiError {
        self.warn("what was relayed could not be looked for", error);
        unavailable("the upstream does not answer")
    }

    pub(super) fn warn(&self, what: &str, error: &Error) {
        self.host.log_from("upstream", Level::Warn, what, &[("error", &error.to_string())]);
    }
}

fn unavailable(message: &str) -> ApiError {
    ApiError { status: 503, message: message.to_owned() }
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
