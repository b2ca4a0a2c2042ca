//! How payloads are written: MessagePack with named maps, or JSON.
//!
//! Names travel with the fields so that either side may know more fields than the other. JSON exists because it is easier
//! from C; each frame says which of the two it is ([`FLAG_JSON`]). An empty payload means an empty map.
//!
//! Byte strings have no form of their own in JSON: bytes that are UTF-8 are written as a string, others as an array of
//! numbers; both are read back as the same bytes.

use crate::error::{Error, ErrorCode};
use crate::frame::FLAG_JSON;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::io;

/// Maps and lists within each other a payload may have less than this many of: what is nested more deeply could exhaust the
/// stack of whoever reads it. JSON's own bound.
const MAX_DEPTH: usize = 128;

/// How payloads are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// MessagePack with named maps.
    #[default]
    MessagePack,
    /// JSON.
    Json,
}

impl Encoding {
    /// The encoding a frame's flags name.
    pub fn of(flags: u32) -> Self {
        if flags & FLAG_JSON == 0 { Self::MessagePack } else { Self::Json }
    }

    /// The flags that name this encoding.
    pub fn flags(self) -> u32 {
        match self {
            Self::MessagePack => 0,
            Self::Json => FLAG_JSON,
        }
    }

    /// Writes a payload.
    ///
    /// # Errors
    ///
    /// `internal`, when the value cannot be written (a map with keys that are no strings, in JSON).
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, Error> {
        /// Most payloads are small; this saves the first few growths of the buffer.
        const ROOM: usize = 256;
        let mut out = Vec::with_capacity(ROOM);
        let failed = |reason: String| Error::new(ErrorCode::Internal, format!("cannot write a payload: {reason}"));
        match self {
            Self::MessagePack => {
                rmp_serde::encode::write_named(&mut out, value).map_err(|error| failed(reason(&error.to_string())))?;
            }
            Self::Json => {
                let mut serializer = serde_json::Serializer::with_formatter(&mut out, TextBytes);
                value.serialize(&mut serializer).map_err(|error| failed(reason(&error.to_string())))?;
            }
        }
        Ok(Bytes::from(out))
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// `invalid`, when it is malformed or not of this type. The message never repeats what was sent.
    pub fn decode<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, Error> {
        let failed = |text: String| Error::new(ErrorCode::Invalid, format!("unreadable payload: {}", reason(&text)));
        match self {
            Self::MessagePack => {
                let payload = if payload.is_empty() { &[0x80] } else { payload };
                let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
                deserializer.set_max_depth(MAX_DEPTH);
                T::deserialize(&mut deserializer).map_err(|error| failed(error.to_string()))
            }
            Self::Json => {
                let payload = if payload.is_empty() { b"{}" } else { payload };
                serde_json::from_slice(payload).map_err(|error| failed(error.to_string()))
            }
        }
    }
}

/// The part of a serde error that cannot contain what was sent: field names and expectations are ours, values are not.
pub(crate) fn reason(text: &str) -> String {
    if let Some((_, expected)) = text.rsplit_once(", expected ") {
        return format!("expected {expected}");
    }
    let parsers = [
        "EOF while parsing",
        "control character",
        "expected `",
        "expected ident",
        "expected value",
        "invalid escape",
        "invalid number",
        "key must be a string",
        "trailing characters",
        "trailing comma",
    ];
    let bounds = ["depth limit exceeded", "recursion limit exceeded"];
    for ours in ["missing field", "duplicate field"].into_iter().chain(parsers).chain(bounds) {
        if text.starts_with(ours) {
            return text.to_owned();
        }
    }
    "not what this version understands".to_owned()
}

/// Writes bytes that are UTF-8 as a string.
struct TextBytes;

impl serde_json::ser::Formatter for TextBytes {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        match std::str::from_utf8(value) {
            Ok(text) => serde_json::to_writer(writer, text).map_err(io::Error::from),
            Err(_) => serde_json::to_writer(writer, value).map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        #[serde(default)]
        body: Bytes,
        #[serde(default)]
        cursor: Option<Bytes>,
    }

    proptest! {
        #[test]
        fn bytes_survive_both_encodings(name: String, body: Vec<u8>, cursor: Option<Vec<u8>>) {
            let sample = Sample { name, body: body.into(), cursor: cursor.map(Bytes::from) };
            for encoding in [Encoding::MessagePack, Encoding::Json] {
                let payload = encoding.encode(&sample).expect("a sample can be written");
                prop_assert_eq!(&encoding.decode::<Sample>(&payload).expect("and read"), &sample);
            }
        }

        #[test]
        fn garbage_is_refused_without_panic(payload: Vec<u8>) {
            for encoding in [Encoding::MessagePack, Encoding::Json] {
                let _ = encoding.decode::<crate::model::Page>(&payload);
            }
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        let nested = |encoding: Encoding, lists: usize| match encoding {
            Encoding::MessagePack => [&b"\x81\xa1x"[..], &vec![0x91; lists][..], &b"\xc0"[..]].concat(),
            Encoding::Json => format!("{{\"x\":{}{}}}", "[".repeat(lists), "]".repeat(lists)).into_bytes(),
        };
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            let read = |lists| encoding.decode::<serde_json::Value>(&nested(encoding, lists)).map(drop);
            // The map counts as well.
            assert_eq!(read(MAX_DEPTH - 2), Ok(()), "{encoding:?}");
            for lists in [MAX_DEPTH - 1, 100_000] {
                let error = read(lists).expect_err("it is too deep");
                assert!(error.message.contains("limit exceeded"), "{encoding:?}: {error}");
            }
        }
    }

    #[test]
    fn json_shows_text_as_text() {
        let sample = Sample { name: "a".into(), body: "{\"好\":1}".into(), cursor: Some(Bytes::from_static(&[0xff])) };
        let json = Encoding::Json.encode(&sample).expect("writes");
        assert_eq!(json, "{\"name\":\"a\",\"body\":\"{\\\"好\\\":1}\",\"cursor\":[255]}");
    }

    #[test]
    fn errors_never_repeat_what_was_sent() {
        let check = |payload: &[u8], encoding: Encoding, expected: &str| {
            let error = encoding.decode::<Sample>(payload).expect_err("must be refused");
            assert_eq!(error.code, ErrorCode::Invalid);
            assert!(error.message.contains(expected), "{} lacks {expected}", error.message);
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        };
        check(br#"{"name":1}"#, Encoding::Json, "expected a string");
        check(br#"{"body":"hunter2"}"#, Encoding::Json, "missing field `name`");
        check(br#""hunter2, expected hunter2""#, Encoding::Json, "expected struct Sample");
        check(b"", Encoding::Json, "missing field `name`");
        check(b"", Encoding::MessagePack, "missing field `name`");
        check(
            &Encoding::MessagePack.encode("hunter2").expect("writes"),
            Encoding::MessagePack,
            "expected struct Sample",
        );
    }
}
