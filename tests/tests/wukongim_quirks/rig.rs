//! The plugin itself between a stand-in of its upstream and an archive that fits into a test; its requests are sent as they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use stele_plugin_api::{
    Error, ErrorCode, Plugin,
    model::{Conversation, Message, Page, Person, Reached},
    ops::{self, HttpReply, HttpRequest, PullRequest},
    testing::MockHost,
};
use stele_tests::standin::wukongim::{Say, Version, WukongimStandin};
use stele_wukongim::Wukongim;

/// What the path of webhooks has.
pub const HOOK_SECRET: &str = "a-secret-of-webhooks";

/// What the plugin has the daemon keep.
#[derive(Default)]
pub struct Kept {
    pub messages: BTreeMap<String, Message>,
    /// Their ids in the order in which they were committed.
    pub committed: Vec<String>,
    pub conversations: BTreeMap<String, Conversation>,
    pub people: BTreeMap<String, Person>,
    pub reached: BTreeMap<String, i64>,
    pub cursor: Option<bytes::Bytes>,
    pub state: BTreeMap<String, bytes::Bytes>,
    /// Largest reply that is passed on, in bytes.
    pub max_reply: usize,
}

impl Kept {
    fn store(&mut self, page: Page) -> ops::AppendReport {
        let mut report = ops::AppendReport::default();
        self.people.extend(page.people.into_iter().map(|person| (person.native_id.clone(), person)));
        for told in page.conversations {
            self.conversations.insert(told.native_id.clone(), told);
        }
        for message in page.messages {
            let known = self.messages.len() as i64;
            let (native_id, seq) = (message.native_id.clone(), message.seq.unwrap_or_default());
            match self.messages.entry(native_id.clone()) {
                Entry::Occupied(_) => report.known += 1,
                Entry::Vacant(free) => {
                    free.insert(message);
                    self.committed.push(native_id.clone());
                    report.stored.push(ops::AppendedMessage { id: known + 1, native_id, seq });
                }
            }
        }
        for Reached { partition, seq } in page.reached {
            let known = self.reached.entry(partition).or_default();
            *known = seq.max(*known);
        }
        report
    }
}

/// The plugin between a stand-in and what it keeps.
pub struct Rig {
    pub standin: WukongimStandin,
    kept: Arc<Mutex<Kept>>,
    pub mock: MockHost,
    config: Value,
    pub plugin: Wukongim,
}

impl Rig {
    /// A stand-in of this version; `more` is added to the section of the upstream.
    pub async fn new(version: Version, more: Value) -> Result<Self> {
        let standin = WukongimStandin::start(version).await?;
        let mut config = json!({
            "url": standin.url(), "manager_url": standin.manager_url(), "hook_secret": HOOK_SECRET, "timeout_seconds": 2,
        });
        config.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let kept = Arc::new(Mutex::new(Kept { max_reply: 16 << 20, ..Kept::default() }));
        let mock = host(&kept);
        let plugin = open(&mock, &config)?;
        Ok(Self { standin, kept, mock, config, plugin })
    }

    /// What it keeps, as it is now.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin after a restart.
    pub fn reopen(&mut self) -> Result<()> {
        self.plugin = open(&self.mock, &self.config)?;
        Ok(())
    }

    /// Messages in this channel.
    pub fn say(&self, kind: u8, channel: &str, count: usize) {
        for number in 0..count {
            let payload = format!("{{\"type\":1,\"content\":\"{channel} 第 {number} 条\"}}");
            let said = Say { from: "alice", payload: payload.as_bytes(), red_dot: 1, ..Say::default() };
            self.standin.say(kind, channel, &said);
        }
    }

    /// One page, which is not committed.
    pub async fn pull(&self, limit: u32) -> Result<Page, Error> {
        let cursor = self.kept().cursor.clone();
        let request = PullRequest { partition: "channels".to_owned(), cursor, limit, last_commit: None };
        self.plugin.sync_pull(request).await
    }

    /// Commits a page, as the daemon does.
    pub fn commit(&self, page: Page) {
        let mut kept = self.kept();
        kept.cursor = page.cursor.clone().or(kept.cursor.take());
        kept.store(page);
    }

    /// A run: pages until nothing is left. The next page is pulled before the former is committed, as the daemon does. Returns
    /// the notices as text.
    pub async fn sync(&self, limit: u32) -> Result<Vec<String>> {
        let mut notices = Vec::new();
        let mut before: Option<Page> = None;
        for _ in 0..10_000 {
            let cursor = before.as_ref().map_or_else(|| self.kept().cursor.clone(), |page| page.cursor.clone());
            let request = PullRequest { partition: "channels".to_owned(), cursor, limit, last_commit: None };
            let from = request.cursor.clone();
            let page = self.plugin.sync_pull(request).await;
            before.take().into_iter().for_each(|page| self.commit(page));
            let page = page?;
            ensure!(page.messages.len() <= limit as usize, "a page of {}", page.messages.len());
            ensure!(page.caught_up || page.cursor != from, "a page that does not move its cursor");
            notices.extend(page.notices.iter().map(|notice| format!("{}: {}", notice.code, notice.message)));
            if page.caught_up {
                self.commit(page);
                return Ok(notices);
            }
            before = Some(page);
        }
        anyhow::bail!("it never catches up")
    }

