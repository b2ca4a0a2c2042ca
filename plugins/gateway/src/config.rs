//! The configuration of one instance (`[instance.config]`), as it arrives in hello.

use crate::token;
use crate::upstream::UpstreamConfig;
use chrono_tz::Tz;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;
use stele_plugin_api::{Mistake, Secret};

/// Longest life of a token, in seconds: a year.
pub const MAX_TOKEN_SECONDS: u32 = 366 * 24 * 3600;
/// Longest wait of a poll, in seconds.
pub const MAX_POLL_SECONDS: u32 = 300;

/// An instance's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys of user tokens: the first signs, all are accepted.
    #[serde(default)]
    pub jwt_keys: Vec<Secret>,
    /// Accept the key that every unmodified quick-im-core has in its source.
    #[serde(default)]
    pub allow_known_key: bool,
    /// Seconds a token lives.
    #[serde(default = "defaults::token_seconds")]
    pub token_seconds: u32,
    /// Refuse tokens that do not say when they end.
    #[serde(default = "defaults::yes")]
    pub require_exp: bool,
    /// Who may call `/inner/*`: addresses, and ranges as in `10.0.0.0/8`. Whom a proxy says it asks for must be among them, too.
    #[serde(default = "defaults::ip_allow")]
    pub ip_allow: Vec<String>,
    /// Only members read a conversation and send to it.
    #[serde(default = "defaults::yes")]
    pub membership: bool,
    /// Whoever has a token and knows the id of a conversation may join it, even who was kicked out of it.
    #[serde(default = "defaults::yes")]
    pub open_join: bool,
    /// The first message of a new conversation; empty for none.
    #[serde(default = "defaults::greeting")]
    pub greeting: String,
    /// How times are written.
    #[serde(default)]
    pub time_format: TimeFormat,
    /// IANA zone of times that are written as text.
    #[serde(default = "defaults::time_zone")]
    pub time_zone: String,
    /// Seconds a poll waits.
    #[serde(default = "defaults::poll_seconds")]
    pub poll_seconds: u32,
    /// Answer 90010 and 90011 where the original means them and says 10002.
    #[serde(default)]
    pub specific_codes: bool,
    /// `data` in the answer of set_archive_conversations, as the original has; the documents have none.
    #[serde(default = "defaults::yes")]
    pub set_archive_data: bool,
    /// A quick-im-core whose conversations are archived, and to which sends are relayed.
    #[serde(default)]
    pub upstream: Option<UpstreamConfig>,
}

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeFormat {
    /// Microseconds since 1970 (contract 004).
    #[default]
    Micros,
    /// Text (contract 003).
    Rfc3339,
}

mod defaults {
    pub fn yes() -> bool {
        true
    }
    pub fn token_seconds() -> u32 {
        24 * 3600
    }
    pub fn ip_allow() -> Vec<String> {
        ["127.0.0.0/8", "::1"].map(str::to_owned).to_vec()
    }
    pub fn greeting() -> String {
        "您已加入对话 ".to_owned()
    }
    pub fn time_zone() -> String {
        "Asia/Shanghai".to_owned()
    }
    pub fn poll_seconds() -> u32 {
        30
    }
}

impl Config {
    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.jwt_keys.is_empty() {
            mistakes.push(Mistake::new("jwt_keys", "at least one key is needed"));
        }
        for (index, key) in self.jwt_keys.iter().enumerate() {
            let wrong = if token::is_known_key(key) {
                let known = "is the key in the source of quick-im-core: everybody can make tokens with it";
                (!self.allow_known_key).then(|| known.to_owned())
            } else {
                let least = token::MIN_KEY_BYTES;
                (key.expose().len() < least).then(|| format!("has fewer than {least} bytes"))
            };
            mistakes.extend(wrong.map(|wrong| Mistake::new(format!("jwt_keys[{index}]"), wrong)));
        }
        if !(1..=MAX_TOKEN_SECONDS).contains(&self.token_seconds) {
            mistakes.push(Mistake::new("token_seconds", format!("must be 1 to {MAX_TOKEN_SECONDS}")));
        }
        for (index, entry) in self.ip_allow.iter().enumerate().filter(|(_, entry)| range(entry).is_none()) {
            let wrong = format!("`{}` is neither an address nor a range", entry.escape_debug());
            mistakes.push(Mistake::new(format!("ip_allow[{index}]"), wrong));
        }
        if self.time_zone.parse::<Tz>().is_err() {
            mistakes.push(Mistake::new("time_zone", format!("`{}` is not an IANA time zone", self.time_zone)));
        }
        if !(1..=MAX_POLL_SECONDS).contains(&self.poll_seconds) {
            mistakes.push(Mistake::new("poll_seconds", format!("must be 1 to {MAX_POLL_SECONDS}")));
        }
        mistakes.extend(self.upstream.iter().flat_map(UpstreamConfig::mistakes));
        mistakes
    }

    /// The zone of times as text.
    pub fn zone(&self) -> Tz {
        self.time_zone.parse().unwrap_or(Tz::UTC)
    }

    /// Who may call `/inner/*`.
    pub fn inner_callers(&self) -> Vec<IpNet> {
        self.ip_allow.iter().filter_map(|entry| range(entry)).collect()
    }
}

