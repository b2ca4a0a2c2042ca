//! An archive to read from that fits into a test.

use std::sync::{Arc, Mutex};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{
    ArchiveFind, ArchiveGet, ArchiveQuery, ArchiveSearch, ByIds, ConversationGet, ConversationGetMany,
    ConversationView, Conversations, FindQuery, MAX_ROWS, MessagePage, MessageQuery, MessageView, Messages,
    SearchQuery,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode};

/// Messages, and how much an answer may hold of them.
#[derive(Clone)]
pub struct Rows {
    pub messages: Vec<MessageView>,
    /// Most bytes of text and bodies in one answer.
    pub max_bytes: usize,
}

impl Rows {
    /// Messages in an archive that answers 32 MiB at once.
    pub fn new(messages: Vec<MessageView>) -> Self {
        Self { messages, max_bytes: 32 << 20 }
    }

    /// A host with these messages.
    pub fn host(self) -> MockHost {
        let rows = Arc::new(Mutex::new(self));
        let with = || Arc::clone(&rows);
        let (query, get, find, search, conversation, many) = (with(), with(), with(), with(), with(), with());
        MockHost::new()
            .on::<ArchiveQuery>(move |asked| query.lock().unwrap().query(&asked))
            .on::<ArchiveGet>(move |by| get.lock().unwrap().get(&by))
            .on::<ArchiveFind>(move |asked| find.lock().unwrap().find(&asked))
            .on::<ArchiveSearch>(move |asked| search.lock().unwrap().search(&asked))
            .on::<ConversationGetMany>(move |by| Ok(many.lock().unwrap().conversations(&by)))
            .on::<ConversationGet>(move |by| {
                let rows = conversation.lock().unwrap();
                let seqs = rows.messages.iter().filter(|row| row.conversation == by.native_id).map(|row| row.seq);
                let view = |last_seq| ConversationView { last_seq, ..ConversationView::default() };
                Ok(seqs.max().map(view))
            })
    }

    pub fn query(&self, query: &MessageQuery) -> Result<MessagePage, Error> {
        assert!(query.from_seq.is_some() && query.to_seq.is_some(), "one bound alone takes the nearest rows");
        let range = query.from_seq.unwrap()..=query.to_seq.unwrap();
        let mut rows = self.filtered(|row| {
            row.conversation == query.conversation
                && (query.kinds.is_empty() || query.kinds.contains(&row.kind))
                && range.contains(&row.seq)
                && good(row, query.unexpired_at)
        });
        rows.sort_by_key(|row| (row.seq, row.id));
        let passed = rows.len().min(usize::try_from(query.offset).unwrap());
        if query.descending {
            rows.truncate(rows.len() - passed);
        } else {
            rows.drain(..passed);
        }
        self.page(rows, query.descending, query.limit)
    }

    pub fn get(&self, by: &ByIds) -> Result<Messages, Error> {
        let rows = by.native_ids.iter().filter_map(|id| self.messages.iter().find(|row| row.native_id == *id));
        let rows: Vec<_> = rows.cloned().collect();
        self.fits(&rows)?;
        Ok(Messages { rows })
    }

    /// Those that have messages.
    pub fn conversations(&self, by: &ByIds) -> Conversations {
        let has = |id: &&String| self.messages.iter().any(|row| row.conversation == **id);
        let view = |id: &String| ConversationView { native_id: id.clone(), ..ConversationView::default() };
        Conversations { conversations: by.native_ids.iter().filter(has).map(view).collect() }
    }

    pub fn find(&self, query: &FindQuery) -> Result<Messages, Error> {
        let is_wanted = |row: &MessageView| {
            query.seqs.contains(&row.seq) || row.client_id.as_ref().is_some_and(|id| query.client_ids.contains(id))
        };
        let mut rows = self.filtered(|row| {
            query.conversation.as_ref().is_none_or(|wanted| *wanted == row.conversation) && is_wanted(row)
        });
        rows.sort_by_key(|row| row.id);
        self.page(rows, true, query.limit).map(|page| Messages { rows: page.rows })
    }

    pub fn search(&self, query: &SearchQuery) -> Result<MessagePage, Error> {
        let is = |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let mut rows = self.filtered(|row| {
            row.text.contains(&query.text)
                && is(&query.conversation, &row.conversation)
                && is(&query.sender, &row.sender)
                && query.labels.iter().all(|label| is_of_type(row, label))
                && !query.except_kinds.contains(&row.kind)
                && query.since.is_none_or(|since| row.sent_at >= since)
                && query.until.is_none_or(|until| row.sent_at < until)
                && good(row, query.unexpired_at)
        });
        rows.sort_by_key(|row| (row.sent_at, row.id));
        let total = rows.len() as u64;
        if let Some(beyond) = query.beyond {
            let place = (beyond.sent_at, beyond.id);
            rows.retain(|row| {
                let at = (row.sent_at, row.id);
                if query.oldest_first { at > place } else { at < place }
            });
        }
        self.page(rows, !query.oldest_first, query.limit).map(|page| MessagePage { total, ..page })
    }

    fn filtered(&self, is_wanted: impl Fn(&MessageView) -> bool) -> Vec<MessageView> {
        self.messages.iter().filter(|row| is_wanted(row)).cloned().collect()
    }

    fn page(&self, mut rows: Vec<MessageView>, descending: bool, limit: u32) -> Result<MessagePage, Error> {
        assert!((1..=MAX_ROWS).contains(&limit), "{limit} rows");
        if descending {
            rows.reverse();
        }
        rows.truncate(limit as usize);
        self.fits(&rows)?;
        Ok(MessagePage { rows, total: 0 })
    }

    fn fits(&self, rows: &[MessageView]) -> Result<(), Error> {
        let bytes: usize = rows.iter().map(|row| row.text.len() + row.body.len()).sum();
        if rows.len() > 1 && bytes > self.max_bytes {
            return Err(Error::new(ErrorCode::TooLarge, "the answer does not fit into a frame"));
        }
        Ok(())
    }
}

/// As the plugin labels its messages.
fn is_of_type(row: &MessageView, label: &str) -> bool {
    let channel = row.conversation.strip_prefix("ends/").unwrap_or(&row.conversation);
    channel.split_once('/').is_some_and(|(channel_type, _)| label == format!("type:{channel_type}"))
}

fn good(row: &MessageView, unexpired_at: Option<Micros>) -> bool {
    row.expires_at.is_none_or(|at| unexpired_at.is_none_or(|now| at > now))
}
