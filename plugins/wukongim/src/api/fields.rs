//! What is in a request (reference/wukongim.md §2).
//!
//! Unknown names are passed over, and `null` is as good as nothing. Numbers are whole and within their range; ids may be written
//! as texts, since large numbers are inexact to some. Base64 may lack its padding. Errors name the field.

use super::reply::ApiError;
use crate::channel::Channel;
use crate::message::BASE64;
use base64::Engine;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use stele_plugin_api::ops::HttpRequest;

/// Longest uid, channel id or id of a sender, in bytes.
pub const MAX_NAME: usize = 256;
/// Longest id of a channel that is read: a pair of uids, and that of its commands.
const MAX_CHANNEL: usize = 2 * MAX_NAME + 16;
/// Longest payload, in bytes: a real server cannot read a longer one again (reference/wukongim.md §3).
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The fields of an object.
#[derive(Debug)]
pub struct Fields {
    members: Map<String, Value>,
    /// What stands before a name in an error: where the object is.
    at: String,
    /// They are texts, all of them.
    is_query: bool,
}

/// What a body is that may be either.
pub enum Body {
    /// An object.
    One(Fields),
    /// A list of objects.
    Many(Vec<Fields>),
}

impl Fields {
    /// Those of a body that is an object.
    ///
    /// # Errors
    ///
    /// 400; so do all others.
    pub fn of_body(request: &HttpRequest) -> Result<Self, ApiError> {
        match either(request)? {
            Body::One(fields) => Ok(fields),
            Body::Many(_) => Err(ApiError::bad("the body must be a JSON object")),
        }
    }

    /// Those of the query; of a name that is there twice the first one.
    pub fn of_query(request: &HttpRequest) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let mut members = Map::new();
        for pair in request.query.as_deref().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            members.entry(decode(name)).or_insert_with(|| Value::String(decode(value)));
        }
        Self { members, at: String::new(), is_query: true }
    }

    /// An error about a field.
    pub fn wrong(&self, name: &str, what: &str) -> ApiError {
        ApiError::bad(format!("{}{name} {what}", self.at))
    }

    /// Whether something is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A text; empty when missing.
    pub fn text(&self, name: &str) -> Result<String, ApiError> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(name, "must be a text")),
        }
    }

    /// A uid, a channel id or an id of the sender; empty when missing.
    pub fn name(&self, name: &str) -> Result<String, ApiError> {
        let text = self.text(name)?;
        if text.len() > MAX_NAME {
            return Err(self.wrong(name, &format!("must have at most {MAX_NAME} bytes")));
        }
        Ok(text)
    }

    /// The same where there must be one.
    pub fn needed(&self, name: &str) -> Result<String, ApiError> {
        let text = self.name(name)?;
        if text.is_empty() { Err(self.wrong(name, "is missing")) } else { Ok(text) }
    }

    /// A type of channels.
    pub fn channel_type(&self) -> Result<u8, ApiError> {
        match self.number("channel_type", u8::MAX)? {
            None => Err(self.wrong("channel_type", "is missing")),
            Some(0) => Err(self.wrong("channel_type", "must not be 0")),
            Some(channel_type) => Ok(channel_type),
        }
    }

    /// Where the object is, in front of a name of it.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The id of a channel that is read.
    pub fn channel_id(&self) -> Result<String, ApiError> {
        let id = self.text("channel_id")?;
        if id.is_empty() {
            return Err(self.wrong("channel_id", "is missing"));
        }
        if id.len() > MAX_CHANNEL {
            return Err(self.wrong("channel_id", &format!("must have at most {MAX_CHANNEL} bytes")));
        }
        Ok(id)
    }

    /// The channel a reader means.
    pub fn channel(&self, login_uid: &str) -> Result<Channel, ApiError> {
        let id = self.channel_id()?;
        let channel = Channel::of_reader(self.channel_type()?, &id, login_uid);
        channel
            .ok_or_else(|| self.wrong("channel_id", "names two people: give login_uid and the other one, or the pair"))
    }

    /// A whole number up to this one.
    pub fn number<N: Copy + Into<u64> + TryFrom<u64>>(&self, name: &str, most: N) -> Result<Option<N>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = if self.is_query { digits(value) } else { value.as_u64() };
        let number = number.filter(|number| *number <= most.into()).and_then(|number| N::try_from(number).ok());
        let wrong = || self.wrong(name, &format!("must be a whole number from 0 to {}", most.into()));
        number.map(Some).ok_or_else(wrong)
    }

    /// A flag, 0 or 1.
    pub fn flag(&self, name: &str) -> Result<u8, ApiError> {
        Ok(self.number(name, 1_u8)?.unwrap_or_default())
    }

    /// The id of a message: a number, or its digits as a text.
    pub fn id(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        id(value).map(Some).ok_or_else(|| self.wrong(name, "must be the id of a message"))
    }

    /// So many ids of messages at most.
    pub fn ids(&self, name: &str, most: usize) -> Result<Vec<i64>, ApiError> {
        self.list(name, most, "an id of a message", id)
    }

    /// So many numbers of messages at most.
    pub fn seqs(&self, name: &str, most: usize) -> Result<Vec<i64>, ApiError> {
        let seq = |value: &Value| value.as_u64().map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
        self.list(name, most, "a number of a message", seq)
    }

    /// So many names at most, none of them empty.
    pub fn names(&self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let text = |value: &Value| {
            let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_NAME);
            text.map(str::to_owned)
        };
        self.list(name, most, &format!("a text of 1 to {MAX_NAME} bytes"), text)
    }

    /// The fields of an object within; none when it is missing.
    pub fn object(&self, name: &str) -> Result<Self, ApiError> {
        let at = format!("{}{name}.", self.at);
        match self.get(name) {
            None => Ok(Self { members: Map::new(), at, is_query: false }),
            Some(Value::Object(members)) => Ok(Self { members: members.clone(), at, is_query: false }),
            Some(_) => Err(self.wrong(name, "must be an object")),
        }
    }

    /// A payload, not empty: base64, or the bytes as numbers.
    pub fn payload(&self, name: &str) -> Result<Vec<u8>, ApiError> {
        let payload = self.bytes(name)?;
        if payload.is_empty() { Err(self.wrong(name, "is missing or empty")) } else { Ok(payload) }
    }

    /// The same, empty when missing.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, ApiError> {
        let bytes = match self.get(name) {
            None => Some(Vec::new()),
            // A plus sign in a query is a blank to whoever decodes it.
            Some(Value::String(text)) if self.is_query => BASE64.decode(text.replace(' ', "+")).ok(),
            Some(Value::String(text)) => BASE64.decode(text).ok(),
            Some(Value::Array(bytes)) => bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
            Some(_) => None,
        };
        let bytes = bytes.ok_or_else(|| self.wrong(name, "must be base64; plain text has to be encoded"))?;
        if bytes.len() > MAX_PAYLOAD {
            return Err(self.wrong(name, &format!("must have at most {MAX_PAYLOAD} bytes, decoded")));
        }
        Ok(bytes)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let is_blank = |value: &Value| value.is_null() || (self.is_query && value == "");
        self.members.get(name).filter(|value| !is_blank(value))
    }

    fn list<T>(
        &self,
        name: &str,
        most: usize,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, ApiError> {
        let values = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(self.wrong(name, "must be a list")),
        };
        if values.len() > most {
            return Err(self.wrong(name, &format!("must have at most {most} entries")));
        }
        let entry = |(index, value): (usize, &Value)| {
            read(value).ok_or_else(|| self.wrong(&format!("{name}[{index}]"), &format!("must be {what}")))
        };
        values.iter().enumerate().map(entry).collect()
    }
}

