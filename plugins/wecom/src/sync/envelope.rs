//! The reply of `GetChatData`: a list of sealed envelopes, or a refusal.

use crate::refusal::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use stele_plugin_api::{Error, ErrorCode};

/// A message as WeCom delivers it, still sealed. What is parked is one of these, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Number within the corp.
    pub seq: u64,
    /// WeCom's id of the message.
    #[serde(default)]
    pub msgid: String,
    /// Version of the key it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publickey_ver: Option<u32>,
    /// The random key, sealed by RSA, in base64.
    #[serde(default)]
    pub encrypt_random_key: String,
    /// The message, sealed by the random key.
    #[serde(default)]
    pub encrypt_chat_msg: String,
    /// Not WeCom's: the library that crashed on it, on a parked one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadly_to: Option<String>,
    /// Not WeCom's: the JSON as it came, if only number and id of it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<String>,
}

impl Envelope {
    /// Reads an element of the list. One of another shape is kept as it came, as long as it says which it is; `None` without
    /// a number.
    pub fn read(element: &str) -> Option<Self> {
        if let Ok(envelope) = serde_json::from_str(element) {
            return Some(envelope);
        }
        let value: Value = serde_json::from_str(element).ok()?;
        let msgid = value["msgid"].as_str().unwrap_or_default().to_owned();
        Some(Self { seq: value["seq"].as_u64()?, msgid, malformed: Some(element.to_owned()), ..Self::default() })
    }

    /// The id the message has in the archive; one without is named after its number.
    pub fn msgid(&self) -> String {
        if self.msgid.is_empty() { format!("seq-{}", self.seq) } else { self.msgid.clone() }
    }
}

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Envelopes; none means that there are no more.
    Envelopes(Vec<Envelope>),
    /// An error code instead.
    Refused(Refusal),
}

#[derive(Deserialize)]
struct Body {
    errcode: Option<i64>,
    #[serde(default)]
    errmsg: String,
    chatdata: Option<Vec<Box<RawValue>>>,
}

/// Reads a reply. The library returns success for any body that came with HTTP 200, so that one which is cut or no JSON
/// arrives here: that is an upstream fault, and nothing of it is used. Neither is anything of one with an element that has
/// no number: without it nobody knows what would be skipped.
pub fn read(body: &[u8]) -> Result<Reply, Error> {
    let invalid = |what: &str| {
        let length = body.len();
        Error::new(ErrorCode::Unavailable, format!("wecom's reply of {length} bytes {what}; nothing of it is used"))
    };
    let body: Body = serde_json::from_slice(body).map_err(|error| {
        // Category and place only: the words of a JSON error can quote the reply.
        invalid(&format!("is no valid list of messages ({:?}, column {})", error.classify(), error.column()))
    })?;
    match (body.errcode, body.chatdata) {
        (Some(code), _) if code != 0 => Ok(Reply::Refused(Refusal { code, message: body.errmsg })),
        (_, Some(elements)) => {
            let envelopes: Option<Vec<Envelope>> =
                elements.iter().map(|element| Envelope::read(element.get())).collect();
            envelopes.map(Reply::Envelopes).ok_or_else(|| invalid("has a message without a number"))
        }
        (Some(_), None) => Ok(Reply::Envelopes(Vec::new())),
        (None, None) => Err(invalid("has neither messages nor an error code")),
    }
}

/// The envelopes after a seq, in order, each once. A reply can be shuffled and repeat itself.
pub fn in_order(mut envelopes: Vec<Envelope>, after: u64) -> Vec<Envelope> {
    envelopes.retain(|envelope| envelope.seq > after);
    envelopes.sort_by_key(|envelope| envelope.seq);
    let mut seen = std::collections::HashSet::with_capacity(envelopes.len());
    envelopes.retain(|envelope| seen.insert(envelope.msgid()));
    envelopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(seq: u64, msgid: &str) -> Envelope {
        Envelope { seq, msgid: msgid.into(), ..Envelope::default() }
    }

    #[test]
    fn replies_are_read() {
        let full = br#"{"errcode":0,"errmsg":"ok","more":1,"chatdata":[{"seq":18446744073709551615,"msgid":"a","publickey_ver":2,
            "encrypt_random_key":"k","encrypt_chat_msg":"m","extra":[]}]}"#;
        let expected = Envelope {
            seq: u64::MAX,
            msgid: "a".into(),
            publickey_ver: Some(2),
            encrypt_random_key: "k".into(),
            encrypt_chat_msg: "m".into(),
            ..Envelope::default()
        };
        assert_eq!(read(full), Ok(Reply::Envelopes(vec![expected])));
        assert_eq!(read(br#"{"errcode":0,"chatdata":[]}"#), Ok(Reply::Envelopes(vec![])));
        assert_eq!(read(br#"{"errcode":0,"errmsg":"ok"}"#), Ok(Reply::Envelopes(vec![])));
        let refusal = Refusal { code: 45009, message: "slow down".into() };
        assert_eq!(read(br#"{"errcode":45009,"errmsg":"slow down"}"#), Ok(Reply::Refused(refusal)));
    }

    #[test]
    fn one_malformed_element_spoils_no_other() {
        let malformed = [
            r#"{"seq":2,"msgid":"b","encrypt_random_key":null}"#,
            r#"{"seq":3,"msgid":"c","publickey_ver":"2","encrypt_chat_msg":"m"}"#,
            r#"{"seq":4,"msgid":null}"#,
        ];
        let body = format!(r#"{{"errcode":0,"chatdata":[{{"seq":1,"msgid":"a"}},{}]}}"#, malformed.join(","));
        let kept =
            |seq: u64, msgid: &str, json: &str| Envelope { malformed: Some(json.to_owned()), ..envelope(seq, msgid) };
        let expected =
            vec![envelope(1, "a"), kept(2, "b", malformed[0]), kept(3, "c", malformed[1]), kept(4, "", malformed[2])];
        assert_eq!(read(body.as_bytes()), Ok(Reply::Envelopes(expected)));
    }

    #[test]
    fn broken_replies_are_transient() {
        for body in [
            &b""[..],
            b"<html>",
            br#"{"errcode":0,"chatdata":[{"seq":1,"msgid":"a""#,
            br#"{"errcode":0,"chatdata":[{"msgid":"no seq"}]}"#,
            br#"{"errcode":0,"chatdata":[{"seq":-1}]}"#,
            br#"{"errcode":0,"chatdata":[{"seq":1},{"seq":"2"}]}"#,
            br#"{"errcode":0,"chatdata":[{"seq":1},null]}"#,
            b"{}",
            b"[]",
            b"\xff",
        ] {
            let error = read(body).expect_err("it is broken");
            assert!(error.is_transient(), "{error}");
        }
    }

    #[test]
    fn order_is_restored() {
        let mixed = vec![
            envelope(5, "e"),
            envelope(3, "c"),
            envelope(5, "e"),
            envelope(1, "a"),
            envelope(4, "c"),
            envelope(2, ""),
        ];
        let seqs: Vec<u64> = in_order(mixed, 1).iter().map(|envelope| envelope.seq).collect();
        assert_eq!(seqs, [2, 3, 5]);
    }
}
