//! The configuration of one instance (`[instance.config]`), as it arrives in hello.
//!
//! serde refuses what has the wrong shape, and [`Config::mistakes`] lists everything else; the SDK asks both and tells all at
//! once. What a person can still put right without a restart of the API is no
//! problem of the configuration: an unusable library or private key leaves the archive readable and is told by `health`.

use chrono_tz::Tz;
use serde::Deserialize;
use std::collections::HashSet;
use stele_plugin_api::{Mistake, Secret};

/// WeCom's own bound on messages per call (reference/wecom-archive.md §1.4).
pub const MAX_PAGE: u32 = 1000;
/// Longest time a single request of the library may take, in seconds.
pub const MAX_TIMEOUT_SECONDS: u32 = 300;

/// An instance's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Path of the vendor's library, from WeCom's download page; without one the instance only serves what it has. It is
    /// loaded in a process of its own only: not with `carrier = "in-process"`.
    #[serde(default)]
    pub library: String,
    /// Keys that sign requests of the HTTP API.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
    /// IANA zone of the dates in requests.
    #[serde(default = "defaults::time_zone")]
    pub time_zone: String,
    /// Also answer with the source's spellings: `roomid`, `msgtime`, `msgtype`.
    #[serde(default = "defaults::yes")]
    pub go_spellings: bool,
    /// Also accept the signature of the unmodified api-server (reference/wecom-archive.md §8, row 2).
    #[serde(default)]
    pub legacy_go_signature: bool,
    /// Order rows beside an anchor (`max_id`, `min_id`) ascending, as the old dashboard expects.
    #[serde(default)]
    pub anchor_ascending: bool,
    /// Above 0: requests must sign a `timestamp` (Unix seconds) no older than this.
    #[serde(default)]
    pub signed_timestamp_seconds: u32,
    /// Proxy, handed verbatim to the vendor's library.
    #[serde(default)]
    pub proxy: String,
    /// `user:password` for the proxy.
    #[serde(default)]
    pub proxy_password: Secret,
    /// Seconds one request of the library may take; a call makes at most two.
    #[serde(default = "defaults::timeout_seconds")]
    pub timeout_seconds: u32,
    /// Calls per minute and corp, messages and media together (reference/wecom-archive.md §1.10).
    #[serde(default = "defaults::calls_per_minute")]
    pub calls_per_minute: u32,
    /// Messages per call, at most [`MAX_PAGE`].
    #[serde(default = "defaults::page_limit")]
    pub page_limit: u32,
    /// Where WeCom's own HTTP API is, for names and avatars.
    #[serde(default = "defaults::api_base")]
    pub api_base: String,
    /// The corps of this instance.
    #[serde(default)]
    pub corp: Vec<Corp>,
}

/// A key of the HTTP API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The shared secret.
    pub key: Secret,
    /// Corps it may ask about; empty means every one.
    #[serde(default)]
    pub corps: Vec<String>,
}

impl ApiKey {
    /// Whether it may ask about this corp.
    pub fn covers(&self, corp: &str) -> bool {
        self.corps.is_empty() || self.corps.iter().any(|known| known == corp)
    }
}

/// One corp.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corp {
    /// The corp id, e.g. `ww0123456789abcdef`.
    pub id: String,
    /// Its name for people.
    #[serde(default)]
    pub name: String,
    /// Secret of the message archive (会话内容存档).
    #[serde(default)]
    pub archive_secret: Secret,
    /// Secret of a self-built app that may read contacts and customers; without one ids stand for names.
    #[serde(default)]
    pub app_secret: Secret,
    /// The private halves of every public key that was ever uploaded.
    #[serde(default)]
    pub private_keys: Vec<PrivateKey>,
}

impl Corp {
    /// What people call it: its name, or its id.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

/// A private key and the version its public half was given in the admin console.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateKey {
    /// `publickey_ver` of the messages it opens.
    pub version: u32,
    /// The key, PKCS#1 or PKCS#8 PEM.
    pub pem: Secret,
}

