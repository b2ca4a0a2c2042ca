//! The HTTP API (contract 002; reference/openim.md §1 to §3). What a request is answered with is in [`router`], a line for each
//! endpoint.
//!
//! What is wrong is told by `errCode`, `errMsg` and `errDlt` under HTTP 200, in the order of a real server: route, `operationID`,
//! token, whose it is, body, arguments.

mod auth;
mod docs;
mod elements;
pub mod fields;
mod register;
pub mod router;
mod search;
mod send;

use crate::answer::{self, Failure};
use crate::commit::{self, Committer};
use crate::config::Config;
use crate::token::{Caller, Tokens};
use crate::upstream::{HOOK, RELAYED, Upstream};
use crate::{CALL, Clock};
use fields::Fields;
use router::{Endpoint, Route};
use search::Searches;
use std::sync::Arc;
use stele_plugin_api::model::Micros;
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{HttpReply, HttpRequest, Op};
use stele_plugin_api::{Error, Host};
use tokio::sync::Mutex;

/// Where clients expect the API.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:10002";
/// Requests a second one caller may make. An application that sends for its users is one caller.
pub const DEFAULT_RATE: u32 = 10_000;
/// Largest body of a request, in bytes: as much as a real server reads (reference/openim.md §1).
pub const DEFAULT_MAX_BODY: u64 = 16 << 20;
/// The shape of errors the daemon answers itself.
pub const ERROR_TEMPLATE: &str = r#"{"errCode":500,"errMsg":"ServerInternalError","errDlt":"{message}"}"#;

/// What answering needs.
pub struct Api {
    host: Host,
    clock: Clock,
    config: Config,
    tokens: Tokens,
    searches: Searches,
    committer: Committer,
    /// Held from looking whether somebody is known until they are.
    registering: Mutex<()>,
    upstream: Option<Arc<Upstream>>,
}

/// What is asked for.
pub struct Call<'a> {
    /// As it came.
    pub request: &'a HttpRequest,
    /// Its body.
    pub fields: Fields,
}

impl Api {
    /// The API of an instance with this configuration. Starts the committer on the current runtime.
    pub fn new(host: Host, config: Config, clock: Clock, upstream: Option<Arc<Upstream>>) -> Self {
        let committer = commit::start(host.clone());
        let (tokens, searches, registering) = (Tokens::of(&config), Searches::default(), Mutex::default());
        Self { host, clock, config, tokens, searches, committer, registering, upstream }
    }

    /// Answers a request of the instance's listener.
    pub async fn handle(&self, request: &HttpRequest) -> HttpReply {
        if let Some(upstream) = self.upstream.as_ref().filter(|_| request.path.starts_with(HOOK)) {
            return upstream.hook(request);
        }
        match router::route(&request.method, &request.path) {
            Route::Endpoint(endpoint) => self.answer(endpoint, request).await.unwrap_or_else(|failure| failure.reply()),
            Route::Docs => answer::html(docs::page()),
            Route::Preflight => answer::preflight(),
            Route::Nothing => answer::nothing(),
        }
    }

    /// Calls the daemon; a failure is logged here, and becomes what the caller may know of it.
    ///
    /// # Errors
    ///
    /// As [`Failure::of`] has them.
    pub async fn call<O: Op>(&self, request: O::Request) -> Result<O::Reply, Failure> {
        self.host.call_within::<O>(request, CALL).await.map_err(|error| self.failed(O::NAME, &error))
    }

    /// What the caller may know of a failed call of the daemon; it is logged.
    pub fn failed(&self, op: &str, error: &Error) -> Failure {
        let fields = [("op", op), ("error", &error.to_string())];
        self.host.log_from("api", Level::Warn, "a call of the daemon failed", &fields);
        Failure::of(error)
    }

    /// What time it is.
    pub fn now(&self) -> Micros {
        (self.clock)()
    }

    async fn answer(&self, endpoint: &Endpoint, request: &HttpRequest) -> Result<HttpReply, Failure> {
        if header(request, "operationid").is_empty() {
            return Err(Failure::args("header must have operationID"));
        }
        if !endpoint.open {
            let token = header(request, "token");
            if token.is_empty() {
                return Err(Failure::args("header must have token"));
            }
            self.admitted(self.tokens.check(token, self.now())?)?;
        }
        let fields = Fields::of(&request.body)?;
        match &self.upstream {
            Some(upstream) if RELAYED.contains(&endpoint.path) => Ok(upstream.relay(request).await),
            _ => (endpoint.answer)(self, Call { request, fields }).await,
        }
    }

    /// Whether somebody may search and send: who else holds a token is a user, and would read what others wrote.
    fn admitted(&self, caller: Caller) -> Result<Caller, Failure> {
        if self.is_admin(&caller.user_id) {
            return Ok(caller);
        }
        Err(Failure::no_permission(format!("user {} is not admin userID", caller.user_id)))
    }

    fn is_admin(&self, user_id: &str) -> bool {
        self.config.admins.iter().any(|admin| admin == user_id)
    }
}

/// A header; empty where it is missing.
fn header<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
    request.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
}
