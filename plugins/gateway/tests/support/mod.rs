//! A gateway in front of an archive that fits into a test.
#![allow(dead_code, reason = "each test binary uses its part")]

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use stele_gateway::Gateway;
use stele_plugin_api::model::{Conversation, Micros, Page};
use stele_plugin_api::ops::{
    AppendReport, AppendedMessage, ArchiveAppend, ArchiveGet, ArchiveQuery, ConversationGet, ConversationJoined,
    ConversationMembership, ConversationView, HttpReply, HttpRequest, Joined, Membership, MessageOrder, MessagePage,
    MessageQuery, MessageView, Messages,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode, Plugin};

pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// 2023-11-15T06:13:20+08:00
pub const NOW: Micros = 1_700_000_000_000_000;

/// What was committed, as the daemon's archive would have it.
#[derive(Default)]
pub struct Stored {
    pub conversations: BTreeMap<String, ConversationView>,
    pub members: BTreeSet<(String, String)>,
    pub messages: Vec<MessageView>,
    /// Sizes of the appends so far, in messages.
    pub appends: Vec<usize>,
    /// Most bytes of text an answer may have.
    pub max_bytes: usize,
    /// Errors to answer the next appends with.
    pub failures: Vec<ErrorCode>,
    /// Messages with this in them make an append invalid.
    pub poison: String,
}

impl Stored {
    pub fn append(&mut self, page: Page) -> Result<AppendReport, Error> {
        self.appends.push(page.messages.len());
        if let Some(code) = self.failures.pop() {
            return Err(Error::new(code, "as the test wants it"));
        }
        if !self.poison.is_empty() && page.messages.iter().any(|message| message.text.contains(&self.poison)) {
            return Err(Error::invalid("poison"));
        }
        for told in page.conversations {
            self.tell(told);
        }
        let mut report = AppendReport::default();
        for message in page.messages {
            if self.messages.iter().any(|known| known.native_id == message.native_id) {
                report.known += 1;
                continue;
            }
            let id = self.messages.len() as i64 + 1;
            let seq = message.seq.expect("the gateway numbers its messages");
            let conversation = self.conversations.get_mut(&message.conversation).expect("it was told of before");
            conversation.messages += 1;
            conversation.last_seq = conversation.last_seq.max(seq);
            report.stored.push(AppendedMessage { id, native_id: message.native_id.clone(), seq });
            self.messages.push(MessageView {
                id,
                rev: id + 100,
                native_id: message.native_id,
                conversation: message.conversation,
                seq,
                sender: message.sender,
                sent_at: message.sent_at,
                kind: message.kind,
                text: message.text,
                body: message.body,
                ..MessageView::default()
            });
        }
        Ok(report)
    }

    fn tell(&mut self, told: Conversation) {
        let id = told.native_id;
        let known = self.conversations.entry(id.clone()).or_insert_with(|| ConversationView {
            native_id: id.clone(),
            partition: told.partition,
            ..ConversationView::default()
        });
        known.kind = told.kind.unwrap_or_else(|| known.kind.clone());
        known.archived = told.archived.unwrap_or(known.archived);
        known.attributes = told.attributes.or(known.attributes.take());
        for person in told.left {
            self.members.remove(&(id.clone(), person));
        }
        self.members.extend(told.joined.into_iter().map(|person| (id.clone(), person)));
    }

    pub fn query(&self, query: &MessageQuery) -> Result<MessagePage, Error> {
        assert_eq!(query.order, MessageOrder::Seq);
        // With both bounds, or none, rows are taken in the order asked for.
        assert_eq!(query.from_seq.is_some(), query.to_seq.is_some());
        let range = query.from_seq.unwrap_or(i64::MIN)..=query.to_seq.unwrap_or(i64::MAX);
        let chosen =
            |message: &&MessageView| message.conversation == query.conversation && range.contains(&message.seq);
        let mut rows: Vec<_> = self.messages.iter().filter(chosen).cloned().collect();
        rows.sort_by_key(|message| (message.seq, message.id));
        if query.descending {
            rows.reverse();
        }
        rows.drain(..rows.len().min(query.offset as usize));
        rows.truncate(query.limit as usize);
        let bytes: usize = rows.iter().map(|message| message.text.len() + message.body.len()).sum();
        if self.max_bytes > 0 && rows.len() > 1 && bytes > self.max_bytes {
            return Err(Error::new(ErrorCode::TooLarge, "the answer does not fit into a frame"));
        }
        Ok(MessagePage { rows, total: 0 })
    }

    fn membership(&self, conversation: &str, person: &str) -> Membership {
        Membership {
            conversation: self.conversations.get(conversation).cloned(),
            member: self.members.contains(&(conversation.to_owned(), person.to_owned())),
        }
    }
}

/// A gateway, its archive and its clock.
pub struct Site {
    pub gateway: Arc<Gateway>,
    pub stored: Arc<Mutex<Stored>>,
    pub clock: Arc<AtomicI64>,
    pub mock: MockHost,
}

