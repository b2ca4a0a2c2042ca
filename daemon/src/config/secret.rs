//! Text that must not be seen, and the references it may be written as.

use super::reader::{Reader, Setting};
use figment::value::{Dict, Value};
use serde::{Serialize, Serializer};
use std::fmt;

/// What stands for a secret wherever one would be shown.
pub const MASK: &str = "***";

/// Text that is shown nowhere: neither by `Debug` nor by [`Config::to_toml`](super::Config::to_toml).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Compare it in constant time.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is only what is shown instead of one.
    pub fn is_masked(&self) -> bool {
        self.0 == MASK
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl Setting for Secret {
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match value {
            Value::Dict(_, dict) => match reference(dict) {
                Some(reference) => reference.resolve(value, reader)?,
                None => {
                    reader.problem(value, "expected text, { file = \"path\" } or { env = \"NAME\" }");
                    return None;
                }
            },
            _ => String::read(value, reader)?,
        };
        if text.is_empty() {
            reader.problem(value, "must not be empty");
            return None;
        }
        Some(Self(text))
    }
}

/// A value that lies elsewhere.
pub enum Reference<'a> {
    /// `{ file = "path" }`
    File(&'a str),
    /// `{ env = "NAME" }`
    Variable(&'a str),
}

/// The reference a table is, if it is one: exactly one key, `file` or `env`, with text.
pub fn reference(dict: &Dict) -> Option<Reference<'_>> {
    let mut entries = dict.iter();
    match (entries.next()?, entries.next()) {
        ((key, Value::String(_, text)), None) if key == "file" => Some(Reference::File(text)),
        ((key, Value::String(_, text)), None) if key == "env" => Some(Reference::Variable(text)),
        _ => None,
    }
}

impl Reference<'_> {
    /// What it refers to, line ends at the end trimmed; a problem when there is nothing.
    pub fn resolve(&self, value: &Value, reader: &mut Reader<'_>) -> Option<String> {
        let found = match self {
            Self::File(path) => {
                let path = reader.resolve(value, path);
                (reader.surroundings.read_file)(&path)
                    .map_err(|error| format!("file {} cannot be read: {error}", path.display()))
            }
            Self::Variable(name) => {
                reader.surroundings.variables.get(*name).cloned().ok_or_else(|| format!("variable {name} is not set"))
            }
        };
        match found {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(message) => {
                reader.problem(value, message);
                None
            }
        }
    }
}
