//! What an OpenIM holds: users, groups, conversations and their messages (reference/openim.md §6, §7).

use chrono::Utc;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Messages of one document of its database.
pub(super) const BLOCK: i64 = 100;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Say {
    pub from: String,
    /// Receiver; empty in groups.
    pub to: String,
    /// Group; empty elsewhere.
    pub group: String,
    /// 1 single, 2 a group of old servers, 3 group, 4 system.
    pub session: i32,
    pub content_type: i32,
    /// JSON text, or whatever a test wants there.
    pub content: String,
    /// Milliseconds; now where there is none.
    pub send_time: Option<i64>,
    /// One is made where there is none. A client that repeats a send repeats it.
    pub client_msg_id: String,
    pub nickname: String,
    pub face_url: String,
    pub platform: i32,
    /// 100 a user, 200 the system.
    pub msg_from: i32,
    pub attached_info: String,
    pub ex: String,
    /// Fields of the pulled message that are these instead: what no server should send.
    pub odd: Option<Value>,
}

/// Who revoked a message, and when.
#[derive(Clone, Debug)]
pub struct Revoked {
    pub user: String,
    pub nickname: String,
    pub role: i32,
    /// Milliseconds.
    pub time: i64,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Row {
    pub conversation: String,
    pub seq: i64,
    pub server_msg_id: String,
    pub client_msg_id: String,
    /// Milliseconds.
    pub send_time: i64,
    /// Milliseconds.
    pub create_time: i64,
    pub said: Say,
    pub revoked: Option<Revoked>,
    /// Who deleted it for himself.
    pub deleted_by: BTreeSet<String>,
    /// Its number is given out, and nobody can read it.
    pub pending: bool,
}

/// A user.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub nickname: String,
    pub face_url: String,
    /// 0 ordinary, 2 admin, 3 notification account.
    pub level: i32,
    /// Milliseconds; also the order of lists.
    pub created: i64,
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub name: String,
    pub face_url: String,
    pub owner: String,
    pub members: Vec<String>,
    pub dismissed: bool,
    pub created: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Conversation {
    pub max: i64,
    /// The first that may be read; 0 for any.
    pub min: i64,
    pub rows: BTreeMap<i64, Row>,
    /// Its documents, with the order in which they were made.
    pub blocks: BTreeMap<i64, u64>,
}

/// What a user has of a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    /// The first he may read; 0 for any.
    pub min: i64,
    /// The last he may read; 0 for any.
    pub max: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub users: BTreeMap<String, User>,
    pub groups: BTreeMap<String, Group>,
    pub conversations: BTreeMap<String, Conversation>,
    /// Conversation records, by owner and conversation.
    pub owned: BTreeMap<(String, String), Own>,
    /// What is sent and has no number yet.
    pub queue: Vec<Row>,
    /// Everything that is made gets one of these.
    pub made: u64,
}

impl Default for Say {
    fn default() -> Self {
        Self {
            from: String::new(),
            to: String::new(),
            group: String::new(),
            session: 1,
            content_type: 101,
            content: String::new(),
            send_time: None,
            client_msg_id: String::new(),
            nickname: String::new(),
            face_url: String::new(),
            platform: 5,
            msg_from: 100,
            attached_info: String::new(),
            ex: String::new(),
            odd: None,
        }
    }
}

impl Say {
    /// A text in a single chat.
    pub fn to(from: &str, to: &str, text: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), content: text_of(text), ..Self::default() }
    }

    /// A text in a group.
    pub fn group(from: &str, group: &str, text: &str) -> Self {
        Self { from: from.to_owned(), group: group.to_owned(), session: 3, content: text_of(text), ..Self::default() }
    }

    /// A notice, as servers put them into chats and into the channels beside them.
    pub fn notice(content_type: i32, detail: &Value) -> Self {
        let content = json!({ "detail": detail.to_string() }).to_string();
        Self { content_type, content, msg_from: 200, platform: 0, ..Self::default() }
    }

    /// The conversation it belongs to.
    pub fn conversation(&self) -> String {
        match self.session {
            2 => format!("g_{}", self.group),
            3 => format!("sg_{}", self.group),
            4 => format!("sn_{}", pair(&self.from, &self.to)),
            _ => format!("si_{}", pair(&self.from, &self.to)),
        }
    }
}

/// The content of a text message.
pub fn text_of(text: &str) -> String {
    json!({ "content": text }).to_string()
}

/// Two users as a conversation names them.
pub fn pair(a: &str, b: &str) -> String {
    if a <= b { format!("{a}_{b}") } else { format!("{b}_{a}") }
}

/// The notification channel beside a conversation.
pub fn twin(conversation: &str) -> String {
    conversation.split_once('_').map_or_else(|| conversation.to_owned(), |(_, rest)| format!("n_{rest}"))
}

