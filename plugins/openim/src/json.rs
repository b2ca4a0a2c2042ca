//! JSON as a real server reads it: what is no UTF-8, and half a surrogate pair, become U+FFFD.

use serde_json::Value;

/// A value.
///
/// # Errors
///
/// What is wrong with it, where that is anything else.
pub fn read(json: &[u8]) -> Result<Value, serde_json::Error> {
    // Nearly everything is as it should be.
    serde_json::from_slice(json)
        .or_else(|error| serde_json::from_str(&mended(&String::from_utf8_lossy(json))).map_err(|_| error))
}

/// JSON without half a surrogate pair.
fn mended(json: &str) -> String {
    let (mut mended, mut rest) = (String::with_capacity(json.len()), json);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let (replaced, taken) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (None, 12),
            (Some(0xd800..=0xdfff), _) => (Some("\\ufffd"), 6),
            // With what stands behind it, which begins no other escape then.
            _ => (None, 1 + escape[1..].chars().next().map_or(0, char::len_utf8)),
        };
        let (whole, behind) = escape.split_at(taken);
        mended.push_str(replaced.unwrap_or(whole));
        rest = behind;
    }
    mended.push_str(rest);
    mended
}

/// The code unit of a `\uXXXX` that a text begins with.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_and_broken_bytes_are_mended() {
        let check = |json: &[u8], expected: Option<&str>| {
            let read = read(json).ok();
            assert_eq!(read.as_ref().and_then(Value::as_str), expected, "{}", String::from_utf8_lossy(json));
        };
        check(br#""plain \ud83d\ude00""#, Some("plain 😀"));
        check(br#""cut \ud83d""#, Some("cut \u{fffd}"));
        check(br#""\ude00\ud83d\ud83d\uDE00\\ud83d\u4f60""#, Some("\u{fffd}\u{fffd}😀\\ud83d你"));
        check(b"\"\xff\xe4\xbd \\ud83d\"", Some("\u{fffd}\u{fffd} \u{fffd}"));
        for broken in [&br#""\ud83"#[..], br#""\u""#, br#""\"#, b"\"\\\xff", b"", br#""a"x"#] {
            check(broken, None);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(json: Vec<u8>, text in "[\"\\\\ud8cF0-9你{}:,]{0,40}") {
            let _ = (read(&json), read(text.as_bytes()));
        }

        #[test]
        fn what_is_whole_is_left_alone(text: String) {
            let json = Value::from(text).to_string();
            prop_assert_eq!(mended(&json), json);
        }
    }
}
