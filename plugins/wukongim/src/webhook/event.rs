//! The events there are, and what is sent of each (reference/wukongim.md §9).

use crate::channel::{Channel, PERSON};
use crate::element::Element;
use crate::message::Object;
use bytes::Bytes;
use serde::Serialize;
use stele_plugin_api::ops::MessageView;

/// Names of all events a real server has. Of whether people are connected nothing is told: nobody connects here.
pub const NAMES: [&str; 3] = [Event::Notify.name(), Event::Offline.name(), "user.onlinestatus"];

/// An event that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Messages were stored.
    Notify,
    /// A message is for people who are not connected.
    Offline,
}

impl Event {
    /// What it is called in addresses and settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notify => "msg.notify",
            Self::Offline => "msg.offline",
        }
    }
}

/// Whether a message is told: one of a channel, not the parts of a stream, which are in none.
pub fn is_told(message: &MessageView) -> bool {
    Channel::of_conversation(&message.conversation).is_some()
}

/// What is sent of stored messages.
pub fn notify(messages: &[MessageView]) -> Bytes {
    written(&messages.iter().map(Object::of).collect::<Vec<_>>())
}

/// What is sent of a message of this node for people who are not connected, which is everybody.
pub fn offline(message: &MessageView, node: u16) -> Bytes {
    #[derive(Serialize)]
    struct Offline<'m> {
        #[serde(flatten)]
        message: Object<'m>,
        to_uids: Vec<String>,
        source_id: u16,
    }
    written(&Offline { message: Object::of(message), to_uids: recipients(message), source_id: node })
}

/// Whom a message names, without its sender: the other one of two people, or whom the sender named. Who is in a group is not
/// known here.
fn recipients(message: &MessageView) -> Vec<String> {
    let named = Element::read(&message.body).unwrap_or_default().subscribers();
    let channel = Channel::of_conversation(&message.conversation);
    let other = channel.filter(|channel| channel.channel_type == PERSON);
    let other = other.map(|channel| channel.recipient(&message.sender).to_owned());
    named.into_iter().chain(other).filter(|uid| *uid != message.sender).collect()
}

fn written<T: Serialize>(body: &T) -> Bytes {
    serde_json::to_vec(body).expect("plain values can be written").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn message(conversation: &str, sender: &str, body: &Value) -> MessageView {
        MessageView {
            native_id: "1957230963717050368".to_owned(),
            conversation: conversation.to_owned(),
            seq: 7,
            sender: sender.to_owned(),
            sent_at: 1_755_475_200_000_000,
            body: body.to_string().into(),
            ..MessageView::default()
        }
    }

    #[test]
    fn messages_are_told_as_the_api_shows_them() {
        let body = json!({ "header": { "red_dot": 1 }, "client_msg_no": "n1", "payload": "aGk=" });
        let told: Value = serde_json::from_slice(&notify(&[message("1/bob@alice", "alice", &body)])).unwrap();
        let expected = json!([{
            "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 0,
            "message_id": 1_957_230_963_717_050_368_i64, "message_idstr": "1957230963717050368", "client_msg_no": "n1",
            "message_seq": 7, "from_uid": "alice", "channel_id": "bob", "channel_type": 1, "target_uid": "bob",
            "expire": 0, "timestamp": 1_755_475_200, "payload": "aGk=",
        }]);
        assert_eq!(told, expected);
    }

    #[test]
    fn who_is_not_connected_is_named() {
        let check = |conversation, sender, body: &Value, expected: &[&str]| {
            let told: Value = serde_json::from_slice(&offline(&message(conversation, sender, body), 3)).unwrap();
            assert_eq!((&told["to_uids"], &told["source_id"]), (&json!(expected), &json!(3)), "{told}");
            assert_eq!(told["message_id"], 1_957_230_963_717_050_368_i64);
        };
        check("1/bob@alice", "alice", &json!({}), &["bob"]);
        check("1/me@me", "me", &json!({}), &[]);
        check("2/team", "alice", &json!({}), &[]);
        check("8/1____cmd", "a", &json!({ "subscribers": ["a", "b", "c"] }), &["b", "c"]);
        check("8/1____cmd", "a", &json!({ "subscribers": [null, "b", true, 7], "header": null }), &["b", "7"]);
    }

    #[test]
    fn parts_of_streams_are_not_told() {
        assert!(is_told(&message("2/team", "alice", &json!({}))));
        assert!(!is_told(&message("stream/0123", "alice", &json!({}))));
    }
}