/// A range of addresses; an address alone is a range of one (the original loses it: reference/gateway.md §3). IPv4 within IPv6
/// is IPv4.
fn range(entry: &str) -> Option<IpNet> {
    let range: IpNet = entry.parse().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))?;
    let mapped = match range.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped().zip(range.prefix_len().checked_sub(96)),
        IpAddr::V4(_) => None,
    };
    match mapped {
        Some((address, bits)) => IpNet::new(address.into(), bits).ok(),
        None => Some(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn config(value: Value) -> Config {
        serde_json::from_value(value).expect("the shape is right")
    }

    fn told(value: Value) -> Vec<String> {
        config(value).mistakes().iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(json!({ "jwt_keys": [KEY] }));
        assert_eq!(config.mistakes(), []);
        assert_eq!((config.token_seconds, config.poll_seconds, config.time_format), (86_400, 30, TimeFormat::Micros));
        assert_eq!((config.zone(), config.greeting.as_str()), (Tz::Asia__Shanghai, "您已加入对话 "));
        assert!(config.membership && config.open_join && config.require_exp && config.set_archive_data);
        assert!(!config.allow_known_key && !config.specific_codes);
        assert_eq!(config.ip_allow, ["127.0.0.0/8", "::1"]);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let expected = [
            "jwt_keys[0]: has fewer than 32 bytes",
            "token_seconds: must be 1 to 31622400",
            "ip_allow[1]: `10.0.0.0/33` is neither an address nor a range",
            "ip_allow[2]: `localhost` is neither an address nor a range",
            "time_zone: `Mars/Olympus` is not an IANA time zone",
            "poll_seconds: must be 1 to 300",
        ];
        let wrong = json!({
            "jwt_keys": ["short", KEY], "token_seconds": 0, "ip_allow": ["10.0.0.0/8", "10.0.0.0/33", "localhost"],
            "time_zone": "Mars/Olympus", "poll_seconds": 0,
        });
        assert_eq!(told(wrong), expected);
        assert_eq!(told(json!({})), ["jwt_keys: at least one key is needed"]);
    }

    #[test]
    fn the_key_everybody_knows_is_refused() {
        // Joined here, so that it is found nowhere.
        let known = ["config", "Config", "Jwt", "Key"].join(".");
        let wrong = ["jwt_keys[1]: is the key in the source of quick-im-core: everybody can make tokens with it"];
        assert_eq!(told(json!({ "jwt_keys": [KEY, known] })), wrong);
        assert_eq!(told(json!({ "jwt_keys": [known], "allow_known_key": true })), [""; 0]);
    }

    #[test]
    fn ranges_hold_the_addresses_they_say() {
        let check = |entry: &str, address: &str, expected: bool| {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(range(entry).unwrap().contains(&address), expected, "{entry} {address}");
        };
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("::1", "::2", false);
        check("::ffff:10.0.0.0/104", "10.9.9.9", true);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        assert_eq!(range("10.0.0.1/"), None);
    }

    #[test]
    fn no_secret_is_printed_and_nothing_misspelt_accepted() {
        let printed = format!("{:?}", config(json!({ "jwt_keys": [KEY] })));
        assert!(!printed.contains(KEY), "{printed}");
        for wrong in [json!({ "jwt_key": KEY }), json!({ "time_format": "millis" })] {
            assert!(serde_json::from_value::<Config>(wrong).is_err());
        }
    }
}
