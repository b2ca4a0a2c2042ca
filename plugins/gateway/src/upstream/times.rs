//! When a message was sent, from what the upstream writes in its place (reference/gateway.md §9).

use chrono::DateTime;
use serde_json::Value;
use stele_plugin_api::model::Micros;

/// How far the time of a message may be from that in its id. The documents' own sample is two days off; a time that was
/// read wrongly is decades off.
const TOLERANCE: Micros = 7 * 86_400 * 1_000_000;
/// Times that have ten digits of seconds, 2001-09-09 to 2286-11-20.
const PLAUSIBLE: std::ops::Range<Micros> = 1_000_000_000_000_000..10_000_000_000_000_000;

/// Reads `SendTime`: an integer of either kind, or text of the older contract. What it says may still be wrong.
///
/// 16 digits are microseconds. The original pads microseconds to three digits instead of six, so with 13 to 15 digits the
/// first ten are seconds and the others count microseconds.
pub fn read(value: &Value) -> Option<Micros> {
    match value {
        Value::Number(number) => integer(&number.as_u64()?.to_string()),
        Value::String(text) => match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Some(time.timestamp_micros()),
            Err(_) => integer(text),
        },
        _ => None,
    }
}

fn integer(digits: &str) -> Option<Micros> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits.len() {
        16 => digits.parse().ok(),
        13..=15 => {
            let (seconds, micros) = digits.split_at(10);
            Some(seconds.parse::<Micros>().ok()? * 1_000_000 + micros.parse::<Micros>().ok()?)
        }
        _ => None,
    }
}

/// The time of a message whose `SendTime` was read so and whose id is of this millisecond; and whether `SendTime` is right.
/// `None` where neither says anything.
pub fn settle(sent: Option<Micros>, id_ms: Option<i64>) -> (Option<Micros>, bool) {
    let id_time = id_ms.map(|ms| ms * 1000);
    match (sent, id_time) {
        (Some(sent), Some(id)) if sent.abs_diff(id) <= TOLERANCE.unsigned_abs() => (Some(sent), true),
        (_, Some(id)) => (Some(id), false),
        (Some(sent), None) if PLAUSIBLE.contains(&sent) => (Some(sent), true),
        (_, None) => (None, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_is_read() {
        let check = |value: Value, expected: Option<Micros>| assert_eq!(read(&value), expected, "{value}");
        check(json!(1_700_000_000_632_897_i64), Some(1_700_000_000_632_897));
        check(json!(170_000_000_050_000_i64), Some(1_700_000_000_050_000));
        check(json!(17_000_000_005_766_i64), Some(1_700_000_000_005_766));
        check(json!(1_700_000_000_012_i64), Some(1_700_000_000_000_012));
        check(json!("2023-10-22T22:59:04.069413+08:00"), Some(1_697_986_744_069_413));
        check(json!("2023-10-22T22:59:04.069413123+08:00"), Some(1_697_986_744_069_413));
        check(json!("2023-10-22T14:59:04Z"), Some(1_697_986_744_000_000));
        check(json!("1698119710632897"), Some(1_698_119_710_632_897));
        for nothing in [
            json!(null),
            json!(""),
            json!(0),
            json!(-1_698_119_710_632_897_i64),
            json!(1_698_119_710),
            json!(1.5),
            json!("yesterday"),
            json!([]),
        ] {
            check(nothing, None);
        }
    }

    #[test]
    fn a_time_that_cannot_be_gives_way_to_that_of_the_id() {
        let check = |sent, id, expected| assert_eq!(settle(sent, id), expected);
        let (at, ms) = (1_698_119_710_632_897, 1_698_119_710_631);
        check(Some(at), Some(ms), (Some(at), true));
        // The newer contract's sample: its id is of two days before.
        check(Some(at), Some(1_697_986_744_068), (Some(at), true));
        // 0001-01-01, as the older version shows what the newer one wrote.
        check(read(&json!("0001-01-01T00:00:00+08:05")), Some(ms), (Some(ms * 1000), false));
        check(Some(at / 10), Some(ms), (Some(ms * 1000), false));
        check(None, Some(ms), (Some(ms * 1000), false));
        check(Some(at), None, (Some(at), true));
        check(Some(at / 10), None, (None, false));
        check(None, None, (None, false));
    }
}
