//! What the upstream is asked for: its channels, and their messages (reference/wukongim.md §7, §10).

use super::client::{CallError, Client, Version};
use super::native::Native;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

/// Channels of one answer of v2.
const CHANNELS_V2: usize = 500;
/// Channels of one answer of v3, which has no more.
const CHANNELS_V3: usize = 200;
/// Messages of one answer of v3, which has no more.
pub const MESSAGES_V3: usize = 200;

/// Messages of one answer of v2's search: several people may use the same `client_msg_no`.
const FOUND: usize = 100;

/// What is not written as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A place in the listing of channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// v2: channels of this node that were created before this (nanoseconds; 0: all).
    V2 {
        /// The node.
        node: u64,
        /// Created before.
        before: i64,
    },
    /// v3: behind this; empty for the beginning.
    V3 {
        /// Its cursor.
        cursor: String,
    },
}

/// A channel in the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub native: Native,
    /// Its last number, where the upstream tells.
    pub last: Option<i64>,
}

/// A page of the listing.
pub struct Channels {
    /// The channels.
    pub channels: Vec<Listed>,
    /// Where the next page begins.
    pub next: Option<Place>,
    /// Nodes that could not be asked, and why.
    pub passed: Vec<(u64, String)>,
}

/// Messages of a channel as the upstream answers them.
pub struct Answer<T> {
    /// What was read of it.
    pub read: T,
    /// Its length in bytes.
    pub bytes: usize,
    /// Elements it had.
    pub elements: usize,
    /// v3: where it goes on towards older ones.
    pub next: Option<String>,
}

/// A page of a listing. Go writes an empty list as `null`, so what tells a page is that it says whether there are more.
#[derive(Deserialize)]
struct Rows<T> {
    #[serde(alias = "data")]
    items: Option<Vec<T>>,
    more: Option<u8>,
    total: Option<u64>,
    has_more: Option<bool>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    id: u64,
}

#[derive(Deserialize)]
struct Row {
    channel_id: String,
    channel_type: u8,
    #[serde(alias = "max_message_seq")]
    last_message_seq: Option<i64>,
    #[serde(default)]
    created_at: i64,
}

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow, alias = "items")]
    messages: Option<Vec<&'a RawValue>>,
    more: Option<u8>,
    has_more: Option<bool>,
    next_cursor: Option<String>,
}

impl Client {
    /// Where the listing begins.
    pub async fn first_place(&self) -> Result<Option<Place>, CallError> {
        match self.version().await? {
            Version::V2 => Ok(self.nodes().await?.first().map(|node| Place::V2 { node: *node, before: 0 })),
            Version::V3 => Ok(Some(Place::V3 { cursor: String::new() })),
        }
    }

    /// Whether it can be asked for what it has, and lets us: if not, what a single channel answers is not its own affair.
    pub async fn works(&self) -> Result<(), CallError> {
        match self.version().await? {
            Version::V2 => self.nodes().await.map(drop),
            Version::V3 => self.channels_of_manager("", false).await.map(drop),
        }
    }

    /// A page of the listing.
    pub async fn channels(&self, place: &Place) -> Result<Channels, CallError> {
        match place {
            Place::V2 { node, before } => self.channels_of_nodes(*node, *before).await,
            Place::V3 { cursor } => {
                let answer = match self.channels_of_manager(cursor, true).await {
                    // It may be about the last number of one channel.
                    Err(error) if !error.is_denied() && self.is_alive().await => {
                        self.channels_of_manager(cursor, false).await.map_err(|_| error)
                    }
                    answer => answer,
                }?;
                let next = answer.next_cursor.filter(|next| answer.has_more == Some(true) && next != cursor);
                let next = next.map(|cursor| Place::V3 { cursor });
                Ok(Channels { channels: listed(answer.items.unwrap_or_default()), next, passed: Vec::new() })
            }
        }
    }

    async fn channels_of_manager(&self, cursor: &str, with_last: bool) -> Result<Rows<Row>, CallError> {
        let cursor = utf8_percent_encode(cursor, QUERY);
        let path = format!(
            "/manager/channel-runtime-meta?limit={CHANNELS_V3}&cursor={cursor}&include_max_message_seq={with_last}"
        );
        self.manage(&path, rows).await
    }

    /// Those of this node, or of the next one that lists any: the channels of a node that is away are with others. An error when
    /// there is no other.
    async fn channels_of_nodes(&self, node: u64, before: i64) -> Result<Channels, CallError> {
        let nodes = self.nodes().await?;
        let (mut place, mut passed) = (Some((node, before)), Vec::new());
        while let Some((node, before)) = place {
            let behind = nodes.iter().copied().find(|other| *other > node);
            match self.channels_of_node(node, before, behind).await {
                Err(error @ CallError::Refused(..)) if passed.len() + 1 >= nodes.len() => return Err(error),
                Err(CallError::Refused(_, said)) => passed.push((node, said)),
                answer => return answer.map(|(channels, next)| Channels { channels, next, passed }),
            }
            place = behind.map(|node| (node, 0));
        }
        Ok(Channels { channels: Vec::new(), next: None, passed })
    }