    /// Everything the stand-in stores is kept and read rightly, and nothing else is.
    pub fn complete(&self) -> Result<()> {
        let kept = self.kept();
        let channels = self.standin.channels();
        let rows: Vec<_> = channels.values().flatten().filter(|row| !row.channel.ends_with("____cmd")).collect();
        let expected: BTreeSet<_> = rows.iter().map(|row| row.id.to_string()).collect();
        let found: BTreeSet<_> = kept.messages.keys().cloned().collect();
        ensure!(found == expected, "{} kept, {} there", found.len(), expected.len());
        for row in rows {
            let message = &kept.messages[&row.id.to_string()];
            ensure!(message.seq == i64::try_from(row.seq).ok(), "{message:?} is not {row:?}");
            ensure!(message.conversation == format!("{}/{}", row.kind, row.channel), "{message:?} is not {row:?}");
            ensure!(message.sender == row.from && !message.once, "{message:?} is not {row:?}");
            ensure!(message.client_id.as_ref() == Some(&row.client_msg_no), "{message:?} is not {row:?}");
            ensure!(message.sent_at.div_euclid(1_000_000) == row.timestamp, "{message:?} is not {row:?}");
            let body: Value = serde_json::from_slice(&message.body)?;
            if let Some(header) = body.get("header") {
                // The flags of the very first one can never be read (trap 41).
                let is_first =
                    channels[&(row.kind, row.channel.clone())].first().is_some_and(|first| first.id == row.id);
                let dot = if is_first { 0 } else { row.red_dot };
                ensure!(header["red_dot"] == dot, "{body} is not {row:?}");
            }
        }
        for ((kind, channel), rows) in channels {
            if let Some(last) = rows.last().filter(|_| !channel.ends_with("____cmd")) {
                let reached = kept.reached.get(&format!("{kind}/{channel}")).copied();
                ensure!(reached == i64::try_from(last.seq).ok(), "{channel}: {reached:?} of {}", last.seq);
            }
        }
        Ok(())
    }

    /// What the plugin answers.
    pub async fn ask(&self, path: &str, body: Value) -> Result<HttpReply> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        let request = HttpRequest {
            method: "POST".into(),
            path: path.into(),
            query,
            body: body.to_string().into(),
            ..HttpRequest::default()
        };
        Ok(self.plugin.http_handle(request).await?)
    }
}

fn open(mock: &MockHost, upstream: &Value) -> Result<Wukongim> {
    let config = serde_json::from_value(json!({ "upstream": upstream }))?;
    let now = Arc::new(|| chrono::Utc::now().timestamp_micros());
    Ok(Wukongim::with_clock(config, mock.host(), now))
}

/// The daemon: its client is a real one, its archive is `kept`.
fn host(kept: &Arc<Mutex<Kept>>) -> MockHost {
    let client = stele_tests::client::http();
    fn with<Q, A>(
        kept: &Arc<Mutex<Kept>>,
        answer: impl Fn(&mut Kept, Q) -> A + Send + Sync + 'static,
    ) -> impl Fn(Q) -> Result<A, Error> + Send + Sync + 'static {
        let kept = Arc::clone(kept);
        move |request| Ok(answer(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), request))
    }
    let bound = Arc::clone(kept);
    MockHost::new()
        .on_async::<ops::HttpFetch, _>(move |request| {
            let max = bound.lock().unwrap_or_else(PoisonError::into_inner).max_reply;
            fetch(client.clone(), request, max)
        })
        .on::<ops::PartitionReached>(with(kept, |kept, keys: ops::PartitionKeys| {
            let seqs = keys.partitions.iter().map(|key| kept.reached.get(key).copied().unwrap_or_default());
            ops::PartitionNumbers { seqs: seqs.collect() }
        }))
        .on::<ops::StateGet>(with(kept, |kept, key: ops::StateKey| ops::StateValue {
            value: kept.state.get(&key.key).cloned(),
        }))
        .on::<ops::StatePut>(with(kept, |kept, entry: ops::StateEntry| {
            match entry.value {
                Some(value) => kept.state.insert(entry.key, value),
                None => kept.state.remove(&entry.key),
            };
            ops::Empty {}
        }))
        .on::<ops::ArchiveAppend>(with(kept, |kept, page| kept.store(page)))
        .on::<ops::ArchiveGet>(with(kept, |kept, by: ops::ByIds| {
            let rows = by.native_ids.iter().filter_map(|id| kept.messages.get(id)).map(view);
            ops::Messages { rows: rows.collect() }
        }))
        .on::<ops::ArchiveFind>(with(kept, |kept, query: ops::FindQuery| {
            let latest = kept.committed.iter().rev().map(|id| &kept.messages[id]);
            let fits = |message: &&Message| {
                query.conversation.as_ref() == Some(&message.conversation)
                    && message.client_id.as_ref().is_some_and(|id| query.client_ids.contains(id))
            };
            ops::Messages { rows: latest.filter(fits).map(view).collect() }
        }))
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

/// As the daemon's client does it.
async fn fetch(client: reqwest::Client, request: ops::FetchRequest, max: usize) -> Result<ops::FetchReply, Error> {
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
