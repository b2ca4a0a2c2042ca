//! The new messages of a page.

use super::Ids;
use super::packing::distinct;
use super::standing::Standing;
use std::collections::{HashMap, HashSet};
use stele_archive::model::{COPY, Message, Page};
use stele_archive::ops::AppendedMessage;

/// A message on its way into the table.
pub(crate) struct NewMessage<'a> {
    pub message: &'a Message,
    pub id: i64,
    pub rev: i64,
    pub conversation: i64,
    pub seq: i64,
    pub sender: Option<i64>,
    pub recipients: Vec<i64>,
    /// Ascending, each once.
    pub labels: Vec<&'a str>,
    pub kind: i64,
}

/// What the messages of a page are numbered by.
pub(crate) struct Numbers<'n> {
    pub people: &'n Ids<'n>,
    pub conversations: &'n Ids<'n>,
    /// Numbers of kinds.
    pub words: &'n HashMap<&'n str, i64>,
    /// The ids of messages whose envelopes were parked.
    pub reserved: &'n HashMap<String, i64>,
}

impl Numbers<'_> {
    /// Give ids, revisions and numbers, in the order of the page.
    pub fn give<'a>(
        &self,
        fresh: &[&'a Message],
        standing: &mut HashMap<i64, Standing>,
        mut next: impl FnMut() -> i64,
    ) -> Vec<NewMessage<'a>> {
        let mut rows = Vec::with_capacity(fresh.len());
        for &message in fresh {
            let rev = next();
            let id = self.reserved.get(&message.native_id).copied().unwrap_or(rev);
            let conversation = self.conversations[message.conversation.as_str()];
            let standing = standing.get_mut(&conversation).expect("every conversation of the page was read");
            let person = |native: &str| self.people.get(native).copied();
            rows.push(NewMessage {
                message,
                id,
                rev,
                conversation,
                seq: standing.add((id, id == rev), message.sent_at, message.seq),
                sender: person(&message.sender),
                recipients: message.recipients.iter().filter_map(|native| person(native)).collect(),
                labels: distinct(&message.labels),
                kind: self.words[message.kind.as_str()],
            });
        }
        rows
    }
}

impl NewMessage<'_> {
    /// What its sender is told.
    pub fn told(&self) -> AppendedMessage {
        AppendedMessage { id: self.id, native_id: self.message.native_id.clone(), seq: self.seq }
    }
}

/// The messages of a page, of those with one native id only the first.
pub(crate) fn first_of_each(messages: &[Message]) -> Vec<&Message> {
    let mut seen = HashSet::with_capacity(messages.len());
    messages.iter().filter(|message| seen.insert(message.native_id.as_str())).collect()
}

/// The ids of messages by what may take them back: a word on their native id, or on that of the first of several copies.
pub(crate) fn by_native<'a>(rows: &'a [NewMessage<'_>]) -> HashMap<&'a str, Vec<i64>> {
    let mut ids: HashMap<&str, Vec<i64>> = HashMap::with_capacity(rows.len());
    for row in rows {
        let native = row.message.native_id.as_str();
        ids.entry(native).or_default().push(row.id);
        if let Some((original, _)) = native.split_once(COPY) {
            ids.entry(original).or_default().push(row.id);
        }
    }
    ids
}

/// What an order of its own by number is kept of: conversations that had none until now, all of whose messages are, and else these.
pub(crate) fn astray<'a, 'm>(
    rows: &'a [NewMessage<'m>],
    standing: &HashMap<i64, Standing>,
) -> (Vec<i64>, Vec<&'a NewMessage<'m>>) {
    let first = standing.iter().filter(|(_, standing)| standing.is_first_astray()).map(|(id, _)| *id);
    let astray = |row: &&NewMessage<'_>| {
        let standing = &standing[&row.conversation];
        standing.own_order && !standing.is_first_astray()
    };
    (first.collect(), rows.iter().filter(astray).collect())
}

/// Everybody a page and its new messages name, each once, in the order they are named.
pub(crate) fn named<'a>(page: &'a Page, fresh: &[&'a Message]) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    let mut named = Vec::new();
    let mut name = |native: &'a str| {
        if !native.is_empty() && seen.insert(native) {
            named.push(native);
        }
    };
    for message in fresh {
        name(&message.sender);
        message.recipients.iter().for_each(|native| name(native));
    }
    page.people.iter().for_each(|person| name(&person.native_id));
    for conversation in &page.conversations {
        let members = conversation.members.iter().flatten();
        members.chain(&conversation.joined).chain(&conversation.left).for_each(|native| name(native));
    }
    named
}
