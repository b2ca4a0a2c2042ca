//! Reading an instance's configuration: what is wrong with it is told key by key, and without its values.
//!
//! serde stops at the first mistake and does not say where it is, and its sentence may repeat the value, which may be a
//! secret. So when a configuration cannot be read, parts of it are read: the smallest that fails with the same sentence is
//! where the mistake is. That needs no help from the type that is read, and costs nothing as long as
//! nothing is wrong. What is left without the mistakes is read, so that the plugin can say what else is wrong with it.

use crate::codec::reason;
use crate::error::{Error, Mistake};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Most mistakes that are told at once.
const MOST_MISTAKES: usize = 20;

/// Reads the configuration. Text at one of the pointers `texts` is read as the number or truth value it says where text is
/// of no use. `mistakes_of` finds what is wrong with what has the right shape.
///
/// # Errors
///
/// `invalid`, with every mistake. No value appears in it, unless `mistakes_of` puts it there.
pub(super) fn read<C: DeserializeOwned>(
    config: Value,
    texts: &[String],
    mistakes_of: impl Fn(&C) -> Vec<Mistake>,
) -> Result<C, Error> {
    // An instance without configuration has an empty one, not none.
    let mut config = if config.is_null() { Value::Object(serde_json::Map::new()) } else { config };
    let (mut mistakes, mut left_out) = (Vec::new(), Vec::<String>::new());
    loop {
        let wrong = match C::deserialize(&config) {
            Ok(config) => {
                let is_left_out = |key: &str| left_out.iter().any(|out| is_within(key, out) || is_within(out, key));
                mistakes.extend(mistakes_of(&config).into_iter().filter(|mistake| !is_left_out(&mistake.key)));
                if mistakes.is_empty() {
                    return Ok(config);
                }
                break;
            }
            Err(error) => error.to_string(),
        };
        let mut path = culprit::<C>(&config, &wrong);
        if let Some(part) = at(&mut config, &path)
            && let Some(said) = part.as_str().filter(|_| texts.contains(&pointer(&path))).and_then(said)
        {
            *part = said;
            continue;
        }
        mistakes.push(Mistake::new(dotted(&path), sentence(&wrong)));
        // On with what is left. What is needed cannot be left out without what it is needed in; and an array is left out
        // as a whole, since its other elements would get other numbers.
        let rest = loop {
            let Some(rest) = without(&config, &path) else { break None };
            let is_element = matches!(path.last(), Some(Step::Index(_)));
            match C::deserialize(&rest) {
                _ if is_element => path.truncate(path.len() - 1),
                Err(error) if is_lack(&error.to_string()) => path.truncate(path.len() - 1),
                _ => break Some(rest),
            }
        };
        match rest {
            Some(rest) if mistakes.len() < MOST_MISTAKES => {
                left_out.push(dotted(&path));
                config = rest;
            }
            _ => break,
        }
    }
    mistakes.sort();
    Err(Error::misconfigured(mistakes))
}

/// A step to a part: the key of a table, or the place in an array.
#[derive(Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn is_up_to(&self, last: &Self) -> bool {
        match (self, last) {
            (Self::Index(this), Self::Index(last)) => this <= last,
            _ => self == last,
        }
    }
}

/// The smallest part that is read with this mistake.
fn culprit<C: DeserializeOwned>(config: &Value, wrong: &str) -> Vec<Step> {
    let fails = |config: &Value| C::deserialize(config).err().map(|error| error.to_string());
    let mut config = config.clone();
    let mut path = Vec::new();
    while let Some(part) = at(&mut config, &path) {
        let whole = part.clone();
        keep(Some(part), &whole, |_| false);
        if fails(&config).as_deref() == Some(wrong) && !is_lack(wrong) {
            break;
        }
        let found = match &whole {
            // Elements are read one after the other, and so are keys: the first at which it fails.
            Value::Array(values) => (0..values.len()).map(Step::Index).find(|step| {
                keep(at(&mut config, &path), &whole, |other| other.is_up_to(step));
                fails(&config).as_deref() == Some(wrong)
            }),
            Value::Object(table) if !is_lack(wrong) => table.keys().cloned().map(Step::Key).find(|step| {
                let mut seen = false;
                keep(at(&mut config, &path), &whole, |other| {
                    let before = !seen;
                    seen |= other == step;
                    before
                });
                fails(&config).as_deref() == Some(wrong)
            }),
            // What is lacking is told when everything was read. Leaving out more may make another key the first that lacks.
            Value::Object(table) => table.keys().cloned().map(Step::Key).find(|step| {
                keep(at(&mut config, &path), &whole, |other| other != step);
                let gone = fails(&config).is_none_or(|error| !is_lack(&error));
                keep(at(&mut config, &path), &whole, |_| true);
                gone
            }),
            _ => None,
        };
        match found {
            Some(step) => path.push(step),
            None => break,
        }
    }
    path
}

