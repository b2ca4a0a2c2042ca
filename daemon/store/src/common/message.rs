//! The new messages of a page.

use super::Ids;
use super::packing::distinct;
use super::standing::Standing;
use std::collections::{HashMap, HashSet};
use stele_archive::model::{Message, Page};
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
