//! What a content that is sent has to have, by its type, as a real server asks for it (reference/openim.md §5 and §8).
//!
//! That server takes a number for a text and the other way round; so it is here. What else is in a content is kept as it is.

use super::fields::Fields;
use crate::answer::Failure;
use serde_json::Value;

/// `contentType` of a text that names people.
pub const AT: i32 = 106;
/// Most people a text names.
const MAX_NAMED: usize = 1000;

/// What a field has to be.
enum Rule {
    /// A text that is not empty.
    Text(&'static str),
    /// One of these is.
    Either(&'static str, &'static str),
    /// A number that is not 0.
    Number(&'static str),
    /// A number of at least 1.
    Positive(&'static str),
    /// 0 to this number.
    Upto(&'static str, i64),
    /// Ids of people.
    Ids(&'static str),
    /// Fields of its own.
    Object(&'static str, &'static [Rule]),
    /// The same, where it is given.
    Optional(&'static str, &'static [Rule]),
}

use Rule::{Either, Ids, Number, Object, Optional, Positive, Text, Upto};

const IMAGE: &[Rule] = &[Text("type"), Number("width"), Number("height"), Text("url")];
const PICTURE: &[Rule] =
    &[Object("sourcePicture", IMAGE), Object("bigPicture", IMAGE), Object("snapshotPicture", IMAGE)];
const VOICE: &[Rule] = &[Text("sourceUrl"), Positive("duration")];
const VIDEO: &[Rule] = &[
    Text("videoUrl"),
    Text("videoType"),
    Number("videoSize"),
    Number("duration"),
    Text("snapshotUrl"),
    Number("snapshotWidth"),
    Number("snapshotHeight"),
];
const FILE: &[Rule] = &[Text("sourceUrl"), Text("fileName"), Number("fileSize")];
const ANNOUNCEMENT: &[Rule] = &[
    Text("notificationName"),
    Number("notificationType"),
    Text("text"),
    Upto("mixType", 5),
    Optional("pictureElem", PICTURE),
    Optional("soundElem", VOICE),
    Optional("videoElem", VIDEO),
    Optional("fileElem", FILE),
];

/// Whether a content may be sent.
///
/// # Errors
///
/// 1001 for a type that cannot be sent, and for what is missing.
pub fn check(content_type: i32, content: &Fields) -> Result<(), Failure> {
    let rules = match content_type {
        // The second name is that of the contract's example.
        101 => &[Either("content", "text")][..],
        102 => PICTURE,
        103 => VOICE,
        104 => VIDEO,
        105 => FILE,
        AT => &[Ids("atUserList")],
        110 => &[Text("data")],
        114 => &[],
        118 => &[Text("content")],
        1400 => ANNOUNCEMENT,
        other => return Err(Failure::args(format!("unsupported content type, contentType={other}"))),
    };
    hold(rules, content)
}

fn hold(rules: &[Rule], fields: &Fields) -> Result<(), Failure> {
    for rule in rules {
        match *rule {
            Text(name) if !is_text(fields, name) => return Err(fields.wrong(name, "is missing or empty")),
            Either(name, other) if !is_text(fields, name) && !is_text(fields, other) => {
                return Err(fields.wrong(name, "is missing or empty"));
            }
            Number(name) if number(fields, name) == 0.0 => return Err(fields.wrong(name, "is missing or 0")),
            Positive(name) if number(fields, name) < 1.0 => return Err(fields.wrong(name, "has to be at least 1")),
            Upto(name, most) if !(0.0..=most as f64).contains(&number(fields, name)) => {
                return Err(fields.wrong(name, &format!("has to be 0 to {most}")));
            }
            Ids(name) if !fields.has(name) => return Err(fields.wrong(name, "is missing")),
            Ids(name) if fields.texts(name)?.len() > MAX_NAMED => {
                return Err(fields.wrong(name, &format!("names more than {MAX_NAMED}")));
            }
            Object(name, rules) => hold(rules, &fields.object(name)?)?,
            Optional(name, rules) if fields.has(name) => hold(rules, &fields.object(name)?)?,
            _ => {}
        }
    }
    Ok(())
}

fn is_text(fields: &Fields, name: &str) -> bool {
    match fields.get(name) {
        Some(Value::String(text)) => !text.is_empty(),
        other => matches!(other, Some(Value::Number(_) | Value::Bool(_))),
    }
}

/// A number; 0 for what is none.
fn number(fields: &Fields, name: &str) -> f64 {
    match fields.get(name) {
        Some(Value::Number(number)) => number.as_f64().unwrap_or_default(),
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        Some(Value::Bool(true)) => 1.0,
        _ => 0.0,
    }
}
