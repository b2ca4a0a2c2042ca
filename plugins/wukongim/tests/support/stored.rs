//! An archive to write to that fits into a test: it numbers messages, and stores once what is to be stored once.

use super::archive::Rows;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stele_plugin_api::model::{Message, Page, Person};
use stele_plugin_api::ops::{
    AppendReport, AppendedMessage, ArchiveAppend, ArchiveFind, ArchiveGet, ArchiveQuery, ArchiveSearch,
    ConversationGet, ConversationView, MessageView, Repeated,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode};

/// What was committed.
pub struct Stored {
    pub rows: Rows,
    pub conversations: BTreeMap<String, ConversationView>,
    pub recipients: BTreeMap<String, Vec<String>>,
    pub people: Vec<Person>,
    /// Native ids of the messages of each append so far.
    pub appends: Vec<Vec<String>>,
    /// Errors to answer the next appends with, nothing being stored.
    pub failures: Vec<ErrorCode>,
    /// Errors to answer the next appends with, everything being stored.
    pub lost: Vec<ErrorCode>,
    /// Messages with this in them make an append invalid.
    pub poison: String,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            rows: Rows::new(Vec::new()),
            conversations: BTreeMap::new(),
            recipients: BTreeMap::new(),
            people: Vec::new(),
            appends: Vec::new(),
            failures: Vec::new(),
            lost: Vec::new(),
            poison: String::new(),
        }
    }
}

impl Stored {
    pub fn append(&mut self, page: Page) -> Result<AppendReport, Error> {
        self.appends.push(page.messages.iter().map(|message| message.native_id.clone()).collect());
        if let Some(code) = self.failures.pop() {
            return Err(Error::new(code, "as the test wants it"));
        }
        if !self.poison.is_empty() && page.messages.iter().any(|message| message.text.contains(&self.poison)) {
            return Err(Error::invalid("poison"));
        }
        for told in page.conversations {
            let known = self.conversations.entry(told.native_id.clone()).or_default();
            known.native_id = told.native_id;
            known.kind = told.kind.unwrap_or_else(|| known.kind.clone());
            known.attributes = told.attributes.or(known.attributes.take());
        }
        self.people.extend(page.people);
        let mut report = AppendReport::default();
        for message in page.messages {
            if self.rows.messages.iter().any(|known| known.native_id == message.native_id) {
                report.known += 1;
            } else if let Some(first) = self.first(&message) {
                report.known += 1;
                report.repeated.push(Repeated { native_id: message.native_id, first });
            } else {
                report.stored.push(self.store(message));
            }
        }
        self.lost.pop().map_or(Ok(report), |code| Err(Error::new(code, "the answer was lost")))
    }

    fn first(&self, message: &Message) -> Option<String> {
        let is_first = |known: &&MessageView| {
            (&known.conversation, &known.sender, &known.client_id)
                == (&message.conversation, &message.sender, &message.client_id)
        };
        let first = self.rows.messages.iter().find(is_first).filter(|_| message.once)?;
        Some(first.native_id.clone())
    }

    fn store(&mut self, message: Message) -> AppendedMessage {
        assert_eq!(message.seq, None, "the archive counts");
        let conversation = self.conversations.get_mut(&message.conversation).expect("it was told of before");
        conversation.messages += 1;
        conversation.last_seq += 1;
        let (id, seq) = (self.rows.messages.len() as i64 + 1, conversation.last_seq);
        self.recipients.insert(message.native_id.clone(), message.recipients);
        self.rows.messages.push(MessageView {
            id,
            rev: id + 100,
            native_id: message.native_id.clone(),
            conversation: message.conversation,
            seq,
            sender: message.sender,
            sent_at: message.sent_at,
            kind: message.kind,
            text: message.text,
            body: message.body,
            client_id: message.client_id,
            expires_at: message.expires_at,
            ..MessageView::default()
        });
        AppendedMessage { id, native_id: message.native_id, seq }
    }
}

/// A host that answers everything but appends.
pub fn reading(stored: &Arc<Mutex<Stored>>) -> MockHost {
    let with = || Arc::clone(stored);
    let (of, query, get, find, search) = (with(), with(), with(), with(), with());
    MockHost::new()
        .on::<ArchiveFind>(move |request| find.lock().unwrap().rows.find(&request))
        .on::<ArchiveSearch>(move |request| search.lock().unwrap().rows.search(&request))
        .on::<ConversationGet>(move |by| Ok(of.lock().unwrap().conversations.get(&by.native_id).cloned()))
        .on::<ArchiveQuery>(move |request| query.lock().unwrap().rows.query(&request))
        .on::<ArchiveGet>(move |by| get.lock().unwrap().rows.get(&by))
}

/// A host that answers everything.
pub fn answering(stored: &Arc<Mutex<Stored>>) -> MockHost {
    let appended = Arc::clone(stored);
    reading(stored).on::<ArchiveAppend>(move |page| appended.lock().unwrap().append(page))
}
