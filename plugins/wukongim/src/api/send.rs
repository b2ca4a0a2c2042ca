//! `/message/send` and `/message/sendbatch` (reference/wukongim.md §6; §17, traps 5, 6, 12 to 19 and 24 to 29).
//!
//! A message is stored when it is answered. With a `client_msg_no` of the sender's own it is stored once for a channel: what is
//! sent again gets the id and number of the first time, and another payload under the same one is refused. A message that has
//! expired is in the archive still and is repeated like others, whatever `expire` is sent with it now. That holds for what is
//! stored: of what is not (`no_persist`) nothing is known later, so each of them has an id of its own.

use super::Api;
use super::fields::{Body, Fields, either};
use super::reply::{self, ApiError};
use crate::CALL;
use crate::channel::{AGENT, Channel, PERSON, SYSTEM, forbidden};
use crate::commit::Kept;
use crate::draft::{Draft, Role, STREAM};
use crate::message::{Header, Object};
use crate::upstream::Upstream;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use stele_plugin_api::commit::MAX_WAITING_BYTES;
use stele_plugin_api::ops::{ArchiveGet, ByIds, HttpReply, HttpRequest, MAX_IDS, MessageView, Op};
use stele_plugin_api::{Error, ErrorCode};

/// Channels to which messages of one request are relayed at the same time.
const RELAYS: usize = 8;
/// Most messages of one request, and most people a message names.
pub const MAX_AT_ONCE: usize = 1000;

/// What answers say of a message that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// Its id.
    message_id: i64,
    /// The same as a text.
    message_idstr: String,
    /// Its number in the channel; 0 for what is not stored, and for items of a stream.
    message_seq: i64,
    /// The sender's own id of it.
    client_msg_no: String,
    /// The stream it begins or is part of.
    #[serde(skip)]
    pub stream_no: String,
}

impl Sent {
    fn new(draft: &Draft, id: i64, seq: i64, stream_no: &str) -> Self {
        Self {
            message_id: id,
            message_idstr: id.to_string(),
            message_seq: if draft.role == Role::Message { seq } else { 0 },
            client_msg_no: draft.client_msg_no.clone(),
            stream_no: stream_no.to_owned(),
        }
    }
}

/// A message that another one repeats.
struct First {
    id: i64,
    seq: i64,
    begins_stream: bool,
    stream_no: String,
    payload: Vec<u8>,
}

impl First {
    fn of(message: &MessageView) -> Self {
        let object = Object::of(message);
        Self {
            id: object.message_id,
            seq: message.seq,
            begins_stream: object.begins_stream(),
            stream_no: object.stream_no.clone().into_owned(),
            payload: Sha256::digest(object.payload()).to_vec(),
        }
    }

    /// What whoever repeats it is answered.
    fn again(&self, draft: &Draft) -> Result<Sent, ApiError> {
        let is_same = Sha256::digest(&draft.payload).as_slice() == self.payload;
        if !is_same || self.begins_stream != (draft.setting & STREAM != 0) {
            let number = &draft.client_msg_no;
            let wrong = format!("client_msg_no {number:?} is that of another message; nothing is stored");
            return Err(ApiError::bad(wrong));
        }
        Ok(Sent::new(draft, self.id, self.seq, &self.stream_no))
    }
}

impl Api {
    /// `POST /message/send`.
    pub(super) async fn message_send(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_body(request)?;
        let sent = self.send_one(draft(&fields, fields.payload("payload")?)?).await?;
        let Sent { message_id, message_seq, client_msg_no, .. } = &sent;
        let data = json!({ "message_id": message_id, "message_seq": message_seq, "client_msg_no": client_msg_no });
        let mut answer = json!(sent);
        answer["status"] = json!(200);
        answer["data"] = data;
        Ok(reply::json(200, &answer))
    }

    /// `POST /message/sendbatch`: a list of messages as the contract has it, or one message for many people as a real server.
    pub(super) async fn message_sendbatch(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        match either(request)? {
            Body::Many(messages) => self.send_list(&messages).await,
            Body::One(message) => self.send_to_each(&message).await,
        }
    }

    /// Either all messages are right, or none is stored.
    async fn send_list(&self, messages: &[Fields]) -> Result<HttpReply, ApiError> {
        if messages.len() > MAX_AT_ONCE {
            return Err(ApiError::bad(format!("at most {MAX_AT_ONCE} messages can be sent at once")));
        }
        let drafts =
            messages.iter().map(|fields| draft(fields, fields.payload("payload")?)).collect::<Result<Vec<_>, _>>()?;
        let outcomes = self.send(drafts).await?;
        // Where nothing was stored at all, that is the answer; else everybody has to see what was.
        if let (Some(Err(error)), true) = (outcomes.first(), outcomes.iter().all(Result::is_err)) {
            return Err(error.clone());
        }
        let told = |outcome: Result<Sent, ApiError>| outcome.map_or_else(|error| error.body(), |sent| json!(sent));
        Ok(reply::json(200, &outcomes.into_iter().map(told).collect::<Vec<_>>()))
    }

