//! The message object: as OpenIM's pull has it (reference/openim.md §7.1), which is how the archive keeps it, and as its search
//! has it (§2.2), for what could be read there only.

use crate::content;
use crate::ids;
use crate::json;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use stele_plugin_api::model::{MAX_LABEL, Message, Micros};
use stele_plugin_api::ops::MessageView;

/// Standard base64, written with padding and read with or without.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// What only a message from a search has.
const FROM_SEARCH: &str = "recvNickname";

/// A message. Written, it has the keys of a pulled one in their order, but `seq` only where it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MsgData {
    /// Who sent it.
    #[serde(rename = "sendID")]
    pub send_id: String,
    /// Whom it is for; empty in a group.
    #[serde(rename = "recvID")]
    pub recv_id: String,
    /// The group; empty between two.
    #[serde(rename = "groupID")]
    pub group_id: String,
    /// The sender's own id of it.
    #[serde(rename = "clientMsgID")]
    pub client_msg_id: String,
    /// Its id.
    #[serde(rename = "serverMsgID")]
    pub server_msg_id: String,
    /// Which of the sender's devices.
    #[serde(rename = "senderPlatformID")]
    pub sender_platform_id: i32,
    /// What the sender was called.
    pub sender_nickname: String,
    /// The sender's picture.
    #[serde(rename = "senderFaceURL")]
    pub sender_face_url: String,
    /// 1 two people, 3 a group, 4 a system account.
    pub session_type: i32,
    /// 100 a user, 200 the system.
    pub msg_from: i32,
    /// What `content` is.
    pub content_type: i32,
    /// What it says: JSON text. Written as base64.
    #[serde(serialize_with = "base64")]
    pub content: String,
    /// Its number in its conversation; 0 where the archive counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: i64,
    /// When it was sent, in milliseconds since 1970.
    pub send_time: i64,
    /// When its sender made it, in milliseconds since 1970.
    pub create_time: i64,
    /// 2 sent, 4 deleted.
    pub status: i32,
    /// Whether it was read.
    pub is_read: bool,
    /// What is to be done with it.
    pub options: Value,
    /// What a phone shows of it.
    pub offline_push_info: Value,
    /// Whom it names.
    #[serde(rename = "atUserIDList")]
    pub at_user_id_list: Value,
    /// More for clients.
    pub attached_info: String,
    /// More for whoever sent it.
    pub ex: String,
}

impl MsgData {
    /// Reads one of either shape; `None` for what is no JSON object. What is missing, `null` or of an odd type is as if it were
    /// empty, so that no message is lost for it.
    pub fn read(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = json::read(body) else { return None };
        let fields = Fields(fields);
        let mut message = Self {
            send_id: fields.text("sendID"),
            recv_id: fields.text("recvID"),
            group_id: fields.text("groupID"),
            client_msg_id: fields.text("clientMsgID"),
            server_msg_id: fields.text("serverMsgID"),
            sender_platform_id: fields.small("senderPlatformID"),
            sender_nickname: fields.text("senderNickname"),
            sender_face_url: fields.text("senderFaceURL"),
            session_type: fields.small("sessionType"),
            msg_from: fields.small("msgFrom"),
            content_type: fields.small("contentType"),
            content: fields.text("content"),
            seq: fields.number("seq"),
            send_time: fields.number("sendTime"),
            create_time: fields.number("createTime"),
            status: fields.small("status"),
            is_read: fields.get("isRead").as_bool().unwrap_or_default(),
            options: fields.get("options").clone(),
            offline_push_info: fields.get("offlinePushInfo").clone(),
            at_user_id_list: fields.get("atUserIDList").clone(),
            attached_info: fields.text("attachedInfo"),
            ex: fields.text("ex"),
        };
        if fields.0.contains_key(FROM_SEARCH) {
            // A search puts the group there, in both.
            if !message.group_id.is_empty() {
                message.recv_id.clear();
                message.sender_face_url.clear();
            }
        } else if let Ok(content) = BASE64.decode(&message.content) {
            message.content = String::from_utf8_lossy(&content).into_owned();
        }
        Some(message)
    }

