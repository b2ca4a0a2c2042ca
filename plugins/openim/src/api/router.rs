//! Which endpoints there are, and which one a request is for.

use super::{Api, Call};
use crate::answer::Failure;
use percent_encoding::percent_decode_str;
use std::future::Future;
use std::pin::Pin;
use stele_plugin_api::ops::HttpReply;

/// What answers requests.
pub type Answer = for<'a> fn(&'a Api, Call<'a>) -> Answering<'a>;
/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<HttpReply, Failure>> + Send + 'a>>;

/// One of them.
pub struct Endpoint {
    /// Its path.
    pub path: &'static str,
    /// Whether it is answered without a token.
    pub open: bool,
    /// What it does.
    pub about: &'static str,
    /// What may be in its body, and what that is.
    pub fields: &'static [(&'static str, &'static str)],
    /// What answers.
    pub answer: Answer,
}

/// What of messages may be searched for. The last ones are additions to the contract.
const SEARCHED: &[(&str, &str)] = &[
    ("sendID", "who sent it"),
    ("recvID", "whom it went to: the user or the group"),
    ("contentType", "what it is, e.g. 101 text; 0 for all"),
    ("sessionType", "1 between two, 3 in a group, 4 from a system account; 0 for all"),
    ("sendTime", "the day it was sent on, YYYY-MM-DD, in the zone of the instance (UTC unless configured)"),
    (
        "pagination",
        "an object with pageNumber (from 1, which is the default) and showNumber (20 unless given; more than the instance's \
         max_page, 1000 unless configured, are cut to it). A page begins where the one before it ended, if that was read in the \
         last ten minutes with the same token, so that a walk over pages meets every message once whatever arrives meanwhile",
    ),
    (
        "keyword",
        "a part of its text, in any case; taken literally, at most 1000 characters. Each element gets <code>highlight</code>: \
         the text around the first hit, at most 200 characters of it, as HTML with hits in &lt;em&gt;",
    ),
    ("startTime", "sent then or later, in milliseconds since 1970; 0 for any time"),
    ("endTime", "sent before then, in milliseconds since 1970; 0 for any time"),
    ("order", "asc: oldest first, as it is without; desc: newest first"),
    (
        "cursor",
        "empty for the first messages, and then <code>data.nextCursor</code> of the answer before, which is empty at the end; \
         instead of a pageNumber. A walk like that gets what was there when it began exactly once",
    ),
];

/// All of them, as `/docs` lists them.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/auth/get_admin_token",
        open: true,
        about: "Issues the token of an admin.",
        fields: &[("secret", "the secret of the instance, and of OpenIM"), ("userID", "one of the admins")],
        answer: |api, call| Box::pin(api.get_admin_token(call)),
    },
    Endpoint {
        path: "/auth/parse_token",
        open: true,
        about: "Says whose a token is, and when it ends, in seconds since 1970.",
        fields: &[("token", "the token")],
        answer: |api, call| Box::pin(api.parse_token(call)),
    },
    Endpoint {
        path: "/msg/search_msg",
        open: false,
        about: "Finds messages: those of which all that is given holds. <code>chatLogsNum</code> is how many there are in all, and \
                oldest come first. A message that was taken back has <code>isRevoked</code>.",
        fields: SEARCHED,
        answer: |api, call| Box::pin(api.search_msg(call)),
    },
];

/// What is to be done with a request.
pub enum Route {
    /// Answered there.
    Endpoint(&'static Endpoint),
    /// The page about all of them.
    Docs,
    /// What browsers ask before.
    Preflight,
    /// There is nothing.
    Nothing,
}

/// The route of a method and a path that is still percent-encoded.
pub fn route(method: &str, path: &str) -> Route {
    let path = percent_decode_str(path).decode_utf8_lossy();
    match method {
        "OPTIONS" => Route::Preflight,
        "GET" if path == "/docs" => Route::Docs,
        "POST" => ENDPOINTS.iter().find(|endpoint| endpoint.path == path).map_or(Route::Nothing, Route::Endpoint),
        _ => Route::Nothing,
    }
}
