//! A message object as it was written, here or by some server: what is odd in one of its fields hides none of the others.

use crate::message::BASE64;
use base64::Engine;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Whatever stands there; `null` is nothing.
pub type Field<'a> = Option<&'a RawValue>;

/// The fields that are read of a message object.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Element<'a> {
    #[serde(borrow)]
    header: Field<'a>,
    #[serde(borrow)]
    pub setting: Field<'a>,
    #[serde(borrow)]
    pub message_id: Field<'a>,
    #[serde(borrow)]
    pub client_msg_no: Field<'a>,
    #[serde(borrow)]
    pub stream_no: Field<'a>,
    #[serde(borrow)]
    pub message_seq: Field<'a>,
    #[serde(borrow)]
    pub from_uid: Field<'a>,
    #[serde(borrow)]
    pub channel_id: Field<'a>,
    #[serde(borrow)]
    pub channel_type: Field<'a>,
    #[serde(borrow)]
    pub topic: Field<'a>,
    #[serde(borrow)]
    pub expire: Field<'a>,
    #[serde(borrow)]
    pub timestamp: Field<'a>,
    #[serde(borrow)]
    pub payload: Field<'a>,
    #[serde(borrow)]
    pub end: Field<'a>,
    #[serde(borrow)]
    pub end_reason: Field<'a>,
    #[serde(borrow)]
    stream_data: Field<'a>,
    #[serde(borrow)]
    pub tag_key: Field<'a>,
    #[serde(borrow)]
    subscribers: Field<'a>,
}

/// The fields of its header.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Flags<'a> {
    #[serde(borrow)]
    pub no_persist: Field<'a>,
    #[serde(borrow)]
    pub red_dot: Field<'a>,
    #[serde(borrow)]
    pub sync_once: Field<'a>,
}

impl<'a> Element<'a> {
    /// The fields of this object; `None` where it is none.
    pub fn read(object: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(object).ok()
    }

    /// Its header.
    pub fn flags(&self) -> Flags<'a> {
        self.header.and_then(|header| serde_json::from_str(header.get()).ok()).unwrap_or_default()
    }

    /// What the stream it begins says so far; empty where that is no base64.
    pub fn said(&self) -> Vec<u8> {
        BASE64.decode(text(self.stream_data).as_bytes()).unwrap_or_default()
    }

    /// Whom the sender named, without what is no name.
    pub fn subscribers(&self) -> Vec<String> {
        let named: Option<Vec<Field<'_>>> =
            self.subscribers.and_then(|subscribers| serde_json::from_str(subscribers.get()).ok());
        let names = named.unwrap_or_default().into_iter().map(|name| text(name).into_owned());
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// A text, or the digits of a number; empty where it is neither.
pub fn text<'a>(field: Field<'a>) -> Cow<'a, str> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    let Some(raw) = field.map(RawValue::get) else { return Cow::default() };
    match serde_json::from_str(raw) {
        Ok(Text(text)) => text,
        Err(_) if serde_json::from_str::<serde_json::Number>(raw).is_ok() => Cow::Borrowed(raw),
        Err(_) => Cow::default(),
    }
}

/// A whole number, perhaps written as a text (v3's ids); 0 where it is none.
pub fn number(field: Field<'_>) -> i64 {
    text(field).parse().unwrap_or_default()
}

/// The same as a byte; 0 where it does not fit into one. `true` is 1.
pub fn byte(field: Field<'_>) -> u8 {
    match field.map(RawValue::get) {
        Some("true") => 1,
        _ => u8::try_from(number(field)).unwrap_or_default(),
    }
}
