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

/// All of them, as `/docs` lists them.
pub const ENDPOINTS: &[Endpoint] = &[
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
