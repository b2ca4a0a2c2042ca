//! `attachments`: the body object of every message but texts (contract 000 §3.1, table of message types).
//!
//! The nine types of the contract's table get at least the fields listed there, with the listed type, even if WeCom left
//! one out or quoted a number; what it sent beyond them follows. Any other type is answered with its body as it came.
//! Nothing here can fail a page (reference/wecom-archive.md §8-33).

use crate::content::RawFields;
use serde_json::value::RawValue;

/// What a listed field is.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Number,
}
use Shape::{Number, Text};

/// The one type without attachments.
const PLAIN_TEXT: &str = "text";
/// The contract's table.
const LISTED: [(&str, &[(&str, Shape)]); 8] = [
    ("image", &[("md5sum", Text), ("sdkfileid", Text), ("filesize", Number)]),
    ("file", &[("md5sum", Text), ("filename", Text), ("fileext", Text), ("filesize", Number)]),
    ("voice", &[("md5sum", Text), ("voice_size", Number), ("play_length", Number), ("sdkfileid", Text)]),
    ("card", &[("corpname", Text), ("userid", Text)]),
    ("location", &[("longitude", Number), ("latitude", Number), ("address", Text), ("title", Text), ("zoom", Number)]),
    (
        "emotion",
        &[
            ("type", Number),
            ("width", Number),
            ("height", Number),
            ("imagesize", Number),
            ("md5sum", Text),
            ("sdkfileid", Text),
        ],
    ),
    ("link", &[("title", Text), ("description", Text), ("link_url", Text), ("image_url", Text)]),
    ("revoke", &[("pre_msgid", Text)]),
];

/// The attachments of a message of this kind with this body; `None` for text, which has none, and for a body outside of
/// the table that is not there.
pub fn of(kind: &str, body: Option<&RawValue>) -> Option<Box<RawValue>> {
    if kind == PLAIN_TEXT {
        return None;
    }
    let body = body.filter(|body| body.get() != "null");
    let sent = match body {
        Some(body) => serde_json::from_str(body.get()).ok(),
        None => Some(RawFields(Vec::new())),
    };
    let listed = LISTED.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields);
    let completed = listed.and_then(|fields| complete(fields, &sent?));
    completed.or_else(|| body.map(ToOwned::to_owned))
}

/// An object of the listed fields, then of all the others.
fn complete(listed: &[(&str, Shape)], RawFields(sent): &RawFields) -> Option<Box<RawValue>> {
    let is_listed = |key: &str| listed.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    let mut members: Vec<String> = Vec::with_capacity(sent.len() + listed.len());
    for (name, shape) in listed {
        // WeCom's letter case varies (reference/wecom-archive.md §2.3, row 9).
        let value = sent.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref());
        members.push(format!("\"{name}\":{}", shaped(value, *shape)));
    }
    for (key, value) in sent.iter().filter(|(key, _)| is_listed(key).is_none()) {
        members.push(format!("{}:{}", serde_json::to_string(key).ok()?, value.get()));
    }
    RawValue::from_string(format!("{{{}}}", members.join(","))).ok()
}

/// JSON text of a value in the shape the table promises.
fn shaped(value: Option<&RawValue>, shape: Shape) -> String {
    let json = value.map_or("null", RawValue::get);
    let quoted: Option<String> = serde_json::from_str(json).ok();
    let is_number = |text: &str| serde_json::from_str::<serde_json::Number>(text).is_ok();
    match (shape, quoted) {
        (Text, Some(_)) => json.to_owned(),
        (Text, None) if is_number(json) => format!("\"{json}\""),
        (Text, None) => "\"\"".to_owned(),
        (Number, None) if is_number(json) => json.to_owned(),
        (Number, Some(text)) if is_number(text.trim()) => text.trim().to_owned(),
        (Number, _) => "0".to_owned(),
    }
}
