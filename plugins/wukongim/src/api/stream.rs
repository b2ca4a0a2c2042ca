//! `/stream/open`, `/stream/close`, and what a stream says (reference/wukongim.md §8; §17, trap 35).
//!
//! A stream begins with its anchor, a message of its channel. Its items are sent with `stream_no`; they are in a conversation of
//! their own, which knows the channel and whether the stream is closed. Nothing of that is in memory.

use super::Api;
use super::fields::Fields;
use super::reply::{self, ApiError};
use super::send;
use crate::CALL;
use crate::channel::{Channel, SYSTEM};
use crate::draft::{Draft, END, PART, Role, STREAM, stream};
use crate::message::{BASE64, Header, Object};
use base64::Engine;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use stele_plugin_api::ErrorCode;
use stele_plugin_api::model::{Conversation, ConversationKind};
use stele_plugin_api::ops::{
    ArchiveQuery, ById, ConversationGet, HttpReply, HttpRequest, MAX_ROWS, MessageOrder, MessageQuery, MessageView, Op,
};
use uuid::Uuid;

/// Most bytes of what a stream says, assembled.
const MAX_TEXT: usize = 1 << 20;
/// Most items of a stream that are assembled.
const MAX_ITEMS: usize = 100_000;

/// What is kept beside a stream's conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
struct State {
    /// Native id of its channel's conversation.
    channel: String,
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

/// What a stream says so far.
#[derive(Default)]
struct Said {
    /// The texts of its items, one behind the other; the first MiB.
    text: String,
    /// Whether it is closed.
    closed: bool,
}

impl Api {
    /// `POST /stream/open`.
    pub(super) async fn stream_open(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_body(request)?;
        let anchor = send::draft(&fields, fields.bytes("payload")?)?;
        let stream_no = Uuid::new_v4().simple().to_string();
        let state = State { channel: anchor.channel.to_string(), closed: false };
        let tells = Some(state.of(&stream_no));
        let anchor = Draft { setting: STREAM, role: Role::Message, stream_no, tells, ..anchor };
        let sent = self.send_one(anchor).await?;
        Ok(reply::json(200, &json!({ "stream_no": sent.stream_no })))
    }

    /// `POST /stream/close`: of a stream nobody knows there is nothing to close.
    pub(super) async fn stream_close(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let stream_no = Fields::of_body(request)?.needed("stream_no")?;
        let Some(state) = self.state(&stream_no).await?.filter(|state| !state.closed) else { return Ok(reply::done()) };
        let channel = Channel::of_conversation(&state.channel).unwrap_or_else(|| Channel::new(0, ""));
        let role = Role::End(self.said(&stream_no).await?.text);
        let tells = Some(State { closed: true, ..state }.of(&stream_no));
        let end = Draft { stream_no, role, tells, ..Draft::new(channel, Header::default(), SYSTEM, Bytes::new()) };
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
        let said = self.said(&anchor.stream_no).await?;
        anchor.end = Some(said.closed.into());
        anchor.end_reason = Some(0);
        anchor.stream_data = Some(BASE64.encode(said.text));
        Ok(())
    }

    /// What a stream says so far.
    async fn said(&self, stream_no: &str) -> Result<Said, ApiError> {
        let end = self.items(stream_no, END, 1, 1).await?;
        if let Some(end) = end.into_iter().next() {
            return Ok(Said { text: end.text, closed: true });
        }
        let mut said = Said::default();
        let (mut from_seq, mut read) = (1, 0);
        while read < MAX_ITEMS {
            let items = self.items(stream_no, PART, from_seq, MAX_ROWS).await?;
            let Some(last) = items.last() else { break };
            from_seq = last.seq + 1;
            read += items.len();
            for item in items {
                let room = item.text.floor_char_boundary(MAX_TEXT - said.text.len());
                said.text.push_str(&item.text[..room]);
                if room < item.text.len() {
                    return Ok(said);
                }
            }
        }
        Ok(said)
    }

    /// Messages of a stream's conversation, from a number on; fewer where they are too long for one answer.
    async fn items(
        &self,
        stream_no: &str,
        kind: &str,
        from_seq: i64,
        limit: u32,
    ) -> Result<Vec<MessageView>, ApiError> {
        let mut query = MessageQuery {
            conversation: stream(stream_no),
            kinds: vec![kind.to_owned()],
            from_seq: Some(from_seq),
            to_seq: Some(i64::MAX),
            order: MessageOrder::Seq,
            limit,
            ..MessageQuery::default()
        };
        loop {
            match self.host.call_within::<ArchiveQuery>(query.clone(), CALL).await {
                Ok(found) => return Ok(found.rows),
                Err(error) if error.code == ErrorCode::TooLarge && query.limit > 1 => query.limit /= 2,
                Err(error) => return Err(self.failed(ArchiveQuery::NAME, &error)),
            }
        }
    }

    async fn state(&self, stream_no: &str) -> Result<Option<State>, ApiError> {
        let known = self.call::<ConversationGet>(ById { native_id: stream(stream_no) }).await?;
        let state = |attributes: String| serde_json::from_str(&attributes).ok();
        Ok(known.and_then(|known| known.attributes).and_then(state))
    }
}
