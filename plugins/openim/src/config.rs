//! The configuration of one instance (`[instance.config]`), as it arrives in hello.

use chrono_tz::Tz;
use serde::Deserialize;
use stele_plugin_api::{Mistake, Secret};

/// What every OpenIM is delivered with; whoever knows it makes any token.
const PUBLIC_SECRET: &str = "openIM123";
/// Fewest bytes of a secret: OpenIM's own has one more.
const MIN_SECRET_BYTES: usize = 8;
/// What is wrong with a secret that cannot be seen whole: nobody could type it.
const UNSEEN: &str = "begins with a byte order mark, or holds a control character: how was its file saved?";
/// Least bytes of the secret in the path of webhooks.
const MIN_HOOK_BYTES: usize = 16;
/// Longest life of a token, in days.
const MAX_TOKEN_DAYS: u32 = 3650;
/// Most messages of a page that can be configured.
const MAX_PAGE: u32 = 10_000;
/// Longest time for one request, in seconds: a page is several of them, and has two minutes.
const MAX_TIMEOUT_SECONDS: u32 = 30;
/// Longest time a missing message is waited for, in seconds: a day.
const MAX_GRACE_SECONDS: u32 = 86_400;

/// An instance's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What tokens are signed with, the same as that of OpenIM (`share.yml`).
    pub secret: Secret,
    /// Ids of those who may search and send.
    #[serde(default = "defaults::admins")]
    pub admins: Vec<String>,
    /// Days a token issued here is good for.
    #[serde(default = "defaults::token_days")]
    pub token_days: u32,
    /// IANA zone whose days `sendTime` means.
    #[serde(default = "defaults::zone")]
    pub zone: String,
    /// Most messages of a page; more are cut to it.
    #[serde(default = "defaults::max_page")]
    pub max_page: u32,
    /// What is shown of a message that was taken back.
    #[serde(default)]
    pub revoked: Revoked,
    /// An OpenIM whose conversations are archived.
    #[serde(default)]
    pub upstream: Option<Upstream>,
}

/// What is shown of a message that was taken back (reference/openim.md §12, trap 21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revoked {
    /// What it said, as a real server does.
    #[default]
    Original,
    /// That it was taken back, but not what it said. A keyword finds it all the same.
    Hidden,
}

/// `[instance.config.upstream]`: an OpenIM whose conversations are archived, and to which what is sent is relayed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Address of its API: scheme and authority, perhaps with a path.
    pub url: String,
    /// Its secret, where that is another than the instance's.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The admin whose token is used; unset, the first of the instance's.
    #[serde(default)]
    pub admin: Option<String>,
    /// Seconds a number that is given out, but cannot be read yet, is waited for.
    #[serde(default = "defaults::grace_seconds")]
    pub grace_seconds: u32,
    /// What the path of webhooks has behind `/hook/`; without it none are taken.
    #[serde(default)]
    pub hook_secret: Option<Secret>,
    /// Seconds for one request.
    #[serde(default = "defaults::timeout_seconds")]
    pub timeout_seconds: u32,
}

mod defaults {
    pub fn admins() -> Vec<String> {
        vec!["imAdmin".to_owned()]
    }
    pub fn token_days() -> u32 {
        90
    }
    pub fn zone() -> String {
        "UTC".to_owned()
    }
    pub fn max_page() -> u32 {
        1000
    }
    pub fn grace_seconds() -> u32 {
        60
    }
    pub fn timeout_seconds() -> u32 {
        10
    }
}

impl Config {
    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: String| mistakes.push(Mistake::new(key, message));
        if self.secret.expose().len() < MIN_SECRET_BYTES {
            wrong("secret", format!("has fewer than {MIN_SECRET_BYTES} bytes"));
        }
        if is_unseen(&self.secret) {
            wrong("secret", UNSEEN.to_owned());
        }
        if self.admins.is_empty() || self.admins.iter().any(String::is_empty) {
            wrong("admins", "has to name somebody, and nobody without a name".to_owned());
        }
        if !(1..=MAX_TOKEN_DAYS).contains(&self.token_days) {
            wrong("token_days", format!("must be 1 to {MAX_TOKEN_DAYS}"));
        }
        if self.zone.parse::<Tz>().is_err() {
            wrong("zone", format!("`{}` is not an IANA time zone", self.zone));
        }
        if !(1..=MAX_PAGE).contains(&self.max_page) {
            wrong("max_page", format!("must be 1 to {MAX_PAGE}"));
        }
        mistakes.extend(self.upstream.iter().flat_map(Upstream::mistakes));
        mistakes
    }

    /// What is worth knowing about a configuration without mistakes.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        if self.secret.expose() == PUBLIC_SECRET {
            let public = "the secret is the one every OpenIM is delivered with: whoever reaches the listener can sign a token \
                          for it, and read everything";
            findings.push(public.to_owned());
        }
        if self.upstream.as_ref().is_some_and(|upstream| upstream.admin.is_none()) {
            let shared = "upstream.admin is not set: an OpenIM ends the token of an admin when another is issued, so the archive \
                          should have an admin of its own";
            findings.push(shared.to_owned());
        }
        findings
    }

    /// The zone whose days `sendTime` means.
    pub fn zone(&self) -> Tz {
        self.zone.parse().unwrap_or(Tz::UTC)
    }
}

