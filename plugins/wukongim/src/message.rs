//! The message object, the same in answers and in the archive (contract 001; reference/wukongim.md §5), and what is readable in
//! a payload.

use crate::channel::Channel;
use crate::draft::STREAM;
use crate::element::{Element, byte, number, text};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use stele_plugin_api::ops::MessageView;

/// Standard base64, written with padding and read with or without.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Greatest number a payload has for its `type` that is a kind of the archive.
const MAX_KIND: u64 = 31;
/// The archive's kind of any other payload that is a JSON object.
const OTHER: &str = "other";
/// The archive's kind of a payload that is text, but no JSON object.
const TEXT: &str = "text";
/// The archive's kind of a payload that is no text.
const BINARY: &str = "binary";

/// The flags in front of a message, 0 or 1 each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Not stored.
    pub no_persist: u8,
    /// Counts as unread.
    pub red_dot: u8,
    /// Goes to the channel of commands.
    pub sync_once: u8,
}

/// A message, with its keys in the order in which they are sent. In the archive it is without what is known of it there anyway,
/// or only once it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Object<'m> {
    /// Its flags.
    pub header: Header,
    /// Bits: 0x02 for the anchor of a stream.
    pub setting: u8,
    /// Its id. Read from the archive's id of the message, since some servers write it as a text.
    pub message_id: i64,
    /// The same as a text, for readers to whom large numbers are inexact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_idstr: Option<String>,
    /// The sender's own id of it.
    pub client_msg_no: Cow<'m, str>,
    /// The stream it begins or is part of.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub stream_no: Cow<'m, str>,
    /// The stream it begins is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u8>,
    /// Why: 0, as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<u8>,
    /// What the stream it begins says, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_data: Option<String>,
    /// Its number in the channel; 0 for what is not one of the channel's messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_seq: Option<i64>,
    /// Who sent it.
    pub from_uid: Cow<'m, str>,
    /// The channel; between two people the recipient.
    pub channel_id: Cow<'m, str>,
    /// Type of the channel.
    pub channel_type: u8,
    /// Whom it is for: the same as `channel_id` (contract 001, target_uid).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_uid: Option<Cow<'m, str>>,
    /// A topic within the channel.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub topic: Cow<'m, str>,
    /// Seconds it is good for; 0 for ever.
    pub expire: u32,
    /// Seconds since 1970, where they are not those of when it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// What it says, in base64.
    pub payload: Cow<'m, str>,
    /// A label.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tag_key: Cow<'m, str>,
    /// Whom the sender named. Not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<String>,
}

impl<'m> Object<'m> {
    /// A stored message as it is shown.
    pub fn of(message: &'m MessageView) -> Self {
        let body = Self::written(&message.body);
        let mut shown = Self {
            message_id: message.native_id.parse().unwrap_or_default(),
            message_idstr: Some(message.native_id.clone()),
            message_seq: Some(0),
            from_uid: Cow::Borrowed(&message.sender),
            timestamp: Some(body.timestamp.unwrap_or(message.sent_at.div_euclid(1_000_000))),
            subscribers: Vec::new(),
            ..body
        };
        // Parts of a stream are in no channel, and numbered by themselves.
        if let Some(channel) = Channel::of_conversation(&message.conversation) {
            shown.message_seq = Some(message.seq);
            shown.channel_type = channel.channel_type;
            shown.channel_id = Cow::Owned(channel.recipient(&message.sender).to_owned());
        }
        shown.target_uid = Some(shown.channel_id.clone());
        shown
    }

