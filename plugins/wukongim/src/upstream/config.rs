//! `[instance.config.upstream]`: a WuKongIM whose channels are archived, and to which sends are relayed.

use crate::config::mistake_of_token;
use serde::Deserialize;
use stele_plugin_api::{Mistake, Secret};
use url::Url;

/// Longest time for one request, in seconds: a page is several of them, and has two minutes.
const MAX_TIMEOUT_SECONDS: u32 = 30;
/// Least bytes of the secret in the path of webhooks.
const MIN_HOOK_BYTES: usize = 16;

/// Where the upstream is, and what is wanted of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Address of its API: scheme and authority, perhaps with a path.
    pub url: String,
    /// Address of its manager; v3 is read there.
    #[serde(default)]
    pub manager_url: Option<String>,
    /// v2: its `managerToken`. v3: a token of its manager.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Instead, with v3: a user of its manager.
    #[serde(default)]
    pub username: Option<String>,
    /// Password of that user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// What the path of webhooks has behind `/hook/`; without it none are taken.
    #[serde(default)]
    pub hook_secret: Option<Secret>,
    /// Archive the channels of commands as well.
    #[serde(default)]
    pub commands: bool,
    /// Seconds for one request.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u32,
}

fn timeout_seconds() -> u32 {
    10
}

impl UpstreamConfig {
    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: &str| mistakes.push(Mistake::new(format!("upstream.{key}"), message));
        for (key, url) in [("url", Some(&self.url)), ("manager_url", self.manager_url.as_ref())] {
            if let Some(mistake) = url.and_then(|url| mistake_of(url)) {
                wrong(key, mistake);
            }
        }
        match (&self.username, &self.password) {
            (Some(_), None) => wrong("password", "is needed beside username"),
            (None, Some(_)) => wrong("username", "is needed beside password"),
            (Some(_), Some(_)) if self.token.is_some() => wrong("token", "is of no use beside username"),
            (Some(_), Some(_)) if self.manager_url.is_none() => wrong("manager_url", "is needed beside username"),
            _ => {}
        }
        if let Some(mistake) = self.token.as_ref().and_then(mistake_of_token) {
            wrong("token", mistake);
        }
        if let Some(secret) = self.hook_secret.as_ref().map(Secret::expose) {
            if secret.len() < MIN_HOOK_BYTES {
                wrong("hook_secret", &format!("has fewer than {MIN_HOOK_BYTES} bytes"));
            } else if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
                wrong("hook_secret", "may hold letters, digits and -_.~ only: it is part of an address");
            }
        }
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.timeout_seconds) {
            wrong("timeout_seconds", &format!("must be 1 to {MAX_TIMEOUT_SECONDS}"));
        }
        mistakes
    }
}

fn mistake_of(url: &str) -> Option<&'static str> {
    let Some(rest) = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Some("must begin with http:// or https://");
    };
    if rest.is_empty() || rest.starts_with('/') {
        return Some("names no host");
    }
    if rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) {
        return Some("has a query, credentials or blanks");
    }
    Url::parse(url).is_err().then_some("is no address such as http://host:port/path")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(value: Value) -> UpstreamConfig {
        serde_json::from_value(value).expect("the shape is right")
    }

    #[test]
    fn an_address_is_enough() {
        let config = config(json!({ "url": "http://im.example.com:5001" }));
        assert_eq!(config.mistakes(), []);
        assert_eq!((config.timeout_seconds, config.commands), (10, false));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let told = |value| config(value).mistakes().iter().map(Mistake::to_string).collect::<Vec<_>>();
        let wrong = json!({
            "url": "im.example.com", "manager_url": "http://", "username": "x", "token": "", "hook_secret": "short",
            "timeout_seconds": 0,
        });
        let expected = [
            "upstream.url: must begin with http:// or https://",
            "upstream.manager_url: names no host",
            "upstream.password: is needed beside username",
            "upstream.token: is empty",
            "upstream.hook_secret: has fewer than 16 bytes",
            "upstream.timeout_seconds: must be 1 to 30",
        ];
        assert_eq!(told(wrong), expected);
        let both = json!({
            "url": "http://u:p@im/", "username": "x", "password": "y", "token": "t", "hook_secret": "0123456789abcde/",
        });
        let expected = [
            "upstream.url: has a query, credentials or blanks",
            "upstream.token: is of no use beside username",
            "upstream.hook_secret: may hold letters, digits and -_.~ only: it is part of an address",
        ];
        assert_eq!(told(both), expected);
        let alone = json!({ "url": "http://im", "username": "x", "password": "y" });
        assert_eq!(told(alone), ["upstream.manager_url: is needed beside username"]);
        for (url, expected) in [
            ("http://im:99999", &["upstream.url: is no address such as http://host:port/path"][..]),
            ("http://[::1/", &["upstream.url: is no address such as http://host:port/path"]),
            ("https://[::1]:443/x:y", &[]),
        ] {
            assert_eq!(told(json!({ "url": url })), expected);
        }
        let printed = format!("{:?}", config(json!({ "url": "http://im", "token": "s3cr3t", "password": "s3cr3t" })));
        assert!(!printed.contains("s3cr3t"), "{printed}");
    }
}