pub(super) fn is_twin(conversation: &str) -> bool {
    conversation.starts_with("n_")
}

pub(super) fn now() -> i64 {
    Utc::now().timestamp_millis()
}

impl Store {
    /// The next of what is made.
    pub fn make(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn id(&mut self, of: &str) -> String {
        hex::encode(Md5::digest(format!("{}-{of}", self.make())))
    }

    /// A message without its number.
    pub fn row(&mut self, said: Say) -> Row {
        let made = self.id(&said.from);
        let server_msg_id = self.id(&said.from);
        Row {
            conversation: said.conversation(),
            seq: 0,
            server_msg_id,
            client_msg_id: if said.client_msg_id.is_empty() { made } else { said.client_msg_id.clone() },
            send_time: said.send_time.unwrap_or_else(now),
            create_time: said.send_time.unwrap_or_else(now),
            said,
            revoked: None,
            deleted_by: BTreeSet::new(),
            pending: false,
        }
    }

    /// Gives a message its number, and stores it. The first one of a conversation gives people their record of it.
    pub fn place(&mut self, mut row: Row) -> i64 {
        let made = self.make();
        let (id, said) = (row.conversation.clone(), row.said.clone());
        let conversation = self.conversations.entry(id.clone()).or_default();
        let is_new = conversation.max == 0;
        conversation.max += 1;
        let seq = conversation.max;
        row.seq = seq;
        conversation.blocks.entry(block(seq)).or_insert(made);
        conversation.rows.insert(seq, row);
        if is_new && !is_twin(&id) {
            let owners = match said.session {
                1 => vec![said.from, said.to],
                4 => vec![said.to],
                _ => self.groups.get(&said.group).map(|group| group.members.clone()).unwrap_or_default(),
            };
            for owner in owners {
                self.owned.entry((owner, id.clone())).or_default();
            }
        }
        seq
    }

    /// Tells something in a notification channel.
    pub fn tell(&mut self, channel: &str, said: Say) {
        let mut row = self.row(said);
        channel.clone_into(&mut row.conversation);
        self.place(row);
    }

    /// The conversations a user has a record of.
    pub fn of(&self, user: &str) -> Vec<String> {
        let own = self.owned.keys().filter(|(owner, _)| owner == user);
        own.map(|(_, conversation)| conversation.clone()).collect()
    }

    /// Somebody leaves a group: what comes after is not for him, and his record stays.
    pub fn leave(&mut self, group: &str, user: &str) {
        let id = format!("sg_{group}");
        if let Some(group) = self.groups.get_mut(group) {
            group.members.retain(|member| member != user);
        }
        let max = self.conversations.get(&id).map_or(0, |conversation| conversation.max);
        self.owned.entry((user.to_owned(), id)).or_default().max = max;
    }

    /// Somebody comes into a group.
    pub fn join(&mut self, group: &str, user: &str) {
        if let Some(group) = self.groups.get_mut(group).filter(|group| !group.members.iter().any(|is| is == user)) {
            group.members.push(user.to_owned());
        }
        self.owned.entry((user.to_owned(), format!("sg_{group}"))).or_default().max = 0;
    }

    /// The ids of users, or of groups, in the order in which they were made.
    pub fn users_in_order(&self) -> Vec<&String> {
        let mut all: Vec<_> = self.users.iter().collect();
        all.sort_by_key(|(_, user)| user.created);
        all.into_iter().map(|(id, _)| id).collect()
    }
}

impl Conversation {
    /// A message that can be read.
    pub fn readable(&self, seq: i64) -> Option<&Row> {
        self.rows.get(&seq).filter(|row| !row.pending)
    }

    /// Whether a number is in a document that was written.
    pub fn is_documented(&self, seq: i64) -> bool {
        let block = block(seq);
        let rows = || self.rows.range(block * BLOCK + 1..=(block + 1) * BLOCK).map(|(_, row)| row);
        self.blocks.contains_key(&block) && (rows().next().is_none() || rows().any(|row| !row.pending))
    }

    /// Deletes everything up to a number. `is_cut`: the rest is all that can be read.
    pub fn forget(&mut self, up_to: i64, is_cut: bool) {
        self.rows.retain(|seq, _| *seq > up_to);
        self.blocks.retain(|block, _| (block + 1) * BLOCK > up_to);
        if is_cut {
            self.min = self.min.max(up_to + 1);
        }
    }

    /// Removes a message for everybody; its number stays.
    pub fn remove(&mut self, seq: i64) {
        self.rows.remove(&seq);
    }
}

/// The document of a message.
fn block(seq: i64) -> i64 {
    (seq - 1).div_euclid(BLOCK)
}
