//! The quick-im gateway's HTTP API (contracts 004 and 003; reference/gateway.md).
//!
//! | code | when |
//! |---|---|
//! | 10001 | the body is not JSON, something in it has the wrong type or is out of range; a `since` nobody knows |
//! | 10002 | an unknown conversation, a conversation type above 15, nobody to be a member, an answer that would be too large; the archive does not answer |
//! | 10003 | a conversation the caller is no member of; an inner route from elsewhere |
//! | 10101 | no token, or one that does not hold |
//! | 90013 | an unknown `protoc` |
//! | any other | the upstream refuses with it |
//!
//! Who calls is looked at first, then the body: whoever holds no token learns nothing. HTTP status is 200 for all of them.

mod auth;
mod conversations;
mod errors;
mod fields;
mod history;
mod inner;
mod membership;
mod notify;
mod reply;
mod router;
mod send;

use crate::commit::{self, Committer};
use crate::config::Config;
use crate::message::{JOINED, MIXED_UP, Shown, Times};
use crate::token::Tokens;
use crate::upstream::Upstream;
use crate::{CALL, Clock};
use errors::ApiError;
use fields::Fields;
use ipnet::IpNet;
use router::{Endpoint, Route};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use stele_plugin_api::model::{Conversation, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{ArchiveAppend, ConversationView, HttpReply, HttpRequest, MessageView, Op};
use stele_plugin_api::{Error, Host};

pub use reply::line;

/// Where clients expect the API (reference/gateway.md §2).
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8088";
/// Requests a second one caller may make. An application that sends for its users is one caller.
pub const DEFAULT_RATE: u32 = 1000;
/// The shape of errors the daemon answers itself, e.g. code 429 for too many requests.
pub const ERROR_TEMPLATE: &str = "{\"code\":{status},\"error\":\"{message}\"}\n";

/// What answering needs.
pub struct Api {
    host: Host,
    clock: Clock,
    tokens: Tokens,
    committer: Committer,
    times: Times,
    inner_callers: Vec<IpNet>,
    room: history::Room,
    config: Config,
    upstream: Option<Arc<Upstream>>,
}

/// What the plugin keeps beside a conversation.
#[derive(Default, Deserialize, Serialize)]
struct Attributes {
    /// Its type.
    #[serde(rename = "type", default)]
    kind: u8,
}

impl Api {
    /// The API of an instance with this configuration. Starts the committer on the current runtime.
    pub fn new(host: Host, config: Config, clock: Clock, upstream: Option<Arc<Upstream>>) -> Self {
        Self {
            tokens: Tokens::of(&config),
            committer: commit::start(host.clone(), clock.clone()),
            times: Times::of(&config),
            inner_callers: config.inner_callers(),
            room: history::Room::default(),
            host,
            clock,
            config,
            upstream,
        }
    }

    /// A message as this instance shows it.
    pub fn shown<'m>(&self, message: &'m MessageView) -> Shown<'m> {
        let mixed_up = self.upstream.is_some() && message.kind == JOINED;
        Shown { unverified: if mixed_up { MIXED_UP } else { &[] }, ..Shown::of(message, self.times) }
    }

    /// Answers a request of the instance's listener.
    pub async fn handle(&self, request: &HttpRequest) -> HttpReply {
        let (mut reply, endpoint) = match router::route(&request.method, &request.path) {
            Route::Endpoint(endpoint) => {
                let answer = self.answer(endpoint, request).await;
                (answer.unwrap_or_else(|error| reply::failure(error, self.config.specific_codes)), Some(endpoint))
            }
            Route::Options(endpoint) => (options(endpoint), Some(endpoint)),
            Route::WrongMethod(endpoint) => {
                (reply::text(405, &[("allow", endpoint.allow())], "Method Not Allowed"), Some(endpoint))
            }
            Route::Redirect(path) => (redirect(request, path), None),
            Route::Nothing => (reply::text(404, &[("x-content-type-options", "nosniff")], "404 page not found"), None),
        };
        // Any page may ask with a token it has; no page may ask because of where its reader sits.
        if endpoint.is_some_and(|endpoint| !endpoint.is_inner()) {
            reply.headers.push(("access-control-allow-origin".to_owned(), "*".to_owned()));
        }
        reply
    }

    async fn answer(&self, endpoint: Endpoint, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        if endpoint == Endpoint::Root {
            return Ok(reply::json(b"quick-im".to_vec()));
        }
        let body = fields::text(&request.body);
        let fields = || Fields::of(&body);
        if endpoint.is_inner() {
            self.check_inner(request)?;
            return match endpoint {
                Endpoint::InnerToken => self.inner_token(&fields()?),
                Endpoint::InnerCreate => self.inner_create(&fields()?).await,
                Endpoint::InnerKick => self.inner_kick(&fields()?).await,
                Endpoint::InnerJoin => self.inner_join(&fields()?).await,
                _ => self.inner_archive(&fields()?).await,
            };
        }
        let caller = self.caller(request)?;
        match endpoint {
            Endpoint::Notify => self.notify(request, caller).await,
            Endpoint::SendMsg => self.send_msg(&fields()?, caller).await,
            Endpoint::CheckJoined => self.check_joined(&fields()?, &caller).await,
            // Its body is not looked at (reference/gateway.md §12-13).
            Endpoint::GetJoined => self.get_joined(&caller).await,
            Endpoint::Detail => self.detail(&fields()?, &caller).await,
            Endpoint::Join => self.join(&fields()?, caller).await,
            Endpoint::Create => self.create(&fields()?, caller).await,
            Endpoint::Leave => self.leave(&fields()?, caller).await,
            Endpoint::LastMsgId => self.last_msg_id(&fields()?, &caller).await,
            Endpoint::Range => self.range(&fields()?, &caller).await,
            Endpoint::Before => self.before(&fields()?, &caller).await,
            Endpoint::After => self.after(&fields()?, &caller).await,
            Endpoint::Last30 => self.newest(&fields()?, &caller, history::PAGE).await,
            _ => self.newest(&fields()?, &caller, 1).await,
        }
    }

    /// Calls the daemon; a failure is logged here, and becomes what the caller may know of it.
    async fn call<O: Op>(&self, request: O::Request) -> Result<O::Reply, ApiError> {
        self.host.call_within::<O>(request, CALL).await.map_err(|error| self.failed(O::NAME, &error))
    }

    fn failed(&self, op: &str, error: &Error) -> ApiError {
        let fields = [("op", op), ("error", &error.to_string())];
        self.host.log_from("api", Level::Warn, "a call of the daemon failed", &fields);
        ApiError::Failed
    }

    /// Commits what is said of conversations.
    async fn tell(&self, conversations: Vec<Conversation>) -> Result<(), ApiError> {
        if !conversations.is_empty() {
            self.call::<ArchiveAppend>(Page { conversations, ..Page::default() }).await?;
        }
        Ok(())
    }
}

/// The type of a stored conversation.
fn type_of(conversation: &ConversationView) -> u8 {
    let attributes = conversation.attributes.as_deref().and_then(|text| serde_json::from_str::<Attributes>(text).ok());
    attributes.unwrap_or_default().kind
}

/// Where a path is found; POST stays POST.
fn redirect(request: &HttpRequest, path: &str) -> HttpReply {
    let status = if request.method == "GET" { 301 } else { 307 };
    let authority = request.base_url.split_once("://").map_or("", |(_, rest)| rest);
    let prefix = authority.find('/').map_or("", |at| &authority[at..]);
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    reply::with(status, &[("location", &format!("{prefix}{path}{query}"))], Vec::new())
}

/// What browsers ask before they send a token.
fn options(endpoint: Endpoint) -> HttpReply {
    let mut headers = vec![("allow", endpoint.allow())];
    if !endpoint.is_inner() {
        headers.push(("access-control-allow-methods", endpoint.allow()));
        headers.push(("access-control-allow-headers", "Authorization, Content-Type, Last-Event-ID"));
        headers.push(("access-control-max-age", "86400"));
    }
    reply::with(204, &headers, Vec::new())
}
