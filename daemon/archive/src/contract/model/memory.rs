//! An archive of vectors and maps, as plain as can be: every answer is a look at everything.

use super::same;
use crate::{Committed, Stats, StoredMessage};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page};
use stele_plugin_api::ops::{ConversationQuery, FindQuery, MessageOrder, MessageQuery, Repeated};

const DAY: i64 = 86_400_000_000;

/// Instance and partition.
type Place<'a> = (usize, &'a str);

/// The archive.
#[derive(Debug, Default)]
pub(super) struct Memory {
    instances: [Instance; 2],
    /// In the order they became readable.
    messages: Vec<Kept>,
    last_id: i64,
}

#[derive(Debug, Default)]
struct Instance {
    cursors: HashMap<String, Bytes>,
    names: BTreeMap<String, String>,
    conversations: BTreeMap<String, Talk>,
    /// In the order they were parked: native id, partition, attempts. The ids reserved for them are not known.
    parked: Vec<(String, String, u32)>,
    /// Reserved ids are learnt when they are taken; they lie between those of the messages around them.
    revocations: HashMap<String, (i64, String)>,
}

#[derive(Debug)]
struct Talk {
    partition: String,
    kind: ConversationKind,
    title: String,
    seen: BTreeSet<String>,
    members: BTreeSet<String>,
    /// Person, and how many messages were readable when they joined and when they left.
    stays: Vec<(String, usize, Option<usize>)>,
    /// Pages that changed who is a member.
    version: i64,
}

#[derive(Debug)]
struct Kept {
    instance: usize,
    id: i64,
    seq: i64,
    revoked: Option<(i64, String)>,
    message: Message,
}

/// What is compared of a message.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    id: i64,
    native_id: String,
    conversation: String,
    seq: i64,
    sender: (String, String),
    sent_at: i64,
    kind: String,
    text: String,
    body: Bytes,
    client_id: Option<String>,
    expires_at: Option<i64>,
    labels: Vec<String>,
    revoked: Option<(i64, String)>,
}

impl Shown {
    pub fn of(row: &StoredMessage) -> Self {
        Self {
            id: row.id.0,
            native_id: row.native_id.clone(),
            conversation: row.conversation_native.clone(),
            seq: row.seq,
            sender: (row.sender_native.clone(), row.sender_name.clone()),
            sent_at: row.sent_at,
            kind: row.kind.clone(),
            text: row.text.clone(),
            body: row.body.clone(),
            client_id: row.client_id.clone(),
            expires_at: row.expires_at,
            labels: row.labels.clone(),
            revoked: row.revoked.clone(),
        }
    }
}

