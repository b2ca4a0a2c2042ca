//! What OpenIM's requests and answers are made of (reference/openim.md §1, §3.3).

use super::{Version, auth::Caller};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A request whose caller may make it.
pub(super) struct Question<'a> {
    pub version: Version,
    pub caller: Caller,
    pub operation: &'a str,
    pub body: Value,
}

/// An error as OpenIM tells it.
pub(super) struct Refused {
    pub code: i64,
    pub name: String,
    pub detail: String,
    /// It was found before a service was asked.
    pub is_local: bool,
    /// The request could not be read.
    pub is_unread: bool,
}

impl Refused {
    pub fn new(code: i64, name: &str, detail: &str) -> Self {
        Self { code, name: name.to_owned(), detail: detail.to_owned(), is_local: false, is_unread: false }
    }

    pub fn args(detail: &str) -> Self {
        Self::new(1001, "ArgsError", detail)
    }

    pub fn permission(detail: &str) -> Self {
        Self::new(1002, "NoPermissionError", detail)
    }

    pub fn not_found(detail: &str) -> Self {
        Self::new(1004, "RecordNotFoundError", detail)
    }

    /// A service that fell over.
    pub fn panic(version: Version, text: &str) -> Self {
        match version {
            Version::Head => Self::new(500, "panic error", text),
            Version::V383 => Self::new(2, text, ""),
            Version::V380 => Self::new(500, "grpc service msg down", ""),
        }
    }

    pub fn local(self) -> Self {
        Self { is_local: true, ..self }
    }

    /// A request that could not be read.
    pub fn unread(what: &str) -> Self {
        Self { is_unread: true, ..Self::new(1001, what, "").local() }
    }

    pub fn envelope(&self, version: Version) -> Value {
        let Self { code, name, detail, is_local, .. } = self;
        let full = format!("{code} {name} {detail}");
        let full = full.trim_end();
        let (message, detail) = match (version, is_local) {
            (Version::Head, _) => (name.as_str(), detail.as_str()),
            (Version::V383, true) => (name.as_str(), ""),
            (Version::V383, false) | (Version::V380, true) => (name.as_str(), full),
            (Version::V380, false) => (full, full),
        };
        json!({ "errCode": code, "errMsg": message, "errDlt": detail })
    }
}

/// The answer: `data`, or the error. `Null` is an answer without fields.
pub(super) type Answer = Result<Value, Refused>;

/// JSON as Go writes it.
pub(super) fn go(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A field of an object, by Go's rules: case does not matter, what is missing or null is the default, a wrong type an error.
pub(super) fn field<T: DeserializeOwned + Default>(object: &Value, name: &str) -> Result<T, Refused> {
    let mut fields = object.as_object().into_iter().flatten();
    match fields.rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|error| Refused::unread(&format!("json: cannot unmarshal {name}: {error}"))),
    }
}

/// A list as Go has it in its answers: empty, it is nothing.
pub(super) fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Null } else { Value::Array(items) }
}

/// An object that HEAD leaves out where it is empty, and others send as nothing.
pub(super) fn put_map(answer: &mut Value, name: &str, map: Map<String, Value>, version: Version) {
    match (map.is_empty(), version) {
        (true, Version::Head) => {}
        (true, _) => answer[name] = Value::Null,
        (false, _) => answer[name] = Value::Object(map),
    }
}

/// The first place and the number of rows of a page in a list; numbers below 1 are refused.
pub(super) fn page(body: &Value) -> Result<(usize, usize), Refused> {
    let pagination: Value = field(body, "pagination")?;
    let (number, rows): (i32, i32) = (field(&pagination, "pageNumber")?, field(&pagination, "showNumber")?);
    let checked = |value: i32, what: &str| {
        usize::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| Refused::args(what))
    };
    let (number, rows) = (checked(number, "pageNumber is invalid")?, checked(rows, "showNumber is invalid")?);
    Ok(((number - 1) * rows, rows))
}
