//! The upstream's replies, whatever their shape (reference/gateway.md §12, what a client accepts).

use super::times;
use crate::message::{self, JOINED};
use crate::msgid;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use stele_plugin_api::model::{Message, Micros};

/// `kind` of what is no message object but stood where one belongs.
pub const UNREADABLE: &str = "unreadable";
/// What a derived native id begins with; no MsgId does.
const DERIVED: char = '~';
/// Characters of a derived id behind that.
const DERIVED_DIGITS: usize = 32;

/// An answer of code 0, or the code of a refusal.
pub type Answer<'a> = Result<Option<&'a RawValue>, i64>;

#[derive(Deserialize)]
struct Envelope<'a> {
    code: i64,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Reads the envelope; `None` for what is none. `data` of a failure may be missing, null or an empty object: it is not
/// looked at, nor is `error` of a success.
pub fn envelope(body: &[u8]) -> Option<Answer<'_>> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    Some(if envelope.code == 0 { Ok(envelope.data) } else { Err(envelope.code) })
}

/// The elements of a page of history; `None` when it has none of the known shapes. No page, `null` and `[]` are the same.
pub fn elements(data: Option<&RawValue>) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Page<'a> {
        #[serde(rename = "Msg", borrow, default)]
        messages: Option<Vec<&'a RawValue>>,
    }
    let Some(data) = data else { return Some(Vec::new()) };
    let page: Option<Page<'_>> = serde_json::from_str(data.get()).ok()?;
    Some(page.and_then(|page| page.messages).unwrap_or_default())
}

/// The ids of `get_joined_conversation`, each once, without empty ones.
pub fn joined(data: Option<&RawValue>) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Joined {
        #[serde(rename = "Conversations", default)]
        conversations: Option<Vec<String>>,
    }
    let Some(data) = data else { return Some(Vec::new()) };
    let joined: Option<Joined> = serde_json::from_str(data.get()).ok()?;
    let mut ids = joined.and_then(|joined| joined.conversations).unwrap_or_default();
    ids.retain(|id| !id.is_empty());
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

/// What `get_conversation_detail` says. The time and session of the last message are not relied on.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// Put away.
    #[serde(rename = "IsArchive")]
    pub archived: bool,
    /// Deleted.
    #[serde(rename = "IsDelete")]
    pub deleted: bool,
    /// 0 to 15.
    #[serde(rename = "ConversationType")]
    pub kind: i64,
}

/// The details of a conversation.
pub fn detail(data: Option<&RawValue>) -> Option<Detail> {
    serde_json::from_str(data?.get()).ok()
}

/// A text of the answer under any of these keys, unless it is empty.
pub fn text(data: Option<&RawValue>, keys: &[&str]) -> Option<String> {
    let value: Value = serde_json::from_str(data?.get()).ok()?;
    let found = keys.iter().find_map(|key| value.get(key)?.as_str().filter(|text| !text.is_empty()));
    found.map(str::to_owned)
}

/// What one element of a page is to the archive.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The message. Its body is the element, byte for byte.
    pub message: Message,
    /// The number of its id; `None` when it has none of the right form, and its native id is derived.
    pub number: Option<i64>,
    /// `SendTime` could not be believed.
    pub wrong_time: bool,
    /// It says it is of another conversation.
    pub foreign: bool,
    /// It has the text of the automatic message, so Type, FromSession and Content may be another's (reference/gateway.md §7).
    pub unverified: bool,
}

