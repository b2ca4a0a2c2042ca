//! The example in `config/steled.toml` shows every setting with its default.

use serde_json::{Value, json};
use stele_wukongim::config::Config;

const FILE: &str = include_str!("../../../config/steled.toml");

/// The settings of the example, uncommented.
fn documented() -> Value {
    let lines = FILE.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
    let text = settings.collect::<Vec<_>>().join("\n");
    let instances = text.split("[[instance]]\n");
    let example = instances.filter(|part| part.contains("plugin = \"wukongim\"\n")).collect::<String>();
    let example: Value = toml_edit::de::from_str(&example).expect("the example is TOML");
    example["instance"]["config"].clone()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let mut example = documented();
    let everything =
        serde_json::from_value::<Config>(json!({ "?": 0 })).expect_err("there is no such setting").to_string();
    for setting in everything.split('`').skip(1).step_by(2).filter(|setting| *setting != "?") {
        assert!(example.get(setting).is_some(), "config/steled.toml does not document {setting}");
    }
    // Webhooks there are only where somebody says so; what else they have, has its default.
    let mut webhook = example.as_object_mut().and_then(|example| example.remove("webhook")).expect("it is documented");
    let everything = serde_json::from_value::<Config>(json!({ "webhook": { "?": 0 } }));
    let everything = everything.expect_err("there is no such setting").to_string();
    // Of gRPC it says that there is none.
    for setting in everything.split('`').skip(1).step_by(2).filter(|setting| !["?", "grpcAddr"].contains(setting)) {
        assert!(webhook.get(setting).is_some(), "config/steled.toml does not document webhook.{setting}");
    }
    webhook.as_object_mut().expect("it is a table").remove("secret");
    let of = |webhook: Value| {
        let config: Config = serde_json::from_value(json!({ "webhook": webhook })).expect("it is right");
        assert_eq!(config.mistakes(), []);
        format!("{config:?}")
    };
    let known = json!({ "httpAddr": webhook["httpAddr"] });
    assert_eq!(of(webhook), of(known));
    // An upstream there is only when there is one; what else it has, has its default.
    let mut upstream =
        example.as_object_mut().and_then(|example| example.remove("upstream")).expect("it is documented");
    let known = json!({ "url": upstream["url"], "manager_url": upstream["manager_url"] });
    let everything = serde_json::from_value::<Config>(json!({ "upstream": { "url": "", "?": 0 } }));
    let everything = everything.expect_err("there is no such setting").to_string();
    for setting in everything.split('`').skip(1).step_by(2).filter(|setting| *setting != "?") {
        assert!(upstream.get(setting).is_some(), "config/steled.toml does not document upstream.{setting}");
    }
    for secret in ["token", "username", "password", "hook_secret"] {
        upstream.as_object_mut().expect("it is a table").remove(secret);
    }
    let of = |upstream: Value| {
        let config: Config = serde_json::from_value(json!({ "upstream": upstream })).expect("it is right");
        assert_eq!(config.mistakes(), []);
        format!("{config:?}")
    };
    assert_eq!(of(upstream), of(known));
    // There is a token, or a node, only where somebody says so; everything else has its default.
    for key in ["token", "node_id"] {
        example.as_object_mut().expect("it is a table").remove(key);
    }
    let example: Config = serde_json::from_value(example).expect("the example has the right shape");
    let default: Config = serde_json::from_value(json!({})).expect("nothing is needed");
    assert_eq!(format!("{example:?}"), format!("{default:?}"));
    assert_eq!(example.mistakes(), []);
}
