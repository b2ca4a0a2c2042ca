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
         max_page, 1000 unless configured, are cut to it). A page begins where the one before it ended, so that a walk over pages \
         meets every message once whatever arrives meanwhile; a page with fewer is the last one. That is remembered \
         for ten minutes, for one token, address and question, of the last 256 walks and the last 64 pages of each, and not over \
         a restart or reload; two who ask the same with the same token from the same address share a walk. What is not \
         remembered is counted from the beginning, and moved by what arrived. A page whose messages take more than 32 MiB is \
         refused (1001)",
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
         instead of a pageNumber. A walk like that gets what was there when it began exactly once, and needs nothing to be \
         remembered; a page of more than 32 MiB is shorter",
    ),
];

/// All of them, as `/docs` lists them.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/auth/get_admin_token",
        open: true,
        about: "Issues the token of an admin. It is good here until it expires; a newer OpenIM, which knows its own only, answers it \
                with 1507.",
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
        about: "Finds messages: those of which all that is given holds, oldest first. <code>chatLogsNum</code> is how many there are \
                in all, and on the last page of a walk by pageNumber how many it met. A message that was taken back has \
                <code>isRevoked</code>.",
        fields: SEARCHED,
        answer: |api, call| Box::pin(api.search_msg(call)),
    },
    Endpoint {
        path: "/msg/send_msg",
        open: false,
        about: "Sends a message. It is stored when it is answered, with its serverMsgID, clientMsgID and sendTime. Neither the \
                sender nor the group need be known. What is sent twice is stored twice.",
        fields: &[
            ("sendID", "who sends"),
            ("recvID", "whom to: with sessionType 1 and 4"),
            ("groupID", "the group: with sessionType 3"),
            ("senderNickname", "what the sender is called"),
            ("senderFaceURL", "the sender's picture"),
            ("senderPlatformID", "which of the sender's devices"),
            ("content", "an object, whose shape contentType tells; what else is in it is kept"),
            (
                "contentType",
                "101 text, 102 picture, 103 voice, 104 video, 105 file, 106 a text that names people, 110 custom, 114 quote, 118 \
                 Markdown, 1400 announcement",
            ),
            ("sessionType", "1 two people, 3 a group, 4 a system account; with contentType 1400 always 4"),
            ("isOnlineOnly", "true: it is not stored"),
            ("notOfflinePush", "kept with it"),
            ("sendTime", "milliseconds since 1970; now when 0 or missing"),
            ("offlinePushInfo", "kept with it"),
            ("ex", "kept with it, and told by a search"),
        ],
        answer: |api, call| Box::pin(api.send_msg(call)),
    },
    Endpoint {
        path: "/msg/revoke_msg",
        open: false,
        about: "Takes a message back: it is marked, and stays. 1004 where there is none, 1404 where it was taken back already.",
        fields: &[
            ("conversationID", "si_ and both ids in their order, joined by _; or sg_ and the groupID"),
            ("seq", "its number there"),
            ("userID", "who takes it back"),
        ],
        answer: |api, call| Box::pin(api.revoke_msg(call)),
    },
    Endpoint {
        path: "/user/user_register",
        open: false,
        about: "Tells of users: of all of them, or of none where one is known already (1102).",
        fields: &[("users", "a list of objects with userID (without ':'), nickname and faceURL")],
        answer: |api, call| Box::pin(api.user_register(call)),
    },
    Endpoint {
        path: "/group/create_group",
        open: false,
        about: "Tells of a group. 1202 where it is known already.",
        fields: &[
            ("ownerUserID", "who owns it"),
            ("adminUserIDs", "its admins"),
            ("memberUserIDs", "its other members; nobody is named twice"),
            (
                "groupInfo",
                "an object with groupType (2), and groupID (made up where it is missing), groupName, faceURL, notification, \
                 introduction and ex",
            ),
        ],
        answer: |api, call| Box::pin(api.create_group(call)),
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
