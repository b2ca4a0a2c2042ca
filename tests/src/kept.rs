//! What a plugin of an upstream has the daemon keep, without a daemon: an archive that fits into a test, and a client that is a real
//! one.

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use stele_plugin_api::{
    Error, ErrorCode, Plugin,
    model::{Conversation, Message, Page, Person, Reached, Revocation},
    ops::{self, PullRequest},
    testing::MockHost,
};
use tokio::sync::Barrier;

/// Largest reply that is passed on unless a test says otherwise, in bytes: as the daemon's.
pub const MAX_REPLY: usize = 16 << 20;

/// What is kept.
#[derive(Default)]
pub struct Kept {
    pub messages: BTreeMap<String, Message>,
    /// Their ids in the order in which they were committed.
    pub committed: Vec<String>,
    pub revocations: BTreeMap<String, Revocation>,
    pub conversations: BTreeMap<String, Conversation>,
    pub people: BTreeMap<String, Person>,
    pub reached: BTreeMap<String, i64>,
    pub state: BTreeMap<String, Bytes>,
    pub cursor: Option<Bytes>,
    /// Largest reply that is passed on, in bytes.
    pub max_reply: usize,
    /// Where whoever has put something into the state waits for others that do.
    pub meeting: Option<Arc<Barrier>>,
}

impl Kept {
    /// Commits a page, but for its cursor.
    pub fn store(&mut self, page: Page) -> ops::AppendReport {
        self.people.extend(page.people.into_iter().map(|person| (person.native_id.clone(), person)));
        for told in page.conversations {
            let known = self.conversations.entry(told.native_id.clone()).or_default();
            *known = Conversation { title: told.title.clone().or(known.title.clone()), ..told };
        }
        for revocation in page.revocations {
            self.revocations.entry(revocation.native_id.clone()).or_insert(revocation);
        }
        for Reached { partition, seq } in page.reached {
            let known = self.reached.entry(partition).or_default();
            *known = seq.max(*known);
        }
        store(&mut self.messages, &mut self.committed, page.messages)
    }
}

/// Takes in the messages that are not there yet.
pub fn store(
    messages: &mut BTreeMap<String, Message>,
    committed: &mut Vec<String>,
    told: Vec<Message>,
) -> ops::AppendReport {
    let mut report = ops::AppendReport::default();
    for message in told {
        let (id, native_id) = (messages.len() as i64 + 1, message.native_id.clone());
        let seq = message.seq.unwrap_or_default();
        match messages.entry(native_id.clone()) {
            Entry::Occupied(_) => report.known += 1,
            Entry::Vacant(free) => {
                free.insert(message);
                committed.push(native_id.clone());
                report.stored.push(ops::AppendedMessage { id, native_id, seq });
            }
        }
    }
    report
}

/// Keeps for a plugin. Clones share everything.
#[derive(Clone)]
pub struct Keeper(Arc<Mutex<Kept>>);

impl Default for Keeper {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept { max_reply: MAX_REPLY, ..Kept::default() })))
    }
}