impl Upstream {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: &str| mistakes.push(Mistake::new(format!("upstream.{key}"), message));
        if let Some(mistake) = mistake_of(&self.url) {
            wrong("url", mistake);
        }
        if self.secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            wrong("secret", "is empty");
        }
        if self.secret.as_ref().is_some_and(is_unseen) {
            wrong("secret", UNSEEN);
        }
        if self.admin.as_ref().is_some_and(String::is_empty) {
            wrong("admin", "is empty");
        }
        if self.grace_seconds > MAX_GRACE_SECONDS {
            wrong("grace_seconds", &format!("must be 0 to {MAX_GRACE_SECONDS}"));
        }
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.timeout_seconds) {
            wrong("timeout_seconds", &format!("must be 1 to {MAX_TIMEOUT_SECONDS}"));
        }
        if let Some(secret) = self.hook_secret.as_ref().map(Secret::expose) {
            if secret.len() < MIN_HOOK_BYTES {
                wrong("hook_secret", &format!("has fewer than {MIN_HOOK_BYTES} bytes"));
            } else if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
                wrong("hook_secret", "may hold letters, digits and -_.~ only: it is part of an address");
            }
        }
        mistakes
    }
}

/// Whether some of a secret cannot be seen; the daemon takes line ends off the end of its file only.
fn is_unseen(secret: &Secret) -> bool {
    secret.expose().starts_with('\u{feff}') || secret.expose().contains(char::is_control)
}

fn mistake_of(url: &str) -> Option<&'static str> {
    let Some(rest) = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Some("must begin with http:// or https://");
    };
    if rest.is_empty() || rest.starts_with('/') {
        return Some("names no host");
    }
    let odd = rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace);
    odd.then_some("has a query, credentials or blanks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(value: Value) -> Config {
        serde_json::from_value(value).expect("the shape is right")
    }

    #[test]
    fn a_secret_is_enough() {
        let config = config(json!({ "secret": "s3cr3t s3cr3t" }));
        assert_eq!((config.mistakes(), config.findings()), (Vec::new(), Vec::<String>::new()));
        assert_eq!((config.admins.as_slice(), config.token_days), (&["imAdmin".to_owned()][..], 90));
        assert_eq!((config.zone(), config.max_page, config.revoked), (Tz::UTC, 1000, Revoked::Original));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let wrong = json!({
            "secret": "short", "admins": [""], "token_days": 0, "zone": "Mars", "max_page": 0,
            "upstream": { "url": "im.example.com", "secret": "", "admin": "", "grace_seconds": 86_401, "timeout_seconds": 0, "hook_secret": "x" },
        });
        let told: Vec<_> = config(wrong).mistakes().iter().map(Mistake::to_string).collect();
        let expected = [
            "secret: has fewer than 8 bytes",
            "admins: has to name somebody, and nobody without a name",
            "token_days: must be 1 to 3650",
            "zone: `Mars` is not an IANA time zone",
            "max_page: must be 1 to 10000",
            "upstream.url: must begin with http:// or https://",
            "upstream.secret: is empty",
            "upstream.admin: is empty",
            "upstream.grace_seconds: must be 0 to 86400",
            "upstream.timeout_seconds: must be 1 to 30",
            "upstream.hook_secret: has fewer than 16 bytes",
        ];
        assert_eq!(told, expected);
        for url in ["http://", "http:///x", "http://u:p@im", "http://im?x", "http://i m"] {
            assert!(mistake_of(url).is_some(), "{url}");
        }
        assert_eq!(mistake_of("https://im.example.com:10002/api"), None);
    }

    #[test]
    fn a_secret_is_text_that_can_be_seen() {
        for odd in ["\u{feff}s3cr3t s3cr3t", "s3cr3t\ns3cr3t", "s3cr3t s3cr3t\0"] {
            let config = config(json!({ "secret": odd, "upstream": { "url": "http://im", "secret": odd } }));
            let told: Vec<_> = config.mistakes().iter().map(Mistake::to_string).collect();
            let why = "begins with a byte order mark, or holds a control character: how was its file saved?";
            assert_eq!(told, [format!("secret: {why}"), format!("upstream.secret: {why}")], "{odd:?}");
        }
    }

    #[test]
    fn what_everybody_knows_is_pointed_out() {
        let config = config(json!({ "secret": "openIM123", "upstream": { "url": "http://im" } }));
        assert_eq!((config.mistakes(), config.findings().len()), (Vec::new(), 2));
    }

    #[test]
    fn no_secret_is_printed_and_nothing_misspelt_accepted() {
        let config = json!({ "secret": "s3cr3t s3cr3t", "upstream": { "url": "http://im", "secret": "s3cr3t", "hook_secret": "s3cr3t" } });
        let printed = format!("{:?}", serde_json::from_value::<Config>(config).unwrap());
        assert!(!printed.contains("s3cr3t"), "{printed}");
        for (key, value) in
            [("secrets", json!("x")), ("revoked", json!("gone")), ("upstream", json!({ "url": "http://im", "x": 1 }))]
        {
            let mut wrong = json!({ "secret": "s3cr3t s3cr3t" });
            wrong[key] = value;
            assert!(serde_json::from_value::<Config>(wrong).is_err(), "{key}");
        }
    }
}
