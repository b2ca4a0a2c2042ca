//! An instance in front of an archive that fits into a test.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod archive;

use base64::Engine;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use stele_plugin_api::Plugin;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{HttpReply, HttpRequest};
use stele_plugin_api::testing::MockHost;
use stele_wukongim::Wukongim;

/// 2025-08-18T00:00:00Z
pub const NOW: Micros = 1_755_475_200_000_000;

/// An instance and its clock.
pub struct Site {
    pub plugin: Arc<Wukongim>,
    pub clock: Arc<AtomicI64>,
    pub mock: MockHost,
}

impl Site {
    /// With these settings. Needs a runtime.
    pub fn new(settings: Value) -> Self {
        Self::with(settings, MockHost::new())
    }

    /// With a host that answers as it likes.
    pub fn with(settings: Value, mock: MockHost) -> Self {
        let config = serde_json::from_value(settings).expect("test configurations have the right shape");
        assert_eq!(Wukongim::mistakes(&config), []);
        let clock = Arc::new(AtomicI64::new(NOW));
        let now = Arc::clone(&clock);
        let plugin = Wukongim::with_clock(config, mock.host(), Arc::new(move || now.load(Ordering::Relaxed)));
        Self { plugin: Arc::new(plugin), clock, mock }
    }

    pub async fn send(&self, request: HttpRequest) -> HttpReply {
        self.plugin.http_handle(request).await.expect("every request is answered")
    }
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
