//! The table a plugin gets: opaque to the daemon, with its references resolved.
//!
//! Only the plugin knows its types, so what a variable says is text, be it `12345678` or `true`, unless it is an array, a
//! table or text in quotes, as TOML writes them. The SDK takes text that says a number or a truth value for one where one is
//! wanted; a password of eight digits stays what it is.

use super::places::Step;
use super::reader::{Reader, Setting, steps_of};
use super::secret::{MASK, reference};
use figment::value::{Dict, Value};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A key whose name contains one of these hides all text below it.
const SECRET_WORDS: &[&str] = &["key", "secret", "password", "passwd", "pem", "token", "credential"];

/// How the `toml` crate hands a date to something that knows no dates.
const DATE_KEY: &str = "$__toml_private_datetime";

/// The configuration of a plugin. Neither `Debug` nor `Serialize` show its secrets; [`value`](Self::value) does.
#[derive(Clone, PartialEq)]
pub struct PluginConfig {
    value: serde_json::Value,
    origins: Origins,
}

/// Where parts of it came from, by their JSON pointers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Origins {
    /// What came from files and variables it refers to: always masked.
    referenced: BTreeSet<String>,
    /// What `STELE_` variables say, by their names.
    variables: BTreeMap<String, String>,
}

impl PluginConfig {
    /// What the plugin gets. Not to be shown.
    pub fn value(&self) -> &serde_json::Value {
        &self.value
    }

    /// JSON pointers of text that may stand for a number or a truth value: what variables and files say.
    pub fn texts(&self) -> Vec<String> {
        let Origins { referenced, variables } = &self.origins;
        referenced.iter().chain(variables.keys()).cloned().collect()
    }

    /// The variable that says what is at this key, or around it.
    pub(super) fn variable_of(&self, key: &str) -> Option<&str> {
        let pointer: String = steps_of(key).iter().map(|step| format!("/{step}")).collect();
        let ends = pointer.match_indices('/').map(|(at, _)| at).chain([pointer.len()]);
        ends.filter_map(|end| self.origins.variables.get(&pointer[..end])).next_back().map(String::as_str)
    }

    /// The same with every secret masked.
    pub fn masked(&self) -> serde_json::Value {
        self.mask(&self.value, &mut String::new(), false)
    }

    fn mask(&self, value: &serde_json::Value, pointer: &mut String, secret: bool) -> serde_json::Value {
        use serde_json::Value as Json;
        let secret = secret || self.origins.referenced.contains(pointer);
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
        Self { value, origins: Origins::default() }
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
        let mut origins = Origins::default();
        let value = json(value, reader, &mut String::new(), &mut origins);
        Some(Self { value, origins })
    }
}

fn json(value: &Value, reader: &mut Reader<'_>, pointer: &mut String, origins: &mut Origins) -> serde_json::Value {
    let length = pointer.len();
    if let Some(variable) = reader.variable_here(value) {
        origins.variables.insert(pointer.clone(), variable);
    }
    match value {
        Value::String(_, text) => text.as_str().into(),
        Value::Char(_, char) => char.to_string().into(),
        Value::Bool(..) | Value::Num(..) if reader.raw_variable(value).is_some() => reader.raw_variable(value).into(),
        Value::Bool(_, truth) => (*truth).into(),
        Value::Num(..) => json_number(value, reader),
        Value::Empty(..) => serde_json::Value::Null,
        Value::Array(_, values) => {
            let values = values.iter().enumerate().map(|(index, value)| {
                pointer.push_str(&format!("/{index}"));
                let value = reader.within(Step::Index(index), |reader| json(value, reader, pointer, origins));
                pointer.truncate(length);
                value
            });
            values.collect()
        }
        Value::Dict(_, dict) => {
            if let Some(Value::String(_, date)) = dict.get(DATE_KEY) {
                return reader.raw_variable(value).unwrap_or(date).into();
            }
            if let Some(reference) = reference(dict) {
                origins.referenced.insert(pointer.clone());
                // What is not there has been told; what is beside it can be looked at all the same.
                return reference.resolve(value, reader).unwrap_or_default().into();
            }
            json_object(dict, reader, pointer, origins)
        }
    }
}

fn json_object(dict: &Dict, reader: &mut Reader<'_>, pointer: &mut String, origins: &mut Origins) -> serde_json::Value {
    let length = pointer.len();
    let entries = dict.iter().filter_map(|(key, value)| {
        pointer.push('/');
        pointer.push_str(key);
        let value = reader.within(Step::Key(key.clone()), |reader| {
            (!reader.is_unset(value)).then(|| json(value, reader, pointer, origins))
        });
        pointer.truncate(length);
        Some((key.clone(), value?))
    });
    serde_json::Value::Object(entries.collect())
}

fn json_number(value: &Value, reader: &mut Reader<'_>) -> serde_json::Value {
    match (value.to_i128(), value.to_f64()) {
        (Some(whole), _) => i64::try_from(whole).map_or(serde_json::Value::Null, Into::into),
        (None, Some(fraction)) => {
            if !fraction.is_finite() {
                reader.problem(value, format!("expected a number, found {fraction}"));
            }
            fraction.into()
        }
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
