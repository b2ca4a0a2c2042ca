//! Which endpoint a request is for.
//!
//! A known path with another method is an unknown route, as in the original (code 404): the contract has no code for it.

use stele_plugin_api::ops::HttpRequest;

/// Where the picture of people without one is.
pub const AVATAR_PATH: &str = "/api/v1/chat-msg/avatar.svg";

/// One of the contract's four endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Contract 000 §1.1.
    Sync,
    /// Contract 000 §2.1.
    Sessions,
    /// Contract 000 §3.1.
    SessionMsgs,
    /// Contract 000 §4.1.
    Search,
}

impl Endpoint {
    /// The code of a wrong signature. Both code tables say 401; the only concrete example, that of sync, says 400
    /// (reference/wecom-archive.md §8-5).
    pub fn signature_code(self) -> u16 {
        match self {
            Self::Sync => 400,
            Self::Sessions | Self::SessionMsgs | Self::Search => 401,
        }
    }
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// An endpoint of the contract.
    Endpoint(Endpoint),
    /// The picture of people without one; public.
    Avatar,
}

/// The route of a request; `None` when there is none.
pub fn route(request: &HttpRequest) -> Option<Route> {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/api/v1/chat-msg/sync") => Some(Route::Endpoint(Endpoint::Sync)),
        ("GET", "/api/v1/chat-msg/sessions") => Some(Route::Endpoint(Endpoint::Sessions)),
        ("GET", "/api/v1/chat-msg/session-msgs") => Some(Route::Endpoint(Endpoint::SessionMsgs)),
        ("GET", "/api/v1/chat-msg/search") => Some(Route::Endpoint(Endpoint::Search)),
        ("GET" | "HEAD", AVATAR_PATH) => Some(Route::Avatar),
        _ => None,
    }
}
