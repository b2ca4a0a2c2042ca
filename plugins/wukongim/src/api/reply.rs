//! Answers and errors.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use stele_plugin_api::ops::HttpReply;
use stele_plugin_api::{Error, ErrorCode};

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// What the caller reads.
    pub message: String,
}

impl ApiError {
    /// The request is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }

    /// The token is missing, or is another.
    pub fn unauthorized() -> Self {
        Self { status: 401, message: "the token is missing or wrong".to_owned() }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { status: 404, message: message.into() }
    }

    /// Too much is asked for at this time.
    pub fn too_much() -> Self {
        Self { status: 429, message: "too much is asked at once".to_owned() }
    }

    /// What is asked for does not fit into an answer.
    pub fn too_large() -> Self {
        Self::bad("the messages are too large for one answer, ask for fewer")
    }

    /// What is told of an error of the daemon: whether trying again may help, and no more.
    pub fn failed(error: &Error) -> Self {
        let (status, message) = match error.code {
            ErrorCode::RateLimited => return Self::too_much(),
            ErrorCode::Unavailable | ErrorCode::Deadline | ErrorCode::Cancelled => (503, "the archive does not answer"),
            _ => (500, "the archive failed"),
        };
        Self { status, message: message.to_owned() }
    }

    /// How it is told.
    pub fn body(&self) -> Value {
        json!({ "msg": self.message, "status": self.status })
    }

    /// The answer.
    pub fn reply(&self) -> HttpReply {
        json(self.status, &self.body())
    }
}

/// A JSON answer.
pub fn json<T: Serialize>(status: u16, body: &T) -> HttpReply {
    let body = serde_json::to_vec(body).expect("plain values can be written");
    with(status, &[("content-type", JSON)], body)
}

/// It is done, and there is nothing to say about it.
pub fn done() -> HttpReply {
    json(200, &json!({ "status": 200 }))
}

/// A page.
pub fn html(page: String) -> HttpReply {
    with(200, &[("content-type", HTML)], page.into_bytes())
}

/// What browsers ask before they send something.
pub fn preflight() -> HttpReply {
    let headers = [
        ("access-control-allow-methods", "GET, POST, OPTIONS"),
        ("access-control-allow-headers", "Authorization, Content-Type, Token"),
        ("access-control-max-age", "86400"),
    ];
    with(204, &headers, Vec::new())
}

/// A path that is known, but not with this method.
pub fn wrong_method(allow: &str) -> HttpReply {
    let error = ApiError { status: 405, message: format!("this path takes {allow}") };
    let mut reply = error.reply();
    reply.headers.push(("allow".to_owned(), format!("{allow}, OPTIONS")));
    reply
}

fn with(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> HttpReply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpReply { status, headers, body: Bytes::from(body), ..HttpReply::default() }
}
