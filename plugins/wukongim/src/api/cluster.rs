//! `GET /cluster/messages`: messages of all channels (contract 001 §7).
//!
//! What is given must all hold. Answers are newest first, by when the messages were sent; `total` counts what there is without
//! the offset. `pre` = 1 takes the nearest messages that are newer than the offset instead of older ones, so that a walk goes
//! back the way it came. A stream that is closed is found by what it says: the answer has its end, with message_seq 0. An offset nobody knows stands for its millisecond.

use super::Api;
use super::answer::Answer;
use super::fields::Fields;
use super::messagesync::MAX_LIMIT;
use super::reply::{self, ApiError};
use super::rows::{Lookup, is_good};
use crate::channel::Channel;
use crate::draft::{END, PART, ends, label, of_ends};
use crate::id::given_at;
use crate::message::{Object, readable};
use serde_json::json;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{
    ByIds, ConversationGetMany, HttpReply, HttpRequest, MessageOrder, MessageQuery, MessageView, Place, SearchQuery,
};

/// Messages of an answer, where nothing else is asked for.
const DEFAULT_LIMIT: u64 = 20;

/// What is asked for.
struct Wanted {
    /// Those of a channel_id; without a channel_type there may be several.
    conversations: Option<Vec<String>>,
    channel_type: Option<u8>,
    sender: Option<String>,
    id: Option<i64>,
    client_id: Option<String>,
    text: String,
    newer: bool,
    now: Micros,
}

impl Api {
    /// `GET /cluster/messages`.
    pub(super) async fn cluster_messages(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_query(request);
        let node = fields.number("node_id", u64::MAX)?.unwrap_or_default();
        let shown = self.config.shown_node();
        if node != 0 && node != u64::from(shown) {
            return Err(fields.wrong("node_id", &format!("must be 0 or {shown}: there is no other node")));
        }
        let wanted = self.wanted(&fields).await?;
        let limit = fields.number("limit", u64::MAX)?.filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
        let limit = usize::try_from(limit.min(MAX_LIMIT)).unwrap_or_default();
        let offset = self.offset(&fields, &wanted).await?;
        let mut answer = Answer::new(self);
        let total = if wanted.id.is_some() || wanted.client_id.is_some() {
            self.named(&wanted, offset, limit, &mut answer).await?
        } else {
            self.searched(&wanted, offset, limit, &mut answer).await?
        };
        if wanted.newer {
            answer.shown.reverse();
        }
        Ok(reply::json(200, &json!({ "data": answer.shown, "total": total })))
    }

    async fn wanted(&self, fields: &Fields) -> Result<Wanted, ApiError> {
        let given = |name: &str| fields.name(name).map(|text| Some(text).filter(|text| !text.is_empty()));
        let sender = given("from_uid")?;
        let channel_type = fields.number("channel_type", u8::MAX)?.filter(|channel_type| *channel_type > 0);
        // Where two people are named by one of them, the other one is whoever sent it.
        let other = sender.as_deref().unwrap_or_default();
        let conversations = match (fields.text("channel_id")?.is_empty(), channel_type) {
            (true, _) => None,
            (false, Some(_)) => Some(vec![fields.channel(other)?.to_string()]),
            (false, None) => Some(self.conversations(&fields.channel_id()?, other).await?),
        };
        let payload = fields.bytes("payload")?;
        let text = searched_for(&payload);
        if !payload.is_empty() && text.is_empty() {
            return Err(fields.wrong("payload", "has no text in it that could be searched for"));
        }
        let id = fields.id("message_id")?.filter(|id| *id != 0);
        let newer = fields.flag("pre")? == 1;
        Ok(Wanted {
            conversations,
            channel_type,
            sender,
            id,
            client_id: given("client_msg_no")?,
            text,
            newer,
            now: self.now(),
        })
    }

