//! Answers: OpenIM's envelope around data, or around what went wrong (reference/openim.md §1, §3.3 and §3.4).

use bytes::Bytes;
use serde::Serialize;
use std::borrow::Cow;
use stele_plugin_api::ops::HttpReply;
use stele_plugin_api::{Error, ErrorCode};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What lets pages of other sites use the API: all may, as with a real server.
const CORS: [(&str, &str); 4] = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "*"),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "172800"),
];

/// Why something is not done. It is answered with HTTP 200, as a real server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `errCode`.
    pub code: i32,
    /// `errMsg`: the short name.
    pub msg: Cow<'static, str>,
    /// `errDlt`: one sentence, or nothing.
    pub dlt: String,
}

impl Failure {
    fn new(code: i32, msg: &'static str, dlt: impl Into<String>) -> Self {
        Self { code, msg: Cow::Borrowed(msg), dlt: dlt.into() }
    }

    /// 1001: the request is wrong.
    pub fn args(dlt: impl Into<String>) -> Self {
        Self::new(1001, "ArgsError", dlt)
    }

    /// 1002: the caller may not.
    pub fn no_permission(dlt: impl Into<String>) -> Self {
        Self::new(1002, "NoPermissionError", dlt)
    }

    /// 1004: there is no such thing.
    pub fn not_found(dlt: impl Into<String>) -> Self {
        Self::new(1004, "RecordNotFoundError", dlt)
    }

    /// 1102: the user is known already.
    pub fn registered_already(dlt: impl Into<String>) -> Self {
        Self::new(1102, "RegisteredAlreadyError", dlt)
    }

    /// 1202: the group is known already.
    pub fn group_existed(dlt: impl Into<String>) -> Self {
        Self::new(1202, "GroupIDExisted", dlt)
    }

    /// 1404: the message was taken back already.
    pub fn already_revoked() -> Self {
        Self::new(1404, "MsgAlreadyRevoke", "")
    }

    /// 1501: the token has expired.
    pub fn token_expired() -> Self {
        Self::new(1501, "TokenExpiredError", "")
    }

    /// 1503: that is no token.
    pub fn token_malformed() -> Self {
        Self::new(1503, "TokenMalformedError", "")
    }

    /// 1504: the token is not good yet.
    pub fn token_not_yet() -> Self {
        Self::new(1504, "TokenNotValidYetError", "")
    }

    /// 1505: somebody else signed the token.
    pub fn token_unknown() -> Self {
        Self::new(1505, "signature is invalid", "")
    }

    /// 500: it was not done.
    pub fn internal(dlt: impl Into<String>) -> Self {
        Self::new(500, "ServerInternalError", dlt)
    }

    /// What is told of an error of the daemon: whether trying again may help, and no more.
    pub fn of(error: &Error) -> Self {
        Self::internal(match error.code {
            ErrorCode::RateLimited => "too much is asked at once, try again",
            ErrorCode::Unavailable | ErrorCode::Deadline | ErrorCode::Cancelled => "the archive does not answer",
            _ => "the archive failed",
        })
    }

    /// The answer.
    pub fn reply(&self) -> HttpReply {
        envelope::<()>(self.code, &self.msg, &self.dlt, None)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, T> {
    err_code: i32,
    err_msg: &'a str,
    err_dlt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
}

fn envelope<T: Serialize>(err_code: i32, err_msg: &str, err_dlt: &str, data: Option<&T>) -> HttpReply {
    let envelope = Envelope { err_code, err_msg, err_dlt, data };
    with(200, JSON, serde_json::to_vec(&envelope).expect("plain values can be written"))
}

/// It is done, and this is what there is to say about it.
pub fn data<T: Serialize>(data: &T) -> HttpReply {
    envelope(0, "", "", Some(data))
}

/// It is done, and there is nothing to say about it.
pub fn done() -> HttpReply {
    envelope::<()>(0, "", "", None)
}

/// What a webhook is answered: it may go on (reference/openim.md §7.3).
pub fn agreed() -> HttpReply {
    with(200, JSON, br#"{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}"#.to_vec())
}

/// JSON that somebody else wrote.
pub fn json(body: impl Into<Vec<u8>>) -> HttpReply {
    with(200, JSON, body.into())
}

/// What browsers ask before they send something.
pub fn preflight() -> HttpReply {
    with(200, JSON, br#""Options Request!""#.to_vec())
}

/// There is nothing at this path, or not with this method.
pub fn nothing() -> HttpReply {
    with(404, TEXT, b"404 page not found".to_vec())
}

/// A page.
pub fn html(page: String) -> HttpReply {
    with(200, HTML, page.into_bytes())
}

/// The headers of every answer that let pages of other sites use it.
pub fn cors() -> impl Iterator<Item = (String, String)> {
    CORS.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn with(status: u16, content_type: &str, body: Vec<u8>) -> HttpReply {
    let headers = [("content-type".to_owned(), content_type.to_owned())].into_iter().chain(cors()).collect();
    HttpReply { status, headers, body: Bytes::from(body), ..HttpReply::default() }
}