impl Site {
    /// With these settings beside a key. Needs a runtime.
    pub fn new(settings: Value) -> Self {
        let stored = Arc::new(Mutex::new(Stored::default()));
        let mock = answering(&stored);
        let append = Arc::clone(&stored);
        let mock = mock.on::<ArchiveAppend>(move |page| append.lock().unwrap().append(page));
        Self::with(settings, stored, mock)
    }

    /// With a host that answers as it likes.
    pub fn with(settings: Value, stored: Arc<Mutex<Stored>>, mock: MockHost) -> Self {
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        let mut config = json!({ "jwt_keys": [KEY] });
        config.as_object_mut().unwrap().extend(settings);
        let config = serde_json::from_value(config).expect("test configurations have the right shape");
        assert_eq!(Gateway::mistakes(&config), []);
        let clock = Arc::new(AtomicI64::new(NOW));
        let now = Arc::clone(&clock);
        let gateway = Gateway::with_clock(config, mock.host(), Arc::new(move || now.load(Ordering::Relaxed)));
        Self { gateway: Arc::new(gateway), stored, clock, mock }
    }

    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap()
    }

    pub async fn send(&self, request: HttpRequest) -> HttpReply {
        self.gateway.http_handle(request).await.expect("every request is answered")
    }

    /// The body of the answer to a POST.
    pub async fn post(&self, path: &str, token: &str, body: &str) -> String {
        let mut request = request("POST", path, body);
        if !token.is_empty() {
            request.headers.push(("authorization".into(), format!("Bearer {token}")));
        }
        let reply = self.send(request).await;
        assert_eq!((reply.status, header(&reply, "content-type")), (200, Some("application/json")), "{path}");
        String::from_utf8(reply.body.to_vec()).expect("answers are text")
    }

    /// The same, read as JSON.
    pub async fn ask(&self, path: &str, token: &str, body: &Value) -> Value {
        let answer = self.post(path, token, &body.to_string()).await;
        assert!(answer.ends_with('\n'), "{answer}");
        serde_json::from_str(&answer).expect("answers are JSON")
    }

    pub async fn token(&self, session: &str) -> String {
        let answer = self.ask("/inner/get_token", "", &json!({ "session": session, "platform": 1 })).await;
        answer["data"].as_str().expect("a token").to_owned()
    }

    /// A new conversation of type 3 with these members, and without a first message unless the settings have one.
    pub async fn conversation(&self, members: &[&str]) -> String {
        let body = json!({ "conversation_type": 3, "sessions": members });
        let answer = self.ask("/inner/create_conversation", "", &body).await;
        answer["data"]["ConversationId"].as_str().expect("an id").to_owned()
    }

    /// The id of a message that was sent.
    pub async fn say(&self, token: &str, conversation: &str, content: &str) -> String {
        let body = json!({ "conversation_id": conversation, "type": 1, "content": content });
        let answer = self.ask("/send_msg", token, &body).await;
        answer["data"]["MsgID"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

/// A host that answers everything but appends.
pub fn answering(stored: &Arc<Mutex<Stored>>) -> MockHost {
    let with = || Arc::clone(stored);
    let (get, membership, joined, query, by_id) = (with(), with(), with(), with(), with());
    MockHost::new()
        .on::<ConversationGet>(move |by| Ok(get.lock().unwrap().membership(&by.native_id, "").conversation))
        .on::<ConversationMembership>(move |who| {
            Ok(membership.lock().unwrap().membership(&who.conversation, &who.person))
        })
        .on::<ConversationJoined>(move |query| {
            let stored = joined.lock().unwrap();
            let of = stored.members.iter().filter(|(_, person)| *person == query.person);
            let ids = of.map(|(id, _)| id.clone()).filter(|id| *id > query.after).take(query.limit as usize);
            Ok(Joined { conversations: ids.collect() })
        })
        .on::<ArchiveQuery>(move |request| query.lock().unwrap().query(&request))
        .on::<ArchiveGet>(move |by| {
            let stored = by_id.lock().unwrap();
            let rows =
                by.native_ids.iter().filter_map(|id| stored.messages.iter().find(|known| known.native_id == *id));
            Ok(Messages { rows: rows.cloned().collect() })
        })
}

pub fn request(method: &str, path: &str, body: &str) -> HttpRequest {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    HttpRequest {
        method: method.into(),
        path: path.into(),
        query,
        remote: "127.0.0.1".into(),
        base_url: "http://gateway.example".into(),
        body: body.as_bytes().to_vec().into(),
        ..HttpRequest::default()
    }
}

pub fn header<'r>(reply: &'r HttpReply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

pub const INVALID: &str = "{\"code\":10001,\"error\":\"invalid parameter\"}\n";
pub const FAILED: &str = "{\"code\":10002,\"error\":\"internal service call failed\"}\n";
pub const NOT_ALLOWED: &str = "{\"code\":10003,\"error\":\"not allowed request\"}\n";
pub const INVALID_TOKEN: &str = "{\"code\":10101,\"error\":\"invalid token\"}\n";
pub const UNSUPPORTED: &str = "{\"code\":90013,\"error\":\"unsupported driver\"}\n";
