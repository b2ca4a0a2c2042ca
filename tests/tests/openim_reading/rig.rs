//! The plugin itself between a stand-in of its upstream and an archive that fits into a test; its requests are sent as they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use stele_openim::{Openim, message::MsgData};
use stele_plugin_api::{
    Error, ErrorCode, Plugin,
    model::{Conversation, Message, Page, Person, Reached, Revocation},
    ops::{self, HttpReply, HttpRequest, PullRequest},
    testing::MockHost,
};
use stele_tests::{
    daemon::wait_for,
    standin::openim::{OpenimStandin, Row, Version},
};

/// What the path of webhooks has.
pub const HOOK_SECRET: &str = "a-secret-of-webhooks";
/// All there are.
pub const VERSIONS: [Version; 3] = [Version::V380, Version::V383, Version::Head];

/// What the plugin has the daemon keep.
#[derive(Default)]
pub struct Kept {
    pub messages: BTreeMap<String, Message>,
    /// Their ids in the order in which they were committed.
    pub committed: Vec<String>,
    pub revocations: BTreeMap<String, Revocation>,
    pub conversations: BTreeMap<String, Conversation>,
    pub people: BTreeMap<String, Person>,
    pub reached: BTreeMap<String, i64>,
    pub state: BTreeMap<String, bytes::Bytes>,
    pub cursor: Option<bytes::Bytes>,
    /// Largest reply that is passed on, in bytes.
    pub max_reply: usize,
}

