//! An instance in front of an archive that fits into a test.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod archive;
pub mod stored;

use base64::Engine;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use stele_plugin_api::Plugin;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{HttpReply, HttpRequest, MessageView};
use stele_plugin_api::testing::MockHost;
use stele_wukongim::Wukongim;
use stored::Stored;

/// 2025-08-18T00:00:00Z
pub const NOW: Micros = 1_755_475_200_000_000;
/// The first id then.
pub const FIRST: i64 = 1_957_230_963_717_050_368;

/// An instance, its archive and its clock.
pub struct Site {
    pub plugin: Arc<Wukongim>,
    pub stored: Arc<Mutex<Stored>>,
    pub clock: Arc<AtomicI64>,
    pub mock: MockHost,
}

impl Site {
    /// With these settings. Needs a runtime.
    pub fn new(settings: Value) -> Self {
        let stored = Arc::new(Mutex::new(Stored::default()));
        let mock = stored::answering(&stored);
        Self::over(settings, stored, mock)
    }

    /// With a host that answers as it likes.
    pub fn with(settings: Value, mock: MockHost) -> Self {
        Self::over(settings, Arc::default(), mock)
    }

    /// With a host that answers from this archive.
    pub fn over(settings: Value, stored: Arc<Mutex<Stored>>, mock: MockHost) -> Self {
        let config = serde_json::from_value(settings).expect("test configurations have the right shape");
        assert_eq!(Wukongim::mistakes(&config), []);
        let clock = Arc::new(AtomicI64::new(NOW));
        let now = Arc::clone(&clock);
        let plugin = Wukongim::with_clock(config, mock.host(), Arc::new(move || now.load(Ordering::Relaxed)));
        Self { plugin: Arc::new(plugin), stored, clock, mock }
    }

    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap()
    }

    /// The messages of a conversation.
    pub fn messages(&self, conversation: &str) -> Vec<MessageView> {
        self.stored().rows.messages.iter().filter(|message| message.conversation == conversation).cloned().collect()
    }

    pub async fn send(&self, request: HttpRequest) -> HttpReply {
        self.plugin.http_handle(request).await.expect("every request is answered")
    }

    /// Status and body of the answer to a POST.
    pub async fn post(&self, path: &str, sent: &Value) -> (u16, Value) {
        let reply = self.send(request("POST", path, &sent.to_string())).await;
        (reply.status, body(&reply))
    }

    /// The body of an answer that is no error.
    pub async fn ask(&self, path: &str, sent: &Value) -> Value {
        let (status, answer) = self.post(path, sent).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The sentence of an error.
    pub async fn refused(&self, path: &str, sent: &Value, expected: u16) -> String {
        let (status, answer) = self.post(path, sent).await;
        assert_eq!((status, &answer["status"]), (expected, &json!(expected)), "{answer}");
        answer["msg"].as_str().expect("an error says something").to_owned()
    }
}

/// A message to a group, changed by these fields; `null` takes one out.
pub fn message(changes: &Value) -> Value {
    let mut message = json!({
        "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "from_uid": "user123", "channel_id": "group123",
        "channel_type": 2, "payload": "SGVsbG8gV29ybGQ=",
    });
    for (name, value) in changes.as_object().expect("changes are an object") {
        message[name] = value.clone();
    }
    message
}

pub fn request(method: &str, path: &str, body: &str) -> HttpRequest {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    HttpRequest {
        method: method.into(),
        path: path.into(),
        query,
        remote: "127.0.0.1".into(),
        base_url: "http://im.example".into(),
        body: body.as_bytes().to_vec().into(),
        ..HttpRequest::default()
    }
}

pub fn header<'r>(reply: &'r HttpReply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A payload as it travels.
pub fn base64(payload: &[u8]) -> String {
    stele_wukongim::message::BASE64.encode(payload)
}

/// The body of an answer.
pub fn body(reply: &HttpReply) -> Value {
    serde_json::from_slice(&reply.body).expect("answers are JSON")
}
