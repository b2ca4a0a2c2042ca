//! An instance in front of an archive that fits into a test.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod archive;

use archive::Stored;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use stele_openim::Openim;
use stele_openim::token::Tokens;
use stele_plugin_api::Plugin;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{HttpReply, HttpRequest};
use stele_plugin_api::testing::MockHost;

/// 2026-04-09T10:00:00Z
pub const NOW: Micros = 1_775_728_800_000_000;
/// What tokens are signed with.
pub const SECRET: &str = "s3cr3t s3cr3t";

/// An instance, its archive and its clock.
pub struct Site {
    pub plugin: Arc<Openim>,
    pub stored: Arc<Mutex<Stored>>,
    pub clock: Arc<AtomicI64>,
    pub mock: MockHost,
    /// Of an admin.
    pub token: String,
}

impl Site {
    /// With these settings beside the secret. Needs a runtime.
    pub fn new(settings: Value) -> Self {
        let stored = Arc::default();
        let mock = archive::answering(&stored);
        Self::over(settings, stored, mock)
    }

    /// With a host that answers from this archive.
    pub fn over(mut settings: Value, stored: Arc<Mutex<Stored>>, mock: MockHost) -> Self {
        settings["secret"] = json!(SECRET);
        let config = serde_json::from_value(settings).expect("test configurations have the right shape");
        assert_eq!(Openim::mistakes(&config), []);
        let clock = Arc::new(AtomicI64::new(NOW));
        let now = Arc::clone(&clock);
        let token = Tokens::of(&config).issue("imAdmin", NOW).expect("it is signed");
        let plugin = Openim::with_clock(config, mock.host(), Arc::new(move || now.load(Ordering::Relaxed)));
        Self { plugin: Arc::new(plugin), stored, clock, mock, token }
    }

    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap()
    }

    pub async fn send(&self, request: HttpRequest) -> HttpReply {
        self.plugin.http_handle(request).await.expect("every request is answered")
    }

    /// The answer to a POST of an admin.
    pub async fn post(&self, path: &str, sent: &Value) -> Value {
        let headers = [("operationid", "op-1"), ("token", &self.token)];
        let reply = self.send(request("POST", path, &headers, &sent.to_string())).await;
        assert_eq!((reply.status, header(&reply, "content-type")), (200, Some("application/json")));
        body(&reply)
    }

    /// The data of an answer that is no error.
    pub async fn ask(&self, path: &str, sent: &Value) -> Value {
        let answer = self.post(path, sent).await;
        assert_eq!((&answer["errCode"], &answer["errMsg"]), (&json!(0), &json!("")), "{answer}");
        answer["data"].clone()
    }

    /// Code and detail of an error.
    pub async fn refused(&self, path: &str, sent: &Value) -> (i64, String) {
        let answer = self.post(path, sent).await;
        assert_eq!(answer.get("data"), None, "{answer}");
        (answer["errCode"].as_i64().unwrap(), answer["errDlt"].as_str().unwrap().to_owned())
    }
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpRequest {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    HttpRequest {
        method: method.into(),
        path: path.into(),
        query,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        remote: "127.0.0.1".into(),
        base_url: "http://im.example".into(),
        body: body.as_bytes().to_vec().into(),
        ..HttpRequest::default()
    }
}

pub fn header<'r>(reply: &'r HttpReply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The body of an answer.
pub fn body(reply: &HttpReply) -> Value {
    serde_json::from_slice(&reply.body).expect("answers are JSON")
}