/// Puts the whole back as far as `kept` says.
fn keep(part: Option<&mut Value>, whole: &Value, mut kept: impl FnMut(&Step) -> bool) {
    let Some(part) = part else { return };
    *part = match whole {
        Value::Object(table) => {
            let keys = table.iter().filter(|(key, _)| kept(&Step::Key((*key).clone())));
            Value::Object(keys.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        Value::Array(values) => {
            let values = values.iter().enumerate().filter(|(index, _)| kept(&Step::Index(*index)));
            Value::Array(values.map(|(_, value)| value.clone()).collect())
        }
        other => other.clone(),
    };
}

/// Whether a sentence says that something needed is not there.
fn is_lack(sentence: &str) -> bool {
    sentence.starts_with("missing field")
}

fn sentence(wrong: &str) -> String {
    // The key that is unknown is where the path ends.
    match wrong.strip_prefix("unknown field") {
        Some(_) => format!("unknown key, {}", reason(wrong)),
        None => reason(wrong),
    }
}

fn at<'v>(config: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(config, |part, step| match step {
        Step::Key(key) => part.get_mut(key),
        Step::Index(index) => part.get_mut(index),
    })
}

/// The configuration without this part; `None` for the whole of it.
fn without(config: &Value, path: &[Step]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut rest = config.clone();
    match (at(&mut rest, parents)?, last) {
        (Value::Object(table), Step::Key(key)) => _ = table.remove(key),
        (Value::Array(values), Step::Index(index)) => _ = values.remove(*index),
        _ => return None,
    }
    Some(rest)
}

/// The number or truth value that a text says, if it says one.
fn said(text: &str) -> Option<Value> {
    // As TOML has it.
    let digits = text.strip_prefix('+').unwrap_or(text).replace('_', "");
    serde_json::from_str(&digits).ok().filter(|value: &Value| value.is_number() || value.is_boolean())
}

/// Whether one key is another, or something in it.
fn is_within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `/corp/0/id`
fn pointer(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) => text + "/" + key,
        Step::Index(index) => format!("{text}/{index}"),
    })
}

