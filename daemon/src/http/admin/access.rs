//! Who may use the API.
//!
//! Without keys the loopback is the guard, and a browser on the same machine is the hole in it: any page it shows may send
//! requests here, and may even read the answers once its name resolves to the loopback (DNS rebinding). So without keys
//! the `Host` must be an address or `localhost`, and a request made by a page of another origin is refused.

use super::{Admin, Failure};
use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request, StatusCode, header};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};

pub async fn check(State(admin): State<Arc<Admin>>, request: Request<Body>, next: Next) -> Response {
    let refusal = match admin.api_keys.is_empty() {
        true => refuse_page(request.headers(), request.uri().host()),
        false => refuse_key(&admin, request.headers()),
    };
    match refusal {
        Some(failure) => failure.into_response(),
        None => next.run(request).await,
    }
}

fn refuse_key(admin: &Admin, headers: &HeaderMap) -> Option<Failure> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim).unwrap_or_default();
    // Digests are of one length, and every key is looked at: the time tells nothing about any of them.
    let given = Sha256::digest(given);
    let found = admin
        .api_keys
        .iter()
        .fold(Choice::from(0), |found, key| found | Sha256::digest(key.expose()).as_slice().ct_eq(given.as_slice()));
    let failure = || Failure(StatusCode::UNAUTHORIZED, "a key is needed: Authorization: Bearer <key>".into());
    (!bool::from(found)).then(failure)
}

fn refuse_page(headers: &HeaderMap, authority: Option<&str>) -> Option<Failure> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()?.parse::<http::uri::Authority>().ok());
    let host = authority.map(str::to_owned).or_else(|| host.map(|host| host.host().to_owned()));
    let is_address = |host: &str| host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if !host.as_deref().is_some_and(is_address) {
        let message = "this host is not served: use an address, or configure admin.api_keys";
        return Some(Failure(StatusCode::FORBIDDEN, message.into()));
    }
    let from = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let from_page = from("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"))
        || (from("sec-fetch-site").is_none() && headers.contains_key(header::ORIGIN));
    let failure = || Failure(StatusCode::FORBIDDEN, "requests of other pages are refused".into());
    from_page.then(failure)
}
