//! WuKongIM's message API (contract 001; reference/wukongim.md). What a request is answered with is in [`router`], a line for
//! each endpoint.
//!
//! Errors are `{"msg": "...", "status": N}` with N as the HTTP status: 400 the request is wrong, 401 the token is missing, 404
//! there is no such thing, 405 not with this method, 413 it is too much for one request, 429 too much at once, 500 and 503 it was
//! not done.

mod answer;
mod auth;
mod cluster;
mod docs;
pub mod fields;
mod lookup;
mod messagesync;
pub mod reply;
pub mod router;
mod rows;
mod send;
mod stream;

use crate::commit::{self, Committer, Numbering};
use crate::config::Config;
use crate::upstream::Upstream;
use crate::webhook::Webhooks;
use crate::{CALL, Clock};
use reply::ApiError;
use router::{Endpoint, Route};
use serde_json::json;
use std::sync::Arc;
use stele_plugin_api::model::Micros;
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{HttpReply, HttpRequest, Op};
use stele_plugin_api::{Error, Host};

/// Where clients expect the API.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:5001";
/// Requests a second one caller may make. An application that sends for its users is one caller.
pub const DEFAULT_RATE: u32 = 10_000;
/// Largest body of a request, in bytes: a webhook of a real server has up to 100 messages of 32 KiB each, as base64, and a payload
/// of 1 MiB is 1.4 MB of base64.
pub const DEFAULT_MAX_BODY: u64 = 8 << 20;
/// What lets pages of other sites read an answer: all may.
pub const CORS: (&str, &str) = ("access-control-allow-origin", "*");
/// The shape of errors the daemon answers itself.
pub const ERROR_TEMPLATE: &str = "{\"msg\":\"{message}\",\"status\":{status}}";
/// What stands before a secret in a path.
pub const HOOK: &str = "/hook/";

/// What answering needs.
pub struct Api {
    host: Host,
    clock: Clock,
    config: Config,
    room: answer::Room,
    streams: stream::Streams,
    numbering: Numbering,
    committer: Committer,
    webhooks: Option<Arc<Webhooks>>,
    upstream: Option<Arc<Upstream>>,
}

impl Api {
    /// The API of an instance with this configuration. Starts the committer on the current runtime.
    pub fn new(
        host: Host,
        config: Config,
        (clock, numbering): (Clock, Numbering),
        upstream: Option<Arc<Upstream>>,
        webhooks: Option<Arc<Webhooks>>,
    ) -> Self {
        Self {
            committer: commit::start(host.clone(), numbering.clone()),
            numbering,
            host,
            clock,
            config,
            room: answer::Room::default(),
            streams: stream::Streams::default(),
            webhooks,
            upstream,
        }
    }

    /// Answers a request of the instance's listener.
    pub async fn handle(&self, request: &HttpRequest) -> HttpReply {
        if let Some(upstream) = self.upstream.as_ref().filter(|_| request.path.starts_with(HOOK)) {
            return upstream.hook(request);
        }
        let mut reply = match router::route(&request.method, &request.path) {
            Route::Endpoint(endpoint) => self.answer(endpoint, request).await.unwrap_or_else(|error| error.reply()),
            Route::Preflight => reply::preflight(),
            Route::WrongMethod(allow) => reply::wrong_method(allow),
            Route::Nothing => ApiError::not_found("there is nothing at this path").reply(),
        };
        reply.headers.push((CORS.0.to_owned(), CORS.1.to_owned()));
        reply
    }

    /// Calls the daemon; a failure is logged here, and becomes what the caller may know of it.
    ///
    /// # Errors
    ///
    /// As [`ApiError::failed`] has them.
    pub async fn call<O: Op>(&self, request: O::Request) -> Result<O::Reply, ApiError> {
        self.host.call_within::<O>(request, CALL).await.map_err(|error| self.failed(O::NAME, &error))
    }

    /// What the caller may know of a failed call of the daemon; it is logged.
    fn failed(&self, op: &str, error: &Error) -> ApiError {
        let fields = [("op", op), ("error", &error.to_string())];
        self.host.log_from("api", Level::Warn, "a call of the daemon failed", &fields);
        ApiError::failed(error)
    }

    /// What time it is.
    pub fn now(&self) -> Micros {
        (self.clock)()
    }

    async fn answer(&self, endpoint: &Endpoint, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        if !endpoint.open {
            self.check_token(request)?;
        }
        (endpoint.answer)(self, request).await
    }

    /// `GET /health`.
    async fn health(&self, _: &HttpRequest) -> Result<HttpReply, ApiError> {
        Ok(reply::json(200, &json!({ "status": "ok" })))
    }

    /// `POST /message/sync`: what a real server answers where it is switched off (reference/wukongim.md §8).
    async fn message_sync(&self, _: &HttpRequest) -> Result<HttpReply, ApiError> {
        Ok(reply::json(200, &json!([])))
    }

    /// `POST /message/syncack`: likewise.
    async fn message_syncack(&self, _: &HttpRequest) -> Result<HttpReply, ApiError> {
        Ok(reply::done())
    }

    /// `GET /docs`.
    async fn docs(&self, _: &HttpRequest) -> Result<HttpReply, ApiError> {
        Ok(reply::html(docs::page()))
    }
}
