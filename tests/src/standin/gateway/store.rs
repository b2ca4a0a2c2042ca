//! What a quick-im-core holds: conversations, who is in them, and their messages (reference/gateway.md §4, §7, §9).

use super::{Switches, Version, msgid};
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The text of the message that every new conversation begins with.
pub const GREETING: &str = "您已加入对话 ";

/// A message to put into a conversation.
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    pub conversation: &'a str,
    pub from: &'a str,
    pub kind: i64,
    pub content: &'a str,
    /// Microseconds since the epoch.
    pub at: i64,
}

/// A message as it is stored: what was lost or taken from another one on the way is lost and taken here, too.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: String,
    pub conversation: String,
    pub from: String,
    pub kind: i64,
    pub content: String,
    /// Microseconds since the epoch.
    pub at: i64,
    /// Who wrote it.
    pub version: Version,
    /// What history answers instead of a message.
    raw: Option<String>,
    /// The call of the history from which on it is there.
    since: u64,
}

#[derive(Default)]
pub(super) struct Conversation {
    pub kind: u8,
    /// PostgreSQL: one row for each join, and whether it was taken back.
    pub joins: Vec<(String, bool)>,
    /// Redis: who is told of messages, and who is a member as far as check_joined knows.
    pub routed: BTreeSet<String>,
    pub archived: bool,
    /// Id, microseconds and session of the last message sent.
    pub last: Option<(String, i64, String)>,
    /// Redis: what stands where the id of the last message belongs.
    pub greatest: String,
    pub rows: BTreeMap<String, Row>,
}

/// The values that the process which stores messages used last.
#[derive(Default)]
struct Reused {
    from: String,
    kind: i64,
    content: String,
}

#[derive(Default)]
pub(super) struct Store {
    pub conversations: BTreeMap<String, Conversation>,
    /// The ids that are taken, whatever the conversation.
    ids: BTreeSet<String>,
    reused: Reused,
    /// Millisecond and counter of the latest id.
    latest: (i64, u16),
    latest_id: String,
    /// Calls of the history so far.
    pub calls: u64,
}

