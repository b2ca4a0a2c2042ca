//! `/stream/open`, `/stream/close`, and what a stream says (reference/wukongim.md §8; §17, trap 35).
//!
//! A stream begins with its anchor, a message of its channel. Its items are sent with `stream_no`; they are in a conversation of
//! their own, which knows the channel and whether the stream is closed. Nothing of that is in memory. A stream says what the
//! payloads of its items are together, byte by byte, without those that have expired. Its end, in a
//! conversation beside the channel's, holds the whole, to be found.

use super::Api;
use super::fields::Fields;
use super::reply::{self, ApiError};
use super::rows::is_good;
use super::send;
use crate::channel::Channel;
use crate::draft::{Draft, PART, Role, STREAM, ends, stream};
use crate::message::{BASE64, Header, Object};
use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use stele_plugin_api::model::{Conversation, ConversationKind, Micros};
use stele_plugin_api::ops::{
    ArchiveFind, ById, ConversationGet, FindQuery, HttpReply, HttpRequest, MAX_ROWS, MessageOrder, MessageQuery,
    MessageView,
};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

/// Most bytes of what a stream says, assembled.
const MAX_BYTES: usize = 1 << 20;
/// Most items of a stream that are assembled.
const MAX_ITEMS: usize = 100_000;
/// Locks that streams share.
const LOCKS: usize = 256;

/// What is kept beside a stream's conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
struct State {
    /// Native id of its channel's conversation.
    channel: String,
    /// Who began it.
    from_uid: String,
    /// The `client_msg_no` of the message that begins it.
    client_msg_no: String,
    /// When the message that begins it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Micros>,
    /// Whether it is closed.
    closed: bool,
}

impl State {
    /// As it is told.
    fn of(self, stream_no: &str) -> Conversation {
        Conversation {
            native_id: stream(stream_no),
            kind: Some(ConversationKind::System),
            attributes: Some(serde_json::to_string(&self).expect("plain values can be written")),
            ..Conversation::default()
        }
    }
}

/// Keeps the items of a stream and its closing apart: whoever sends items holds their streams open until they are stored, so
/// that nothing comes behind an end, and an end says all that was taken.
pub struct Streams([RwLock<()>; LOCKS]);

impl Default for Streams {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl Streams {
    /// Holds open the streams of the items among these messages.
    pub async fn items(&self, drafts: &[Draft]) -> Vec<RwLockReadGuard<'_, ()>> {
        let items = drafts.iter().filter(|draft| draft.role == Role::Part);
        // In order, so that nobody waits for somebody who waits for them.
        let places: BTreeSet<_> = items.map(|draft| place(&draft.stream_no)).collect();
        let mut held = Vec::with_capacity(places.len());
        for place in places {
            held.push(self.0[place].read().await);
        }
        held
    }

    /// Waits until the items of a stream that are under way are stored, and holds up others.
    async fn closing(&self, stream_no: &str) -> RwLockWriteGuard<'_, ()> {
        self.0[place(stream_no)].write().await
    }
}

fn place(stream_no: &str) -> usize {
    crc32fast::hash(stream_no.as_bytes()) as usize % LOCKS
}

impl Api {
    /// `POST /stream/open`.
    pub(super) async fn stream_open(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_body(request)?;
        let anchor = send::draft(&fields, fields.bytes("payload")?)?;
        let stream_no = Uuid::new_v4().simple().to_string();
        let state = State {
            channel: anchor.channel.to_string(),
            from_uid: anchor.from_uid.clone(),
            client_msg_no: anchor.client_msg_no.clone(),
            expires_at: (anchor.expire > 0).then(|| self.now() + i64::from(anchor.expire) * 1_000_000),
            closed: false,
        };
        let tells = Some(state.of(&stream_no));
        let anchor = Draft { setting: STREAM, role: Role::Message, stream_no, tells, ..anchor };
        let sent = self.send_one(anchor).await?;
        Ok(reply::json(200, &json!({ "stream_no": sent.stream_no })))
    }

    /// `POST /stream/close`: of a stream nobody knows there is nothing to close.
    pub(super) async fn stream_close(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let stream_no = Fields::of_body(request)?.needed("stream_no")?;
        let _closing = self.streams.closing(&stream_no).await;
        let Some(state) = self.state(&stream_no).await?.filter(|state| !state.closed) else { return Ok(reply::done()) };
        let channel = Channel::of_conversation(&state.channel).unwrap_or_else(|| Channel::new(0, ""));
        // It lasts, so it says nothing that does not.
        let said = self.said(&stream_no, |item| item.expires_at.is_none()).await?;
        let end = Draft::new(channel, Header::default(), &state.from_uid, said.into());
        let (client_msg_no, expires_at) = (state.client_msg_no.clone(), state.expires_at);
        let tells = Some(State { closed: true, ..state }.of(&stream_no));
        let end = Draft { stream_no, client_msg_no, expires_at, role: Role::End, tells, ..end };
        self.send_one(end).await?;
        Ok(reply::done())
    }