/// `corp[0].id`
fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        #[serde(default)]
        retries: u8,
        #[serde(default)]
        zone: String,
        #[serde(default)]
        corp: Vec<Corp>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Corp {
        id: String,
        #[serde(default)]
        keys: Vec<Key>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Key {
        version: u32,
        pem: String,
    }

    #[test]
    fn every_mistake_is_told_with_its_key_and_without_its_value() {
        let check = |config: Value, expected: &[&str]| {
            let error = read(config.clone(), &[], |_: &Whole| Vec::new()).expect_err("it is wrong").to_string();
            assert_eq!(error, format!("invalid: unusable configuration: {}", expected.join("; ")), "{config}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        check(json!({ "retries": "hunter2" }), &["retries: expected u8"]);
        check(json!({ "retires": 1 }), &["retires: unknown key, expected one of `retries`, `zone`, `corp`"]);
        check(
            json!({ "zone": 7, "retries": 256, "corp": [{ "id": "a" }, { "id": "b", "key": "hunter2" }] }),
            &["corp[1].key: unknown key, expected `id` or `keys`", "retries: expected u8", "zone: expected a string"],
        );
        check(json!({ "corp": [{ "id": "a" }, { "keys": [] }] }), &["corp[1]: missing field `id`"]);
        check(json!({ "corp": [{ "id": 5 }] }), &["corp[0].id: expected a string"]);
        check(
            json!({ "corp": [{ "id": "a", "keys": [{ "version": 1 }, { "version": "2", "pem": "hunter2" }] }] }),
            &["corp[0].keys[0]: missing field `pem`"],
        );
        check(
            json!({ "corp": [{ "id": "a", "kyes": 1 }, { "id": "b", "kyes": 2 }] }),
            &[
                "corp[0].kyes: unknown key, expected `id` or `keys`",
                "corp[1].kyes: unknown key, expected `id` or `keys`",
            ],
        );
        check(
            json!({ "corp": [{ "id": "a", "keys": [{ "pem": "hunter2" }] }] }),
            &["corp[0].keys[0]: missing field `version`"],
        );
        check(json!({ "corp": { "id": "hunter2" } }), &["corp: expected a sequence"]);
        check(json!("hunter2"), &["expected struct Whole"]);
    }

    #[test]
    fn what_is_left_is_looked_at_as_well() {
        let mistakes_of = |config: &Whole| {
            let zone = (config.zone != "UTC").then(|| Mistake::new("zone", "is none"));
            let retries = (config.retries == 0).then(|| Mistake::new("retries", "is needed"));
            let corp = config.corp.is_empty().then(|| Mistake::new("corp", "is needed"));
            let ids = config.corp.iter().enumerate().filter(|(_, corp)| corp.id.is_empty());
            let ids = ids.map(|(index, _)| Mistake::new(format!("corp[{index}].id"), "is empty"));
            zone.into_iter().chain(retries).chain(corp).chain(ids).collect()
        };
        let check = |config: Value, expected: &[&str]| {
            let mistakes = read::<Whole>(config.clone(), &[], mistakes_of).expect_err("it is wrong").mistakes;
            assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{config}");
        };
        check(
            json!({ "zone": "Mars", "retries": 1, "corp": [{ "id": "" }] }),
            &["corp[0].id: is empty", "zone: is none"],
        );
        check(
            json!({ "zone": "Mars", "retries": "hunter2", "corp": [{ "id": "a", "keys": 5 }, { "id": "" }] }),
            &["corp[0].keys: expected a sequence", "corp[1].id: is empty", "retries: expected u8", "zone: is none"],
        );
        // What had to be left out whole is not said to be lacking.
        check(
            json!({ "zone": 7, "retries": 1, "corp": [{ "id": 5 }] }),
            &["corp[0].id: expected a string", "zone: expected a string"],
        );
    }

    #[test]
    fn text_from_where_all_is_text_is_taken_for_what_it_says() {
        let config = json!({ "retries": "1_6", "zone": "12", "corp": [{ "id": "007", "keys": [{ "version": "+3", "pem": "true" }] }] });
        let texts =
            ["/retries", "/zone", "/corp/0/id", "/corp/0/keys/0/version", "/corp/0/keys/0/pem"].map(str::to_owned);
        let read = |config: &Value, texts: &[String]| read::<Whole>(config.clone(), texts, |_| Vec::new());
        let whole = read(&config, &texts).expect("it is right");
        let key = Key { version: 3, pem: "true".into() };
        assert_eq!(
            whole,
            Whole { retries: 16, zone: "12".into(), corp: vec![Corp { id: "007".into(), keys: vec![key] }] }
        );
        // Elsewhere text is text, and what a text says may be of no use.
        read(&config, &texts[1..]).expect_err("a number is wanted");
        for said in ["256", "true", "hunter2", ""] {
            let error = read(&json!({ "retries": said }), &texts).expect_err("it is none");
            assert_eq!(error.mistakes, [Mistake::new("retries", "expected u8")], "{said}");
        }
    }

    #[test]
    fn what_is_right_is_read_and_nothing_is_an_empty_table() {
        let empty = Whole { retries: 0, zone: String::new(), corp: Vec::new() };
        let nothing = |_: &Whole| Vec::new();
        assert_eq!(read(Value::Null, &[], nothing).expect("it is right"), empty);
        let one = read(json!({ "retries": 3 }), &[], nothing).expect("it is right");
        assert_eq!(one, Whole { retries: 3, ..empty });
    }
}
