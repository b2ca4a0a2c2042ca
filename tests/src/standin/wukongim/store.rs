//! What a WuKongIM holds: channels and their messages (reference/wukongim.md §3 to §5).

use super::Switches;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Milliseconds of the epoch at which ids begin.
const BEGIN_MS: i64 = 1_288_834_974_657;
/// Who sends what nobody sends.
pub(super) const SYSTEM: &str = "____system";
/// End of the ids of command channels.
pub(super) const COMMAND: &str = "____cmd";
/// Payloads above cannot be read back, so that the message is lost.
const MAX_PAYLOAD: usize = 1 << 20;

/// A message to put into a channel.
#[derive(Clone, Debug, Default)]
pub struct Say<'a> {
    pub from: &'a str,
    pub payload: &'a [u8],
    /// One is made where there is none.
    pub client_msg_no: &'a str,
    pub red_dot: u8,
    pub sync_once: u8,
    pub expire: u32,
    /// Seconds; now where there is none.
    pub timestamp: Option<i64>,
}

/// A stored message.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub seq: u64,
    pub client_msg_no: String,
    pub from: String,
    /// Stored id.
    pub channel: String,
    pub kind: u8,
    pub payload: Vec<u8>,
    pub red_dot: u8,
    pub sync_once: u8,
    pub expire: u32,
    /// Seconds.
    pub timestamp: i64,
    /// The read of the channel from which on it is there.
    since: u64,
}

pub(super) struct Channel {
    /// Nanoseconds.
    pub created_at: i64,
    pub last: u64,
    pub rows: BTreeMap<u64, Row>,
    reads: u64,
}

#[derive(Default)]
pub(super) struct Store {
    pub channels: BTreeMap<(u8, String), Channel>,
    /// What streams say, by the id of the message that begins them, and whether they have ended.
    pub streams: BTreeMap<i64, (String, bool)>,
    /// What is to be told to the webhook.
    pub news: Vec<Row>,
    latest_id: i64,
    latest_creation: i64,
}

impl Store {
    /// The channel, which there is from now on.
    pub fn channel(&mut self, kind: u8, id: &str) -> &mut Channel {
        let now = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        self.channels.entry((kind, id.to_owned())).or_insert_with(|| {
            self.latest_creation = now.max(self.latest_creation + 1);
            Channel { created_at: self.latest_creation, last: 0, rows: BTreeMap::new(), reads: 0 }
        })
    }

    /// An id nobody has yet.
    pub fn new_id(&mut self) -> i64 {
        let now = (Utc::now().timestamp_millis() - BEGIN_MS) << 22 | 1 << 12;
        self.latest_id = now.max(self.latest_id + 1);
        self.latest_id
    }

    /// Stores a message and returns its id.
    pub fn put(&mut self, kind: u8, id: &str, said: &Say<'_>, switches: &Switches) -> i64 {
        let message_id = self.new_id();
        self.put_as(message_id, kind, id, said, switches);
        message_id
    }

    /// Stores a message under this id, and returns its number; 0 when it is lost.
    pub fn put_as(&mut self, message_id: i64, kind: u8, id: &str, said: &Say<'_>, switches: &Switches) -> u64 {
        if said.payload.len() > MAX_PAYLOAD {
            return 0;
        }
        let made = format!("{message_id:032x}0");
        let channel = self.channel(kind, id);
        channel.last += 1;
        let row = Row {
            id: message_id,
            seq: channel.last,
            client_msg_no: if said.client_msg_no.is_empty() { made } else { said.client_msg_no.to_owned() },
            from: said.from.to_owned(),
            channel: id.to_owned(),
            kind,
            payload: said.payload.to_vec(),
            red_dot: said.red_dot,
            sync_once: said.sync_once,
            expire: said.expire,
            timestamp: said.timestamp.unwrap_or_else(|| Utc::now().timestamp()),
            since: channel.reads + switches.late_reads,
        };
        let seq = row.seq;
        channel.rows.insert(seq, row.clone());
        self.news.push(row);
        seq
    }

    /// A message by its id, in whichever channel.
    pub fn by_id(&self, id: i64) -> Option<&Row> {
        self.channels.values().flat_map(|channel| channel.rows.values()).find(|row| row.id == id)
    }
}

impl Channel {
    /// What a read finds, in the order of the numbers.
    pub fn read(&mut self) -> Vec<&Row> {
        self.reads += 1;
        let reads = self.reads;
        self.rows.values().filter(|row| row.since < reads).collect()
    }
}

impl Row {
    /// The message object of v2. `headless`: the flags of its header are lost.
    pub fn v2(&self, headless: bool) -> Value {
        let from = if self.from == SYSTEM { "" } else { &self.from };
        // The last part of a pair that is not the sender.
        let other = self.channel.split('@').rfind(|part| *part != from);
        let channel_id = if self.kind == 1 { other.unwrap_or(&self.channel) } else { &self.channel };
        let flag = |flag: u8| if headless { 0 } else { flag };
        json!({
            "header": { "no_persist": 0, "red_dot": flag(self.red_dot), "sync_once": flag(self.sync_once) },
            "setting": 0, "message_id": self.id, "message_idstr": self.id.to_string(),
            "client_msg_no": self.client_msg_no, "stream_idstr": "0", "message_seq": self.seq, "from_uid": from,
            "channel_id": channel_id, "channel_type": self.kind, "expire": self.expire, "timestamp": self.timestamp,
            "payload": STANDARD.encode(&self.payload),
        })
    }

    /// The message object of v3's manager, and with other fields of v2's `/cluster/messages`.
    pub fn raw(&self) -> Value {
        json!({
            "message_id": self.id.to_string(), "message_seq": self.seq, "client_msg_no": self.client_msg_no,
            "channel_id": self.channel, "channel_type": self.kind, "from_uid": self.from,
            "timestamp": self.timestamp, "payload": STANDARD.encode(&self.payload),
        })
    }
}

/// The stored id of two people's channel. Where their sums are equal v2 has one channel for each direction.
pub fn pair(from: &str, to: &str) -> String {
    if crc32(from) > crc32(to) { format!("{from}@{to}") } else { format!("{to}@{from}") }
}

/// CRC-32 of zlib, bit by bit.
fn crc32(text: &str) -> u32 {
    let step = |sum: u32| sum >> 1 ^ (0xedb8_8320 * (sum & 1));
    !text.bytes().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(byte), |sum, _| step(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_of_the_reference() {
        let known = [
            ("u1", "u2", "u2@u1"),
            ("alice", "bob", "bob@alice"),
            ("user123", "user456", "user456@user123"),
            ("userA", "userB", "userA@userB"),
            ("10001", "10002", "10002@10001"),
            (SYSTEM, "user123", "user123@____system"),
            ("张三", "李四", "张三@李四"),
        ];
        for (a, b, stored) in known {
            assert_eq!((pair(a, b), pair(b, a)), (stored.to_owned(), stored.to_owned()));
        }
        // Equal sums.
        assert_eq!(
            (pair("plumless", "buckeroo"), pair("buckeroo", "plumless")),
            ("buckeroo@plumless".to_owned(), "plumless@buckeroo".to_owned())
        );
    }
}
