//! The parameters of a request: decoded, as they came over the wire, and each name once.
//!
//! The signature covers every parameter received, empty and unknown ones too, so nothing is dropped here but `signature`
//! itself. A name that comes twice is refused: the signed text `a=1&a=2` would not say which one counts, and joined pairs
//! are not injective anyway (reference/wecom-archive.md §3.1).

use super::errors::ApiError;
use super::router::Endpoint;
use percent_encoding::percent_decode;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use stele_plugin_api::ops::HttpRequest;

/// Longest query, and longest body, in bytes. A sync body has two short fields; the longest honest query is a search for
/// a thousand Chinese characters, 9 bytes each when encoded.
pub const MAX_PARAMS_BYTES: usize = 16 * 1024;
/// Most parameters in one request.
pub const MAX_PARAMS: usize = 64;

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The name, decoded.
    pub name: String,
    /// The value, decoded.
    pub value: String,
    /// Name and value as they came, joined by an equals sign.
    pub wire: String,
}

/// All parameters but the signature, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    params: Vec<Param>,
    signature: Option<String>,
}

impl Params {
    /// The parameters of a request: its query, and for [`Endpoint::Sync`] also its body.
    ///
    /// # Errors
    ///
    /// 400 for a bad escape, text that is not UTF-8, a name that comes twice, too much of anything, or a body that is
    /// neither a JSON object of plain values nor a form.
    pub fn of(endpoint: Endpoint, request: &HttpRequest) -> Result<Self, ApiError> {
        let mut params = Self::default();
        if let Some(query) = &request.query {
            params.add_encoded(query)?;
        }
        if endpoint == Endpoint::Sync {
            params.add_body(request)?;
        }
        Ok(params)
    }

    /// The signature, when there is one.
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// The value of a parameter, when it is there and not empty: an empty one means 'not given'.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.received(name).filter(|value| !value.is_empty())
    }

    /// The value of a parameter as received, empty or not.
    pub fn received(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|param| param.name == name).map(|param| param.value.as_str())
    }

    /// The value of a parameter the endpoint needs; 400 when it is missing or empty.
    pub fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::missing(name))
    }

    /// Everything that is signed, in the order received.
    pub fn signed(&self) -> &[Param] {
        &self.params
    }

    fn add_encoded(&mut self, text: &str) -> Result<(), ApiError> {
        if text.len() > MAX_PARAMS_BYTES {
            return Err(ApiError::parameter("参数过长"));
        }
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.add(decode(name)?, decode(value)?, format!("{name}={value}"))?;
        }
        Ok(())
    }

    /// JSON whatever the content type says (reference/wecom-archive.md §8-42); a form when it says so.
    fn add_body(&mut self, request: &HttpRequest) -> Result<(), ApiError> {
        if request.body.len() > MAX_PARAMS_BYTES {
            return Err(ApiError::parameter("请求体过长"));
        }
        let body = std::str::from_utf8(&request.body).map_err(|_| ApiError::parameter("请求体不是 UTF-8"))?.trim();
        if body.is_empty() {
            return Ok(());
        }
        if is_form(request) && !body.starts_with('{') {
            return self.add_encoded(body);
        }
        let mut reader = serde_json::Deserializer::from_str(body);
        let members = reader.deserialize_map(PlainMembers).and_then(|members| reader.end().map(|()| members));
        for (name, value) in members.map_err(|_| ApiError::parameter("请求体不是有效的 JSON 对象"))? {
            let wire = format!("{name}={value}");
            self.add(name, value, wire)?;
        }
        Ok(())
    }

    fn add(&mut self, name: String, value: String, wire: String) -> Result<(), ApiError> {
        let known =
            if name == "signature" { self.signature.is_some() } else { self.params.iter().any(|p| p.name == name) };
        if known {
            return Err(ApiError::parameter("参数重复"));
        }
        if self.params.len() >= MAX_PARAMS {
            return Err(ApiError::parameter("参数过多"));
        }
        if name == "signature" {
            self.signature = Some(value);
        } else {
            self.params.push(Param { name, value, wire });
        }
        Ok(())
    }
}

fn is_form(request: &HttpRequest) -> bool {
    request.headers.iter().any(|(name, value)| {
        name == "content-type"
            && value.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
    })
}

/// Form decoding, strict: a `+` is a space, and a percent sign is followed by two hex digits.
fn decode(text: &str) -> Result<String, ApiError> {
    let well_formed = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    });
    if !well_formed {
        return Err(ApiError::parameter("参数编码错误"));
    }
    percent_decode(text.replace('+', " ").as_bytes())
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| ApiError::parameter("参数不是 UTF-8"))
}

/// Members of a JSON object whose values are text, numbers or truth values; numbers keep their spelling.
struct PlainMembers;

impl<'de> Visitor<'de> for PlainMembers {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of plain values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
            let value = match raw.get().as_bytes().first() {
                Some(b'"') => serde_json::from_str(raw.get()).map_err(A::Error::custom)?,
                Some(b'{' | b'[' | b'n') | None => return Err(A::Error::custom("not a plain value")),
                Some(_) => raw.get().to_owned(),
            };
            members.push((name, value));
            if members.len() > MAX_PARAMS + 1 {
                return Err(A::Error::custom("too many members"));
            }
        }
        Ok(members)
    }
}
