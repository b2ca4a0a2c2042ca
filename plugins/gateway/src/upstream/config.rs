//! `[instance.config.upstream]`: a quick-im-core whose conversations are archived, and to which sends are relayed.

use chrono::NaiveDate;
use serde::Deserialize;
use stele_plugin_api::model::Micros;
use stele_plugin_api::{Mistake, Secret};

/// Longest time for one request, in seconds: a page is several of them, and has two minutes.
const MAX_TIMEOUT_SECONDS: u32 = 30;
/// Longest overlap, in minutes: a day.
const MAX_OVERLAP_MINUTES: u32 = 24 * 60;

/// Where the upstream is, and what is wanted of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its address: scheme and authority, perhaps with a path.
    pub url: String,
    /// What its tokens are signed with; tokens of sessions are made here.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Instead: tokens are asked for at `/inner/get_token`, whose allowlist this machine must be on.
    #[serde(default)]
    pub use_inner_token: bool,
    /// Conversations to archive beside those found.
    #[serde(default)]
    pub conversations: Vec<String>,
    /// Sessions whose conversations are looked for, beside the people the archive knows.
    #[serde(default)]
    pub sessions: Vec<String>,
    /// First day (UTC) of the history to archive.
    #[serde(default = "defaults::start")]
    pub start: String,
    /// Seconds for one request.
    #[serde(default = "defaults::timeout_seconds")]
    pub timeout_seconds: u32,
    /// Minutes before the newest message that every run reads again, since the upstream stores messages late.
    #[serde(default = "defaults::overlap_minutes")]
    pub overlap_minutes: u32,
}

mod defaults {
    /// The original's first month.
    pub fn start() -> String {
        "2023-10-01".to_owned()
    }
    pub fn timeout_seconds() -> u32 {
        15
    }
    pub fn overlap_minutes() -> u32 {
        10
    }
}

impl UpstreamConfig {
    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: &str| mistakes.push(Mistake::new(format!("upstream.{key}"), message));
        let rest = ["http://", "https://"].iter().find_map(|scheme| self.url.strip_prefix(scheme));
        match rest {
            None => wrong("url", "must begin with http:// or https://"),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => wrong("url", "names no host"),
            Some(rest) if rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) => {
                wrong("url", "has a query, credentials or blanks");
            }
            Some(_) => {}
        }
        match (&self.key, self.use_inner_token) {
            (None, false) => wrong("key", "is needed, or use_inner_token"),
            (Some(_), true) => wrong("key", "is of no use beside use_inner_token"),
            (Some(key), false) if key.expose().is_empty() => wrong("key", "is empty"),
            _ => {}
        }
        for (key, names) in [("conversations", &self.conversations), ("sessions", &self.sessions)] {
            for index in names.iter().enumerate().filter(|(_, name)| name.is_empty()).map(|(index, _)| index) {
                wrong(&format!("{key}[{index}]"), "is empty");
            }
        }
        if self.day().is_none() {
            wrong("start", "must be a day from 1970 on, such as 2023-10-01");
        }
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&self.timeout_seconds) {
            wrong("timeout_seconds", &format!("must be 1 to {MAX_TIMEOUT_SECONDS}"));
        }
        if self.overlap_minutes > MAX_OVERLAP_MINUTES {
            wrong("overlap_minutes", &format!("must be at most {MAX_OVERLAP_MINUTES}"));
        }
        mistakes
    }

    /// The address without a slash at its end.
    pub fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// When the history to archive begins.
    pub fn begins(&self) -> Micros {
        self.day().unwrap_or_default()
    }

    fn day(&self) -> Option<Micros> {
        let day: NaiveDate = self.start.parse().ok()?;
        let at = day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros();
        (at >= 0).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(value: Value) -> UpstreamConfig {
        serde_json::from_value(value).expect("the shape is right")
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(json!({ "url": "http://im.example.com:8088/", "key": "theirs" }));
        assert_eq!(config.mistakes(), []);
        assert_eq!((config.base(), config.begins()), ("http://im.example.com:8088", 1_696_118_400_000_000));
        assert_eq!((config.timeout_seconds, config.overlap_minutes), (15, 10));
        assert!(!format!("{config:?}").contains("theirs"));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let told = |value| config(value).mistakes().iter().map(Mistake::to_string).collect::<Vec<_>>();
        let wrong = json!({
            "url": "im.example.com", "conversations": ["x", ""], "sessions": [""], "start": "yesterday",
            "timeout_seconds": 0, "overlap_minutes": 1441,
        });
        let expected = [
            "upstream.url: must begin with http:// or https://",
            "upstream.key: is needed, or use_inner_token",
            "upstream.conversations[1]: is empty",
            "upstream.sessions[0]: is empty",
            "upstream.start: must be a day from 1970 on, such as 2023-10-01",
            "upstream.timeout_seconds: must be 1 to 30",
            "upstream.overlap_minutes: must be at most 1440",
        ];
        assert_eq!(told(wrong), expected);
        assert_eq!(told(json!({ "url": "http://", "use_inner_token": true })), ["upstream.url: names no host"]);
        let both = json!({ "url": "http://u:p@im/", "key": "theirs", "use_inner_token": true });
        let expected =
            ["upstream.url: has a query, credentials or blanks", "upstream.key: is of no use beside use_inner_token"];
        assert_eq!(told(both), expected);
    }
}
