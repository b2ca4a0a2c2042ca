//! A decrypted message: its fields, its searchable text, its files.
//!
//! [`Plain`] reads what the archive keeps as a message's body. It never fails on a field: what is missing or of another
//! type is empty, an unknown message type is searched by all of its strings, and only bytes that are no JSON object at
//! all are [`Plain::parse`]'s `None`.

mod files;
pub mod kinds;
mod lenient;
mod text;

pub use files::File;
pub use lenient::read;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// How deep messages inside of messages are followed: each level is JSON text inside of JSON, so that no level can hide
/// more containers than the parser itself allows.
pub const MAX_DEPTH: usize = 8;

/// Fields of the common envelope (reference/wecom-archive.md §2.1): never part of a body.
const ENVELOPE: [&str; 7] = ["msgid", "action", "from", "tolist", "roomid", "msgtime", "msgtype"];
/// Where the body of several types is.
const INFO: &str = "info";

/// A decrypted message.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain {
    fields: Map<String, Value>,
}

impl Plain {
    /// Reads the plaintext; `None` when it is no JSON object.
    pub fn parse(plaintext: &[u8]) -> Option<Self> {
        read(plaintext).map(|fields| Self { fields })
    }

    /// WeCom's id of it.
    pub fn msgid(&self) -> Cow<'_, str> {
        self.text_of("msgid")
    }

    /// `send`, `recall` or `switch`.
    pub fn action(&self) -> Cow<'_, str> {
        self.text_of("action")
    }

    /// Who sent it.
    pub fn from(&self) -> Cow<'_, str> {
        self.text_of("from")
    }

    /// Whom a switch event is about.
    pub fn user(&self) -> Cow<'_, str> {
        self.text_of("user")
    }

    /// Who it was sent to: everybody once, without empty ids.
    pub fn tolist(&self) -> Vec<String> {
        let mut receivers: Vec<String> = Vec::new();
        let mut add = |value: &Value| {
            let user = as_text(value);
            if !user.is_empty() && !receivers.iter().any(|known| *known == user) {
                receivers.push(user.into_owned());
            }
        };
        match field(&self.fields, "tolist") {
            Some(Value::Array(users)) => users.iter().for_each(&mut add),
            Some(user) => add(user),
            None => {}
        }
        receivers
    }

    /// The group; empty when it was not sent to one.
    pub fn roomid(&self) -> Cow<'_, str> {
        self.text_of("roomid")
    }

    /// When it was sent (a switch event: when it happened), in Unix milliseconds.
    pub fn msgtime(&self) -> Option<i64> {
        ["msgtime", "time"].iter().find_map(|name| field(&self.fields, name).and_then(as_millis))
    }

    /// The type; [`kinds::SWITCH`] and other actions stand in for a missing one.
    pub fn kind(&self) -> Cow<'_, str> {
        let msgtype = self.text_of("msgtype");
        let kind = if msgtype.is_empty() { self.action() } else { msgtype };
        if kind.is_empty() { Cow::Borrowed(kinds::UNKNOWN) } else { kind }
    }

    /// The message this one takes back.
    pub fn revokes(&self) -> Option<String> {
        let body = self.body();
        (self.kind() == "revoke" || self.action() == "recall")
            .then(|| field(&body, "pre_msgid").map(as_text))
            .flatten()
            .filter(|msgid| !msgid.is_empty())
            .map(Cow::into_owned)
    }

    /// What people search for.
    pub fn text(&self) -> String {
        text::of(&self.kind(), &self.body())
    }

    /// The files it brings, nested ones too, in their order and each once.
    pub fn files(&self) -> Vec<File> {
        files::of(&self.kind(), &self.fields)
    }

    /// The object that holds what the type is about.
    fn body(&self) -> Cow<'_, Map<String, Value>> {
        match body_key(&self.kind(), |key| key_of(&self.fields.keys(), key)) {
            Some(key) => match &self.fields[key.as_str()] {
                Value::Object(body) => Cow::Borrowed(body),
                other => Cow::Owned(Map::from_iter([(key.clone(), other.clone())])),
            },
            None => Cow::Owned(
                self.fields
                    .iter()
                    .filter(|(key, _)| !is_envelope(key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ),
        }
    }

    fn text_of(&self, name: &str) -> Cow<'_, str> {
        field(&self.fields, name).map_or(Cow::Borrowed(""), as_text)
    }
}

/// The body object of a message as JSON text, every number and every character as it came; `None` when the plaintext is
/// no JSON object. A type whose fields stand on the top level gets them in an object of their own.
pub fn body_object(plaintext: &[u8]) -> Option<Box<RawValue>> {
    let fields: RawFields = read(plaintext)?;
    let kind = Plain::parse(plaintext)?.kind().into_owned();
    match body_key(&kind, |key| key_of(&fields.0.iter().map(|(key, _)| key), key)) {
        Some(key) => fields.0.iter().rfind(|(known, _)| known == key).map(|(_, value)| value.clone()),
        None => {
            let fields = fields.0.iter().filter(|(key, _)| !is_envelope(key));
            let members: Vec<_> =
                fields.map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), value.get())).collect();
            RawValue::from_string(format!("{{{}}}", members.join(","))).ok()
        }
    }
}

/// The key of a type's body, in the order of reference/wecom-archive.md §2.3, row 1; `None` means the top level.
fn body_key<'f>(kind: &str, key_of: impl Fn(&str) -> Option<&'f String>) -> Option<&'f String> {
    let aliases = kinds::find(kind).map_or(&[][..], |kind| kind.body);
    std::iter::once(kind).chain(aliases.iter().copied()).chain([INFO]).find_map(key_of)
}

/// The key of this name, or one that differs in letter case only.
fn key_of<'f>(keys: &(impl Iterator<Item = &'f String> + Clone), name: &str) -> Option<&'f String> {
    keys.clone().find(|key| *key == name).or_else(|| keys.clone().find(|key| key.eq_ignore_ascii_case(name)))
}

fn is_envelope(key: &str) -> bool {
    ENVELOPE.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// A field by its name, or by one that differs in letter case only (reference/wecom-archive.md §2.3, row 9).
fn field<'f>(fields: &'f Map<String, Value>, name: &str) -> Option<&'f Value> {
    fields.get(name).or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Text of a scalar; empty for anything else.
fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Number(number) => Cow::Owned(number.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// A whole number, also one in quotes.
fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Below this a time is in seconds (reference/wecom-archive.md §2.3, row 3): 1973 in milliseconds, the year 5138 in seconds.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// A time in Unix milliseconds, whichever unit it came in.
fn as_millis(value: &Value) -> Option<i64> {
    let time = as_integer(value).filter(|time| *time > 0)?;
    Some(if time < SECONDS_BELOW { time * 1000 } else { time })
}

/// An object whose values are kept as they are spelled.
pub(crate) struct RawFields(pub(crate) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for RawFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawFields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(RawFields(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests;
