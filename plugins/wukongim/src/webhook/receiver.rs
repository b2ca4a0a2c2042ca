//! Whom events are told to: tried again with growing pauses, and given up in the end.

use super::config::WebhookConfig;
use super::event::Event;
use crate::Clock;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::notify::{Level, MetricKind};
use stele_plugin_api::ops::{FetchRequest, HttpFetch};
use stele_plugin_api::{Host, Secret};
use url::Url;

/// Time for one try, in milliseconds.
const TIMEOUT_MS: u64 = 15_000;
/// Time the daemon may take for it; its own limit comes first.
const FETCH: Duration = Duration::from_secs(20);
/// Pause after the first try that failed, doubled with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// What is signed, and when.
const SIGNATURE: &str = "x-stele-signature";

/// The receiver of an instance's events.
pub struct Receiver {
    host: Host,
    clock: Clock,
    address: Url,
    secret: Option<Secret>,
    tries: u32,
    /// Why the last try failed.
    trouble: Mutex<Option<String>>,
}

impl Receiver {
    /// The receiver at this address.
    pub fn new(host: Host, clock: Clock, address: Url, config: &WebhookConfig) -> Self {
        let (secret, tries) = (config.secret.clone(), config.msg_notify_event_retry_max_count);
        Self { host, clock, address, secret, tries, trouble: Mutex::default() }
    }

    /// Why the last try failed, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.last_trouble().clone()
    }

    /// Tells so many messages; returns when the receiver took them, or they were given up.
    pub async fn tell(&self, event: Event, messages: usize, body: Bytes) {
        let mut pause = FIRST_PAUSE;
        for tried in 1..=self.tries {
            match self.post(event, body.clone()).await {
                Ok(()) => {
                    self.last_trouble().take();
                    return self.count(event, "told", messages);
                }
                Err(reason) => {
                    let before = self.last_trouble().replace(reason.clone());
                    if before.is_none() {
                        let fields = [("event", event.name()), ("reason", reason.as_str())];
                        self.host.log_from(
                            "webhook",
                            Level::Warn,
                            "the receiver does not take what it is told",
                            &fields,
                        );
                    }
                }
            }
            if tried < self.tries {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
        let (count, reason) = (messages.to_string(), self.trouble().unwrap_or_default());
        let fields = [("event", event.name()), ("messages", &count), ("reason", &reason)];
        self.host.log_from("webhook", Level::Warn, "messages were given up: the receiver does not take them", &fields);
        self.count(event, "given_up", messages);
    }

    /// Counts what became of messages.
    pub fn count(&self, event: Event, outcome: &str, messages: usize) {
        let labels = [("event", event.name()), ("outcome", outcome)];
        self.host.metric("webhook_messages", MetricKind::Counter, messages as f64, &labels);
    }

    /// One try. Only 200 is a success; what the receiver answers beside it does not matter.
    async fn post(&self, event: Event, body: Bytes) -> Result<(), String> {
        let mut url = self.address.clone();
        url.query_pairs_mut().append_pair("event", event.name());
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(secret) = &self.secret {
            let now = (self.clock)().div_euclid(1_000_000);
            headers.push((SIGNATURE.to_owned(), signature(secret, now, &body)));
        }
        let request =
            FetchRequest { method: "POST".to_owned(), url: url.into(), headers, timeout_ms: TIMEOUT_MS, body };
        match self.host.call_within::<HttpFetch>(request, FETCH).await {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(format!("the receiver answers {} instead of 200", reply.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn last_trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body", hexadecimal>`.
fn signature(secret: &Secret, now: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("any key will do");
    mac.update(format!("{now}.").as_bytes());
    mac.update(body);
    format!("t={now},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_openssl() {
        // printf '1700000000.[]' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "t=1700000000,v1=c91545d09b999c13267144ab89f40da36c784c2397a9684263e82122a502a910";
        assert_eq!(signature(&Secret::new("0123456789abcdef"), 1_700_000_000, b"[]"), expected);
    }
}