impl Kept {
    fn store(&mut self, page: Page) -> ops::AppendReport {
        let mut report = ops::AppendReport::default();
        self.people.extend(page.people.into_iter().map(|person| (person.native_id.clone(), person)));
        for told in page.conversations {
            let known = self.conversations.entry(told.native_id.clone()).or_default();
            *known = Conversation { title: told.title.clone().or(known.title.clone()), ..told };
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
        for revocation in page.revocations {
            self.revocations.entry(revocation.native_id.clone()).or_insert(revocation);
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
    pub standin: OpenimStandin,
    kept: Arc<Mutex<Kept>>,
    pub mock: MockHost,
    config: Value,
    pub plugin: Openim,
}

impl Rig {
    /// A stand-in of this version; `more` is added to the section of the upstream.
    pub async fn new(version: Version, more: Value) -> Result<Self> {
        let standin = OpenimStandin::start(version).await?;
        let mut upstream = json!({
            "url": standin.url(), "hook_secret": HOOK_SECRET, "timeout_seconds": 2, "grace_seconds": 3600,
        });
        upstream.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let config = json!({ "secret": "openIM123", "upstream": upstream });
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

    /// One page, which is not committed.
    pub async fn pull(&self, limit: u32) -> Result<Page, Error> {
        let cursor = self.kept().cursor.clone();
        let request = PullRequest { partition: "conversations".to_owned(), cursor, limit, last_commit: None };
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
            let request = PullRequest { partition: "conversations".to_owned(), cursor, limit, last_commit: None };
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

    /// Runs until a notice has these words.
    pub async fn sync_until(&self, words: &str) -> Result<Vec<String>> {
        wait_for(words, || async {
            match self.sync(100).await {
                Ok(notices) if notices.iter().any(|notice| notice.contains(words)) => Ok(notices),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Runs until this is kept.
    pub async fn sync_until_complete(&self) -> Result<()> {
        wait_for("everything", || async {
            let synced = self.sync(100).await.map(drop);
            synced.and_then(|()| self.complete()).map_err(|error| format!("{error:#}"))
        })
        .await
    }

    /// The directory, all pages of it.
    pub async fn directory(&self) -> Result<()> {
        let mut cursor = None;
        loop {
            let request = PullRequest { partition: "conversations".to_owned(), cursor, limit: 0, last_commit: None };
            let page = self.plugin.directory_pull(request).await?;
            let caught_up = page.caught_up;
            cursor = page.cursor.clone();
            self.kept().store(page);
            if caught_up {
                return Ok(());
            }
        }
    }

    /// Everything the stand-in stores is kept and read rightly, and nothing else is.
    pub fn complete(&self) -> Result<()> {
        let rows = self.standin.rows();
        let there = rows.values().flatten().filter(|row| !row.pending);
        let expected: BTreeSet<_> = there.clone().map(|row| row.server_msg_id.clone()).collect();
        let found: BTreeSet<_> = self.kept().messages.keys().cloned().collect();
        ensure!(found == expected, "{} kept, {} there", found.len(), expected.len());
        there.clone().try_for_each(|row| self.is_kept(row))?;
        for (conversation, rows) in &rows {
            let reached = self.kept().reached.get(conversation).copied();
            let last = rows.iter().rfind(|row| !row.pending).map(|row| row.seq);
            ensure!(reached >= last, "{conversation}: {reached:?} of {last:?}");
        }
        Ok(())
    }

    /// A message is kept as it is there.
    pub fn is_kept(&self, row: &Row) -> Result<()> {
        let kept = self.kept();
        let message = kept.messages.get(&row.server_msg_id).with_context(|| format!("no {row:?}"))?;
        let wrong = || format!("{message:?} is not {row:?}");
        ensure!(message.seq == Some(row.seq) && message.conversation == row.conversation, wrong());
        ensure!(message.sender == row.said.from && !message.once, wrong());
        ensure!(message.client_id.as_ref() == Some(&row.client_msg_id), wrong());
        ensure!(message.sent_at == row.send_time * 1000, wrong());
        ensure!(message.kind == row.said.content_type.to_string(), wrong());
        let data = MsgData::read(&message.body).with_context(wrong)?;
        ensure!(data.content == row.said.content, wrong());
        ensure!((&data.recv_id, &data.group_id) == (&row.said.to, &row.said.group), wrong());
        let revocation = kept.revocations.get(&row.server_msg_id).map(|known| (known.by.clone(), known.at));
        let revoked = row.revoked.as_ref().map(|revoked| (revoked.user.clone(), revoked.time * 1000));
        ensure!(revocation == revoked, "{revocation:?}: {}", wrong());
        let described = kept.conversations.get(&row.conversation).with_context(wrong)?;
        ensure!(described.kind.is_some(), "{described:?}");
        Ok(())
    }

    /// What the plugin answers.
    pub async fn ask(&self, path: &str, token: &str, body: Value) -> Result<HttpReply> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = HttpRequest {
            method: "POST".into(),
            path: path.into(),
            query,
            headers: vec![header("operationid", "op"), header("token", token)],
            body: body.to_string().into(),
            ..HttpRequest::default()
        };
        Ok(self.plugin.http_handle(request).await?)
    }
}

fn open(mock: &MockHost, config: &Value) -> Result<Openim> {
    let now = Arc::new(|| chrono::Utc::now().timestamp_micros());
    Ok(Openim::with_clock(serde_json::from_value(config.clone())?, mock.host(), now))
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
        .on::<ops::ArchiveAppend>(with(kept, |kept, page| kept.store(page)))
        .on::<ops::ArchiveGet>(with(kept, |kept, by: ops::ByIds| {
            let rows = by.native_ids.iter().filter_map(|id| kept.messages.get(id)).map(view);
            ops::Messages { rows: rows.collect() }
        }))
        .on::<ops::ArchiveFind>(with(kept, |kept, query: ops::FindQuery| {
            let latest = kept.committed.iter().rev().map(|id| &kept.messages[id]);
            let fits = |message: &&Message| {
                let is_named = message.client_id.as_ref().is_some_and(|id| query.client_ids.contains(id));
                let is_numbered = message.seq.is_some_and(|seq| query.seqs.contains(&seq));
                query.conversation.as_ref() == Some(&message.conversation) && (is_named || is_numbered)
            };
            ops::Messages { rows: latest.filter(fits).map(view).collect() }
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
