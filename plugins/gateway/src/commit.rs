//! Sends, committed together ([`commit`]): ids are given in order, so the order of ids is the order of commit and of delivery. A
//! message is answered when it is stored. An append whose outcome is unknown is not tried again, since the message might be stored
//! twice; its callers are told that it failed.

use crate::message::{self, JOINED, Shown, Times};
use crate::msgid::{Numbers, Series};
use crate::{CALL, Clock};
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;
use stele_plugin_api::commit::{self, Outcome, Store};
use stele_plugin_api::model::{Conversation, Message, Micros, Page};
use stele_plugin_api::ops::ArchiveAppend;
use stele_plugin_api::{Error, Host};

/// What a member weighs beside the name, in bytes: it is a row.
const MEMBER_BYTES: usize = 64;

/// Takes messages to commit, and answers with their ids.
pub type Committer = commit::Committer<Numbering>;

/// Starts the task that commits, on the current runtime. It ends when nobody can send any more.
pub fn start(host: Host, clock: Clock) -> Committer {
    Committer::start(host.clone(), Numbering { host, clock, numbers: Numbers::default() }, CALL)
}

/// A message without id and time.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The conversation.
    pub conversation: String,
    /// Its type.
    pub kind: u8,
    /// Its greatest number so far: the new one is greater.
    pub above: i64,
    /// Who sends; empty for nobody.
    pub sender: String,
    /// Whatever the sender says.
    pub status: i32,
    /// Type of the message; `None` for the first one of a new conversation, which nobody wrote.
    pub message_type: Option<i32>,
    /// What it says.
    pub content: String,
    /// The conversation it begins, if it does.
    pub opens: Option<Conversation>,
}

impl Draft {
    /// What counts of it where bytes are bounded.
    fn bytes(&self) -> usize {
        let members = self.opens.iter().flat_map(|conversation| &conversation.joined);
        self.content.len() + members.map(|member| member.len() + MEMBER_BYTES).sum::<usize>()
    }

    /// The message with this id, number and time.
    pub fn message(&self, id: &str, number: i64, at: Micros) -> Message {
        let shown = Shown {
            msg_id: id,
            conversation: &self.conversation,
            from_session: &self.sender,
            send_time: Times::MICROS.write(at),
            status: self.status,
            kind: self.message_type.unwrap_or_default(),
            content: &self.content,
            unverified: &[],
        };
        Message {
            native_id: id.to_owned(),
            conversation: self.conversation.clone(),
            seq: Some(number),
            sender: self.sender.clone(),
            sent_at: at,
            kind: self.message_type.map_or_else(|| JOINED.to_owned(), |kind| message::kind(kind.into())),
            text: self.content.clone(),
            body: Bytes::from(serde_json::to_vec(&shown).expect("texts and numbers can be written")),
            ..Message::default()
        }
    }
}

/// Gives messages their ids, and appends them.
pub struct Numbering {
    host: Host,
    clock: Clock,
    numbers: Numbers,
}

impl Store for Numbering {
    type Item = Draft;
    type Answer = String;

    fn bytes(draft: &Draft) -> usize {
        draft.bytes()
    }

    /// A message whose id the archive knows already comes again, and gets another one.
    async fn store(&mut self, drafts: Vec<&Draft>, within: Duration) -> Result<Vec<Outcome<String>>, Error> {
        let now = (self.clock)();
        let messages: Vec<_> = drafts.iter().map(|draft| self.message(draft, now)).collect();
        let ids: Vec<_> =
            messages.iter().map(|message| message.as_ref().map(|message| message.native_id.clone())).collect();
        let messages: Vec<_> = messages.into_iter().flatten().collect();
        let mut stored = HashSet::new();
        if !messages.is_empty() {
            let conversations = drafts.iter().filter_map(|draft| draft.opens.clone()).collect();
            let page = Page { messages, conversations, ..Page::default() };
            let report = self.host.call_within::<ArchiveAppend>(page, within).await?;
            stored.extend(report.stored.into_iter().map(|message| message.native_id));
        }
        let outcome = |id| match id {
            Some(id) if stored.contains(&id) => Outcome::Stored(id),
            Some(_) => Outcome::Again,
            None => Outcome::Refused(Error::internal("the newest message of the conversation has the last id")),
        };
        Ok(ids.into_iter().map(outcome).collect())
    }
}

impl Numbering {
    /// The message with the next id of its conversation; `None` when there is none left.
    fn message(&mut self, draft: &Draft, now: Micros) -> Option<Message> {
        let number = self.numbers.next(&draft.conversation, now, draft.above)?;
        let id = Series::of(&draft.conversation, draft.kind).id(number);
        Some(draft.message(id.as_str(), number, now))
    }
}
