//! Which endpoints there are, and which one a request is for.

use super::Api;
use super::reply::ApiError;
use percent_encoding::percent_decode_str;
use std::future::Future;
use std::pin::Pin;
use stele_plugin_api::ops::{HttpReply, HttpRequest};

/// What answers requests.
pub type Answer = for<'a> fn(&'a Api, &'a HttpRequest) -> Answering<'a>;
/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<HttpReply, ApiError>> + Send + 'a>>;

/// One of them.
pub struct Endpoint {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Whether it is answered without a token.
    pub open: bool,
    /// What it does.
    pub about: &'static str,
    /// What may be in its body, or its query, and what that is.
    pub fields: &'static [(&'static str, &'static str)],
    /// What answers.
    pub answer: Answer,
}

const CHANNEL_ID: (&str, &str) = ("channel_id", "the channel; of two people the other one, or the pair");
const CHANNEL_TYPE: (&str, &str) =
    ("channel_type", "1 two people, 2 a group, 3 customer service, 4 a community, and so on");
const LOGIN_UID: (&str, &str) = ("login_uid", "who reads: needed where channel_id is the other one of two");

/// What is said of a message that is sent.
const MESSAGE: &[(&str, &str)] = &[
    (
        "header",
        "an object with no_persist (1: it is not stored, and has no number), red_dot and sync_once (1: it goes to the channel \
         of commands), 0 or 1 each",
    ),
    (
        "client_msg_no",
        "the sender's own id of it: sent again with the same payload, it is stored once, and answered as the first time; with \
         another payload it is refused; so also after it has expired. Made here where it is missing",
    ),
    ("stream_no", "the stream it is an item of, from /stream/open"),
    ("from_uid", "who sends; ____system where it is missing"),
    ("channel_id", "the channel; with channel_type 1 the uid of the other one. Without @, # and &"),
    ("channel_type", "1 person, 2 group, 3 customer service, 4 community, or any other up to 255"),
    ("expire", "seconds after which it is not shown any more; 0 for never"),
    ("subscribers", "whom it is for; without a channel_id they make a channel of their own. At most 1000"),
    ("payload", "what it says, in base64; at most 1 MiB"),
    ("tag_key", "a label, which /cluster/messages finds like a line of the payload"),
];

