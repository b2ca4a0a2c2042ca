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