    /// The same to each of many people.
    async fn send_to_each(&self, message: &Fields) -> Result<HttpReply, ApiError> {
        let (header, from_uid) = (header(message)?, message.needed("from_uid")?);
        let subscribers = message.names("subscribers", MAX_AT_ONCE)?;
        if subscribers.is_empty() {
            return Err(message.wrong("subscribers", "is missing or empty"));
        }
        let payload = Bytes::from(message.payload("payload")?);
        let (mut failed, mut reasons) = (Vec::new(), Vec::new());
        let (mut to, mut drafts) = (Vec::new(), Vec::new());
        for subscriber in subscribers {
            match channel(PERSON, &subscriber, &from_uid) {
                Ok(channel) => {
                    drafts.push(Draft::new(ordinary_or_command(channel, header), header, &from_uid, payload.clone()));
                    to.push(subscriber);
                }
                Err((_, wrong)) => {
                    failed.push(subscriber);
                    reasons.push(wrong.to_owned());
                }
            }
        }
        for (subscriber, outcome) in to.into_iter().zip(self.send(drafts).await?) {
            if let Err(error) = outcome {
                failed.push(subscriber);
                reasons.push(error.message);
            }
        }
        Ok(reply::json(200, &json!({ "fail_uids": failed, "reason": reasons })))
    }

    /// Sends one message.
    pub(super) async fn send_one(&self, draft: Draft) -> Result<Sent, ApiError> {
        let outcome = self.send(vec![draft]).await?.pop();
        outcome.unwrap_or_else(|| Err(ApiError::failed(&Error::internal("nothing was sent"))))
    }

    /// Sends messages in this order, and says what became of each. Where it cannot be done nothing of it is.
    async fn send(&self, drafts: Vec<Draft>) -> Result<Vec<Result<Sent, ApiError>>, ApiError> {
        if let Some(upstream) = &self.upstream {
            let drafts: Vec<_> = drafts.into_iter().map(Arc::new).collect();
            let kept = self.relay(upstream, &drafts).await;
            return Ok(self.answers(&drafts, kept).await);
        }
        let _open = self.streams.items(&drafts).await;
        self.check_streams(&drafts).await?;
        let drafts: Vec<_> = drafts.into_iter().map(Arc::new).collect();
        let stored: Vec<_> = drafts.iter().filter(|draft| draft.is_stored()).cloned().collect();
        if stored.iter().map(|draft| draft.bytes()).sum::<usize>() > MAX_WAITING_BYTES {
            let message = format!("the messages have more than {MAX_WAITING_BYTES} bytes together, for each recipient");
            return Err(ApiError { status: 413, message });
        }
        let mut pending = self.committer.submit(stored).map_err(|error| ApiError::failed(&error))?.into_iter();
        let mut outcomes = Vec::with_capacity(drafts.len());
        for draft in &drafts {
            outcomes.push(match if draft.is_stored() { pending.next() } else { None } {
                Some(pending) => pending.answer().await.map_err(|error| ApiError::failed(&error)),
                None => Ok(Kept::As(self.pass(draft), 0)),
            });
        }
        Ok(self.answers(&drafts, outcomes).await)
    }