    /// Newest first. The next page has the last channel of this one again: others may have been created in the same nanosecond.
    async fn channels_of_node(
        &self,
        node: u64,
        before: i64,
        behind: Option<u64>,
    ) -> Result<(Vec<Listed>, Option<Place>), CallError> {
        let path = format!("/cluster/nodes/{node}/channels?limit={CHANNELS_V2}&offset_created_at={before}&pre=0");
        let answer = self.call("GET", &path, None, rows::<Row>).await?;
        let found = answer.items.unwrap_or_default();
        let oldest = found.iter().map(|row| row.created_at).min().unwrap_or_default();
        let next = match answer.more {
            // With `before` itself a page would come again whose channels are all of one nanosecond.
            Some(1) if before == 0 || oldest + 1 < before => Some(Place::V2 { node, before: oldest + 1 }),
            Some(1) if oldest < before && oldest > 0 => Some(Place::V2 { node, before: oldest }),
            _ => behind.map(|node| Place::V2 { node, before: 0 }),
        };
        Ok((listed(found), next))
    }

    /// v2: its nodes, in the order of their ids.
    async fn nodes(&self) -> Result<Vec<u64>, CallError> {
        let answer = self.call("GET", "/cluster/simpleNodes", None, rows::<Node>).await?;
        let mut ids: Vec<_> = answer.items.unwrap_or_default().into_iter().map(|node| node.id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// v2: at most so many messages from a number on, towards newer ones.
    pub async fn messages_from<T>(
        &self,
        native: &Native,
        start: i64,
        limit: usize,
        read: impl FnOnce(&[&RawValue]) -> T,
    ) -> Result<Answer<T>, CallError> {
        let unnamed = || CallError::Refused(400, "no uids lead to the id of this channel".to_owned());
        let (login_uid, channel_id) = native.named().ok_or_else(unnamed)?;
        let body = json!({
            "login_uid": login_uid, "channel_id": channel_id, "channel_type": native.channel_type,
            "start_message_seq": start, "end_message_seq": 0, "limit": limit, "pull_mode": 1, "stream_v2": 1,
        });
        self.call("POST", "/channel/messagesync", Some(&body), |body| messages(body, read)).await
    }

    /// v2: messages of a channel with this `client_msg_no`, as its search has them: without their header. Here the channel is named
    /// by its id, which messagesync cannot do for each of two people's commands.
    pub async fn search(&self, native: &Native, client_msg_no: &str) -> Result<Vec<Box<RawValue>>, CallError> {
        let (id, number) = (utf8_percent_encode(&native.id, QUERY), utf8_percent_encode(client_msg_no, QUERY));
        let kind = native.channel_type;
        let path =
            format!("/cluster/messages?channel_id={id}&channel_type={kind}&client_msg_no={number}&limit={FOUND}");
        Ok(self.call("GET", &path, None, rows::<Box<RawValue>>).await?.items.unwrap_or_default())
    }

    /// At most so many of the newest messages.
    pub async fn newest_messages<T>(
        &self,
        native: &Native,
        limit: usize,
        read: impl Fn(&[&RawValue]) -> T,
    ) -> Result<Answer<T>, CallError> {
        match self.version().await? {
            // From 0 on means from the newest one backwards.
            Version::V2 => self.messages_from(native, 0, limit, read).await,
            Version::V3 => self.messages_before(native, "", limit, read).await,
        }
    }

    /// v3: at most so many messages behind a cursor, towards older ones; from the newest on where there is none.
    pub async fn messages_before<T>(
        &self,
        native: &Native,
        cursor: &str,
        limit: usize,
        read: impl Fn(&[&RawValue]) -> T,
    ) -> Result<Answer<T>, CallError> {
        let (id, cursor) = (utf8_percent_encode(&native.id, QUERY), utf8_percent_encode(cursor, QUERY));
        let kind = native.channel_type;
        let path = format!("/manager/messages?channel_id={id}&channel_type={kind}&limit={limit}&cursor={cursor}");
        match self.manage(&path, |body| messages(body, &read)).await {
            // Nobody ever said anything there.
            Err(CallError::Refused(404, _)) => Ok(Answer { read: read(&[]), bytes: 0, elements: 0, next: None }),
            answer => answer,
        }
    }
}

fn rows<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Option<Rows<T>> {
    let is_page = |rows: &Rows<T>| rows.more.is_some() || rows.total.is_some() || rows.has_more.is_some();
    serde_json::from_slice::<Rows<T>>(body).ok().filter(is_page)
}

fn listed(rows: Vec<Row>) -> Vec<Listed> {
    let listed = |row: Row| Listed {
        native: Native { channel_type: row.channel_type, id: row.channel_id },
        last: row.last_message_seq,
    };
    rows.into_iter().map(listed).collect()
}

fn messages<T>(body: &[u8], read: impl FnOnce(&[&RawValue]) -> T) -> Option<Answer<T>> {
    let answer: Messages<'_> = serde_json::from_slice(body).ok()?;
    if answer.more.is_none() && answer.has_more.is_none() {
        return None;
    }
    let found = answer.messages.unwrap_or_default();
    let next = answer.next_cursor.filter(|_| answer.has_more == Some(true));
    Some(Answer { read: read(&found), bytes: body.len(), elements: found.len(), next })
}
