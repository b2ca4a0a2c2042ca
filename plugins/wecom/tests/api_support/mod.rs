//! An API in front of a daemon that is told what to answer, and clients that sign as the contract's samples do.
#![allow(dead_code, reason = "each test binary uses its part")]

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stele_plugin_api::ops::{self, HttpReply, HttpRequest, Op};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, ErrorCode};
use stele_wecom::api::{self, ApiState};

pub const KEY: &str = "secret_key";
pub const BASE_URL: &str = "https://example.com";
pub const SYNC: &str = "/api/v1/chat-msg/sync";
pub const SESSIONS: &str = "/api/v1/chat-msg/sessions";
pub const MSGS: &str = "/api/v1/chat-msg/session-msgs";
pub const SEARCH: &str = "/api/v1/chat-msg/search";

/// What the daemon was asked: operation and request.
pub type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// An API and the calls it made.
pub struct Api {
    pub state: ApiState,
    pub calls: Calls,
    pub mock: MockHost,
}

type Answer = Arc<dyn Fn(&str, &Value) -> Result<Value, Error> + Send + Sync>;

/// A daemon whose answers are written as JSON.
struct Daemon {
    answer: Answer,
    calls: Calls,
}

impl Daemon {
    fn answers<O: Op>(&self, mock: MockHost) -> MockHost {
        let (answer, calls) = (self.answer.clone(), self.calls.clone());
        mock.on::<O>(move |request| {
            let request = serde_json::to_value(&request).expect("requests are plain values");
            calls.lock().expect("no test panics while it holds this").push((O::NAME.to_owned(), request.clone()));
            let reply = answer(O::NAME, &request)?;
            Ok(serde_json::from_value(reply).expect("tests answer in the shape of the operation"))
        })
    }
}