mod defaults {
    pub fn time_zone() -> String {
        "UTC".to_owned()
    }
    pub fn yes() -> bool {
        true
    }
    pub fn timeout_seconds() -> u32 {
        10
    }
    pub fn calls_per_minute() -> u32 {
        600
    }
    pub fn page_limit() -> u32 {
        super::MAX_PAGE
    }
    pub fn api_base() -> String {
        "https://qyapi.weixin.qq.com".to_owned()
    }
}

impl Config {
    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        self.api_key_mistakes(&mut mistakes);
        if self.time_zone.parse::<Tz>().is_err() {
            mistakes.push(Mistake::new("time_zone", format!("`{}` is not an IANA time zone", self.time_zone)));
        }
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.timeout_seconds) {
            // The library never returns from a call without a timeout.
            mistakes.push(Mistake::new("timeout_seconds", format!("must be 1 to {MAX_TIMEOUT_SECONDS}")));
        }
        if self.calls_per_minute == 0 {
            mistakes.push(Mistake::new("calls_per_minute", "must be at least 1"));
        }
        if !(1..=MAX_PAGE).contains(&self.page_limit) {
            mistakes.push(Mistake::new("page_limit", format!("must be 1 to {MAX_PAGE}")));
        }
        if !(self.api_base.starts_with("https://") || self.api_base.starts_with("http://")) {
            mistakes.push(Mistake::new("api_base", "must begin with http:// or https://"));
        }
        for (setting, value) in [
            ("library", self.library.as_str()),
            ("proxy", &self.proxy),
            ("proxy_password", self.proxy_password.expose()),
        ] {
            if value.contains('\0') {
                mistakes.push(Mistake::new(setting, "contains a NUL character"));
            }
        }
        self.corp_mistakes(&mut mistakes);
        mistakes
    }

    fn api_key_mistakes(&self, mistakes: &mut Vec<Mistake>) {
        if self.api_keys.is_empty() {
            mistakes.push(Mistake::new("api_keys", "at least one key is needed"));
        }
        for (index, api_key) in self.api_keys.iter().enumerate() {
            if api_key.key.is_empty() {
                mistakes.push(Mistake::new(format!("api_keys[{index}].key"), "is empty"));
            }
            // Without any corp that is what is wrong.
            for corp in api_key.corps.iter().filter(|corp| !self.corp.is_empty() && self.corp(corp).is_none()) {
                mistakes.push(Mistake::new(format!("api_keys[{index}].corps"), format!("there is no corp `{corp}`")));
            }
        }
    }

    fn corp_mistakes(&self, mistakes: &mut Vec<Mistake>) {
        if self.corp.is_empty() {
            mistakes.push(Mistake::new("corp", "at least one corp is needed"));
        }
        let mut seen = HashSet::new();
        for (index, corp) in self.corp.iter().enumerate() {
            let mut wrong = |setting: &str, message: String| {
                mistakes.push(Mistake::new(format!("corp[{index}].{setting}"), message));
            };
            if corp.id.is_empty() {
                wrong("id", "is empty".to_owned());
            } else if !goes_into_a_url(&corp.id) {
                wrong("id", format!("`{}` has characters no corp id has", corp.id.escape_debug()));
            } else if !seen.insert(corp.id.as_str()) {
                wrong("id", format!("`{}` is there twice", corp.id));
            }
            for (setting, secret) in [("archive_secret", &corp.archive_secret), ("app_secret", &corp.app_secret)] {
                if !goes_into_a_url(secret.expose()) {
                    wrong(setting, "has characters no secret of WeCom has".to_owned());
                }
            }
            let mut versions = HashSet::new();
            for key in &corp.private_keys {
                if !versions.insert(key.version) {
                    wrong("private_keys", format!("version {} is there twice", key.version));
                }
            }
        }
    }

    /// The zone of dates in requests.
    pub fn zone(&self) -> Tz {
        self.time_zone.parse().unwrap_or(Tz::UTC)
    }

    /// The corp with this id.
    pub fn corp(&self, id: &str) -> Option<&Corp> {
        self.corp.iter().find(|corp| corp.id == id)
    }
}