/// All of them, as `/docs` lists them.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "POST",
        path: "/message/send",
        open: false,
        about: "Sends a message. It is stored when it is answered, with its message_id and message_seq.",
        fields: MESSAGE,
        answer: |api, request| Box::pin(api.message_send(request)),
    },
    Endpoint {
        method: "POST",
        path: "/message/sendbatch",
        open: false,
        about: "Sends a list of up to 1000 messages, each as for /message/send, and answers with a list. Or, as an object with \
                header, from_uid, subscribers and payload, one message to each of up to 1000 people, and answers with \
                fail_uids and reason.",
        fields: MESSAGE,
        answer: |api, request| Box::pin(api.message_sendbatch(request)),
    },
    Endpoint {
        method: "POST",
        path: "/stream/open",
        open: false,
        about: "Begins a stream with a message, whose payload may be missing, and answers with its stream_no.",
        fields: MESSAGE,
        answer: |api, request| Box::pin(api.stream_open(request)),
    },
    Endpoint {
        method: "POST",
        path: "/stream/close",
        open: false,
        about: "Ends a stream; there are no items of it from then on, and it is found by what it says.",
        fields: &[("stream_no", "the stream")],
        answer: |api, request| Box::pin(api.stream_close(request)),
    },
    Endpoint {
        method: "POST",
        path: "/messages",
        open: false,
        about: "Messages of a channel by number, id or client_msg_no, newest first; at least one of the three lists.",
        fields: &[
            CHANNEL_ID,
            CHANNEL_TYPE,
            LOGIN_UID,
            ("message_seqs", "numbers; all lists together at most 1000"),
            ("message_ids", "ids, as numbers or texts"),
            ("client_msg_nos", "the senders' own ids"),
        ],
        answer: |api, request| Box::pin(api.messages(request)),
    },
    Endpoint {
        method: "POST",
        path: "/message",
        open: false,
        about: "One message of a channel; 404 where there is none.",
        fields: &[
            CHANNEL_ID,
            CHANNEL_TYPE,
            LOGIN_UID,
            ("message_id", "its id, as a number or a text"),
            ("client_msg_no", "the sender's own id of it; the latest, where several have it"),
        ],
        answer: |api, request| Box::pin(api.message(request)),
    },
    Endpoint {
        method: "POST",
        path: "/channel/messagesync",
        open: false,
        about: "Messages of a channel by range of numbers, ascending.",
        fields: &[
            CHANNEL_ID,
            CHANNEL_TYPE,
            ("login_uid", "who reads"),
            ("start_message_seq", "the range begins with this number; 0: with the first one"),
            ("end_message_seq", "the range ends before this number; 0: with the last one"),
            ("limit", "messages wanted: 100 when 0 or missing, at most 10000; equal numbers come together"),
            ("pull_mode", "0: from the beginning of the range; 1: from its end; without a range its end in any case"),
            ("stream_v2", "1: with what streams say"),
        ],
        answer: |api, request| Box::pin(api.messagesync(request)),
    },
    Endpoint {
        method: "GET",
        path: "/channel/max_message_seq",
        open: false,
        about: "The number of the last message of a channel; 0 where there is none.",
        fields: &[CHANNEL_ID, CHANNEL_TYPE, LOGIN_UID],
        answer: |api, request| Box::pin(api.max_message_seq(request)),
    },
    Endpoint {
        method: "GET",
        path: "/cluster/messages",
        open: false,
        about: "Messages of all channels, newest first, and how many there are in all. What is given must all hold.",
        fields: &[
            ("node_id", "0, or the one of this instance"),
            ("from_uid", "who sent it"),
            ("channel_id", "its channel; of two people the pair, in either order; alone: of any type"),
            ("channel_type", "type of the channel; alone: of all such channels"),
            ("message_id", "its id"),
            ("client_msg_no", "the sender's own id of it"),
            (
                "payload",
                "base64 of a text of at most 1000 characters that is in the payload, letter case aside; of a JSON object its values count, not its keys. \
                 What a closed stream says is found at its end, a message with message_seq 0",
            ),
            ("limit", "messages wanted: 20 when 0 or missing, at most 10000"),
            ("offset_message_id", "only older ones than this"),
            (
                "offset_message_seq",
                "the same by number, within a channel (both fields), where one message alone has it",
            ),
            ("pre", "1: newer ones than the offset, the nearest; without an offset the first ones"),
        ],
        answer: |api, request| Box::pin(api.cluster_messages(request)),
    },
    Endpoint {
        method: "POST",
        path: "/message/sync",
        open: false,
        about: "Deprecated; there is nothing. See /channel/messagesync.",
        fields: &[],
        answer: |api, request| Box::pin(api.message_sync(request)),
    },
    Endpoint {
        method: "POST",
        path: "/message/syncack",
        open: false,
        about: "Deprecated; does nothing.",
        fields: &[],
        answer: |api, request| Box::pin(api.message_syncack(request)),
    },
    Endpoint {
        method: "GET",
        path: "/health",
        open: true,
        about: "Whether the instance is there.",
        fields: &[],
        answer: |api, request| Box::pin(api.health(request)),
    },
    Endpoint {
        method: "GET",
        path: "/docs",
        open: true,
        about: "This page.",
        fields: &[],
        answer: |api, request| Box::pin(api.docs(request)),
    },
];

/// What is to be done with a request.
pub enum Route {
    /// Answered there.
    Endpoint(&'static Endpoint),
    /// What browsers ask before.
    Preflight,
    /// The path is known, but only with this method.
    WrongMethod(&'static str),
    /// There is nothing.
    Nothing,
}

/// The route of a method and a path that is still percent-encoded.
pub fn route(method: &str, path: &str) -> Route {
    let path = percent_decode_str(path).decode_utf8_lossy();
    match ENDPOINTS.iter().find(|endpoint| endpoint.path == path) {
        Some(endpoint) if endpoint.method == method => Route::Endpoint(endpoint),
        Some(_) if method == "OPTIONS" => Route::Preflight,
        Some(endpoint) => Route::WrongMethod(endpoint.method),
        None => Route::Nothing,
    }
}
