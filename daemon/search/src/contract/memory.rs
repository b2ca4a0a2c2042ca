//! An archive in memory: as much of it as searching needs.

use super::model;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use stele_archive::model::ConversationKind;
use stele_archive::ops::{
    ConversationQuery, ConversationView, FindQuery, JoinedQuery, Membership, MessageOrder, MessageQuery, Participation,
    PersonQuery, PersonView,
};
use stele_archive::{
    ArchiveError, ConversationId, ConversationList, DayCount, Feed, FeedRow, InstanceId, MAX_ANSWER, MessageId,
    MessageList, PersonId, Queries, Result, Rev, Stats, StoredMessage,
};

/// Messages in the order they became readable. Native ids of conversations and people are their numbers; people and
/// memberships are nobody's business here, so nobody is known.
#[derive(Debug, Default)]
pub struct MemoryArchive {
    messages: Mutex<Vec<StoredMessage>>,
}

impl MemoryArchive {
    /// Adds a message; its id and revision are the next ones.
    pub fn add(&self, mut message: StoredMessage) -> MessageId {
        let mut messages = self.lock();
        message.rev = Rev(messages.last().map_or(0, |last| last.rev.0) + 1);
        message.id = MessageId(message.rev.0);
        message.conversation_native = message.conversation.to_string();
        message.sender_native = message.sender.map(|sender| sender.to_string()).unwrap_or_default();
        messages.push(message);
        messages.last().expect("just added").id
    }

    /// Forgets everything after this revision, as a backup that is restored does.
    pub fn truncate(&self, upto: Rev) {
        self.lock().retain(|message| message.rev <= upto);
    }

