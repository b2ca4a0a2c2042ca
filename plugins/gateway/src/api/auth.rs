//! Who calls (reference/gateway.md §3).

use super::Api;
use super::errors::ApiError;
use crate::token::Caller;
use percent_encoding::percent_decode_str;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use stele_plugin_api::ops::HttpRequest;

impl Api {
    /// Whose token a request has: that of the header, or else of the query.
    pub(super) fn caller(&self, request: &HttpRequest) -> Result<Caller, ApiError> {
        let sent = header(request, "authorization").filter(|value| !value.is_empty());
        let asked = parameter(request, "token").unwrap_or_default();
        let token = sent.map_or(asked.as_str(), |value| value.strip_prefix("Bearer ").unwrap_or(value));
        self.tokens.check(token, (self.clock)()).ok_or(ApiError::InvalidToken)
    }

    /// Whether an inner route may be called from there. The address counts: what a request says of itself lets nobody in. But
    /// whom a proxy asks for must be allowed as well, and a browser is refused, since it asks because some page told it to.
    pub(super) fn check_inner(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let is_known = |address: Option<IpAddr>| {
            let address = address.map(|address| address.to_canonical());
            address.is_some_and(|address| self.inner_callers.iter().any(|range| range.contains(&address)))
        };
        let known = is_known(request.remote.parse().ok()) && forwarded_for(request).all(is_known);
        let told_to = header(request, "origin").is_some()
            || header(request, "sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
        if known && !told_to { Ok(()) } else { Err(ApiError::NotAllowed) }
    }
}

/// Whom proxies say they ask for; `None` for what cannot be read, and for whom they do not name.
fn forwarded_for(request: &HttpRequest) -> impl Iterator<Item = Option<IpAddr>> {
    request.headers.iter().flat_map(|(name, value)| -> Vec<Option<IpAddr>> {
        match name.as_str() {
            "x-forwarded-for" | "x-real-ip" => value.split(',').map(node).collect(),
            // Quotes are not looked at: nothing that is sent may hide what a proxy adds behind it.
            "forwarded" => value.split(',').flat_map(forwarded_element).collect(),
            _ => Vec::new(),
        }
    })
}

/// The nodes an element of `Forwarded` names (RFC 7239 §4).
fn forwarded_element(element: &str) -> Vec<Option<IpAddr>> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let nodes: Vec<_> =
        pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, of)| node(of)).collect();
    if nodes.is_empty() { vec![None] } else { nodes }
}

/// The address of a node, which may have a port, and brackets and quotes around it.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok();
    text.parse().ok().or_else(|| bare().map(IpAddr::V6)).or_else(|| with_port().map(|node| node.ip()))
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