/// The configuration most tests use; `changes` replaces settings.
pub fn config(changes: Value) -> Value {
    let mut config = json!({
        "library": "", "api_keys": [{ "key": KEY }], "corp": [{ "id": "corp123" }, { "id": "corp456" }],
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    config.as_object_mut().expect("it is one").extend(changes);
    config
}

impl Api {
    /// An API in front of [`daemon`].
    pub fn new(changes: Value) -> Self {
        Self::with(changes, daemon)
    }

    /// An API whose daemon answers so.
    pub fn with(changes: Value, answer: impl Fn(&str, &Value) -> Result<Value, Error> + Send + Sync + 'static) -> Self {
        let daemon = Daemon { answer: Arc::new(answer), calls: Calls::default() };
        let mock = daemon.answers::<ops::PersonGet>(MockHost::new());
        let mock = daemon.answers::<ops::ConversationGet>(mock);
        let mock = daemon.answers::<ops::ConversationTakesPart>(mock);
        let mock = daemon.answers::<ops::ConversationList>(mock);
        let mock = daemon.answers::<ops::ArchiveQuery>(mock);
        let mock = daemon.answers::<ops::ArchiveSearch>(mock);
        let mock = daemon.answers::<ops::JobStart>(mock);
        let config = serde_json::from_value(config(changes)).expect("test configurations are valid");
        Self { state: ApiState::new(mock.host(), &config), calls: daemon.calls, mock }
    }

    pub fn send(&self, request: HttpRequest) -> HttpReply {
        runtime().block_on(api::handle(&self.state, request))
    }

    /// Sign the parameters as the contract's JavaScript sample does, and send them.
    pub fn get(&self, path: &str, params: &[(&str, &str)]) -> Value {
        self.send_query(path, &signed_query(params))
    }

    pub fn send_query(&self, path: &str, query: &str) -> Value {
        body(&self.send(request("GET", path, query)))
    }

    /// Send a sync body.
    pub fn post(&self, json: &str) -> Value {
        let mut request = request("POST", SYNC, "");
        request.query = None;
        request.headers = vec![("content-type".into(), "application/json".into())];
        request.body = json.as_bytes().to_vec().into();
        body(&self.send(request))
    }

    /// The request of the last call of this operation.
    pub fn asked(&self, op: &str) -> Option<Value> {
        let calls = self.calls.lock().expect("no test panics while it holds this");
        calls.iter().rev().find(|(known, _)| known == op).map(|(_, request)| request.clone())
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// A daemon that knows `staff123`, who talks with `customer456`, is in rooms `wrROOM` and `oddroom`, and not in `wrOTHER`.
pub fn daemon(op: &str, request: &Value) -> Result<Value, Error> {
    let id = request["native_id"].as_str().unwrap_or_default();
    Ok(match op {
        "person.get" if id == "corp123/staff123" => json!({ "native_id": id, "kind": "staff", "name": "客服小王" }),
        "person.get" | "conversation.get" if conversation(id).is_none() => Value::Null,
        "conversation.get" => conversation(id).expect("checked above"),
        "conversation.takes_part" => {
            json!(request["person"] == "corp123/staff123" && request["conversation"] != "corp123/g/wrOTHER")
        }
        "conversation.list" | "archive.query" | "archive.search" => json!({ "rows": [], "total": 0 }),
        "job.start" => json!({ "started": true, "running": false }),
        _ => return Err(Error::new(ErrorCode::Unsupported, format!("the test answers no {op}"))),
    })
}

pub fn conversation(native_id: &str) -> Option<Value> {
    let (id, kind, title) = match native_id {
        "corp123/d/customer456/staff123" => (1, "external", ""),
        "corp123/g/wrROOM" => (2, "group", "项目群"),
        "corp123/g/oddroom" => (3, "group", ""),
        "corp123/g/wrOTHER" => (4, "group", "别的群"),
        _ => return None,
    };
    Some(json!({ "id": id, "native_id": native_id, "partition": "corp123", "kind": kind, "title": title }))
}

pub fn request(method: &str, path: &str, query: &str) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        path: path.into(),
        query: Some(query.into()),
        base_url: BASE_URL.into(),
        ..HttpRequest::default()
    }
}

pub fn body(reply: &HttpReply) -> Value {
    let content_type = reply.headers.iter().find(|(name, _)| name == "content-type");
    assert_eq!(content_type.map(|(_, value)| value.as_str()), Some("application/json; charset=utf-8"));
    serde_json::from_slice(&reply.body).expect("every answer is JSON")
}

pub fn hmac_hex(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key fits");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The contract's JavaScript sample: sorted names, raw values.
pub fn raw_text(params: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<_, _> = params.iter().copied().collect();
    sorted.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Form encoding of browsers, byte by byte.
pub fn form(text: &str) -> String {
    encode(text, "*-._", true)
}

/// Everything but ASCII letters, digits and `kept` as `%XX`.
pub fn encode(text: &str, kept: &str, plus: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match char::from(byte) {
            ' ' if plus => encoded.push('+'),
            c if c.is_ascii_alphanumeric() || c.is_ascii() && kept.contains(c) => encoded.push(c),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

pub fn query(params: &[(&str, &str)]) -> String {
    params.iter().map(|(name, value)| format!("{}={}", form(name), form(value))).collect::<Vec<_>>().join("&")
}

pub fn signed_query(params: &[(&str, &str)]) -> String {
    let signature = hmac_hex(KEY, &raw_text(params));
    format!("{}&signature={signature}", query(params))
}

/// The parameters every call of this endpoint needs.
pub fn needed(path: &str) -> Vec<(&'static str, &'static str)> {
    let mut params = vec![("ext_corp_id", "corp123"), ("ext_staff_id", "staff123")];
    params.push(match path {
        SESSIONS => ("session_type", "external"),
        MSGS => ("receiver_id", "customer456"),
        _ => ("ext_peer_id", "customer456"),
    });
    if path == SEARCH {
        params.push(("keyword", "产品介绍"));
    }
    params
}

/// [`needed`] with parameters replaced, added, or (with `None`) left out.
pub fn changed<'a>(path: &str, changes: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, &'a str)> {
    let mut params: Vec<(&str, &str)> = needed(path);
    for (name, value) in changes {
        params.retain(|(known, _)| known != name);
        params.extend(value.map(|value| (*name, value)));
    }
    params
}
