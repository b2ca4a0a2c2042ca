//! The upstream's message objects as messages of the archive.

use super::native::Native;
use crate::channel::{Channel, SYSTEM};
use crate::draft::label;
use crate::element::{Element, byte, number, text};
use crate::id;
use crate::message::{BASE64, Readable, readable};
use base64::Engine;
use bytes::Bytes;
use serde_json::value::RawValue;
use stele_plugin_api::model::{Conversation, Message, Micros};

const SECOND: Micros = 1_000_000;

/// The messages in an answer's list, in the order of their numbers, and how many elements are none.
pub fn messages(elements: &[&RawValue], native: &Native) -> (Vec<Message>, usize) {
    let channel = native.channel();
    let mut messages: Vec<_> = elements.iter().filter_map(|element| message(element, &channel)).collect();
    let malformed = elements.len() - messages.len();
    messages.sort_by_key(|message| message.seq);
    messages.dedup_by_key(|message| message.seq);
    (messages, malformed)
}

fn message(element: &RawValue, channel: &Channel) -> Option<Message> {
    let read = Element::read(element.get().as_bytes())?;
    let id = Some(number(read.message_id)).filter(|id| *id > 0)?;
    let seq = Some(number(read.message_seq)).filter(|seq| *seq > 0)?;
    let sender = match text(read.from_uid) {
        uid if uid.is_empty() => SYSTEM.to_owned(),
        uid => uid.into_owned(),
    };
    let payload = BASE64.decode(text(read.payload).as_bytes()).unwrap_or_default();
    let Readable { kind, text: mut found } = readable(&payload);
    // Of a stream that is open its end will say all.
    if byte(read.end) != 0 {
        let said = readable(&read.said()).text;
        found = [found, said].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    }
    let sent_at = sent_at(id, number(read.timestamp));
    let recipients = match channel.recipient(&sender) {
        recipient if channel.channel_type == crate::channel::PERSON && recipient != sender => {
            vec![recipient.to_owned()]
        }
        _ => Vec::new(),
    };
    Some(Message {
        native_id: id.to_string(),
        client_id: Some(text(read.client_msg_no).into_owned()).filter(|no| !no.is_empty()),
        conversation: channel.to_string(),
        // More than that no archive keeps.
        seq: Some(seq.min(i64::MAX - 1)),
        sender,
        recipients,
        labels: vec![label(channel.channel_type)],
        sent_at,
        kind,
        text: found,
        body: Bytes::copy_from_slice(element.get().as_bytes()),
        expires_at: expires_at(sent_at, number(read.expire)),
        ..Message::default()
    })
}

/// The second it says, with the milliseconds of its id where that is of the same second.
fn sent_at(id: i64, timestamp: i64) -> Micros {
    let given = id::given_at(id);
    if timestamp <= 0 || given.div_euclid(SECOND) == timestamp { given } else { timestamp.saturating_mul(SECOND) }
}

/// When it is not shown any more; never without a time it is good for.
fn expires_at(sent_at: Micros, expire: i64) -> Option<Micros> {
    (expire > 0).then(|| sent_at.saturating_add(expire.saturating_mul(SECOND)))
}