impl Keeper {
    /// What is kept, as it is now.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.0)
    }

    /// One page, which is not committed.
    pub async fn pull(&self, plugin: &impl Plugin, partition: &str, limit: u32) -> Result<Page, Error> {
        let cursor = self.kept().cursor.clone();
        plugin.sync_pull(request(partition, cursor, limit)).await
    }

    /// Commits a page, as the daemon does.
    pub fn commit(&self, page: Page) {
        let mut kept = self.kept();
        kept.cursor = page.cursor.clone().or(kept.cursor.take());
        kept.store(page);
    }

    /// A run: pages until nothing is left. The next page is pulled before the former is committed, as the daemon does. Returns
    /// the notices as text.
    pub async fn sync(&self, plugin: &impl Plugin, partition: &str, limit: u32) -> Result<Vec<String>> {
        let mut notices = Vec::new();
        let mut before: Option<Page> = None;
        for _ in 0..10_000 {
            let cursor = before.as_ref().map_or_else(|| self.kept().cursor.clone(), |page| page.cursor.clone());
            let page = plugin.sync_pull(request(partition, cursor.clone(), limit)).await;
            before.take().into_iter().for_each(|page| self.commit(page));
            let page = page?;
            ensure!(page.messages.len() <= limit as usize, "a page of {}", page.messages.len());
            ensure!(page.caught_up || page.cursor != cursor, "a page that does not move its cursor");
            notices.extend(page.notices.iter().map(|notice| format!("{}: {}", notice.code, notice.message)));
            if page.caught_up {
                self.commit(page);
                return Ok(notices);
            }
            before = Some(page);
        }
        bail!("it never catches up")
    }

    /// The daemon.
    pub fn host(&self) -> MockHost {
        let (client, kept, putting) = (crate::client::http(), Arc::clone(&self.0), Arc::clone(&self.0));
        MockHost::new()
            .on_async::<ops::HttpFetch, _>(move |request| fetch(client.clone(), request, lock(&kept).max_reply))
            .on::<ops::PartitionReached>(with(&self.0, |kept, keys: ops::PartitionKeys| {
                let seqs = keys.partitions.iter().map(|key| kept.reached.get(key).copied().unwrap_or_default());
                ops::PartitionNumbers { seqs: seqs.collect() }
            }))
            .on::<ops::ArchiveAppend>(with(&self.0, Kept::store))
            .on::<ops::ArchiveGet>(with(&self.0, |kept, by: ops::ByIds| {
                let rows = by.native_ids.iter().filter_map(|id| kept.messages.get(id)).map(view);
                ops::Messages { rows: rows.collect() }
            }))
            .on::<ops::ArchiveFind>(with(&self.0, |kept, query: ops::FindQuery| {
                let latest = kept.committed.iter().rev().map(|id| &kept.messages[id]);
                let fits = |message: &&Message| {
                    let is_named = message.client_id.as_ref().is_some_and(|id| query.client_ids.contains(id));
                    let is_numbered = message.seq.is_some_and(|seq| query.seqs.contains(&seq));
                    query.conversation.as_ref() == Some(&message.conversation) && (is_named || is_numbered)
                };
                ops::Messages { rows: latest.filter(fits).map(view).collect() }
            }))
            .on::<ops::StateGet>(with(&self.0, |kept, key: ops::StateKey| ops::StateValue {
                value: kept.state.get(&key.key).cloned(),
            }))
            .on_async::<ops::StatePut, _>(move |entry| {
                let mut kept = lock(&putting);
                match entry.value {
                    Some(value) => kept.state.insert(entry.key, value),
                    None => kept.state.remove(&entry.key),
                };
                let meeting = kept.meeting.clone();
                async move {
                    if let Some(meeting) = meeting {
                        meeting.wait().await;
                    }
                    Ok(ops::Empty {})
                }
            })
    }
}

fn request(partition: &str, cursor: Option<Bytes>, limit: u32) -> PullRequest {
    PullRequest { partition: partition.to_owned(), cursor, limit, last_commit: None }
}

fn lock<K>(kept: &Mutex<K>) -> MutexGuard<'_, K> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer of the daemon that comes from what is kept.
pub fn with<K: Send + 'static, Q, A>(
    kept: &Arc<Mutex<K>>,
    answer: impl Fn(&mut K, Q) -> A + Send + Sync + 'static,
) -> impl Fn(Q) -> Result<A, Error> + Send + Sync + 'static {
    let kept = Arc::clone(kept);
    move |request| Ok(answer(&mut lock(&kept), request))
}

fn view(message: &Message) -> ops::MessageView {
    ops::MessageView {
        native_id: message.native_id.clone(),
        conversation: message.conversation.clone(),
        seq: message.seq.unwrap_or_default(),
        sender: message.sender.clone(),
        client_id: message.client_id.clone(),
        body: message.body.clone(),
        ..ops::MessageView::default()
    }
}

/// As the daemon's client does it; a reply of more than `max` bytes is refused.
///
/// # Errors
///
/// Those of the daemon.
pub async fn fetch(client: reqwest::Client, request: ops::FetchRequest, max: usize) -> Result<ops::FetchReply, Error> {
    let fault = |error: reqwest::Error| {
        Error::new(if error.is_timeout() { ErrorCode::Deadline } else { ErrorCode::Unavailable }, error.to_string())
    };
    let method = request.method.parse().map_err(|_| Error::new(ErrorCode::Invalid, "not an HTTP method"))?;
    let time = Duration::from_millis(request.timeout_ms);
    let mut outgoing = client.request(method, &request.url).timeout(time).body(request.body);
    for (name, value) in &request.headers {
        outgoing = outgoing.header(name, value);
    }
    let mut reply = outgoing.send().await.map_err(fault)?;
    let status = reply.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(fault)? {
        if body.len() + chunk.len() > max {
            return Err(Error::new(ErrorCode::TooLarge, "the reply is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(ops::FetchReply { status, headers: Vec::new(), body: body.into() })
}
