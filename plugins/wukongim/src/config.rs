//! The configuration of one instance (`[instance.config]`), as it arrives in hello.

use crate::id;
use crate::upstream::UpstreamConfig;
use crate::webhook::WebhookConfig;
use serde::{Deserialize, Deserializer};
use stele_plugin_api::{Mistake, Secret};

/// An instance's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What callers have to send; without one nobody is asked for anything.
    #[serde(default)]
    pub token: Option<Secret>,
    /// What tells the message ids of this instance from those of others that make some at the same time. Unset: the daemon's own
    /// number.
    #[serde(default, deserialize_with = "node")]
    pub node_id: Option<u16>,
    /// What `pull_mode` of `/channel/messagesync` means.
    #[serde(default)]
    pub pull_mode: PullMode,
    /// What `/messages` answers.
    #[serde(default)]
    pub messages_form: MessagesForm,
    /// Where messages are told to.
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
    /// A WuKongIM whose channels are archived.
    #[serde(default)]
    pub upstream: Option<UpstreamConfig>,
}

/// The node that is shown where none is configured: a daemon like any other answers for all of them.
const ONLY_NODE: u16 = 1;

/// Any whole number: what is no node's is told by [`Config::mistakes`].
fn node<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    Ok(Some(u16::try_from(i64::deserialize(deserializer)?).unwrap_or(u16::MAX)))
}

/// Why nobody could ever send this token.
pub fn mistake_of_token(token: &Secret) -> Option<&'static str> {
    let token = token.expose();
    if token.trim().is_empty() {
        return Some("is empty");
    }
    // Spaces around a header's value are not part of it.
    let is_sent = token.bytes().all(|byte| matches!(byte, b' '..=b'~')) && token.trim() == token;
    (!is_sent).then_some("must be visible ASCII characters, with spaces only between them: it is sent in a header")
}

/// What `pull_mode` means (reference/wukongim.md §17, traps 1 and 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullMode {
    /// 0 towards newer messages, 1 towards older ones (contract 001).
    #[default]
    Contract,
    /// 0 towards older messages, 1 towards newer ones, as every real server has it.
    Upstream,
}

/// What `/messages` answers (reference/wukongim.md §17, trap 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessagesForm {
    /// The messages, newest first (contract 001).
    #[default]
    Array,
    /// The messages as they were asked for, in an object like that of `/channel/messagesync`.
    Object,
}

impl Config {
    /// The node others are told of, whichever daemon tells them.
    pub fn shown_node(&self) -> u16 {
        self.node_id.unwrap_or(ONLY_NODE)
    }

    /// The node of the ids made here, by a daemon of this number.
    pub fn node_of_ids(&self, daemon: Option<u16>) -> u16 {
        self.node_id.or(daemon).unwrap_or(ONLY_NODE)
    }

    /// Everything that is wrong beside its shape. No secret appears in it.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        mistakes.extend(self.token.as_ref().and_then(mistake_of_token).map(|said| Mistake::new("token", said)));
        if self.node_id.is_some_and(|node| node > id::MAX_NODE) {
            mistakes.push(Mistake::new("node_id", format!("must be 0 to {}", id::MAX_NODE)));
        }
        mistakes.extend(self.webhook.iter().flat_map(WebhookConfig::mistakes));
        mistakes.extend(self.upstream.iter().flat_map(UpstreamConfig::mistakes));
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(value: Value) -> Config {
        serde_json::from_value(value).expect("the shape is right")
    }

    #[test]
    fn nothing_has_to_be_said() {
        let config = config(json!({}));
        assert_eq!(config.mistakes(), []);
        assert_eq!((config.shown_node(), config.node_of_ids(None), config.node_of_ids(Some(7))), (1, 1, 7));
        assert_eq!((config.token, config.node_id), (None, None));
        assert_eq!((config.pull_mode, config.messages_form), (PullMode::Contract, MessagesForm::Array));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mistakes = config(json!({ "token": "", "node_id": 1024 })).mistakes();
        let told: Vec<_> = mistakes.iter().map(Mistake::to_string).collect();
        const NOT_SENT: &str =
            "token: must be visible ASCII characters, with spaces only between them: it is sent in a header";
        assert_eq!(told, ["token: is empty", "node_id: must be 0 to 1023"]);
        for node in [-1, 1024, 99_999, i64::MIN] {
            assert_eq!(config(json!({ "node_id": node })).mistakes().len(), 1, "{node}");
        }
        for (token, said) in
            [(" \n ", "token: is empty"), ("\u{feff}abc", NOT_SENT), ("a\tb", NOT_SENT), (" ab", NOT_SENT)]
        {
            let mistakes = config(json!({ "token": token })).mistakes();
            assert_eq!(mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>(), [said]);
        }
        assert_eq!(config(json!({ "token": "a b" })).mistakes().len(), 0);
    }

    #[test]
    fn no_secret_is_printed_and_nothing_misspelt_accepted() {
        let printed = format!("{:?}", config(json!({ "token": "s3cr3t" })));
        assert!(!printed.contains("s3cr3t"), "{printed}");
        for wrong in [json!({ "tokens": "x" }), json!({ "pull_mode": "seed" }), json!({ "messages_form": "list" })] {
            assert!(serde_json::from_value::<Config>(wrong).is_err());
        }
    }
}
