//! The table a plugin gets: opaque to the daemon, with its references resolved.

use super::places::Step;
use super::reader::{Reader, Setting};
use super::secret::{MASK, reference};
use figment::value::{Dict, Value};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;

/// A key whose name contains one of these hides all text below it.
const SECRET_WORDS: &[&str] = &["key", "secret", "password", "passwd", "pem", "token", "credential"];

/// How the `toml` crate hands a date to something that knows no dates.
const DATE_KEY: &str = "$__toml_private_datetime";

/// The configuration of a plugin. Neither `Debug` nor `Serialize` show its secrets; [`value`](Self::value) does.
#[derive(Clone, PartialEq)]
pub struct PluginConfig {
    value: serde_json::Value,
    /// JSON pointers of what came from files and variables: always masked.
    referenced: BTreeSet<String>,
}

impl PluginConfig {
    /// What the plugin gets. Not to be shown.
    pub fn value(&self) -> &serde_json::Value {
        &self.value
    }

    /// The same with every secret masked.
    pub fn masked(&self) -> serde_json::Value {
        self.mask(&self.value, &mut String::new(), false)
    }

    fn mask(&self, value: &serde_json::Value, pointer: &mut String, secret: bool) -> serde_json::Value {
        use serde_json::Value as Json;
        let secret = secret || self.referenced.contains(pointer);
        let length = pointer.len();
        match value {
            Json::String(text) if !text.is_empty() && (secret || has_user_info(text)) => MASK.into(),
            Json::Array(values) => {
                let masked = values.iter().enumerate().map(|(index, value)| {
                    pointer.push_str(&format!("/{index}"));
                    let masked = self.mask(value, pointer, secret);
                    pointer.truncate(length);
                    masked
                });
                Json::Array(masked.collect())
            }
            Json::Object(entries) => {
                let masked = entries.iter().map(|(key, value)| {
                    pointer.push('/');
                    pointer.push_str(key);
                    let masked = self.mask(value, pointer, secret || is_secret_name(key));
                    pointer.truncate(length);
                    (key.clone(), masked)
                });
                Json::Object(masked.collect())
            }
            other => other.clone(),
        }
    }
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self::from(serde_json::Value::Object(serde_json::Map::new()))
    }
}

impl From<serde_json::Value> for PluginConfig {
    fn from(value: serde_json::Value) -> Self {
        Self { value, referenced: BTreeSet::new() }
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.masked())
    }
}

impl Serialize for PluginConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.masked().serialize(serializer)
    }
}

impl Setting for PluginConfig {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(value, Value::Dict(..)) {
            reader.mismatch(value, "a table");
            return None;
        }
        let mut referenced = BTreeSet::new();
        let value = json(value, reader, &mut String::new(), &mut referenced);
        Some(Self { value, referenced })
    }
}

fn json(
    value: &Value,
    reader: &mut Reader<'_>,
    pointer: &mut String,
    referenced: &mut BTreeSet<String>,
) -> serde_json::Value {
    let length = pointer.len();
    match value {
        Value::String(_, text) => text.as_str().into(),
        Value::Char(_, char) => char.to_string().into(),
        Value::Bool(_, truth) => (*truth).into(),
        Value::Num(..) => json_number(value),
        Value::Empty(..) => serde_json::Value::Null,
        Value::Array(_, values) => {
            let values = values.iter().enumerate().map(|(index, value)| {
                pointer.push_str(&format!("/{index}"));
                let value = reader.within(Step::Index(index), |reader| json(value, reader, pointer, referenced));
                pointer.truncate(length);
                value
            });
            values.collect()
        }
        Value::Dict(_, dict) => {
            if let Some(Value::String(_, date)) = dict.get(DATE_KEY) {
                return date.as_str().into();
            }
            if let Some(reference) = reference(dict) {
                referenced.insert(pointer.clone());
                return reference.resolve(value, reader).into();
            }
            json_object(dict, reader, pointer, referenced)
        }
    }
}

fn json_object(
    dict: &Dict,
    reader: &mut Reader<'_>,
    pointer: &mut String,
    referenced: &mut BTreeSet<String>,
) -> serde_json::Value {
    let length = pointer.len();
    let entries = dict.iter().filter_map(|(key, value)| {
        pointer.push('/');
        pointer.push_str(key);
        let value = reader.within(Step::Key(key.clone()), |reader| {
            (!reader.is_unset(value)).then(|| json(value, reader, pointer, referenced))
        });
        pointer.truncate(length);
        Some((key.clone(), value?))
    });
    serde_json::Value::Object(entries.collect())
}

fn json_number(value: &Value) -> serde_json::Value {
    match (value.to_i128(), value.to_f64()) {
        (Some(whole), _) => i64::try_from(whole).map_or(serde_json::Value::Null, Into::into),
        (None, Some(fraction)) => fraction.into(),
        (None, None) => serde_json::Value::Null,
    }
}

fn is_secret_name(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `https://user:password@host`
fn has_user_info(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|authority| authority.contains('@')))
}
