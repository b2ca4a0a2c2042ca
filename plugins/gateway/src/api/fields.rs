//! Request bodies, read as Go's `encoding/json` reads them into a struct (reference/gateway.md §2).
//!
//! The content type is not looked at. Keys match whatever their letter case; unknown ones are passed over, missing ones are
//! zero, and so is `null`. Of a key that is there twice the last one counts. What follows the first value is ignored. What
//! is not UTF-8, and half a surrogate pair, become U+FFFD.

use super::errors::ApiError;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The text of a body.
pub fn text(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        // One for each byte, as Go does.
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// The members of a body, in order, with their values as they are written.
pub struct Fields<'b>(Vec<(String, &'b str)>);

impl<'b> Fields<'b> {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// `InvalidParameter` for what begins with neither an object nor `null`.
    pub fn of(text: &'b str) -> Result<Self, ApiError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = <&RawValue>::deserialize(&mut deserializer).map_err(|_| ApiError::InvalidParameter)?.get();
        match value.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'b> = serde_json::from_str(value).map_err(|_| ApiError::InvalidParameter)?;
                let member = |(key, value): (&'b RawValue, &'b RawValue)| (unquoted(key.get()), value.get());
                Ok(Self(members.0.into_iter().map(member).collect()))
            }
            Some(b'n') => Ok(Self(Vec::new())),
            _ => Err(ApiError::InvalidParameter),
        }
    }

    /// A text; `""` when missing.
    ///
    /// # Errors
    ///
    /// `InvalidParameter` for anything else; so do the others.
    pub fn text(&self, name: &str) -> Result<String, ApiError> {
        self.last(name, |value| value.starts_with('"').then(|| unquoted(value)))
    }

    /// A list of so many texts at most.
    pub fn texts(&self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        self.last(name, |value| {
            let values: Vec<&RawValue> = value.starts_with('[').then(|| serde_json::from_str(value).ok())??;
            (values.len() <= most).then_some(())?;
            let text = |value: &&RawValue| match value.get() {
                "null" => Some(String::new()),
                text => text.starts_with('"').then(|| unquoted(text)),
            };
            values.iter().map(text).collect()
        })
    }

    /// An integer. One written with a fraction or an exponent is none, and one out of range is none.
    pub fn integer<N: FromStr + Default>(&self, name: &str) -> Result<N, ApiError> {
        self.last(name, |value| value.parse().ok())
    }

    /// A truth value.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        self.last(name, |value| value.parse().ok())
    }

    /// The last value of a name that is not null. All of them must be readable.
    fn last<T: Default>(&self, name: &str, read: impl Fn(&'b str) -> Option<T>) -> Result<T, ApiError> {
        let named = self.0.iter().filter(|(key, value)| is_name(key, name) && *value != "null");
        let mut last = T::default();
        for (_, value) in named {
            last = read(value).ok_or(ApiError::InvalidParameter)?;
        }
        Ok(last)
    }
}

/// Whether a key is this lower-case name: letter case aside, and two letters of other alphabets that fold to ASCII.
fn is_name(key: &str, name: &str) -> bool {
    let folded = key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(name.chars())
}

struct Members<'b>(Vec<(&'b RawValue, &'b RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The text of a JSON string whose syntax is right.
fn unquoted(quoted: &str) -> String {
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or_default();
        rest = rest.get(at + 2..).unwrap_or_default();
        text.push(match escape {
            b'u' => {
                let (letter, length) = unicode(rest);
                rest = &rest[length..];
                letter
            }
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(other),
        });
    }
    text + rest
}