impl Memory {
    /// Do what the page says, and compare with what the backend says it did.
    pub fn commit(&mut self, (at, partition): Place<'_>, page: &Page, done: &Committed) -> Result<(), String> {
        let known: BTreeSet<String> = self
            .messages
            .iter()
            .filter(|kept| kept.instance == at)
            .map(|kept| kept.message.native_id.clone())
            .collect();
        let mut new = BTreeSet::new();
        let (mut fresh, mut repeated): (Vec<&Message>, Vec<Repeated>) = Default::default();
        for message in &page.messages {
            if known.contains(&message.native_id) || !new.insert(message.native_id.clone()) {
                continue;
            }
            let stored = self.messages.iter().filter(|kept| kept.instance == at).map(|kept| &kept.message);
            // Of those stored, ids tell the first one: a message may have taken an id that was reserved for it.
            let first = stored.chain(fresh.iter().copied()).filter(|other| is_alike(message, other));
            let first = first.min_by_key(|other| self.id(at, &other.native_id).unwrap_or(i64::MAX));
            match first.filter(|_| message.once) {
                Some(first) => {
                    repeated.push(Repeated { native_id: message.native_id.clone(), first: first.native_id.clone() })
                }
                None => fresh.push(message),
            }
        }
        let stored: Vec<_> = done.stored.iter().map(|stored| stored.native_id.as_str()).collect();
        same("stored", stored, fresh.iter().map(|message| message.native_id.as_str()).collect())?;
        same("known", done.known, (page.messages.len() - fresh.len()) as u64)?;
        same("repeated", &done.repeated, &repeated)?;

        let instance = &mut self.instances[at];
        instance.parked.retain(|(native, ..)| !repeated.iter().any(|message| message.native_id == *native));
        for person in &page.people {
            let name = instance.names.entry(person.native_id.clone()).or_default();
            if let Some(told) = &person.name {
                name.clone_from(told);
            }
        }
        let before: BTreeMap<String, BTreeSet<String>> =
            instance.conversations.iter().map(|(native, talk)| (native.clone(), talk.members.clone())).collect();
        for conversation in &page.conversations {
            instance.describe(conversation, partition);
            instance.move_members(conversation);
        }
        for (native, talk) in &mut instance.conversations {
            talk.stay(before.get(native).unwrap_or(&BTreeSet::new()), self.messages.len());
        }
        for (message, stored) in fresh.iter().zip(&done.stored) {
            instance.names.entry(message.sender.clone()).or_default();
            for native in &message.recipients {
                instance.names.entry(native.clone()).or_default();
            }
            let talk =
                instance.conversations.entry(message.conversation.clone()).or_insert_with(|| Talk::new(partition));
            talk.seen
                .extend([&message.sender].into_iter().chain(&message.recipients).filter(|n| !n.is_empty()).cloned());
            let parked = instance.parked.iter().position(|(native, ..)| *native == message.native_id);
            match parked {
                Some(parked) => drop(instance.parked.remove(parked)),
                None => {
                    same("ids ascend", stored.id > self.last_id, true)?;
                    self.last_id = stored.id;
                }
            }
            let last_seq = self
                .messages
                .iter()
                .filter(|kept| kept.instance == at && kept.message.conversation == message.conversation)
                .map(|kept| kept.seq)
                .max();
            let seq = message.seq.unwrap_or(last_seq.unwrap_or(0).max(0) + 1);
            same("seq", stored.seq, seq)?;
            let revoked = instance.revocations.remove(&message.native_id);
            self.messages.push(Kept { instance: at, id: stored.id, seq, revoked, message: (*message).clone() });
        }
        instance.names.remove("");
        same("revoked", done.revoked, self.revoke(at, page))?;
        same("parked", done.parked, self.park((at, partition), page))?;
        let cursor = page.cursor.clone().ok_or("every page of a history has a cursor")?;
        self.instances[at].cursors.insert(partition.to_owned(), cursor);
        Ok(())
    }

    fn id(&self, at: usize, native: &str) -> Option<i64> {
        self.messages.iter().find(|kept| kept.instance == at && kept.message.native_id == native).map(|kept| kept.id)
    }

    fn revoke(&mut self, at: usize, page: &Page) -> u64 {
        let mut revoked = 0;
        for revocation in &page.revocations {
            let mark = (revocation.at, revocation.by.clone());
            let original = self
                .messages
                .iter_mut()
                .find(|kept| kept.instance == at && kept.message.native_id == revocation.native_id);
            let waiting = &mut self.instances[at].revocations;
            match original {
                Some(kept) if kept.revoked.is_none() => kept.revoked = Some(mark),
                None if !waiting.contains_key(&revocation.native_id) => {
                    waiting.insert(revocation.native_id.clone(), mark);
                }
                _ => continue,
            }
            revoked += 1;
        }
        revoked
    }

    fn park(&mut self, (at, partition): Place<'_>, page: &Page) -> u64 {
        let mut new = 0;
        let mut seen = BTreeSet::new();
        for parked in &page.parked {
            let readable =
                self.messages.iter().any(|kept| kept.instance == at && kept.message.native_id == parked.native_id);
            if readable || !seen.insert(&parked.native_id) {
                continue;
            }
            let all = &mut self.instances[at].parked;
            match all.iter_mut().find(|(native, ..)| *native == parked.native_id) {
                Some((.., attempts)) => *attempts += 1,
                None => {
                    all.push((parked.native_id.clone(), partition.to_owned(), 0));
                    new += 1;
                }
            }
        }
        new
    }