/// The library puts corp ids and secrets into URLs without escaping them (reference/wecom-archive.md §1.4), and corp ids
/// are the first part of native ids: letters, digits and a few marks only.
fn goes_into_a_url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn whole() -> Value {
        json!({
            "library": "/opt/wecom/libWeWorkFinanceSdk_C.so",
            "api_keys": [{"key": "your_secret_key", "corps": ["corp123"]}],
            "corp": [{"id": "corp123", "archive_secret": "s3cr3t", "private_keys": [{"version": 1, "pem": "PEM TEXT"}]}],
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Config {
        let mut value = whole();
        change(&mut value);
        serde_json::from_value(value).expect("the shape is right")
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = changed(|_| {});
        assert_eq!(config.mistakes(), []);
        assert_eq!((config.timeout_seconds, config.calls_per_minute, config.page_limit), (10, 600, 1000));
        assert_eq!((config.zone(), config.api_base.as_str()), (Tz::UTC, "https://qyapi.weixin.qq.com"));
        assert!(config.go_spellings && !config.legacy_go_signature && !config.anchor_ascending);
        assert!(config.api_keys[0].covers("corp123") && !config.api_keys[0].covers("other"));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let config = changed(|value| {
            *value = json!({
                "api_keys": [{"key": ""}, {"key": "k", "corps": ["nobody"]}],
                "time_zone": "Mars/Olympus", "timeout_seconds": 0, "calls_per_minute": 0, "page_limit": 1001,
                "api_base": "qyapi", "proxy": "a\u{0}b",
                "corp": [
                    {"id": "a", "private_keys": [{"version": 1, "pem": "x"}, {"version": 1, "pem": "y"}]},
                    {"id": "a"}, {"id": ""}, {"id": "x/y", "archive_secret": "a#b", "app_secret": "a b"}],
            });
        });
        let expected = [
            "api_keys[0].key: is empty",
            "api_keys[1].corps: there is no corp `nobody`",
            "time_zone: `Mars/Olympus` is not an IANA time zone",
            "timeout_seconds: must be 1 to 300",
            "calls_per_minute: must be at least 1",
            "page_limit: must be 1 to 1000",
            "api_base: must begin with http:// or https://",
            "proxy: contains a NUL character",
            "corp[0].private_keys: version 1 is there twice",
            "corp[1].id: `a` is there twice",
            "corp[2].id: is empty",
            "corp[3].id: `x/y` has characters no corp id has",
            "corp[3].archive_secret: has characters no secret of WeCom has",
            "corp[3].app_secret: has characters no secret of WeCom has",
        ];
        let told: Vec<_> = config.mistakes().iter().map(Mistake::to_string).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn nothing_at_all_needs_a_key_and_a_corp() {
        let api_keys = json!({"api_keys": [{"key": "k", "corps": ["corp123"]}]});
        let config: Config = serde_json::from_value(api_keys).expect("everything else has a default");
        assert_eq!(config.mistakes(), [Mistake::new("corp", "at least one corp is needed")]);
        let config: Config = serde_json::from_value(json!({})).expect("everything has a default");
        let told: Vec<_> = config.mistakes().iter().map(Mistake::to_string).collect();
        assert_eq!(told, ["api_keys: at least one key is needed", "corp: at least one corp is needed"]);
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        for (path, value) in [("/libary", json!("x")), ("/corp/0/secret", json!("x")), ("/api_keys/0/corp", json!("x"))]
        {
            let mut config = whole();
            let (parent, key) = path.rsplit_once('/').expect("the path has a parent");
            config
                .pointer_mut(parent)
                .and_then(Value::as_object_mut)
                .expect("the parent is an object")
                .insert(key.into(), value);
            assert!(serde_json::from_value::<Config>(config).is_err(), "{path}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let config = changed(|value| value["proxy_password"] = json!("user:pa55"));
        let printed = format!("{config:?}");
        for secret in ["your_secret_key", "s3cr3t", "PEM TEXT", "pa55"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