/// What is said of the conversation with its messages.
pub fn conversation(native: &Native) -> Conversation {
    let channel = native.channel();
    Conversation { native_id: channel.to_string(), kind: Some(channel.kind()), ..Conversation::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decoded(channel_type: u8, id: &str, elements: &[serde_json::Value]) -> (Vec<Message>, usize) {
        let raw: Vec<_> = elements.iter().map(|element| RawValue::from_string(element.to_string()).unwrap()).collect();
        let raw: Vec<_> = raw.iter().map(AsRef::as_ref).collect();
        messages(&raw, &Native { channel_type, id: id.to_owned() })
    }

    #[test]
    fn messages_of_both_versions_are_read() {
        let v2 = json!({
            "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "message_id": 1_957_230_963_717_050_368_i64,
            "client_msg_no": "n1", "message_seq": 7, "from_uid": "alice", "channel_id": "bob", "channel_type": 1,
            "expire": 60, "timestamp": 1_755_475_200, "payload": "aGk=",
        });
        let v3 = json!({
            "message_id": "1957230963717050369", "message_seq": 6, "client_msg_no": "", "channel_id": "bob@alice",
            "channel_type": 1, "from_uid": "", "timestamp": 1_755_475_208, "payload": "eyJ0eXBlIjoxLCJjb250ZW50IjoieCJ9",
        });
        let (found, malformed) = decoded(1, "bob@alice", &[v2.clone(), v3, json!({ "message_seq": 8 }), json!(7)]);
        assert_eq!((found.len(), malformed), (2, 2));
        let (system, alice) = (&found[0], &found[1]);
        assert_eq!((alice.native_id.as_str(), alice.seq), ("1957230963717050368", Some(7)));
        assert_eq!((alice.conversation.as_str(), alice.sender.as_str()), ("1/bob@alice", "alice"));
        assert_eq!((alice.recipients.as_slice(), alice.client_id.as_deref()), (&["bob".to_owned()][..], Some("n1")));
        assert_eq!((alice.kind.as_str(), alice.text.as_str(), alice.once), ("text", "hi", false));
        assert_eq!(alice.body, v2.to_string().as_bytes());
        assert_eq!((alice.sent_at, alice.expires_at), (1_755_475_200_000_000, Some(1_755_475_260_000_000)));
        assert_eq!((system.sender.as_str(), system.kind.as_str(), system.text.as_str()), (SYSTEM, "1", "x"));
        assert_eq!((system.sent_at, system.client_id.as_deref()), (1_755_475_208_000_000, None));
    }

    #[test]
    fn what_is_odd_in_a_message_does_not_hide_it() {
        let element = json!({
            "message_id": 1, "message_seq": 2, "payload": 7, "from_uid": 10001, "expire": "soon", "timestamp": [],
            "client_msg_no": { "a": 1 }, "header": null,
        });
        let (found, malformed) = decoded(2, "team", std::slice::from_ref(&element));
        assert_eq!((found.len(), malformed), (1, 0));
        assert_eq!((found[0].seq, found[0].sender.as_str(), found[0].text.as_str()), (Some(2), "10001", ""));
        assert_eq!((found[0].client_id.as_deref(), found[0].expires_at), (None, None));
        assert_eq!(found[0].body, element.to_string().as_bytes());
        assert_eq!(found[0].sent_at, id::given_at(1));
    }

    #[test]
    fn a_stream_is_in_its_message_once_it_has_ended() {
        let element = |end: u8| {
            json!({
                "message_id": 1, "message_seq": 1, "setting": 2, "payload": "aGk=", "stream_data": "Zm9ydHktdHdv", "end": end,
            })
        };
        let text = |end| decoded(2, "team", &[element(end)]).0[0].text.clone();
        assert_eq!((text(0).as_str(), text(1).as_str()), ("hi", "hi\nforty-two"));
    }

    #[test]
    fn times_and_numbers_are_as_large_as_they_can_be() {
        let element = json!({ "message_id": 1, "message_seq": i64::MAX, "timestamp": i64::MAX, "expire": i64::MAX });
        let (found, _) = decoded(2, "team", &[element]);
        assert_eq!((found[0].sent_at, found[0].expires_at), (i64::MAX, Some(i64::MAX)));
        assert_eq!(found[0].seq, Some(i64::MAX - 1), "of numbers as well, to what an archive keeps");
    }

    #[test]
    fn what_cannot_be_read_in_a_payload_is_kept() {
        let element = json!({ "message_id": 1, "message_seq": 1, "payload": "%", "timestamp": 0 });
        let (found, malformed) = decoded(2, "team", std::slice::from_ref(&element));
        assert_eq!(
            (found[0].text.as_str(), found[0].body.as_ref(), malformed),
            ("", element.to_string().as_bytes(), 0)
        );
        assert_eq!(found[0].sent_at, id::given_at(1));
        assert!(found[0].recipients.is_empty());
    }
}