/// The letter of what follows `\u`, and how many bytes it is written in.
fn unicode(rest: &str) -> (char, usize) {
    let unit = |at: usize| u32::from_str_radix(rest.get(at..at + 4)?, 16).ok();
    let first = unit(0).unwrap_or(0xfffd);
    if let Some(letter) = char::from_u32(first) {
        return (letter, 4);
    }
    // The second half of a pair; if it is none, it is a letter of its own.
    let second = rest.get(4..6).filter(|escape| *escape == "\\u").and_then(|_| unit(6));
    match second.filter(|second| first < 0xdc00 && (0xdc00..0xe000).contains(second)) {
        Some(second) => {
            let letter = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER), 10)
        }
        None => (char::REPLACEMENT_CHARACTER, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// What Go would make of a body, with the fields of send_msg and some others.
    fn read(body: &[u8]) -> Option<Value> {
        let text = text(body);
        let fields = Fields::of(&text).ok()?;
        Some(json!([
            fields.text("conversation_id").ok()?,
            fields.integer::<i32>("status").ok()?,
            fields.integer::<u64>("conversation_type").ok()?,
            fields.integer::<u8>("platform").ok()?,
            fields.flag("desc").ok()?,
            fields.texts("sessions", usize::MAX).ok()?,
        ]))
    }

    #[test]
    fn bodies_are_read_as_go_reads_them() {
        let zero = || Some(json!(["", 0, 0, 0, false, []]));
        let with = |place: usize, value: Value| {
            let mut whole = zero().unwrap();
            whole[place] = value;
            Some(whole)
        };
        let check = |body: &str, expected: Option<Value>| assert_eq!(read(body.as_bytes()), expected, "{body}");
        for body in ["{}", "null", " \r\n\t{} ", "{} garbage", "{}{", "nullx", r#"{"unknown":[{"a":1}]}"#] {
            check(body, zero());
        }
        for body in [
            "",
            "  ",
            "[]",
            "1",
            "\"{}\"",
            "true",
            "{",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{'a':1}",
            "{\"a\":01}",
            "\u{feff}{}",
            "{\"a\":\"\n\"}",
        ] {
            check(body, None);
        }
        check(r#"{"conversation_id":"x"}"#, with(0, json!("x")));
        check(r#"{"Conversation_ID":"x"}"#, with(0, json!("x")));
        check("{\"conver\u{17f}ation_id\":\"x\"}", with(0, json!("x")));
        check(r#"{"conversation_\u0069d":"x"}"#, with(0, json!("x")));
        check(r#"{"conversation_id":"x","CONVERSATION_ID":"y"}"#, with(0, json!("y")));
        check(r#"{"conversation_id":"x","conversation_id":null}"#, with(0, json!("x")));
        check(r#"{"conversationid":"x"}"#, zero());
        check(r#"{"conversation_id":7}"#, None);
        check(r#"{"conversation_id":7,"conversation_id":"x"}"#, None);
        check(r#"{"conversation_id":{"a":"x"}}"#, None);
        check(r#"{"status":-2147483648}"#, with(1, json!(i32::MIN)));
        check(r#"{"status":-0}"#, zero());
        for wrong in ["2147483648", "1.0", "1e0", "\"1\"", "true", "[]"] {
            check(&format!("{{\"status\":{wrong}}}"), None);
        }
        check(r#"{"conversation_type":18446744073709551615}"#, with(2, json!(u64::MAX)));
        for wrong in ["-1", "-0", "18446744073709551616"] {
            check(&format!("{{\"conversation_type\":{wrong}}}"), None);
        }
        check(r#"{"platform":255}"#, with(3, json!(255)));
        check(r#"{"platform":256}"#, None);
        check(r#"{"desc":true}"#, with(4, json!(true)));
        check(r#"{"desc":1}"#, None);
        check(r#"{"sessions":["a",null,"b"]}"#, with(5, json!(["a", "", "b"])));
        check(r#"{"sessions":null}"#, zero());
        check(r#"{"sessions":[1]}"#, None);
        check(r#"{"sessions":"a"}"#, None);
        let deep = format!("{{\"unknown\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        check(&deep, zero());
    }

    #[test]
    fn texts_are_read_as_go_reads_them() {
        let check = |body: &[u8], expected: &str| assert_eq!(read(body).unwrap()[0], expected);
        check(r#"{"conversation_id":"\"\\\/\b\f\n\r\t\u4f60\ud83d\ude00"}"#.as_bytes(), "\"\\/\u{8}\u{c}\n\r\t你😀");
        check(br#"{"conversation_id":"a\ud83db"}"#, "a\u{fffd}b");
        check(br#"{"conversation_id":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀");
        check(br#"{"conversation_id":"\ude00\u0041"}"#, "\u{fffd}A");
        check(b"{\"conversation_id\":\"a\xff\xfeb\"}", "a\u{fffd}\u{fffd}b");
        check("{\"conversation_id\":\"\u{2028}<&>\"}".as_bytes(), "\u{2028}<&>");
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            read(&body);
        }

        #[test]
        fn what_json_says_is_read(content in any::<String>(), status: i32) {
            let body = json!({ "conversation_id": content, "status": status }).to_string();
            prop_assert_eq!(read(body.as_bytes()).unwrap(), json!([content, status, 0, 0, false, []]));
        }
    }
}
