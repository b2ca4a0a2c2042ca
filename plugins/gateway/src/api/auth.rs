//! Who calls (reference/gateway.md §3).

use super::Api;
use super::errors::ApiError;
use crate::token::Caller;
use percent_encoding::percent_decode_str;
use std::net::IpAddr;
use stele_plugin_api::ops::HttpRequest;

impl Api {
    /// Whose token a request has: that of the header, or else of the query.
    pub(super) fn caller(&self, request: &HttpRequest) -> Result<Caller, ApiError> {
        let sent = header(request, "authorization").filter(|value| !value.is_empty());
        let asked = parameter(request, "token").unwrap_or_default();
        let token = sent.map_or(asked.as_str(), |value| value.strip_prefix("Bearer ").unwrap_or(value));
        self.tokens.check(token, (self.clock)()).ok_or(ApiError::InvalidToken)
    }

    /// Whether an inner route may be called from there. Only the address counts, not what the request says of it; and not what
    /// a browser sends because some other site's page told it to.
    pub(super) fn check_inner(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let address = request.remote.parse::<IpAddr>().map(|address| address.to_canonical());
        let known = address.is_ok_and(|address| self.inner_callers.iter().any(|range| range.contains(&address)));
        let foreign = header(request, "sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
        if known && !foreign { Ok(()) } else { Err(ApiError::NotAllowed) }
    }
}

/// The first header of this lower-case name.
pub fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The first parameter of this name.
pub fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = request.query.as_deref().unwrap_or_default().split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(known, _)| decode(known) == name).map(|(_, value)| decode(value))
}
