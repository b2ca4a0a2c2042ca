//! Payloads whatever their type.

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Any payload, whatever its type: to compare what both encodings say.
#[derive(Clone, Debug, PartialEq)]
pub enum Any {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Any>),
    Map(Vec<(String, Any)>),
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Any;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E>(self) -> Result<Any, E> {
                Ok(Any::Nil)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Any, E> {
                Ok(Any::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Any, E> {
                Ok(Any::Int(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Any, E> {
                Ok(Any::Int(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Any, E> {
                Ok(Any::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Any, E> {
                Ok(Any::Text(value.to_owned()))
            }
            fn visit_bytes<E>(self, value: &[u8]) -> Result<Any, E> {
                Ok(Any::Bytes(value.to_vec()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Any, A::Error> {
                let mut out = Vec::new();
                while let Some(value) = list.next_element()? {
                    out.push(value);
                }
                Ok(Any::List(out))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
                let mut out = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    out.push(entry);
                }
                Ok(Any::Map(out))
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Any::Nil => serializer.serialize_unit(),
            Any::Bool(value) => serializer.serialize_bool(*value),
            // No payload has a number that neither of the two holds.
            Any::Int(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_u64(*value as u64),
            },
            Any::Float(value) => serializer.serialize_f64(*value),
            Any::Text(value) => serializer.serialize_str(value),
            Any::Bytes(value) => serializer.serialize_bytes(value),
            Any::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Any::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl Any {
    /// The same with fields that no version knows, at the head and the end of every map. What is in `config` is the instance's own.
    pub fn with_unknown_fields(self) -> Any {
        match self {
            Any::List(values) => Any::List(values.into_iter().map(Any::with_unknown_fields).collect()),
            Any::Map(entries) => {
                let known = entries.into_iter().map(|(key, value)| match key.as_str() {
                    "config" => (key, value),
                    _ => (key, value.with_unknown_fields()),
                });
                let nested = Any::Map(vec![("of".to_owned(), Any::List(vec![Any::Int(-1), Any::Nil]))]);
                let head = std::iter::once(("a_field_of_the_future".to_owned(), nested));
                let end = std::iter::once(("another_one".to_owned(), Any::Text("x".to_owned())));
                Any::Map(head.chain(known).chain(end).collect())
            }
            plain => plain,
        }
    }

    /// Whether everything `old` says is said here as well, at the same place.
    pub fn contains(&self, old: &Any) -> bool {
        match (self, old) {
            (Any::Map(new), Any::Map(old)) => {
                old.iter().all(|(key, old)| new.iter().any(|(name, new)| name == key && new.contains(old)))
            }
            (Any::List(new), Any::List(old)) => {
                new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.contains(old))
            }
            (new, old) => new == old,
        }
    }
}
