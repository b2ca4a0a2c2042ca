//! An archive that fits into a test: it numbers messages, finds them again, and marks those that are taken back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stele_plugin_api::model::{Message, Page, PersonKind};
use stele_plugin_api::ops::{
    AppendReport, AppendedMessage, ArchiveAppend, ArchiveFind, ArchiveGet, ArchiveSearch, ByIds, ConversationGet,
    ConversationGetMany, ConversationView, Conversations, FindQuery, MAX_ROWS, MessagePage, MessageView, Messages,
    People, PersonGet, PersonGetMany, PersonView, SearchQuery,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode};

/// What was committed.
#[derive(Default)]
pub struct Stored {
    pub messages: Vec<MessageView>,
    pub recipients: BTreeMap<String, Vec<String>>,
    pub labels: BTreeMap<String, Vec<String>>,
    pub conversations: BTreeMap<String, ConversationView>,
    pub members: BTreeMap<String, Vec<String>>,
    pub people: BTreeMap<String, PersonView>,
    /// Errors to answer the next appends with, nothing being stored.
    pub failures: Vec<ErrorCode>,
}

impl Stored {
    pub fn append(&mut self, page: Page) -> Result<AppendReport, Error> {
        if let Some(code) = self.failures.pop() {
            return Err(Error::new(code, "as the test wants it"));
        }
        for told in page.people {
            let unknown = || PersonView {
                native_id: told.native_id.clone(),
                kind: PersonKind::User,
                name: String::new(),
                avatar: String::new(),
                attributes: None,
            };
            let known = self.people.entry(told.native_id.clone()).or_insert_with(unknown);
            known.kind = told.kind.unwrap_or_else(|| known.kind.clone());
            known.name = told.name.unwrap_or_else(|| known.name.clone());
            known.avatar = told.avatar.unwrap_or_else(|| known.avatar.clone());
            known.attributes = told.attributes.or(known.attributes.take());
        }
        for told in page.conversations {
            let known = self.conversations.entry(told.native_id.clone()).or_default();
            self.members.entry(told.native_id.clone()).or_default().extend(told.members.into_iter().flatten());
            known.native_id = told.native_id;
            known.kind = told.kind.unwrap_or_else(|| known.kind.clone());
            known.title = told.title.unwrap_or_else(|| known.title.clone());
            known.owner = told.owner.unwrap_or_else(|| known.owner.clone());
            known.attributes = told.attributes.or(known.attributes.take());
        }
        let mut report = AppendReport::default();
        for message in page.messages {
            if self.messages.iter().any(|known| known.native_id == message.native_id) {
                report.known += 1;
            } else {
                report.stored.push(self.store(message));
            }
        }
        for revocation in page.revocations {
            let taken = self.messages.iter_mut().filter(|message| message.native_id == revocation.native_id);
            for message in taken.filter(|message| message.revoked_at.is_none()) {
                message.revoked_at = Some(revocation.at);
                message.revoked_by = Some(revocation.by.clone());
            }
        }
        Ok(report)
    }

    fn store(&mut self, message: Message) -> AppendedMessage {
        let conversation = self.conversations.get_mut(&message.conversation).expect("it was told of before");
        conversation.messages += 1;
        let seq = message.seq.unwrap_or(conversation.last_seq + 1);
        conversation.last_seq = conversation.last_seq.max(seq);
        let id = self.messages.len() as i64 + 1;
        self.recipients.insert(message.native_id.clone(), message.recipients);
        self.labels.insert(message.native_id.clone(), message.labels);
        self.messages.push(MessageView {
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
            ..MessageView::default()
        });
        AppendedMessage { id, native_id: message.native_id, seq }
    }

    pub fn get(&self, by: &ByIds) -> Messages {
        let row = |id: &String| self.messages.iter().find(|row| row.native_id == *id).cloned();
        Messages { rows: by.native_ids.iter().filter_map(row).collect() }
    }

    pub fn find(&self, query: &FindQuery) -> Messages {
        let is_wanted = |row: &&MessageView| {
            query.conversation.as_ref().is_none_or(|wanted| *wanted == row.conversation)
                && (query.seqs.contains(&row.seq)
                    || row.client_id.as_ref().is_some_and(|id| query.client_ids.contains(id)))
        };
        Messages { rows: self.messages.iter().rev().filter(is_wanted).take(query.limit as usize).cloned().collect() }
    }

    pub fn search(&self, query: &SearchQuery) -> Result<MessagePage, Error> {
        assert!((1..=MAX_ROWS).contains(&query.limit), "{} rows", query.limit);
        let is = |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let is_wanted = |row: &&MessageView| {
            row.text.contains(&query.text)
                && is(&query.conversation, &row.conversation)
                && is(&query.sender, &row.sender)
                && (query.kinds.is_empty() || query.kinds.contains(&row.kind))
                && query.labels.iter().all(|label| self.labels[&row.native_id].contains(label))
                && query.since.is_none_or(|since| row.sent_at >= since)
                && query.until.is_none_or(|until| row.sent_at < until)
        };
        let mut rows: Vec<_> = self.messages.iter().filter(is_wanted).cloned().collect();
        rows.sort_by_key(|row| (row.sent_at, row.id));
        let total = rows.len() as u64;
        if !query.oldest_first {
            rows.reverse();
        }
        if let Some(beyond) = query.beyond {
            let place = (beyond.sent_at, beyond.id);
            rows.retain(|row| {
                let at = (row.sent_at, row.id);
                if query.oldest_first { at > place } else { at < place }
            });
        }
        let rows = rows.into_iter().skip(query.offset as usize).take(query.limit as usize).collect();
        Ok(MessagePage { rows, total })
    }
}

/// A host that answers from this.
pub fn answering(stored: &Arc<Mutex<Stored>>) -> MockHost {
    let with = || Arc::clone(stored);
    let (append, get, find, search) = (with(), with(), with(), with());
    let (conversation, conversations, person, people) = (with(), with(), with(), with());
    MockHost::new()
        .on::<ArchiveAppend>(move |page| append.lock().unwrap().append(page))
        .on::<ArchiveGet>(move |by| Ok(get.lock().unwrap().get(&by)))
        .on::<ArchiveFind>(move |query| Ok(find.lock().unwrap().find(&query)))
        .on::<ArchiveSearch>(move |query| search.lock().unwrap().search(&query))
        .on::<ConversationGet>(move |by| Ok(conversation.lock().unwrap().conversations.get(&by.native_id).cloned()))
        .on::<ConversationGetMany>(move |by| {
            let conversations = &conversations.lock().unwrap().conversations;
            let found = by.native_ids.iter().filter_map(|id| conversations.get(id).cloned());
            Ok(Conversations { conversations: found.collect() })
        })
        .on::<PersonGet>(move |by| Ok(person.lock().unwrap().people.get(&by.native_id).cloned()))
        .on::<PersonGetMany>(move |by| {
            let people = &people.lock().unwrap().people;
            Ok(People { people: by.native_ids.iter().filter_map(|id| people.get(id).cloned()).collect() })
        })
}