    /// A stored message.
    pub fn of(view: &MessageView) -> Self {
        let read = Self::read(&view.body).unwrap_or_default();
        Self { seq: view.seq, ..read }
    }

    /// The conversation it says it is in; `None` where its `sessionType` is none.
    pub fn conversation(&self) -> Option<String> {
        ids::conversation(self.session_type, &self.send_id, &self.recv_id, &self.group_id)
    }

    /// How the archive keeps it.
    pub fn body(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain values can be written").into()
    }

    /// The message of the archive, in this conversation and with this body.
    pub fn message(&self, conversation: &str, body: Bytes) -> Message {
        let is_to_one = matches!(self.session_type, ids::SINGLE | ids::NOTIFICATION);
        let is_recipient = is_to_one && !self.recv_id.is_empty() && self.recv_id != self.send_id;
        let native_id = Some(self.server_msg_id.clone()).filter(|id| !id.is_empty());
        Message {
            native_id: native_id.unwrap_or_else(|| format!("{conversation}:{}", self.seq)),
            client_id: Some(self.client_msg_id.clone()).filter(|id| !id.is_empty()),
            conversation: conversation.to_owned(),
            seq: (self.seq > 0).then_some(self.seq.min(i64::MAX - 1)),
            sender: self.send_id.clone(),
            recipients: is_recipient.then(|| self.recv_id.clone()).into_iter().collect(),
            // Nobody checks what a sender says; what no archive keeps is the nearest it does.
            sent_at: self.send_time.saturating_mul(1000).max(Micros::MIN + 1),
            kind: self.content_type.to_string(),
            text: content::readable(self.content_type, &self.content),
            labels: self.labels(),
            body,
            ..Message::default()
        }
    }

    /// What a search finds it by: whom it is for, be that a person or a group, and its `sessionType`.
    fn labels(&self) -> Vec<String> {
        let ids = [&self.recv_id, &self.group_id].into_iter().filter(|id| !id.is_empty());
        let labels = ids.map(|id| ids::to(id)).chain([ids::session(self.session_type)]);
        // An id nobody can have costs no message.
        labels.filter(|label| label.len() <= MAX_LABEL).collect()
    }
}