    /// The conversations of channels with this id, of whatever type.
    async fn conversations(&self, id: &str, other: &str) -> Result<Vec<String>, ApiError> {
        let channels = (1..=u8::MAX).filter_map(|channel_type| Channel::of_reader(channel_type, id, other));
        let native_ids = channels.map(|channel| channel.to_string()).collect();
        let found = self.call::<ConversationGetMany>(ByIds { native_ids }).await?;
        Ok(found.conversations.into_iter().map(|found| found.native_id).collect())
    }

    /// Where the answer begins.
    async fn offset(&self, fields: &Fields, wanted: &Wanted) -> Result<Option<Place>, ApiError> {
        let seq = fields.number("offset_message_seq", u64::MAX)?.filter(|seq| *seq > 0);
        let conversation = wanted.conversations.as_deref().filter(|_| wanted.channel_type.is_some());
        if seq.is_some() && conversation.is_none() {
            return Err(fields.wrong("offset_message_seq", "needs channel_id and channel_type"));
        }
        if let Some(id) = fields.id("offset_message_id")?.filter(|id| *id != 0) {
            let unknown = Place { sent_at: given_at(id), id: if wanted.newer { i64::MAX } else { 0 } };
            return Ok(Some(self.by_id(id).await?.map_or(unknown, |message| place(&message))));
        }
        let (Some(seq), Some([conversation])) = (seq, conversation) else { return Ok(None) };
        // Of a number that is missing the next one beyond, from which on it is the same.
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        let (from, upto) = if wanted.newer { (0, seq) } else { (seq, i64::MAX) };
        let mut query = MessageQuery {
            conversation: conversation.clone(),
            from_seq: Some(from),
            to_seq: Some(upto),
            order: MessageOrder::Seq,
            descending: wanted.newer,
            limit: 2,
            ..MessageQuery::default()
        };
        match &self.query(&mut query).await?[..] {
            [one, other] if one.seq == other.seq => {
                Err(fields.wrong("offset_message_seq", "is the number of several messages: give offset_message_id"))
            }
            found => Ok(found.first().map(place)),
        }
    }

    /// Messages that are named by an id, or the sender's id. Of the latter at most the 1000 that came last are looked at.
    async fn named(
        &self,
        wanted: &Wanted,
        offset: Option<Place>,
        limit: usize,
        answer: &mut Answer<'_>,
    ) -> Result<usize, ApiError> {
        let (ids, client_ids) = (Vec::from_iter(wanted.id), Vec::from_iter(wanted.client_id.clone()));
        let conversation = match wanted.conversations.as_deref() {
            Some([conversation]) => Some(conversation.as_str()),
            _ => None,
        };
        let mut lookup = match wanted.id {
            Some(_) => Lookup::ids(&ids),
            None => Lookup::found(conversation, &[], &client_ids),
        };
        let mut found = Vec::new();
        while let Some(rows) = lookup.next(self).await? {
            for message in rows {
                if wanted.holds_of(&message) && self.says(&message, &wanted.text).await? {
                    found.push(message);
                }
            }
        }
        let total = found.len();
        let is_beyond = |message: &MessageView| {
            offset.is_none_or(|offset| if wanted.newer { at(message) > key(offset) } else { at(message) < key(offset) })
        };
        found.retain(is_beyond);
        found.sort_by_key(at);
        if !wanted.newer {
            found.reverse();
        }
        for message in found.iter().take(limit) {
            if !answer.add(message, &Object::of(message)).await? {
                break;
            }
        }
        Ok(total)
    }

