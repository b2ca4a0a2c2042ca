//! Who calls: nobody in particular, but with the token, when there is one (reference/wukongim.md §17, trap 36).

use super::Api;
use super::reply::ApiError;
use sha2::{Digest, Sha256};
use stele_plugin_api::ops::HttpRequest;
use subtle::ConstantTimeEq;

impl Api {
    /// Whether a request has the token: as `Authorization: Bearer x`, `Authorization: x` or `token: x`.
    pub(super) fn check_token(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let Some(token) = &self.config.token else { return Ok(()) };
        let wanted = Sha256::digest(token.expose());
        let sent = request.headers.iter().filter_map(|(name, value)| match name.as_str() {
            "authorization" => Some(bearer(value)),
            "token" => Some(value.as_str()),
            _ => None,
        });
        // Of equal length and compared whole, so that the time it takes tells nothing.
        let mut known = sent.map(|sent| bool::from(Sha256::digest(sent).as_slice().ct_eq(wanted.as_slice())));
        if known.any(|known| known) { Ok(()) } else { Err(ApiError::unauthorized()) }
    }
}

/// The token of an `Authorization`, with or without a scheme.
fn bearer(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value,
    }
}
