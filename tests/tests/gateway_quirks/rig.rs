//! The plugin itself between a stand-in of its upstream and an archive that fits into a test; its requests are sent as they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};
use stele_gateway::Gateway;
use stele_plugin_api::{
    Error, Plugin,
    model::{Conversation, Message, Page},
    ops::{self, HttpReply, HttpRequest, PullRequest},
    testing::MockHost,
};
use stele_tests::{
    daemon::wait_for,
    kept::{MAX_REPLY, fetch, store, with},
    standin::gateway::{GREETING, GatewayStandin, Sent, Version, token},
};

/// Signs the tokens of the plugin's callers.
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The conversation that is talked in.
pub const ROOM: &str = "11111111-2222-3333-4444-555555555555";
/// The path by which history is read.
pub const RANGE: &str = "/get_conversation_msg_by_range";
/// 2023-11-14T22:13:20Z
pub const BEGIN: i64 = 1_700_000_000_000_000;
/// In microseconds.
pub const MINUTE: i64 = 60_000_000;
/// In microseconds.
pub const DAY: i64 = 1440 * MINUTE;

/// Tokens end by the clock of the stand-in, which is that of the machine.
pub static NOW: LazyLock<i64> = LazyLock::new(|| chrono::Utc::now().timestamp_micros());

/// What the plugin has the daemon keep.
#[derive(Default)]
pub struct Kept {
    pub messages: BTreeMap<String, Message>,
    /// Their ids in the order in which they were committed, which is that of live delivery.
    pub committed: Vec<String>,
    pub conversations: BTreeMap<String, Conversation>,
    pub members: BTreeSet<(String, String)>,
    pub people: BTreeSet<String>,
    pub state: BTreeMap<String, bytes::Bytes>,
    pub cursors: BTreeMap<String, bytes::Bytes>,
    /// Largest reply that is passed on, in bytes.
    pub max_reply: usize,
    /// Microseconds by which the plugin's clock went on.
    pub later: i64,
}

impl Kept {
    fn store(&mut self, page: Page) -> ops::AppendReport {
        for told in page.conversations {
            let id = told.native_id.clone();
            if let Some(members) = &told.members {
                self.members.retain(|(conversation, _)| *conversation != id);
                self.members.extend(members.iter().map(|person| (id.clone(), person.clone())));
            }
            self.members.retain(|(conversation, person)| *conversation != id || !told.left.contains(person));
            self.members.extend(told.joined.iter().map(|person| (id.clone(), person.clone())));
            let known = self.conversations.entry(id).or_default();
            let attributes = told.attributes.clone().or(known.attributes.take());
            *known = Conversation { attributes, ..told };
        }
        store(&mut self.messages, &mut self.committed, page.messages)
    }
}

/// The plugin between a stand-in and what it keeps.
pub struct Rig {
    pub standin: GatewayStandin,
    kept: Arc<Mutex<Kept>>,
    config: Value,
    pub gateway: Gateway,
}

impl Rig {
    /// With these settings of the upstream beside its address and key; null takes one away.
    pub async fn new(version: Version, upstream: Value) -> Result<Self> {
        let standin = GatewayStandin::start(version).await?;
        let mut config = json!({ "url": standin.url(), "key": token::FIXED_KEY });
        let more = upstream.as_object().context("an object")?.clone();
        config.as_object_mut().context("an object")?.extend(more);
        config.as_object_mut().context("an object")?.retain(|_, value| !value.is_null());
        let kept = Arc::new(Mutex::new(Kept { max_reply: MAX_REPLY, ..Kept::default() }));
        let gateway = open(&kept, &config)?;
        Ok(Self { standin, kept, config, gateway })
    }

