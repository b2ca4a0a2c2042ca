//! `[instance.config.webhook]`: where messages are told to, with the keys of a real server (contract 001, Webhook配置).

use super::event::{Event, NAMES};
use serde::Deserialize;
use std::time::Duration;
use stele_plugin_api::{Mistake, Secret, ops::MAX_ROWS};
use url::Url;

/// Longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// Most tries of one push: more than half a day.
const MAX_TRIES: u32 = 1000;
/// Least bytes of the secret.
const MIN_SECRET_BYTES: usize = 16;

/// Where messages are told to, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookConfig {
    /// Address of the receiver. Kept like a secret, since it may hold one.
    #[serde(default)]
    pub http_addr: Option<Secret>,
    /// Address of a receiver that speaks gRPC, which nobody does here.
    #[serde(default)]
    pub grpc_addr: String,
    /// How long messages are collected for one push of `msg.notify`, such as `500ms`.
    #[serde(default = "defaults::interval")]
    pub msg_notify_event_push_interval: String,
    /// Most messages of one push of `msg.notify`.
    #[serde(default = "defaults::count")]
    pub msg_notify_event_count_per_push: u32,
    /// How often a push is tried, the first time included, before it is given up.
    #[serde(default = "defaults::tries")]
    pub msg_notify_event_retry_max_count: u32,
    /// The events told; empty for all.
    #[serde(default)]
    pub focus_events: Vec<String>,
    /// Signs what is sent.
    #[serde(default)]
    pub secret: Option<Secret>,
}

/// Those of a real server.
mod defaults {
    pub fn interval() -> String {
        "500ms".to_owned()
    }
    pub fn count() -> u32 {
        100
    }
    pub fn tries() -> u32 {
        5
    }
}

impl WebhookConfig {
    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: String| mistakes.push(Mistake::new(format!("webhook.{key}"), message));
        if !self.grpc_addr.is_empty() {
            wrong("grpcAddr", "nothing is told by gRPC here: leave it out and set httpAddr".to_owned());
        }
        if let Err(mistake) = self.address() {
            wrong("httpAddr", mistake.to_owned());
        }
        if self.interval().is_none() {
            let key = "msgNotifyEventPushInterval";
            wrong(key, "must be a time such as 500ms or 2s, at most a minute".to_owned());
        }
        if !(1..=MAX_ROWS).contains(&self.msg_notify_event_count_per_push) {
            wrong("msgNotifyEventCountPerPush", format!("must be 1 to {MAX_ROWS}"));
        }
        if !(1..=MAX_TRIES).contains(&self.msg_notify_event_retry_max_count) {
            wrong("msgNotifyEventRetryMaxCount", format!("must be 1 to {MAX_TRIES}"));
        }
        for (index, _) in self.focus_events.iter().enumerate().filter(|(_, name)| !NAMES.contains(&name.as_str())) {
            wrong(&format!("focusEvents[{index}]"), format!("must be one of {}", NAMES.join(", ")));
        }
        if self.secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET_BYTES) {
            wrong("secret", format!("has fewer than {MIN_SECRET_BYTES} bytes"));
        }
        mistakes
    }

    /// The receiver, or what is wrong with it.
    pub(super) fn address(&self) -> Result<Url, &'static str> {
        let address = self.http_addr.as_ref().ok_or("is missing")?;
        let url = Url::parse(address.expose()).map_err(|_| "is no address such as http://host:port/path")?;
        match () {
            () if !matches!(url.scheme(), "http" | "https") => Err("must begin with http:// or https://"),
            () if !url.username().is_empty() || url.password().is_some() => Err("must not hold credentials"),
            () if url.fragment().is_some() => Err("must not have a part behind #"),
            () => Ok(url),
        }
    }

    /// How long messages are collected for one push.
    pub(super) fn interval(&self) -> Option<Duration> {
        time(&self.msg_notify_event_push_interval).filter(|interval| *interval <= MAX_INTERVAL)
    }

    /// Whether this event is told.
    pub(super) fn tells(&self, event: Event) -> bool {
        self.focus_events.is_empty() || self.focus_events.iter().any(|name| name == event.name())
    }
}

/// A time of whole numbers and units, as real servers take it: `500ms`, `1m30s`.
fn time(text: &str) -> Option<Duration> {
    let (mut rest, mut time) = (text, Duration::ZERO);
    while !rest.is_empty() || text.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, behind) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        time = time.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = behind;
    }
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(value: Value) -> WebhookConfig {
        serde_json::from_value(value).expect("the shape is right")
    }

    #[test]
    fn an_address_is_enough() {
        let config = config(json!({ "httpAddr": "http://127.0.0.1:8080/webhooks" }));
        assert_eq!(config.mistakes(), []);
        assert_eq!(config.interval(), Some(Duration::from_millis(500)));
        assert_eq!((config.msg_notify_event_count_per_push, config.msg_notify_event_retry_max_count), (100, 5));
        assert!(config.tells(Event::Notify) && config.tells(Event::Offline));
        assert!(!format!("{config:?}").contains("8080"), "{config:?}");
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let told = |value| config(value).mistakes().iter().map(Mistake::to_string).collect::<Vec<_>>();
        let wrong = json!({
            "grpcAddr": "localhost:6979", "msgNotifyEventPushInterval": "soon", "msgNotifyEventCountPerPush": 0,
            "msgNotifyEventRetryMaxCount": 1001, "focusEvents": ["msg.notify", "msg.lost"], "secret": "short",
        });
        let expected = [
            "webhook.grpcAddr: nothing is told by gRPC here: leave it out and set httpAddr",
            "webhook.httpAddr: is missing",
            "webhook.msgNotifyEventPushInterval: must be a time such as 500ms or 2s, at most a minute",
            "webhook.msgNotifyEventCountPerPush: must be 1 to 1000",
            "webhook.msgNotifyEventRetryMaxCount: must be 1 to 1000",
            "webhook.focusEvents[1]: must be one of msg.notify, msg.offline, user.onlinestatus",
            "webhook.secret: has fewer than 16 bytes",
        ];
        assert_eq!(told(wrong), expected);
        for (address, mistake) in [
            ("127.0.0.1:8080", "is no address such as http://host:port/path"),
            ("ftp://host/", "must begin with http:// or https://"),
            ("http://u:s3cr3t@host/", "must not hold credentials"),
            ("http://host/#x", "must not have a part behind #"),
        ] {
            assert_eq!(told(json!({ "httpAddr": address })), [format!("webhook.httpAddr: {mistake}")]);
        }
        assert!(serde_json::from_value::<WebhookConfig>(json!({ "http_addr": "http://host" })).is_err());
    }

    #[test]
    fn times_are_read() {
        for (text, milliseconds) in [("500ms", 500), ("0s", 0), ("2s", 2000), ("1m", 60_000), ("1s500ms", 1500)] {
            assert_eq!(time(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "ms", "1.5s", "-1s", "1h", "1 s", "s1", "99999999999999999999s"] {
            assert_eq!(time(text), None, "{text}");
        }
        let long = config(json!({ "httpAddr": "http://host", "msgNotifyEventPushInterval": "1m1ms" }));
        assert_eq!(long.mistakes().len(), 1);
    }
}