    /// All rows of the feed.
    pub fn rows(&self) -> Vec<FeedRow> {
        self.lock().iter().map(FeedRow::from).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StoredMessage>> {
        self.messages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl Feed for MemoryArchive {
    async fn feed(&self, after: Rev, limit: u32) -> Result<Vec<FeedRow>> {
        Ok(self.lock().iter().filter(|message| message.rev > after).take(limit as usize).map(FeedRow::from).collect())
    }

    async fn last_rev(&self) -> Result<Rev> {
        Ok(self.lock().last().map_or(Rev(0), |message| message.rev))
    }

    async fn day_counts(&self, upto: Rev) -> Result<Vec<DayCount>> {
        let rows: Vec<FeedRow> = self.lock().iter().filter(|message| message.rev <= upto).map(FeedRow::from).collect();
        Ok(model::day_counts(&rows))
    }
}

/// What is not too much for one answer.
fn bounded(rows: Vec<StoredMessage>) -> Result<Vec<StoredMessage>> {
    let bytes: usize = rows.iter().map(|message| message.text.len() + message.body.len()).sum();
    if rows.len() > 1 && bytes > MAX_ANSWER { Err(ArchiveError::TooLarge { most: MAX_ANSWER }) } else { Ok(rows) }
}

#[async_trait]
impl Queries for MemoryArchive {
    async fn conversations(&self, _: InstanceId, _: &ConversationQuery) -> Result<ConversationList> {
        Ok(ConversationList::default())
    }

    async fn conversation(&self, instance: InstanceId, native_id: &str) -> Result<Option<ConversationView>> {
        let messages = self.lock();
        let mut of_it = messages
            .iter()
            .filter(|message| message.instance == instance && message.conversation_native == native_id)
            .peekable();
        let Some(ConversationId(id)) = of_it.peek().map(|message| message.conversation) else { return Ok(None) };
        Ok(Some(ConversationView {
            id,
            native_id: native_id.to_owned(),
            kind: ConversationKind::Group,
            messages: of_it.count() as u64,
            ..ConversationView::default()
        }))
    }

    async fn conversations_by_native(
        &self,
        instance: InstanceId,
        native_ids: &[String],
    ) -> Result<Vec<ConversationView>> {
        let mut conversations = Vec::new();
        for native_id in native_ids.iter().collect::<BTreeSet<_>>() {
            conversations.extend(self.conversation(instance, native_id).await?);
        }
        Ok(conversations)
    }

    async fn takes_part(&self, _: InstanceId, _: &str, _: &str) -> Result<bool> {
        Ok(false)
    }

    async fn membership(&self, instance: InstanceId, who: &Participation) -> Result<Membership> {
        Ok(Membership { conversation: self.conversation(instance, &who.conversation).await?, member: false })
    }

    async fn joined(&self, _: InstanceId, _: &JoinedQuery) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn people(&self, _: InstanceId, _: &[String]) -> Result<Vec<PersonView>> {
        Ok(Vec::new())
    }

    async fn person_list(&self, _: InstanceId, _: &PersonQuery) -> Result<Vec<PersonView>> {
        Ok(Vec::new())
    }

    async fn person_id(&self, _: InstanceId, _: &str) -> Result<Option<PersonId>> {
        Ok(None)
    }

    async fn messages(&self, instance: InstanceId, query: &MessageQuery) -> Result<MessageList> {
        let mut rows: Vec<StoredMessage> = self
            .lock()
            .iter()
            .filter(|message| message.instance == instance && message.conversation_native == query.conversation)
            .filter(|message| query.kinds.is_empty() || query.kinds.contains(&message.kind))
            .filter(|message| query.since.is_none_or(|since| message.sent_at >= since))
            .filter(|message| query.until.is_none_or(|until| message.sent_at < until))
            .filter(|message| query.unexpired_at.is_none_or(|at| message.expires_at.is_none_or(|end| end > at)))
            .cloned()
            .collect();
        let total = rows.len() as u64;
        rows.retain(|message| {
            query.after.is_none_or(|after| message.id.0 > after)
                && query.before.is_none_or(|before| message.id.0 < before)
                && query.from_seq.is_none_or(|from| message.seq >= from)
                && query.to_seq.is_none_or(|to| message.seq <= to)
        });
        rows.sort_by_key(|message| match query.order {
            MessageOrder::SentAt => (message.sent_at, message.id.0),
            MessageOrder::Id => (message.id.0, 0),
            MessageOrder::Seq => (message.seq, message.id.0),
        });
        if query.descending {
            rows.reverse();
        }
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let rows = bounded(rows.into_iter().skip(offset).take(query.limit as usize).collect())?;
        Ok(MessageList { rows, total })
    }

    async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<StoredMessage>> {
        let messages = self.lock();
        bounded(ids.iter().filter_map(|id| messages.iter().find(|message| message.id == *id).cloned()).collect())
    }

    async fn messages_by_native(&self, instance: InstanceId, native_ids: &[String]) -> Result<Vec<StoredMessage>> {
        let messages = self.lock();
        let find =
            |native: &String| messages.iter().find(|known| known.instance == instance && known.native_id == *native);
        bounded(native_ids.iter().filter_map(|native| find(native).cloned()).collect())
    }

    async fn find(&self, instance: InstanceId, query: &FindQuery) -> Result<Vec<StoredMessage>> {
        if query.conversation.is_none() && !query.seqs.is_empty() {
            return Err(ArchiveError::Invalid("numbers without a conversation".to_owned()));
        }
        let mut found: Vec<StoredMessage> = self
            .lock()
            .iter()
            .filter(|message| message.instance == instance)
            .filter(|message| query.conversation.as_ref().is_none_or(|native| *native == message.conversation_native))
            .filter(|message| {
                query.seqs.contains(&message.seq)
                    || message.client_id.as_ref().is_some_and(|id| query.client_ids.contains(id))
            })
            .cloned()
            .collect();
        found.sort_by_key(|message| std::cmp::Reverse(message.id));
        found.truncate(query.limit as usize);
        bounded(found)
    }

    async fn stats(&self, instance: Option<InstanceId>) -> Result<Stats> {
        let messages = self.lock();
        let of_it = messages.iter().filter(|message| instance.is_none_or(|instance| message.instance == instance));
        let conversations: BTreeSet<_> =
            of_it.clone().map(|message| (message.instance, message.conversation)).collect();
        Ok(Stats { messages: of_it.count() as u64, conversations: conversations.len() as u64, ..Stats::default() })
    }
}