    /// What it keeps, as it is now.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The texts of the messages it keeps, sorted.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<_> = self.kept().messages.values().map(|message| message.text.clone()).collect();
        texts.sort_unstable();
        texts
    }

    /// The plugin after a restart.
    pub fn reopen(&mut self) -> Result<()> {
        self.gateway = open(&self.kept, &self.config)?;
        Ok(())
    }

    /// A message of a member.
    pub fn say(&self, at: i64, kind: i64, content: &str) -> String {
        self.standin.say(&Sent { conversation: ROOM, from: "alice", kind, content, at })
    }

    /// One page; committed with its cursor, as the daemon does.
    pub async fn pull(&self, conversation: &str, limit: u32) -> Result<Page, Error> {
        let cursor = self.kept().cursors.get(conversation).cloned();
        let request = PullRequest { partition: conversation.to_owned(), cursor, limit, last_commit: None };
        let page = self.gateway.sync_pull(request).await?;
        let mut kept = self.kept();
        kept.cursors.extend(page.cursor.clone().map(|cursor| (conversation.to_owned(), cursor)));
        kept.store(page.clone());
        Ok(page)
    }

    /// A run: pages until nothing is left. Returns the notices as text.
    pub async fn sync(&self, conversation: &str, limit: u32) -> Result<Vec<String>> {
        let mut notices = Vec::new();
        for _ in 0..2000 {
            let page = self.pull(conversation, limit).await?;
            // What has no id of the known form is never left for the next page.
            let count = page.messages.iter().filter(|message| !message.native_id.starts_with('~')).count();
            ensure!(count <= limit as usize, "a page of {count}");
            notices.extend(page.notices.iter().map(|notice| format!("{}: {}", notice.code, notice.message)));
            if page.caught_up {
                return Ok(notices);
            }
        }
        anyhow::bail!("it never catches up")
    }

    /// Everything the stand-in can show is kept byte for byte and read rightly, and nothing else is.
    pub fn complete(&self, conversation: &str, readable: impl Fn(&str) -> bool) -> Result<()> {
        let kept = self.kept();
        let rows = self.standin.rows(conversation);
        let expected: BTreeSet<_> = rows.iter().map(|(row, _)| row.id.as_str()).filter(|id| readable(id)).collect();
        let here = kept.messages.values().filter(|message| message.conversation == conversation);
        let found: BTreeSet<_> = here.map(|message| message.native_id.as_str()).collect();
        ensure!(found == expected, "{} kept, {} there", found.len(), expected.len());
        for (row, json) in rows.iter().filter(|(row, _)| readable(&row.id)) {
            let message = &kept.messages[&row.id];
            ensure!(message.body == json.as_bytes(), "{:?} is not {json}", message.body);
            ensure!((&message.text, &message.sender) == (&row.content, &row.from), "{message:?}");
            // The time of its id where its own cannot be.
            ensure!((message.sent_at - row.at).abs() <= 3000, "{} instead of {}", message.sent_at, row.at);
            let kind = match row.kind {
                _ if row.content == GREETING => "joined".to_owned(),
                0..=31 => row.kind.to_string(),
                _ => "other".to_owned(),
            };
            ensure!(message.kind == kind, "{} instead of {kind}", message.kind);
        }
        Ok(())
    }

    /// Two sends, the second begun while the first is at the upstream; their answers.
    pub async fn send_both(&self, first: [&str; 2], second: [&str; 2]) -> Result<[Value; 2]> {
        let path = "/send_msg";
        let calls = self.standin.calls(path);
        let send = |[sid, content]: [&str; 2]| {
            let (sid, body) = (sid.to_owned(), json!({ "conversation_id": ROOM, "type": 1, "content": content }));
            async move { self.ask(&sid, path, body).await }
        };
        let after = async {
            wait_for("the first send", || async {
                if self.standin.calls(path) > calls { Ok(()) } else { Err("not there".to_owned()) }
            })
            .await?;
            send(second).await
        };
        let (first, second) = tokio::try_join!(send(first), after)?;
        Ok([first, second])
    }

    /// What the plugin answers a session.
    pub async fn ask(&self, sid: &str, path: &str, body: Value) -> Result<Value> {
        let request = self.request(sid, "POST", path).await?;
        answer(&self.gateway.http_handle(HttpRequest { body: body.to_string().into(), ..request }).await?)
    }

    /// A session begins to listen.
    pub async fn listen(&self, sid: &str) -> Result<()> {
        let request = self.request(sid, "GET", "/notify").await?;
        let reply = self.gateway.http_handle(HttpRequest { query: Some("protoc=ws".into()), ..request }).await?;
        ensure!(reply.subscription.is_some(), "{reply:?}");
        Ok(())
    }

    /// A request with a token of the session.
    pub async fn request(&self, sid: &str, method: &str, path: &str) -> Result<HttpRequest> {
        let to = |method: &str, path: &str| HttpRequest {
            method: method.into(),
            path: path.into(),
            remote: "127.0.0.1".into(),
            ..HttpRequest::default()
        };
        let body = json!({ "session": sid, "platform": 1 }).to_string().into();
        let asked = HttpRequest { body, ..to("POST", "/inner/get_token") };
        let token = answer(&self.gateway.http_handle(asked).await?)?;
        let token = token["data"].as_str().context("a token")?.to_owned();
        let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        Ok(HttpRequest { headers, ..to(method, path) })
    }

    /// What somebody does at the upstream itself.
    pub async fn elsewhere(&self, path: &str, session: &str) -> Result<()> {
        let body = json!({ "conversation_id": ROOM, "sessions": [session] });
        let request = stele_tests::client::http().post(format!("{}{path}", self.standin.url()));
        let reply = request.json(&body).send().await?.text().await?;
        ensure!(reply.contains("\"code\":0"), "{reply}");
        Ok(())
    }

    /// Whether the archive has the session as a member.
    pub fn is_member(&self, session: &str) -> bool {
        self.kept().members.contains(&(ROOM.to_owned(), session.to_owned()))
    }
}

