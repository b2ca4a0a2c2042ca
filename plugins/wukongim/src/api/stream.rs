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
use crate::draft::{Draft, PART, Role, STREAM, stream};
use crate::message::{BASE64, Header, Object};
use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use stele_plugin_api::model::{Conversation, ConversationKind};
use stele_plugin_api::ops::{
    ById, ConversationGet, HttpReply, HttpRequest, MAX_ROWS, MessageOrder, MessageQuery, MessageView,
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
        let client_msg_no = state.client_msg_no.clone();
        let tells = Some(State { closed: true, ..state }.of(&stream_no));
        let end = Draft { stream_no, client_msg_no, role: Role::End, tells, ..end };
        self.send_one(end).await?;
        Ok(reply::done())
    }

    /// Whether the items among these messages are of streams that are open, and of the same channel.
    pub(super) async fn check_streams(&self, drafts: &[Draft]) -> Result<(), ApiError> {
        let mut known: BTreeMap<&str, State> = BTreeMap::new();
        for draft in drafts.iter().filter(|draft| draft.role == Role::Part) {
            let stream_no = draft.stream_no.as_str();
            if !known.contains_key(stream_no) {
                let none = || ApiError::not_found(format!("there is no stream {stream_no:?}"));
                known.insert(stream_no, self.state(stream_no).await?.ok_or_else(none)?);
            }
            let state = &known[stream_no];
            if state.channel != draft.channel.to_string() {
                return Err(ApiError::bad(format!("the stream {stream_no:?} is one of another channel")));
            }
            if state.closed {
                return Err(ApiError::bad(format!("the stream {stream_no:?} is closed")));
            }
        }
        Ok(())
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
