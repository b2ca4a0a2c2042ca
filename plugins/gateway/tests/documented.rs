//! The example in `config/steled.toml` shows every setting with its default.

use serde_json::{Value, json};
use stele_gateway::config::Config;

const FILE: &str = include_str!("../../../config/steled.toml");
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The settings of the example, uncommented.
fn documented() -> Value {
    let lines = FILE.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
    let text = settings.collect::<Vec<_>>().join("\n");
    let instances = text.split("[[instance]]\n");
    let example = instances.filter(|part| part.contains("plugin = \"gateway\"\n")).collect::<String>();
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
    // An upstream there is only when there is one; what else it has, has its default.
    let mut upstream =
        example.as_object_mut().and_then(|example| example.remove("upstream")).expect("it is documented");
    let known = json!({ "url": upstream["url"], "key": KEY });
    let everything = json!({ "jwt_keys": [KEY], "upstream": { "url": "", "?": 0 } });
    let everything = serde_json::from_value::<Config>(everything).expect_err("there is no such setting").to_string();
    for setting in everything.split('`').skip(1).step_by(2).filter(|setting| *setting != "?") {
        assert!(upstream.get(setting).is_some(), "config/steled.toml does not document upstream.{setting}");
    }
    upstream["key"] = json!(KEY);
    let of = |upstream: Value| {
        let config: Config =
            serde_json::from_value(json!({ "jwt_keys": [KEY], "upstream": upstream })).expect("it is right");
        assert_eq!(config.mistakes(), []);
        format!("{config:?}")
    };
    assert_eq!(of(upstream), of(known));
    example["jwt_keys"] = json!([KEY]);
    let example: Config = serde_json::from_value(example).expect("the example has the right shape");
    let default: Config = serde_json::from_value(json!({ "jwt_keys": [KEY] })).expect("a key is enough");
    assert_eq!(format!("{example:?}"), format!("{default:?}"));
    assert_eq!(example.mistakes(), []);
}