    pub fn cursor(&self, (at, partition): Place<'_>) -> Option<Bytes> {
        self.instances[at].cursors.get(partition).cloned()
    }

    pub fn parked(&self, (at, partition): Place<'_>) -> Vec<(String, u32)> {
        let parked = self.instances[at].parked.iter().filter(|(_, of, _)| of == partition);
        parked.map(|(native, _, attempts)| (native.clone(), *attempts)).collect()
    }

    pub fn conversation(&self, at: usize, native: &str) -> Option<(String, String, String, u64)> {
        let talk = self.instances[at].conversations.get(native)?;
        let messages = self.of(at, native).count() as u64;
        Some((talk.kind.to_string(), talk.title.clone(), talk.partition.clone(), messages))
    }

    pub fn takes_part(&self, at: usize, conversation: &str, person: &str) -> bool {
        self.instances[at].conversations.get(conversation).is_some_and(|talk| talk.people().contains(person))
    }

    fn of<'a>(&'a self, at: usize, conversation: &'a str) -> impl Iterator<Item = &'a Kept> {
        self.messages.iter().filter(move |kept| kept.instance == at && kept.message.conversation == conversation)
    }

    /// Ids of a conversation's messages, ascending.
    pub fn ids(&self, at: usize, conversation: &str) -> Vec<i64> {
        let mut ids: Vec<_> = self.of(at, conversation).map(|kept| kept.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Numbers of a conversation's messages, ascending.
    pub fn numbers(&self, at: usize, conversation: &str) -> Vec<i64> {
        let mut numbers: Vec<_> = self.of(at, conversation).map(|kept| kept.seq).collect();
        numbers.sort_unstable();
        numbers
    }

    pub fn messages(&self, at: usize, query: &MessageQuery) -> (Vec<Shown>, u64) {
        let mut found: Vec<&Kept> = self
            .of(at, &query.conversation)
            .filter(|kept| query.kinds.is_empty() || query.kinds.contains(&kept.message.kind))
            .filter(|kept| query.since.is_none_or(|since| kept.message.sent_at >= since))
            .filter(|kept| query.until.is_none_or(|until| kept.message.sent_at < until))
            .filter(|kept| query.unexpired_at.is_none_or(|then| kept.message.expires_at.is_none_or(|at| at > then)))
            .collect();
        let total = found.len() as u64;
        found.retain(|kept| query.after.is_none_or(|id| kept.id > id) && query.before.is_none_or(|id| kept.id < id));
        found.retain(|kept| query.from_seq.is_none_or(|seq| kept.seq >= seq));
        found.retain(|kept| query.to_seq.is_none_or(|seq| kept.seq <= seq));
        let key = |kept: &&Kept| match query.order {
            MessageOrder::SentAt => (kept.message.sent_at, kept.id),
            MessageOrder::Id => (kept.id, kept.id),
            MessageOrder::Seq => (kept.seq, kept.id),
        };
        let in_order = |rows: &mut Vec<&Kept>| {
            rows.sort_by_key(key);
            if query.descending {
                rows.reverse();
            }
        };
        match (query.after, query.before) {
            (Some(_), None) => found.sort_by_key(|kept| kept.id),
            (None, Some(_)) => found.sort_by_key(|kept| -kept.id),
            (None, None) if query.order == MessageOrder::Seq && query.from_seq.is_some() != query.to_seq.is_some() => {
                found.sort_by_key(key);
                if query.to_seq.is_some() {
                    found.reverse();
                }
            }
            _ => in_order(&mut found),
        }
        let mut rows: Vec<_> = found.into_iter().skip(query.offset as usize).take(query.limit as usize).collect();
        in_order(&mut rows);
        (rows.into_iter().map(|kept| self.show(kept)).collect(), total)
    }

    /// Native ids of what is found by number or client id, latest arrival first.
    pub fn find(&self, at: usize, query: &FindQuery) -> Vec<String> {
        let mut found: Vec<&Kept> = self
            .messages
            .iter()
            .filter(|kept| kept.instance == at)
            .filter(|kept| query.conversation.as_ref().is_none_or(|native| *native == kept.message.conversation))
            .filter(|kept| {
                let client_id = kept.message.client_id.as_ref();
                query.seqs.contains(&kept.seq) || client_id.is_some_and(|id| query.client_ids.contains(id))
            })
            .collect();
        found.sort_by_key(|kept| -kept.id);
        found.into_iter().take(query.limit as usize).map(|kept| kept.message.native_id.clone()).collect()
    }

    fn show(&self, kept: &Kept) -> Shown {
        let message = &kept.message;
        let name = self.instances[kept.instance].names.get(&message.sender).cloned().unwrap_or_default();
        Shown {
            id: kept.id,
            native_id: message.native_id.clone(),
            conversation: message.conversation.clone(),
            seq: kept.seq,
            sender: (message.sender.clone(), name),
            sent_at: message.sent_at,
            kind: message.kind.clone(),
            text: message.text.clone(),
            body: message.body.clone(),
            client_id: message.client_id.clone(),
            expires_at: message.expires_at,
            labels: message.labels.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
            revoked: kept.revoked.clone(),
        }
    }

    pub fn conversations(&self, at: usize, query: &ConversationQuery) -> (Vec<Listed>, u64) {
        let instance = &self.instances[at];
        let mut found: Vec<(i64, i64, Listed)> = Vec::new();
        for (native, talk) in &instance.conversations {
            let people = talk.people();
            let Some(last) = self.of(at, native).max_by_key(|kept| (kept.message.sent_at, kept.id)) else { continue };
            if !people.contains(query.person.as_str()) || query.kind.as_ref().is_some_and(|kind| *kind != talk.kind) {
                continue;
            }
            let mut others = people.iter().filter(|native| **native != query.person);
            let two = matches!(talk.kind, ConversationKind::Direct | ConversationKind::External);
            let pair = two && people.len() == 2;
            let peer =
                others.next().filter(|_| pair).map(|native| ((*native).to_owned(), instance.names[*native].clone()));
            let (name, native_id) = peer.as_ref().map_or((&talk.title, native), |(native, name)| (name, native));
            let label = crate::label(name, native_id).to_lowercase();
            if query.name.as_ref().is_some_and(|name| !label.contains(&name.to_lowercase())) {
                continue;
            }
            found.push((last.message.sent_at, last.id, (native.clone(), last.message.native_id.clone(), peer)));
        }
        found.sort_by_key(|(sent_at, id, _)| std::cmp::Reverse((*sent_at, *id)));
        let total = found.len() as u64;
        let rows = found.into_iter().skip(query.offset as usize).take(query.limit as usize);
        (rows.map(|(.., listed)| listed).collect(), total)
    }

    pub fn stats(&self, only: Option<usize>) -> Stats {
        let mut stats = Stats::default();
        for (at, instance) in self.instances.iter().enumerate().filter(|(at, _)| only.is_none_or(|only| only == *at)) {
            stats.messages += self.messages.iter().filter(|kept| kept.instance == at).count() as u64;
            stats.conversations +=
                instance.conversations.keys().filter(|native| self.of(at, native).next().is_some()).count() as u64;
            stats.people += instance.names.len() as u64;
            stats.parked += instance.parked.len() as u64;
        }
        stats
    }

    /// The version of a conversation's audience, and who hears it after so many messages, sorted: a person, and how many were
    /// readable when they joined and when they left.
    pub fn audience(&self, at: usize, conversation: &str, since: usize) -> (i64, Vec<(String, usize, Option<usize>)>) {
        let Some(talk) = self.instances[at].conversations.get(conversation) else { return Default::default() };
        let mut stays = talk.stays.clone();
        stays.retain(|(.., until)| until.is_none_or(|until| until >= since));
        stays.sort();
        (talk.version, stays)
    }

    /// Ids of the messages of an instance after so many and up to so many readable ones; of those a person heard in what they
    /// are a member of.
    pub fn news(&self, at: usize, person: Option<&str>, (after, upto): (usize, usize)) -> Vec<i64> {
        let instance = &self.instances[at];
        let heard = |(position, kept): &(usize, &Kept)| {
            let stays = &instance.conversations[&kept.message.conversation].stays;
            person.is_none_or(|person| {
                stays.iter().any(|(who, _, until)| who == person && until.is_none())
                    && stays.iter().any(|(who, after, until)| {
                        who == person && after <= position && until.is_none_or(|until| *position < until)
                    })
            })
        };
        let among = self.messages.iter().enumerate().take(upto).skip(after);
        among.filter(|(_, kept)| kept.instance == at).filter(heard).map(|(_, kept)| kept.id).collect()
    }

    /// Ids in the order of revisions.
    pub fn feed(&self) -> Vec<i64> {
        self.messages.iter().map(|kept| kept.id).collect()
    }

    /// Messages with a text per day, of the first `upto` that became readable.
    pub fn day_counts(&self, upto: usize) -> Vec<(i64, u64)> {
        let mut days = BTreeMap::new();
        for kept in self.messages[..upto].iter().filter(|kept| !kept.message.text.is_empty()) {
            *days.entry(kept.message.sent_at.div_euclid(DAY)).or_default() += 1;
        }
        days.into_iter().collect()
    }
}

/// Whether both are the same message to their sender.
fn is_alike(one: &Message, other: &Message) -> bool {
    let key = |message: &Message| (message.conversation.clone(), message.sender.clone(), message.client_id.clone());
    one.client_id.is_some() && key(one) == key(other)
}

/// A row of a list: conversation, latest message, the other one and their name.
pub(super) type Listed = (String, String, Option<(String, String)>);

impl Instance {
    fn describe(&mut self, told: &Conversation, partition: &str) {
        let talk = self.conversations.entry(told.native_id.clone()).or_insert_with(|| Talk::new(partition));
        let outside = (&ConversationKind::Direct, &ConversationKind::External);
        if let Some(kind) = told.kind.as_ref().filter(|kind| (*kind, &talk.kind) != outside) {
            talk.kind.clone_from(kind);
        }
        if let Some(title) = &told.title {
            talk.title.clone_from(title);
        }
    }

    fn move_members(&mut self, told: &Conversation) {
        let talk = self.conversations.get_mut(&told.native_id).expect("described");
        if let Some(members) = &told.members {
            talk.members = members.iter().cloned().collect();
        }
        for native in &told.left {
            talk.members.remove(native);
        }
        talk.members.extend(told.joined.iter().cloned());
        for native in told.members.iter().flatten().chain(&told.joined).chain(&told.left) {
            self.names.entry(native.clone()).or_default();
        }
    }
}

impl Talk {
    fn new(partition: &str) -> Self {
        Self {
            partition: partition.to_owned(),
            kind: ConversationKind::System,
            title: String::new(),
            seen: BTreeSet::new(),
            members: BTreeSet::new(),
            stays: Vec::new(),
            version: 0,
        }
    }

    /// The members changed, after so many messages had become readable.
    fn stay(&mut self, before: &BTreeSet<String>, readable: usize) {
        for native in before.difference(&self.members) {
            let stay = self.stays.iter_mut().find(|(person, _, until)| person == native && until.is_none());
            stay.expect("a member stays").2 = Some(readable);
        }
        for native in self.members.difference(before) {
            match self.stays.iter_mut().find(|(person, after, _)| person == native && *after == readable) {
                Some(again) => again.2 = None,
                None => self.stays.push((native.clone(), readable, None)),
            }
        }
        self.version += i64::from(self.members != *before);
    }

    fn people(&self) -> BTreeSet<&str> {
        self.seen.iter().chain(&self.members).map(String::as_str).collect()
    }
}
