//! Reading the JSON of decrypted messages, which is not always JSON.
//!
//! Strings can hold raw control bytes (reference/wecom-archive.md §1.7), and client software cuts texts in the middle of
//! a surrogate pair or a UTF-8 sequence. A strict parser refuses the whole message for it. So: strictly first, because
//! nearly every message is clean; then once more with the faults mended. Only the reading is lenient: the bytes that are
//! stored are never touched.

use serde::de::DeserializeOwned;
use std::fmt::Write;

/// Reads a value, mending what can be mended; `None` when it is no JSON at all.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok().or_else(|| serde_json::from_str(&mend(bytes)).ok())
}

/// The same for a text that stands inside of another value.
pub fn read_str<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok().or_else(|| serde_json::from_str(&mend(text.as_bytes())).ok())
}

/// JSON text with its faults mended: control bytes in strings become escapes, invalid UTF-8 and lone surrogates become
/// U+FFFD, unknown escapes lose their meaning, a byte order mark and what is wrapped around the value go.
fn mend(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c == '\u{feff}' || c == '\0' || c.is_whitespace());
    let mut mended = String::with_capacity(text.len() + 16);
    let mut in_string = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut taken = character.len_utf8();
        match character {
            '"' => {
                in_string = !in_string;
                mended.push('"');
            }
            '\\' if in_string => taken = mend_escape(rest, &mut mended),
            control if control < ' ' && in_string => {
                let _ = write!(mended, "\\u{:04x}", u32::from(control));
            }
            control if control < ' ' => mended.push(' '),
            other => mended.push(other),
        }
        rest = &rest[taken..];
    }
    mended
}

/// Copies the escape that `rest` begins with, mended; how many bytes it took.
fn mend_escape(rest: &str, mended: &mut String) -> usize {
    match rest.as_bytes().get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
            mended.push_str(&rest[..2]);
            2
        }
        Some(b'u') => match code_unit(rest) {
            Some(high @ 0xd800..=0xdbff) => match code_unit(&rest[6..]) {
                Some(low @ 0xdc00..=0xdfff) => {
                    let _ = write!(mended, "\\u{high:04x}\\u{low:04x}");
                    12
                }
                _ => lost(mended, 6),
            },
            Some(0xdc00..=0xdfff) => lost(mended, 6),
            Some(_) => {
                mended.push_str(&rest[..6]);
                6
            }
            None => lost(mended, 2),
        },
        _ => {
            mended.push_str("\\\\");
            1
        }
    }
}

fn lost(mended: &mut String, taken: usize) -> usize {
    mended.push_str("\\ufffd");
    taken
}

/// The code unit of a `\uXXXX` that `text` begins with.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn content(bytes: &[u8]) -> Option<String> {
        let value: Value = read(bytes)?;
        value["c"].as_str().map(str::to_owned)
    }

    #[test]
    fn faults_are_mended() {
        let cases: &[(&[u8], &str)] = &[
            (br#"{"c":"plain"}"#, "plain"),
            (b"{\"c\":\"a\x01b\nc\"}", "a\u{1}b\nc"),
            (b"{\"c\":\x0b\"a\"\x00}", "a"),
            (b"\xef\xbb\xbf{\"c\":\"bom\"}\0\0", "bom"),
            (b"{\"c\":\"cut \xe4\xbd\"}", "cut \u{fffd}"),
            (br#"{"c":"\ud83d"}"#, "\u{fffd}"),
            (br#"{"c":"\ud83dx\ude00"}"#, "\u{fffd}x\u{fffd}"),
            (b"{\"c\":\"\\ud83d\\ude00\x02\"}", "\u{1f600}\u{2}"),
            (br#"{"c":"C:\Users\x"}"#, "C:\\Users\\x"),
            (br#"{"c":"\u12"}"#, "\u{fffd}12"),
            ("{\"c\":\"\\u4f你\u{1}\"}".as_bytes(), "\u{fffd}4f你\u{1}"),
            (b"{\"c\":\"say \\\"\x03\\\"\"}", "say \"\u{3}\""),
        ];
        for (bytes, expected) in cases {
            assert_eq!(content(bytes).as_deref(), Some(*expected), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for bytes in [&b""[..], b"hello", b"{\"c\":", b"{\"c\":\"a\"", b"\\", b"\"\\"] {
            assert_eq!(read::<Value>(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn clean_text_reads_the_same_either_way(text in any::<String>()) {
            let json = serde_json::json!({ "c": text }).to_string();
            prop_assert_eq!(content(json.as_bytes()), Some(text.clone()));
            let mended: Value = serde_json::from_str(&mend(json.as_bytes())).expect("mended JSON stays JSON");
            prop_assert_eq!(mended["c"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn any_bytes_in_a_string_can_be_read(mut inner in any::<Vec<u8>>()) {
            inner.retain(|byte| !b"\"\\".contains(byte));
            let json = [&b"{\"c\":\""[..], &inner, b"\"}"].concat();
            prop_assert_eq!(content(&json), Some(String::from_utf8_lossy(&inner).into_owned()));
        }

        #[test]
        fn mending_never_panics(bytes in any::<Vec<u8>>(), text in "[\\\\ud8\"\u{0}-\u{20}你]*") {
            let _ = (mend(&bytes), mend(text.as_bytes()));
        }
    }
}