/// Reads one element of the history of a conversation. Nothing is refused: what has no id of the right form gets one derived
/// from its bytes, so that it is stored once however often it is read; what has no time gets `otherwise`.
pub fn message(element: &RawValue, conversation: &str, greeting: &str, otherwise: Micros) -> Decoded {
    let fields: Option<Map<String, Value>> = serde_json::from_str(element.get()).ok();
    let field = |name: &str| fields.as_ref().and_then(|fields| fields.get(name)).unwrap_or(&Value::Null);
    let text = |name: &str| field(name).as_str().unwrap_or_default();
    let id = [text("MsgId"), text("MsgID")].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
    let number = msgid::number(id);
    let id_ms = number.map(|number| number >> msgid::COUNTER_BITS);
    let (time, right) = times::settle(times::read(field("SendTime")), id_ms);
    let sent_at = time.unwrap_or(otherwise);
    let content = text("Content");
    let readable = field("Content").is_string() || number.is_some();
    let unverified = !greeting.is_empty() && content == greeting;
    let kind = match field("Type").as_i64() {
        _ if unverified => JOINED.to_owned(),
        Some(kind) => message::kind(kind),
        None if readable => "0".to_owned(),
        None => UNREADABLE.to_owned(),
    };
    let native_id = if number.is_some() { id.to_owned() } else { derived(conversation, element.get().as_bytes()) };
    let message = Message {
        native_id,
        conversation: conversation.to_owned(),
        seq: Some(number.unwrap_or_else(|| msgid::number_at(sent_at))),
        sender: text("FromSession").to_owned(),
        sent_at,
        kind,
        text: content.to_owned(),
        body: element.get().to_owned().into(),
        ..Message::default()
    };
    let said = text("ConversationID");
    Decoded { message, number, wrong_time: !right, foreign: !said.is_empty() && said != conversation, unverified }
}

/// A native id for what has none: the same bytes in the same conversation have the same.
fn derived(conversation: &str, element: &[u8]) -> String {
    digits(Sha256::new().chain_update(conversation).chain_update([0]).chain_update(element))
}

/// A native id for a message whose own another message has. It is the same whether the message was relayed or read: their
/// bodies differ.
pub fn derived_of(message: &Message) -> String {
    let Message { conversation, native_id, sender, text, .. } = message;
    let parts = [conversation, native_id, sender, text];
    digits(parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part).chain_update([0])))
}