/// Which messages a call of the history is about.
pub(super) enum Choice<'a> {
    Range(&'a str, &'a str),
    Before(&'a str),
    After(&'a str),
    Last(usize),
}

/// Microseconds by which the clock that ids are made by is behind the one that stamps messages: they are two programs.
const ID_BEHIND: i64 = 1400;

/// Messages of a page of the calls that have pages.
const PAGE: usize = 30;

impl Store {
    /// Stores a message with a new id, unless the id is taken, and returns the id.
    pub fn put(&mut self, sent: &Sent<'_>, switches: &Switches) -> String {
        let ms = (sent.at - ID_BEHIND).div_euclid(1000);
        let counter = if self.latest.0 == ms { self.latest.1 % 4095 + 1 } else { 1 };
        let kind = self.conversations.get(sent.conversation).map_or(0, |conversation| conversation.kind);
        let id = if switches.colliding && !self.latest_id.is_empty() {
            self.latest_id.clone()
        } else {
            msgid::msg_id(ms, counter, kind, sent.conversation)
        };
        self.latest = (ms, counter);
        self.latest_id.clone_from(&id);
        self.put_as(id.clone(), sent, switches);
        id
    }

    /// Stores a message under this id, unless it is taken.
    pub fn put_as(&mut self, id: String, sent: &Sent<'_>, switches: &Switches) {
        let (mut from, mut kind, mut content) = (sent.from.to_owned(), sent.kind, sent.content.to_owned());
        if switches.inherits {
            let reused = &mut self.reused;
            kind = if kind == 0 { reused.kind } else { kind };
            from = if from.is_empty() { reused.from.clone() } else { from };
            content = if content.is_empty() { reused.content.clone() } else { content };
            *reused = Reused { from: from.clone(), kind, content: content.clone() };
        }
        let conversation = sent.conversation.to_owned();
        let held = self.conversations.entry(conversation.clone()).or_default();
        if !self.ids.insert(id.clone()) {
            return;
        }
        let since = self.calls + u64::from(switches.late_calls);
        let version = switches.version;
        let row = Row { id: id.clone(), conversation, from, kind, content, at: sent.at, version, raw: None, since };
        held.rows.insert(id, row);
    }

    /// Puts text where a message belongs, in the place of this id.
    pub fn put_raw(&mut self, conversation: &str, id: &str, json: &str, version: Version) {
        let sent = Sent { conversation, from: "", kind: 0, content: "", at: 0 };
        let row = Row {
            id: id.to_owned(),
            conversation: sent.conversation.to_owned(),
            from: sent.from.to_owned(),
            kind: sent.kind,
            content: sent.content.to_owned(),
            at: sent.at,
            version,
            raw: Some(json.to_owned()),
            since: 0,
        };
        self.ids.insert(id.to_owned());
        self.conversations.entry(conversation.to_owned()).or_default().rows.insert(id.to_owned(), row);
    }

    /// Sends a message: stores it, and notes it with its conversation. `None`: there is no such conversation.
    pub fn send(&mut self, sent: &Sent<'_>, switches: &Switches) -> Option<String> {
        if !self.conversations.contains_key(sent.conversation) {
            return None;
        }
        let id = self.put(sent, switches);
        if self.conversations[sent.conversation].routed.is_empty() {
            // Its query for the members compares a column with itself: everybody who was ever anywhere is one.
            let rows = self.conversations.values().flat_map(|conversation| &conversation.joins);
            let everybody = rows.map(|(session, _)| session.clone()).collect();
            self.conversations.get_mut(sent.conversation)?.routed = everybody;
        }
        let conversation = self.conversations.get_mut(sent.conversation)?;
        if switches.version == Version::Src {
            if conversation.last.as_ref().is_none_or(|(last, ..)| *last < id) {
                conversation.last = Some((id.clone(), sent.at, sent.from.to_owned()));
            }
            conversation.greatest = conversation.greatest.clone().max(sent.from.to_owned());
        }
        Some(id)
    }

    /// Rows of the history in the order of their ids; `None`: the call fails.
    pub fn history(&mut self, conversation: &str, choice: &Choice<'_>, switches: &Switches) -> Option<Vec<Row>> {
        self.calls += 1;
        let calls = self.calls;
        let Some(conversation) = self.conversations.get(conversation) else { return Some(Vec::new()) };
        let matches = |row: &&Row| {
            let id = row.id.as_str();
            row.since < calls
                && match choice {
                    Choice::Range(start, end) => *start <= id && id <= *end,
                    Choice::Before(anchor) => id <= *anchor,
                    Choice::After(anchor) => id >= *anchor,
                    Choice::Last(_) => true,
                }
        };
        let mut rows: Vec<Row> = conversation.rows.values().filter(matches).cloned().collect();
        let count = match choice {
            Choice::Range(..) => rows.len(),
            _ if rows.len() > switches.sortable => return None,
            Choice::Last(count) => *count,
            Choice::Before(_) | Choice::After(_) => PAGE,
        };
        match choice {
            Choice::After(_) => rows.truncate(count),
            _ => drop(rows.drain(..rows.len().saturating_sub(count))),
        }
        let unreadable = |row: &Row| switches.version == Version::Src && row.version == Version::SrcOld;
        (!rows.iter().any(unreadable)).then_some(rows)
    }

    /// The conversations of a session: one for every row of its joins that was not taken back.
    pub fn joined(&self, session: &str) -> Vec<&str> {
        let rows = self.conversations.iter().flat_map(|(id, known)| {
            known.joins.iter().filter(|(who, kicked)| who == session && !kicked).map(|_| id.as_str())
        });
        rows.collect()
    }

    pub fn create(&mut self, id: &str, kind: u8, sessions: &[String]) {
        let conversation = self.conversations.entry(id.to_owned()).or_default();
        conversation.kind = kind;
        conversation.joins = sessions.iter().map(|session| (session.clone(), false)).collect();
        conversation.routed = sessions.iter().cloned().collect();
    }

    pub fn lose_redis(&mut self) {
        for conversation in self.conversations.values_mut() {
            conversation.routed.clear();
            conversation.greatest.clear();
        }
    }

    /// Adds rows, whether the conversation exists or not.
    pub fn join(&mut self, id: &str, sessions: &[String], switches: &Switches) {
        let conversation = self.conversations.entry(id.to_owned()).or_default();
        conversation.joins.extend(sessions.iter().map(|session| (session.clone(), false)));
        if !switches.forgetful_join {
            conversation.routed.extend(sessions.iter().cloned());
        }
    }

    pub fn leave(&mut self, id: &str, sessions: &[String]) {
        let Some(conversation) = self.conversations.get_mut(id) else { return };
        let leaves = |session: &String| sessions.contains(session);
        conversation.joins.iter_mut().filter(|(who, _)| leaves(who)).for_each(|(_, kicked)| *kicked = true);
        conversation.routed.retain(|session| !leaves(session));
    }
}

impl Row {
    /// The message object as history answers it.
    pub fn json(&self, switches: &Switches) -> String {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let time = match (switches.version, self.version) {
            (Version::SrcOld, Version::Src) => json!("0001-01-01T00:00:00+08:05"),
            _ => time(if switches.rounded { (self.at + 500).div_euclid(1000) * 1000 } else { self.at }, switches),
        };
        let message = json!({
            "MsgId": self.id, "ConversationID": self.conversation, "FromSession": self.from, "SendTime": time,
            "Status": 0, "Type": self.kind, "Content": self.content,
        });
        // Go escapes these for HTML.
        let text = message.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
    }
}

/// A time in the form of this version.
pub(super) fn time(at: i64, switches: &Switches) -> Value {
    let (seconds, micros) = (at.div_euclid(1_000_000), at.rem_euclid(1_000_000));
    match switches.version {
        Version::SrcOld => {
            let zone = FixedOffset::east_opt(8 * 3600).expect("a zone");
            let at = DateTime::<Utc>::from_timestamp_micros(at).expect("a time of our age").with_timezone(&zone);
            let text = at.to_rfc3339_opts(SecondsFormat::Micros, false);
            let (digits, zone) = text.split_at(text.len() - "+08:00".len());
            json!(format!("{}{zone}", digits.trim_end_matches('0').trim_end_matches('.')))
        }
        // Three digits where six belong: the first 100 ms of every second are short of some.
        Version::Src if switches.unpadded => {
            json!(format!("{seconds}{micros:03}").parse::<i64>().expect("at most 16 digits"))
        }
        Version::Src => json!(at),
    }
}

/// The time of the last message as the details tell it: local time taken for UTC, and told with the zone.
pub(super) fn shifted_time(at: i64) -> String {
    let zone = FixedOffset::east_opt(8 * 3600).expect("a zone");
    let at = DateTime::<Utc>::from_timestamp_micros(at).expect("a time of our age") + TimeDelta::hours(8);
    at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Micros, false)
}