    /// Sends messages at the upstream, those of a channel one after the other.
    async fn relay(&self, upstream: &Arc<Upstream>, drafts: &[Arc<Draft>]) -> Vec<Result<Kept, ApiError>> {
        let mut channels: BTreeMap<&Channel, Vec<usize>> = BTreeMap::new();
        for (place, draft) in drafts.iter().enumerate() {
            channels.entry(&draft.channel).or_default().push(place);
        }
        let relays = stream::iter(channels.into_values().collect::<Vec<_>>()).map(|places| async move {
            let mut kept: Vec<(usize, Result<Kept, ApiError>)> = Vec::with_capacity(places.len());
            for place in places {
                let outcome = match kept.last() {
                    // It does not work; what comes behind is not begun.
                    Some((_, Err(error))) if error.status == 503 => Err(error.clone()),
                    _ => upstream.relay(&drafts[place], self.numbering.id()).await,
                };
                if let (Ok(Kept::As(id, _)), false) = (&outcome, drafts[place].is_stored()) {
                    self.tell_passing(&drafts[place], *id);
                }
                kept.push((place, outcome));
            }
            kept
        });
        let mut outcomes: Vec<_> = relays.buffer_unordered(RELAYS).concat().await;
        outcomes.sort_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// What the senders are answered.
    async fn answers(
        &self,
        drafts: &[Arc<Draft>],
        outcomes: Vec<Result<Kept, ApiError>>,
    ) -> Vec<Result<Sent, ApiError>> {
        let firsts = self.firsts(&outcomes).await;
        let sent = |(draft, outcome): (&Arc<Draft>, Result<Kept, ApiError>)| match outcome? {
            Kept::As(id, seq) => Ok(Sent::new(draft, id, seq, &draft.stream_no)),
            Kept::Repeats(first) => match &firsts {
                Ok(firsts) => match firsts.get(&first) {
                    Some(first) => first.again(draft),
                    None => Err(ApiError::failed(&Error::internal("what a message repeats is not there"))),
                },
                Err(error) => Err(error.clone()),
            },
        };
        drafts.iter().zip(outcomes).map(sent).collect()
    }

    /// Gives a message that is not stored its id, and tells of it.
    fn pass(&self, draft: &Draft) -> i64 {
        let id = self.numbering.id();
        self.tell_passing(draft, id);
        id
    }

    fn tell_passing(&self, draft: &Draft, id: i64) {
        if let Some(webhooks) = &self.webhooks {
            webhooks.pass(draft.message(id));
        }
    }

    /// The messages that others repeat.
    async fn firsts(&self, outcomes: &[Result<Kept, ApiError>]) -> Result<HashMap<String, First>, ApiError> {
        let repeated = outcomes.iter().filter_map(|outcome| match outcome {
            Ok(Kept::Repeats(first)) => Some(first.clone()),
            _ => None,
        });
        let wanted: Vec<_> = repeated.collect();
        let (mut rest, mut most) = (&wanted[..], MAX_IDS);
        let mut firsts = HashMap::new();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(most.min(rest.len()));
            let by = ByIds { native_ids: now.to_vec() };
            match self.host.call_within::<ArchiveGet>(by, CALL).await {
                Ok(found) => {
                    firsts.extend(found.rows.iter().map(|row| (row.native_id.clone(), First::of(row))));
                    rest = later;
                }
                // They are too long for one answer.
                Err(error) if error.code == ErrorCode::TooLarge && now.len() > 1 => most = now.len() / 2,
                Err(error) => return Err(self.failed(ArchiveGet::NAME, &error)),
            }
        }
        Ok(firsts)
    }
}

/// A message with this payload, as the fields have it.
pub(super) fn draft(fields: &Fields, payload: Vec<u8>) -> Result<Draft, ApiError> {
    let header = header(fields)?;
    let from_uid = Some(fields.name("from_uid")?).filter(|uid| !uid.is_empty()).unwrap_or_else(|| SYSTEM.to_owned());
    let subscribers = fields.names("subscribers", MAX_AT_ONCE)?;
    let channel_id = fields.name("channel_id")?;
    let channel = if channel_id.is_empty() && !subscribers.is_empty() {
        Channel::of_subscribers(&subscribers)
    } else {
        let channel_id = fields.needed("channel_id")?;
        let channel = channel(fields.channel_type()?, &channel_id, &from_uid);
        ordinary_or_command(channel.map_err(|(name, wrong)| fields.wrong(name, wrong))?, header)
    };
    let client_msg_no = fields.name("client_msg_no")?;
    let stream_no = fields.name("stream_no")?;
    let draft = Draft::new(channel, header, &from_uid, payload.into());
    let role = if stream_no.is_empty() { Role::Message } else { Role::Part };
    let (once, generated) = (!client_msg_no.is_empty(), draft.client_msg_no);
    Ok(Draft {
        client_msg_no: if once { client_msg_no } else { generated },
        once,
        stream_no,
        role,
        expire: fields.number("expire", u32::MAX)?.unwrap_or_default(),
        subscribers,
        tag_key: fields.name("tag_key")?,
        at: fields.at().to_owned(),
        ..draft
    })
}

fn header(fields: &Fields) -> Result<Header, ApiError> {
    let header = fields.object("header")?;
    Ok(Header {
        no_persist: header.flag("no_persist")?,
        red_dot: header.flag("red_dot")?,
        sync_once: header.flag("sync_once")?,
    })
}

/// The channel a sender means, or which field is wrong, and how.
fn channel(channel_type: u8, id: &str, from_uid: &str) -> Result<Channel, (&'static str, &'static str)> {
    if let Some(wrong) = forbidden(id) {
        return Err(("channel_id", wrong));
    }
    match channel_type {
        PERSON => match forbidden(from_uid) {
            None => Ok(Channel::person(from_uid, id)),
            Some(wrong) => Err(("from_uid", wrong)),
        },
        AGENT => Ok(Channel::new(AGENT, format!("{from_uid}@{id}"))),
        other => Ok(Channel::new(other, id)),
    }
}

fn ordinary_or_command(channel: Channel, header: Header) -> Channel {
    if header.sync_once == 1 { channel.command() } else { channel }
}