    /// What its bytes in the archive say. Of a stream that was open when they were read, they have a part.
    pub fn written(body: &'m [u8]) -> Self {
        let body = Element::read(body).unwrap_or_default();
        let has_ended = byte(body.end) != 0;
        let said = Some(body.said()).filter(|said| has_ended && !said.is_empty());
        let flags = body.flags();
        Self {
            header: Header {
                no_persist: byte(flags.no_persist),
                red_dot: byte(flags.red_dot),
                sync_once: byte(flags.sync_once),
            },
            setting: byte(body.setting),
            client_msg_no: text(body.client_msg_no),
            stream_no: text(body.stream_no),
            end: has_ended.then_some(1),
            end_reason: has_ended.then(|| byte(body.end_reason)),
            stream_data: said.map(|said| BASE64.encode(said)),
            from_uid: text(body.from_uid),
            channel_id: text(body.channel_id),
            channel_type: byte(body.channel_type),
            topic: text(body.topic),
            expire: u32::try_from(number(body.expire).max(0)).unwrap_or(u32::MAX),
            timestamp: Some(number(body.timestamp)).filter(|timestamp| *timestamp > 0),
            payload: text(body.payload),
            tag_key: text(body.tag_key),
            subscribers: body.subscribers(),
            ..Self::default()
        }
    }

    /// Leaves out what the stream it begins says.
    pub fn without_stream(self) -> Self {
        Self { end: None, end_reason: None, stream_data: None, ..self }
    }

    /// Whether it is the anchor of a stream of an upstream, without what it says.
    pub fn awaits_end(&self) -> bool {
        self.setting & STREAM != 0 && self.stream_no.is_empty() && self.end.is_none()
    }

    /// Whether it is the anchor of a stream.
    pub fn begins_stream(&self) -> bool {
        self.setting & STREAM != 0 && !self.stream_no.is_empty()
    }

    /// What it says; empty when that is no base64.
    pub fn payload(&self) -> Vec<u8> {
        BASE64.decode(self.payload.as_bytes()).unwrap_or_default()
    }
}

/// What is readable in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// The archive's kind of the message.
    pub kind: String,
    /// What search sees.
    pub text: String,
}

impl Readable {
    /// The payload is no text by itself; what is readable in it are lines.
    pub fn is_lines(&self) -> bool {
        self.kind != TEXT
    }
}

/// What is readable in a payload: of a JSON object its texts, numbers, `true` and `false` as they are written, a line each, but
/// not the keys, nor the `type` that says what it is; of other text all of it; of what is text for the most part, its text, in
/// lines.
pub fn readable(payload: &[u8]) -> Readable {
    let Ok(text) = std::str::from_utf8(payload) else {
        return Readable { kind: BINARY.to_owned(), text: legible(payload) };
    };
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return Readable { kind: TEXT.to_owned(), text: text.to_owned() };
    };
    let kind = object.get("type").and_then(Value::as_u64).filter(|kind| *kind <= MAX_KIND);
    let kind = kind.map_or_else(|| OTHER.to_owned(), |kind| kind.to_string());
    Readable { kind, text: scalars(text).join("\n") }
}

/// The text within bytes, a line for each part that is whole; nothing where most of it is none.
fn legible(bytes: &[u8]) -> String {
    let is_text = |c: &char| !c.is_control() || c.is_ascii_whitespace();
    let lines: Vec<_> = bytes.utf8_chunks().map(|chunk| chunk.valid()).filter(|valid| !valid.is_empty()).collect();
    let text: usize = lines.iter().flat_map(|line| line.chars()).filter(is_text).map(char::len_utf8).sum();
    if text * 2 > bytes.len() { lines.join("\n") } else { String::new() }
}

/// The values of a JSON object that are scalars, but for `null` and its `type`. Numbers are as they are written, which a value
/// that was read does not know any more.
fn scalars(object: &str) -> Vec<String> {
    let (mut lines, mut depth, mut rest) = (Vec::new(), 0, object);
    // What stands behind the key `type` lies deeper than this.
    let mut passed = None;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' | b'a'..=b'z' => rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(rest.len()),
            _ => 1,
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match first {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if passed == Some(depth) => passed = None,
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => {}
            b'"' => {
                let text: String = serde_json::from_str(token).unwrap_or_default();
                let is_key = rest.trim_ascii_start().starts_with(':');
                if is_key && depth == 1 && text == "type" {
                    passed = Some(depth);
                } else if !is_key && passed.is_none() {
                    lines.push(text);
                }
            }
            _ if token != "null" && passed.is_none() => lines.push(token.to_owned()),
            _ => {}
        }
    }
    lines
}