    /// Messages that are searched for.
    async fn searched(
        &self,
        wanted: &Wanted,
        offset: Option<Place>,
        limit: usize,
        answer: &mut Answer<'_>,
    ) -> Result<usize, ApiError> {
        // Of a stream it is the end that has all of it; where nothing is looked for in payloads, it is not meant.
        let is_said = !wanted.text.is_empty();
        let except_kinds = if is_said { vec![PART.to_owned()] } else { [PART, END].map(str::to_owned).to_vec() };
        let query = |conversation: Option<String>| SearchQuery {
            text: wanted.text.clone(),
            conversation,
            sender: wanted.sender.clone(),
            // Of what is in one conversation it is known.
            labels: wanted.channel_type.filter(|_| wanted.conversations.is_none()).map(label).into_iter().collect(),
            except_kinds: except_kinds.clone(),
            unexpired_at: Some(wanted.now),
            oldest_first: wanted.newer,
            beyond: offset,
            limit: u32::MAX,
            ..SearchQuery::default()
        };
        let mut queries = match &wanted.conversations {
            None => vec![query(None)],
            Some(conversations) => conversations.iter().map(|conversation| query(Some(conversation.clone()))).collect(),
        };
        let beside = wanted.conversations.iter().flatten().filter(|_| is_said);
        queries.extend(beside.map(|conversation| query(Some(ends(conversation)))));
        let is_before =
            |one: Place, other: Place| if wanted.newer { key(one) < key(other) } else { key(one) > key(other) };
        let mut total = None;
        loop {
            let left = limit - answer.shown.len();
            // Up to where all of them have answered.
            let mut upto: Option<Place> = None;
            let (mut rows, mut all) = (Vec::new(), 0);
            for query in &mut queries {
                query.limit = query.limit.min(u32::try_from(left).unwrap_or(u32::MAX));
                let page = self.search(query).await?;
                all += page.total;
                let last = page.rows.last().filter(|_| page.rows.len() >= query.limit as usize).map(place);
                upto =
                    upto.into_iter().chain(last).reduce(|one, other| if is_before(one, other) { one } else { other });
                rows.extend(page.rows);
            }
            // What comes while the answer is put together is not counted.
            let total = *total.get_or_insert(usize::try_from(all).unwrap_or(usize::MAX));
            rows.retain(|row| upto.is_none_or(|upto| !is_before(upto, place(row))));
            rows.sort_by_key(at);
            if !wanted.newer {
                rows.reverse();
            }
            for message in rows.iter().take(left) {
                if !answer.add(message, &Object::of(message)).await? {
                    return Ok(total);
                }
            }
            match rows.last() {
                Some(last) if answer.shown.len() < limit && upto.is_some() => {
                    queries.iter_mut().for_each(|query| query.beyond = Some(place(last)));
                }
                _ => return Ok(total),
            }
        }
    }

    /// Whether a message would be found by this text: whether it is the first one found from its place on.
    async fn says(&self, message: &MessageView, text: &str) -> Result<bool, ApiError> {
        if text.is_empty() {
            return Ok(true);
        }
        let mut query = SearchQuery {
            text: text.to_owned(),
            conversation: Some(message.conversation.clone()),
            since: Some(message.sent_at),
            until: Some(message.sent_at.saturating_add(1)),
            beyond: Some(Place { sent_at: message.sent_at, id: message.id.saturating_add(1) }),
            limit: 1,
            ..SearchQuery::default()
        };
        let found = self.search(&mut query).await?;
        Ok(found.rows.first().is_some_and(|first| first.id == message.id))
    }
}

impl Wanted {
    fn holds_of(&self, message: &MessageView) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let is_end = message.kind == END && !self.text.is_empty();
        let own = message.conversation.as_str();
        let Some(channel) = Channel::of_conversation(if is_end { of_ends(own) } else { own }) else { return false };
        let name = channel.to_string();
        self.conversations.as_ref().is_none_or(|wanted| wanted.contains(&name))
            && self.channel_type.is_none_or(|wanted| wanted == channel.channel_type)
            && is(&self.sender, &message.sender)
            && is(&self.client_id, message.client_id.as_deref().unwrap_or_default())
            && is_good(message, self.now)
    }
}

/// What is searched for of a payload: its text, or the longest line of what is readable in it.
fn searched_for(payload: &[u8]) -> String {
    let found = readable(payload);
    if found.is_lines() {
        found.text.lines().max_by_key(|line| line.len()).unwrap_or_default().to_owned()
    } else {
        found.text
    }
}

fn place(message: &MessageView) -> Place {
    Place { sent_at: message.sent_at, id: message.id }
}

fn key(place: Place) -> (Micros, i64) {
    (place.sent_at, place.id)
}

fn at(message: &MessageView) -> (Micros, i64) {
    key(place(message))
}