/// The fields of a body that is an object, or of each object of a list.
///
/// # Errors
///
/// 400.
pub fn either(request: &HttpRequest) -> Result<Body, ApiError> {
    let of = |members, at| Fields { members, at, is_query: false };
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(members)) => Ok(Body::One(of(members, String::new()))),
        Ok(Value::Array(values)) => {
            let one = |(index, value)| match value {
                Value::Object(members) => Ok(of(members, format!("[{index}].",))),
                _ => Err(ApiError::bad(format!("[{index}] must be an object"))),
            };
            values.into_iter().enumerate().map(one).collect::<Result<_, _>>().map(Body::Many)
        }
        Ok(_) => Err(ApiError::bad("the body must be a JSON object")),
        Err(error) => Err(ApiError::bad(format!("the body is not JSON: {error}"))),
    }
}

fn digits(value: &Value) -> Option<u64> {
    value.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn id(value: &Value) -> Option<i64> {
    value.as_u64().or_else(|| digits(value)).and_then(|id| i64::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(body: &Value) -> Fields {
        Fields::of_body(&HttpRequest { body: body.to_string().into(), ..HttpRequest::default() }).expect("an object")
    }

    fn query(query: &str) -> Fields {
        Fields::of_query(&HttpRequest { query: Some(query.to_owned()), ..HttpRequest::default() })
    }

    fn told<T>(result: Result<T, ApiError>) -> String {
        result.err().map(|error| error.message).expect("an error")
    }

    #[test]
    fn nothing_and_null_are_the_same() {
        for fields in [of(&json!({})), of(&json!({ "x": null, "unknown": [{}] })), query(""), query("x=&y")] {
            assert_eq!(fields.text("x").unwrap(), "");
            assert_eq!(fields.number("x", u8::MAX).unwrap(), None);
            assert_eq!(fields.id("x").unwrap(), None);
            assert_eq!(fields.names("x", 1).unwrap(), [""; 0]);
            assert_eq!(fields.bytes("x").unwrap(), b"");
            assert!(!fields.has("x"));
            assert_eq!(told(fields.needed("x")), "x is missing");
            assert_eq!(told(fields.payload("x")), "x is missing or empty");
        }
    }

    #[test]
    fn numbers_are_whole_and_within_their_range() {
        let check = |value: Value, expected: Option<u8>| {
            assert_eq!(of(&json!({ "x": value })).number("x", u8::MAX).ok(), expected.map(Some), "{value}");
        };
        check(json!(0), Some(0));
        check(json!(255), Some(255));
        for wrong in [json!(256), json!(-1), json!(1.0), json!("1"), json!(true), json!([]), json!(u64::MAX)] {
            check(wrong, None);
        }
        assert_eq!(told(of(&json!({ "x": -1 })).number("x", 9_u8)), "x must be a whole number from 0 to 9");
        assert_eq!(query("x=12").number("x", u64::MAX).unwrap(), Some(12));
        assert!(query("x=-1").number("x", u64::MAX).is_err());
        assert!(query("x=%2B1").number("x", u64::MAX).is_err());
    }

    #[test]
    fn ids_may_be_texts() {
        let id = 1_957_230_963_717_050_368;
        for value in [json!(id), json!(id.to_string())] {
            assert_eq!(of(&json!({ "x": value })).id("x").unwrap(), Some(id));
            assert_eq!(of(&json!({ "x": [value] })).ids("x", 1).unwrap(), [id]);
        }
        for wrong in [json!(-1), json!("x"), json!(""), json!(" 1"), json!(1.5), json!(u64::MAX)] {
            assert_eq!(told(of(&json!({ "x": wrong })).id("x")), "x must be the id of a message");
        }
        assert_eq!(told(of(&json!({ "x": [1, "?"] })).ids("x", 2)), "x[1] must be an id of a message");
        assert_eq!(told(of(&json!({ "x": [1, 2] })).ids("x", 1)), "x must have at most 1 entries");
    }

    #[test]
    fn payloads_are_base64() {
        let check = |value: Value, expected: &[u8]| {
            assert_eq!(of(&json!({ "x": value })).bytes("x").as_deref(), Ok(expected), "{value}");
        };
        check(json!("SGVsbG8gV29ybGQ="), b"Hello World");
        check(json!("SGVsbG8gV29ybGQ"), b"Hello World");
        check(json!("+/+/"), b"\xfb\xff\xbf");
        check(json!([104, 105]), b"hi");
        for wrong in [json!("Hello"), json!("World"), json!("-_-_"), json!("aGk=="), json!([256]), json!(7), json!({})]
        {
            let said = told(of(&json!({ "payload": wrong })).bytes("payload"));
            assert_eq!(said, "payload must be base64; plain text has to be encoded");
        }
        assert_eq!(query("x=+/%2B/").bytes("x").unwrap(), b"\xfb\xff\xbf");
        let long = BASE64.encode(vec![0; MAX_PAYLOAD + 1]);
        assert_eq!(told(of(&json!({ "x": long })).bytes("x")), "x must have at most 1048576 bytes, decoded");
    }

    #[test]
    fn errors_say_where() {
        let body = json!([{ "header": { "red_dot": 0 } }, { "header": { "red_dot": 2 } }]).to_string();
        let Ok(Body::Many(fields)) = either(&HttpRequest { body: body.into(), ..HttpRequest::default() }) else {
            panic!("a list");
        };
        let flag = |fields: &Fields| fields.object("header")?.flag("red_dot");
        assert_eq!(flag(&fields[0]), Ok(0));
        assert_eq!(told(flag(&fields[1])), "[1].header.red_dot must be a whole number from 0 to 1");
    }

    #[test]
    fn bodies_are_objects() {
        for (body, expected) in [
            ("7", "the body must be a JSON object"),
            ("null", "the body must be a JSON object"),
            ("[7]", "[0] must be an object"),
            ("[]", "the body must be a JSON object"),
            ("", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
            ("{} x", "the body is not JSON: trailing characters at line 1 column 4"),
        ] {
            let request = HttpRequest { body: body.into(), ..HttpRequest::default() };
            assert_eq!(told(Fields::of_body(&request)), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(body: Vec<u8>, asked: String) {
            let request = HttpRequest { body: body.into(), query: Some(asked), ..HttpRequest::default() };
            drop(either(&request));
            let fields = Fields::of_query(&request);
            drop((fields.bytes("x"), fields.id("x"), fields.number("x", u8::MAX)));
        }
    }
}