/// Length of the JSON text that this begins with, in bytes, with its quotes.
fn text_length(json: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: &u8| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    };
    let within = json.as_bytes()[1..].split(is_end).next().map_or(0, <[u8]>::len);
    (within + 2).min(json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn payloads_are_read() {
        let check = |payload: &[u8], kind: &str, text: &str| {
            assert_eq!(readable(payload), Readable { kind: kind.to_owned(), text: text.to_owned() });
        };
        check(br#"{"type":1,"content":"hello"}"#, "1", "hello");
        check(
            br#"{"content":"a","type":31,"n":-2.5,"more":{"type":7,"list":["b",{"c":"d"}]},"no":null,"yes":true}"#,
            "31",
            "a\n-2.5\n7\nb\nd\ntrue",
        );
        check(
            br#" {"price" : 19.90, "order":202611211234567890123, "e": [1e5 ,1.10], "\"k\\": "a\"b\\\u4f60", "no":false} "#,
            "other",
            "19.90\n202611211234567890123\n1e5\n1.10\na\"b\\你\nfalse",
        );
        check(br#"{"type":{"a":["b",1],"c":2},"d":3}"#, "other", "3");
        for payload in [r#"{"type":32}"#, r#"{"type":-1}"#, r#"{"type":1.5}"#, r#"{"type":"1"}"#, "{}"] {
            check(payload.as_bytes(), "other", "");
        }
        for text in ["hello", "你好", "", "[1]", "7", "{", "\"x\""] {
            check(text.as_bytes(), "text", text);
        }
        check(b"\xff\xfe", "binary", "");
        check(b"prefix text \xe4\xbd", "binary", "prefix text ");
        check(b"\xbdone\xfftwo\xe4", "binary", "one\ntwo");
        check(b"PNG\x00\x01\x02\x03\xff\x00", "binary", "");
        let deep = format!("{}{}", "{\"a\":".repeat(1000), "}".repeat(1000));
        check(deep.as_bytes(), "text", &deep);
    }

    fn view(conversation: &str, body: &Value) -> MessageView {
        MessageView {
            native_id: "1957230963717050368".to_owned(),
            conversation: conversation.to_owned(),
            seq: 7,
            sender: "alice".to_owned(),
            sent_at: 1_755_475_200_000_000,
            body: body.to_string().into(),
            ..MessageView::default()
        }
    }

    fn shown(message: &MessageView) -> Value {
        serde_json::to_value(Object::of(message)).expect("plain values can be written")
    }

    #[test]
    fn what_a_server_sent_is_shown_as_the_contract_has_it() {
        let body = json!({
            "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 0,
            "message_id": 1_957_230_963_717_050_368_i64, "message_idstr": "1957230963717050368",
            "client_msg_no": "order-7-notice", "stream_idstr": "0", "message_seq": 7, "from_uid": "alice",
            "channel_id": "bob", "channel_type": 1, "expire": 0, "timestamp": 1_755_475_201, "payload": "aGk=",
        });
        let message = view("1/bob@alice", &body);
        let expected = json!({
            "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 0,
            "message_id": 1_957_230_963_717_050_368_i64, "message_idstr": "1957230963717050368",
            "client_msg_no": "order-7-notice", "message_seq": 7, "from_uid": "alice", "channel_id": "bob",
            "channel_type": 1, "target_uid": "bob", "expire": 0, "timestamp": 1_755_475_201, "payload": "aGk=",
        });
        assert_eq!(serde_json::to_string(&shown(&message)).unwrap(), expected.to_string());
        assert_eq!(Object::of(&message).payload(), b"hi");
    }

    #[test]
    fn a_body_says_less_in_another_server() {
        let body = json!({ "message_id": "7", "client_msg_no": "n\"1", "channel_id": "bob@alice", "payload": "aGk=" });
        let shown = shown(&view("1/bob@alice", &body));
        assert_eq!(shown["channel_id"], "bob");
        assert_eq!(shown["client_msg_no"], "n\"1");
        assert_eq!(shown["timestamp"], 1_755_475_200);
        assert_eq!(shown["header"], json!({ "no_persist": 0, "red_dot": 0, "sync_once": 0 }));
    }

    #[test]
    fn what_is_odd_in_a_field_hides_no_other() {
        let whole = json!({
            "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 128, "client_msg_no": "n1",
            "stream_no": "s1", "topic": "news", "expire": 60, "timestamp": 1_755_475_201, "payload": "aGk=",
            "tag_key": "t1", "subscribers": ["bob"], "end": 1, "end_reason": 2, "stream_data": "aGk=", "streams": [],
        });
        let expected = shown(&view("2/team", &whole));
        let odd = [
            json!(null),
            json!(true),
            json!("%"),
            json!("7"),
            json!(-1),
            json!(60.5),
            json!(i64::MAX),
            json!(u64::MAX),
            json!([null]),
            json!([true, "x"]),
            json!({}),
            json!({ "red_dot": null, "no_persist": "x", "sync_once": [] }),
        ];
        for field in whole.as_object().unwrap().keys() {
            for odd in &odd {
                let mut body = whole.clone();
                body[field] = odd.clone();
                let shown = shown(&view("2/team", &body));
                let differs = |key: &String| shown.get(key) != expected.get(key);
                let differing: Vec<_> = expected.as_object().unwrap().keys().filter(|key| differs(key)).collect();
                // What has not ended is not told.
                assert!(differing.iter().all(|key| *key == field || field == "end"), "{field} {odd}: {shown}");
            }
        }
        let check = |field: &str, odd: Value, expected: Value| {
            let mut body = whole.clone();
            body[field] = odd;
            assert_eq!(shown(&view("2/team", &body))[field], expected, "{body}");
        };
        check("header", json!({ "red_dot": true }), json!({ "no_persist": 0, "red_dot": 1, "sync_once": 0 }));
        check("client_msg_no", json!(77), json!("77"));
        check("expire", json!(4_294_967_296_i64), json!(u32::MAX));
        check("expire", json!(-1), json!(0));
        check("setting", json!(256), json!(0));
        check("timestamp", json!("1795297000"), json!(1_795_297_000));
        check("timestamp", json!(null), json!(1_755_475_200));
    }

    #[test]
    fn a_part_of_a_stream_has_no_number_in_its_channel() {
        let body = json!({ "stream_no": "s1", "channel_id": "team", "channel_type": 2, "payload": "aGk=" });
        let shown = shown(&view("stream/s1", &body));
        assert_eq!((&shown["message_seq"], &shown["channel_id"]), (&json!(0), &json!("team")));
        assert_eq!((&shown["channel_type"], &shown["stream_no"]), (&json!(2), &json!("s1")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            client_msg_no: String, stream_no: String, topic: String, tag_key: String,
            payload: Vec<u8>, setting: u8, expire: u32, timestamp in proptest::option::of(1..i64::MAX),
            flags in proptest::array::uniform3(0..2_u8), subscribers in proptest::collection::vec(".+", 0..4),
        ) {
            let [no_persist, red_dot, sync_once] = flags;
            let written = Object {
                header: Header { no_persist, red_dot, sync_once },
                setting, expire, timestamp, subscribers,
                client_msg_no: client_msg_no.into(), stream_no: stream_no.into(),
                topic: topic.into(), tag_key: tag_key.into(),
                payload: BASE64.encode(&payload).into(),
                ..Object::default()
            };
            let text = serde_json::to_string(&written).unwrap();
            let read = Object::written(text.as_bytes());
            prop_assert_eq!(&read, &written);
            prop_assert_eq!(read.payload(), payload);
        }

        #[test]
        fn the_scalars_of_an_object_are_found(texts in proptest::collection::vec(any::<String>(), 0..5), n: i64, is: bool) {
            let within = json!({ "type": texts, "texts": texts, "\\": { "type": n, "is": [is, null] } });
            let expected = texts.iter().cloned().chain([n.to_string(), is.to_string()]).collect::<Vec<_>>();
            prop_assert_eq!(scalars(&within.to_string()), expected.clone());
            prop_assert_eq!(scalars(&serde_json::to_string_pretty(&within).unwrap()), expected);
        }

        #[test]
        fn any_payload_is_readable(payload: Vec<u8>) {
            let read = readable(&payload);
            prop_assert!(read.kind == BINARY || std::str::from_utf8(&payload).is_ok());
        }
    }
}