fn answer(reply: &HttpReply) -> Result<Value> {
    Ok(serde_json::from_slice(&reply.body)?)
}

fn open(kept: &Arc<Mutex<Kept>>, upstream: &Value) -> Result<Gateway> {
    let config = serde_json::from_value(json!({ "jwt_keys": [KEY], "upstream": upstream }))?;
    let clock = Arc::clone(kept);
    let clock = Arc::new(move || *NOW + clock.lock().unwrap_or_else(PoisonError::into_inner).later);
    Ok(Gateway::with_clock(config, host(kept).host(), clock))
}

/// The daemon: its client is a real one, its archive is `kept`.
fn host(kept: &Arc<Mutex<Kept>>) -> MockHost {
    let client = stele_tests::client::http();
    let bound = Arc::clone(kept);
    MockHost::new()
        .on_async::<ops::HttpFetch, _>(move |request| {
            let max = bound.lock().unwrap_or_else(PoisonError::into_inner).max_reply;
            fetch(client.clone(), request, max)
        })
        .on::<ops::StateGet>(with(kept, |kept, key: ops::StateKey| ops::StateValue {
            value: kept.state.get(&key.key).cloned(),
        }))
        .on::<ops::StatePut>(with(kept, |kept, entry: ops::StateEntry| {
            kept.state.extend(entry.value.map(|value| (entry.key, value)));
            ops::Empty {}
        }))
        .on::<ops::PersonList>(with(kept, |kept, query: ops::PersonQuery| {
            let people = kept.people.iter().filter(|person| **person > query.after).take(query.limit as usize);
            let view = |person: &String| {
                serde_json::from_value(json!({ "native_id": person, "kind": "user" })).expect("a person")
            };
            ops::People { people: people.map(view).collect() }
        }))
        .on::<ops::ArchiveGet>(with(kept, |kept, by: ops::ByIds| {
            let rows = by.native_ids.iter().filter_map(|id| kept.messages.get(id)).map(|message| ops::MessageView {
                native_id: message.native_id.clone(),
                conversation: message.conversation.clone(),
                sender: message.sender.clone(),
                text: message.text.clone(),
                ..ops::MessageView::default()
            });
            ops::Messages { rows: rows.collect() }
        }))
        .on::<ops::ArchiveAppend>(with(kept, |kept, page| kept.store(page)))
        .on::<ops::ConversationMembership>(with(kept, |kept, who: ops::Participation| {
            let known = kept.conversations.get(&who.conversation);
            let conversation = known.map(|known| ops::ConversationView {
                native_id: who.conversation.clone(),
                attributes: known.attributes.clone(),
                ..ops::ConversationView::default()
            });
            ops::Membership { conversation, member: kept.members.contains(&(who.conversation, who.person)) }
        }))
        .on::<ops::ConversationGet>(with(kept, |kept, by: ops::ById| {
            let known = kept.conversations.get(&by.native_id)?;
            Some(ops::ConversationView { native_id: known.native_id.clone(), ..ops::ConversationView::default() })
        }))
        .on::<ops::ConversationJoined>(with(kept, |kept, query: ops::JoinedQuery| {
            let of = kept.members.iter().filter(|(id, person)| *person == query.person && *id > query.after);
            ops::Joined { conversations: of.map(|(id, _)| id.clone()).take(query.limit as usize).collect() }
        }))
}