fn digits(digest: Sha256) -> String {
    let digest = digest.finalize();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{DERIVED}{}", &digits[..DERIVED_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const CONVERSATION: &str = "11111111-2222-3333-4444-555555555555";
    const GREETING: &str = "您已加入对话 ";

    fn raw(value: &str) -> Box<RawValue> {
        RawValue::from_string(value.to_owned()).expect("it is JSON")
    }

    fn read(element: &str) -> Decoded {
        message(&raw(element), CONVERSATION, GREETING, 7)
    }

    #[test]
    fn envelopes_of_every_shape_are_read() {
        let check = |body: &str, expected: Option<Result<Option<&str>, i64>>| {
            let found = envelope(body.as_bytes());
            assert_eq!(found.map(|answer| answer.map(|data| data.map(RawValue::get))), expected, "{body}");
        };
        check("{\"code\":0,\"data\":{\"Joined\":true}}\n", Some(Ok(Some("{\"Joined\":true}"))));
        check(r#"{"code":0,"error":"xxx","data":"token"}"#, Some(Ok(Some("\"token\""))));
        check(r#"{"code":0}"#, Some(Ok(None)));
        check(r#"{"code":0,"data":null}"#, Some(Ok(None)));
        for failed in [r#"{"code":10101,"error":"x","data":{}}"#, r#"{"code":10101,"data":null}"#, r#"{"code":10101}"#]
        {
            check(failed, Some(Err(10_101)));
        }
        for other in ["", "quick-im", "<html>", "{}", "[]", r#"{"code":0,"data":{"Msg":["#, r#"{"code":"0"}"#] {
            check(other, None);
        }
    }

    #[test]
    fn pages_of_every_shape_are_read() {
        let check = |data: Option<&str>, expected: Option<usize>| {
            let data = data.map(raw);
            assert_eq!(elements(data.as_deref()).map(|elements| elements.len()), expected, "{data:?}");
        };
        for nothing in [None, Some("null"), Some("{}"), Some(r#"{"Msg":null}"#), Some(r#"{"Msg":[]}"#)] {
            check(nothing, Some(0));
        }
        check(Some(r#"{"Msg":[{}, 1, null, "x"]}"#), Some(4));
        check(Some(r#"{"Msg":{}}"#), None);
        check(Some("\"Msg\""), None);
        let ids = |data: &str| joined(Some(&raw(data)));
        assert_eq!(ids(r#"{"Conversations":["b","","a","b"]}"#), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(ids(r#"{"Conversations":null}"#), Some(Vec::new()));
        assert_eq!(ids(r#"{"Conversations":[1]}"#), None);
        let told = raw(
            r#"{"ConversationID":"x","LastMsgID":null,"LastSendTime":"odd","ConversationType":2,"IsArchive":true}"#,
        );
        assert_eq!(detail(Some(&told)), Some(Detail { archived: true, deleted: false, kind: 2 }));
        let id = raw(r#"{"ConversationId":"","ConversationID":"x"}"#);
        assert_eq!(text(Some(&id), &["ConversationId", "ConversationID"]).as_deref(), Some("x"));
    }

    #[test]
    fn a_message_is_taken_as_it_is() {
        let element = r#"{"MsgId":"EDTZL-QJ22-247Q-S2K", "ConversationID":"11111111-2222-3333-4444-555555555555","FromSession":"alice","SendTime":1700000000001000,"Status":0,"Type":1,"Content":"\u003chi\u003e"}"#;
        let Decoded { message, number, wrong_time, foreign, unverified } = read(element);
        assert_eq!((number, wrong_time, foreign, unverified), (Some(1_700_000_000_000 << 12 | 1), false, false, false));
        let expected = Message {
            native_id: "EDTZL-QJ22-247Q-S2K".into(),
            conversation: CONVERSATION.into(),
            seq: number,
            sender: "alice".into(),
            sent_at: 1_700_000_000_001_000,
            kind: "1".into(),
            text: "<hi>".into(),
            body: element.to_owned().into(),
            ..Message::default()
        };
        assert_eq!(message, expected);
    }

    #[test]
    fn what_is_odd_is_taken_all_the_same() {
        let decoded = read(r#"{"MsgID":"EDTZL-QJ22-247Q-S2K","SendTime":"0001-01-01T00:00:00+08:05","Type":-3}"#);
        assert_eq!((decoded.message.sent_at, decoded.wrong_time), (1_700_000_000_000_000, true));
        assert_eq!((decoded.message.kind.as_str(), decoded.message.sender.as_str()), ("other", ""));
        let greeting =
            json!({ "MsgId": "EDTZL-QJ22-247Q-S2K", "ConversationID": "other", "Type": 7, "Content": GREETING });
        let decoded = read(&greeting.to_string());
        assert!(decoded.unverified && decoded.foreign && decoded.message.conversation == CONVERSATION);
        assert_eq!(decoded.message.kind, JOINED);

        let malformed = r#"{"MsgId":"x","SendTime":1700000000001000,"Type":1,"Content":"kept"}"#;
        let (first, again) = (read(malformed), read(malformed));
        assert_eq!(first.message, again.message);
        assert!(first.message.native_id.starts_with(DERIVED) && first.number.is_none());
        assert_eq!(first.message.seq, Some(1_700_000_000_001 << 12));
        assert_ne!(first.message.native_id, read(r#"{"MsgId":"x"}"#).message.native_id);
        for nothing in ["null", "17", "\"text\"", "[{}]", r#"{"MsgId":5,"Content":{}}"#, r#"{"a":1,"a":2}"#] {
            let Decoded { message, wrong_time, .. } = read(nothing);
            assert_eq!((message.kind.as_str(), &message.body[..]), (UNREADABLE, nothing.as_bytes()));
            assert_eq!((message.sent_at, wrong_time), (7, true), "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,40}", number in any::<i64>()) {
            if let Some(Ok(data)) = envelope(&body) {
                elements(data);
            }
            let element = json!({ "MsgId": text, "SendTime": number, "Type": number, "Content": text }).to_string();
            let decoded = read(&element);
            prop_assert_eq!(&decoded.message.body[..], element.as_bytes());
            prop_assert!(!decoded.message.native_id.is_empty() && decoded.message.seq.is_some_and(|seq| seq >= 0));
        }
    }
}