    /// Whether the items among these messages are of streams that are open, and of the same channel.
    pub(super) async fn check_streams(&self, drafts: &[Draft]) -> Result<(), ApiError> {
        let mut known: BTreeMap<&str, State> = BTreeMap::new();
        for draft in drafts.iter().filter(|draft| draft.role == Role::Part) {
            let stream_no = draft.stream_no.as_str();
            let at = if draft.at.is_empty() { String::new() } else { format!("{}stream_no: ", draft.at) };
            if !known.contains_key(stream_no) {
                let none = || ApiError::not_found(format!("{at}there is no stream {stream_no:?}"));
                known.insert(stream_no, self.state(stream_no).await?.ok_or_else(none)?);
            }
            let state = &known[stream_no];
            if state.channel != draft.channel.to_string() {
                return Err(ApiError::bad(format!("{at}the stream {stream_no:?} is one of another channel")));
            }
            if state.closed && !self.is_item(draft).await? {
                return Err(ApiError::bad(format!("{at}the stream {stream_no:?} is closed")));
            }
        }
        Ok(())
    }

    /// Whether a stream has an item with the sender's own id of this one already: whoever sends it again may not know.
    async fn is_item(&self, draft: &Draft) -> Result<bool, ApiError> {
        if !draft.once {
            return Ok(false);
        }
        let query = FindQuery {
            conversation: Some(draft.conversation()),
            client_ids: vec![draft.client_msg_no.clone()],
            limit: MAX_ROWS,
            ..FindQuery::default()
        };
        let found = self.call::<ArchiveFind>(query).await?;
        Ok(found.rows.iter().any(|item| item.sender == draft.from_uid))
    }

    /// Puts what a stream says into the message that begins it.
    pub(super) async fn tell_stream(&self, anchor: &mut Object<'_>) -> Result<(), ApiError> {
        let state = self.state(&anchor.stream_no).await?.unwrap_or_default();
        let now = self.now();
        anchor.end = Some(state.closed.into());
        anchor.end_reason = Some(0);
        anchor.stream_data = Some(BASE64.encode(self.said(&anchor.stream_no, |item| is_good(item, now)).await?));
        Ok(())
    }

    /// A message with what a stream of an upstream says that it begins.
    pub(super) async fn whole<'m>(&self, message: &'m MessageView) -> Result<Object<'m>, ApiError> {
        let mut object = Object::of(message);
        if object.awaits_end() {
            self.tell_end(message, &mut object).await?;
        }
        Ok(object)
    }

    /// Puts what a stream of an upstream said in the end into the message that begins it. One that is open says nothing yet.
    pub(super) async fn tell_end(&self, message: &MessageView, anchor: &mut Object<'_>) -> Result<(), ApiError> {
        let query = FindQuery {
            conversation: Some(ends(&message.conversation)),
            client_ids: Vec::from_iter(message.client_id.clone()),
            limit: 1,
            ..FindQuery::default()
        };
        let found = self.call::<ArchiveFind>(query).await?;
        if let Some(end) = found.rows.first().map(Object::of) {
            (anchor.end, anchor.end_reason) = (Some(1), end.end_reason);
            anchor.stream_data = Some(end.payload.into_owned());
        }
        Ok(())
    }

    /// What those items of a stream say that are wanted: their payloads, one behind the other; the first MiB.
    async fn said(&self, stream_no: &str, is_wanted: impl Fn(&MessageView) -> bool) -> Result<Vec<u8>, ApiError> {
        let (mut said, mut from_seq, mut read) = (Vec::new(), 1, 0);
        while read < MAX_ITEMS && said.len() <= MAX_BYTES {
            let mut query = MessageQuery {
                conversation: stream(stream_no),
                kinds: vec![PART.to_owned()],
                from_seq: Some(from_seq),
                to_seq: Some(i64::MAX),
                order: MessageOrder::Seq,
                limit: MAX_ROWS,
                ..MessageQuery::default()
            };
            let items = self.query(&mut query).await?;
            let Some(last) = items.last() else { break };
            from_seq = last.seq + 1;
            read += items.len();
            for item in items.iter().filter(|item| is_wanted(item)) {
                said.extend(Object::of(item).payload());
            }
        }
        cut(&mut said, MAX_BYTES);
        Ok(said)
    }

    async fn state(&self, stream_no: &str) -> Result<Option<State>, ApiError> {
        let known = self.call::<ConversationGet>(ById { native_id: stream(stream_no) }).await?;
        let state = |attributes: String| serde_json::from_str(&attributes).ok();
        Ok(known.and_then(|known| known.attributes).and_then(state))
    }
}

/// Cuts off what is too much, and not within a letter.
fn cut(text: &mut Vec<u8>, most: usize) {
    if text.len() > most {
        let is_begun = |at: &usize| text[*at] & 0xC0 != 0x80;
        let at = (most - 3..=most).rev().find(is_begun).unwrap_or(most);
        text.truncate(at);
    }
}