fn base64<S: Serializer>(content: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(content))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The fields of an object that may be of any type.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    /// A text; what is none as it is written.
    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A number, or a text that is one; else 0.
    fn number(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Number(number) => number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64),
            Value::String(text) => text.parse().unwrap_or_default(),
            _ => 0,
        }
    }

    fn small(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// As the reference has it.
    const PULLED: &str = r#"{"sendID":"u_1001","recvID":"","groupID":"group_001","clientMsgID":"c1","serverMsgID":"s1",
        "senderPlatformID":5,"senderNickname":"Ann","senderFaceURL":"","sessionType":3,"msgFrom":100,
        "contentType":101,"content":"eyJjb250ZW50IjoiaGVsbG8ifQ==","seq":1,"sendTime":1775700000000,
        "createTime":1775699999800,"status":2,"isRead":false,"options":{"history":true},
        "offlinePushInfo":null,"atUserIDList":null,"attachedInfo":"","ex":""}"#;

    #[test]
    fn a_pulled_message_is_kept_byte_for_byte_and_read() {
        let message = MsgData::read(PULLED.as_bytes()).unwrap();
        assert_eq!((message.content.as_str(), message.content_type), (r#"{"content":"hello"}"#, 101));
        assert_eq!(message.conversation().as_deref(), Some("sg_group_001"));
        let stored = message.message("sg_group_001", Bytes::from(PULLED));
        let expected = Message {
            native_id: "s1".into(),
            client_id: Some("c1".into()),
            conversation: "sg_group_001".into(),
            seq: Some(1),
            sender: "u_1001".into(),
            sent_at: 1_775_700_000_000_000,
            kind: "101".into(),
            text: "hello".into(),
            labels: vec!["to:group_001".into(), "session:3".into()],
            body: Bytes::from(PULLED),
            ..Message::default()
        };
        assert_eq!(stored, expected);
        let compact = serde_json::from_str::<Value>(PULLED).unwrap().to_string();
        assert_eq!(message.body(), compact.as_bytes(), "it is written as it is pulled");
    }

    #[test]
    fn a_message_from_a_search_is_read_too() {
        let found = json!({
            "serverMsgID": "s1", "clientMsgID": "c1", "sendID": "u_1", "recvID": "team", "groupID": "team", "recvNickname": "",
            "senderPlatformID": 5, "senderNickname": "Ann", "senderFaceURL": "the group's", "groupName": "Ops",
            "sessionType": 3, "msgFrom": 100, "contentType": 101, "content": "{\"content\":\"aGk=\"}", "status": 2,
            "sendTime": 5, "createTime": 4, "ex": "", "seq": 7,
        });
        let message = MsgData::read(found.to_string().as_bytes()).unwrap();
        assert_eq!((message.recv_id.as_str(), message.sender_face_url.as_str()), ("", ""));
        assert_eq!((message.content.as_str(), message.seq), (r#"{"content":"aGk="}"#, 7));
        // As it would be, had it been pulled.
        let again = MsgData::read(&message.body()).unwrap();
        assert_eq!(again, message);
    }

    #[test]
    fn odd_fields_cost_no_message() {
        let odd = json!({
            "sendID": 7, "recvID": null, "serverMsgID": "s", "sessionType": "1", "contentType": 101.0, "content": "no base64!",
            "seq": "12", "sendTime": 1.5e12, "status": {}, "isRead": "yes", "options": 3, "senderPlatformID": 1e300,
        });
        let message = MsgData::read(odd.to_string().as_bytes()).unwrap();
        assert_eq!((message.send_id.as_str(), message.session_type, message.content_type), ("7", 1, 101));
        assert_eq!((message.seq, message.send_time, message.status), (12, 1_500_000_000_000, 0));
        assert_eq!(message.content, "no base64!");
        for nothing in ["", "[]", "null", "7"] {
            assert_eq!(MsgData::read(nothing.as_bytes()), None);
        }
        assert!(MsgData::read(b"{}").is_some());
    }

    #[test]
    fn no_time_and_no_number_is_beyond_what_an_archive_keeps() {
        for (send_time, sent_at) in
            [(i64::MIN, i64::MIN + 1), (i64::MIN / 1000, i64::MIN / 1000 * 1000), (i64::MAX, i64::MAX)]
        {
            let message = MsgData { send_time, seq: i64::MAX, ..MsgData::default() }.message("si_a_b", Bytes::new());
            assert_eq!((message.sent_at, message.seq), (sent_at, Some(i64::MAX - 1)));
        }
    }

    #[test]
    fn recipients_are_those_it_was_sent_to() {
        let message = |session_type, send_id: &str, recv_id: &str| {
            let message = MsgData {
                session_type,
                send_id: send_id.into(),
                recv_id: recv_id.into(),
                group_id: "team".into(),
                ..MsgData::default()
            };
            let message = message.message(&message.conversation().unwrap_or_default(), Bytes::new());
            (message.native_id, message.recipients)
        };
        assert_eq!(message(1, "a", "b"), ("si_a_b:0".into(), vec!["b".into()]));
        assert_eq!(message(4, "a", "b"), ("sn_a_b:0".into(), vec!["b".into()]));
        assert_eq!(message(1, "a", "a"), ("si_a_a:0".into(), vec![]));
        assert_eq!(message(3, "a", ""), ("sg_team:0".into(), vec![]));
    }

    #[test]
    fn labels_tell_whom_it_is_for() {
        let labels = |recv_id: &str, group_id: &str| {
            let message =
                MsgData { session_type: 1, recv_id: recv_id.into(), group_id: group_id.into(), ..MsgData::default() };
            message.labels()
        };
        assert_eq!(labels("b", ""), ["to:b", "session:1"]);
        assert_eq!(labels("b", "team"), ["to:b", "to:team", "session:1"]);
        assert_eq!(labels(&"x".repeat(MAX_LABEL), ""), ["session:1"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            send_id: String, group_id: String, content: String, seq in 0..i64::MAX, send_time: i64, content_type: i32, ex: String,
        ) {
            let written = MsgData { send_id, group_id, content, seq, send_time, content_type, ex, ..MsgData::default() };
            prop_assert_eq!(MsgData::read(&written.body()), Some(written));
        }
    }
}
