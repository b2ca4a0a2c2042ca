//! The example in `config/steled.toml` shows every setting with its default.

use serde_json::{Value, json};
use stele_openim::config::Config;

const FILE: &str = include_str!("../../../config/steled.toml");
/// What has no default.
const SECRET: &str = "s3cr3t s3cr3t";

/// The settings of the example, uncommented.
fn documented() -> Value {
    let lines = FILE.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
    let text = settings.collect::<Vec<_>>().join("\n");
    let instances = text.split("[[instance]]\n");
    let example = instances.filter(|part| part.contains("plugin = \"openim\"\n")).collect::<String>();
    let example: Value = toml_edit::de::from_str(&example).expect("the example is TOML");
    example["instance"]["config"].clone()
}

/// What there is, as an error about what there is not tells it.
fn settings(with_unknown: Value) -> Vec<String> {
    let error = serde_json::from_value::<Config>(with_unknown).expect_err("there is no such setting").to_string();
    error.split('`').skip(1).step_by(2).filter(|setting| *setting != "?").map(str::to_owned).collect()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let mut example = documented();
    for setting in settings(json!({ "?": 0 })) {
        assert!(example.get(&setting).is_some(), "config/steled.toml does not document {setting}");
    }
    let mut upstream =
        example.as_object_mut().and_then(|example| example.remove("upstream")).expect("it is documented");
    for setting in settings(json!({ "secret": SECRET, "upstream": { "?": 0 } })) {
        assert!(upstream.get(&setting).is_some(), "config/steled.toml does not document upstream.{setting}");
    }
    for unset in ["secret", "admin", "hook_secret"] {
        upstream.as_object_mut().expect("it is a table").remove(unset);
    }
    example["secret"] = json!(SECRET);
    let of = |config: Value| {
        let config: Config = serde_json::from_value(config).expect("the example has the right shape");
        assert_eq!(config.mistakes(), []);
        format!("{config:?}")
    };
    assert_eq!(of(example), of(json!({ "secret": SECRET })));
    let with = |upstream: &Value| of(json!({ "secret": SECRET, "upstream": upstream }));
    assert_eq!(with(&upstream), with(&json!({ "url": upstream["url"] })));
}
