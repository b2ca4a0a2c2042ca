//! User tokens as quick-im-core makes and checks them (reference/gateway.md §3).

use crate::gateway::{jwt, sign};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The key every quick-im-core uses, whatever its settings say.
pub const FIXED_KEY: &str = "config.Config.Jwt.Key";
/// What it takes; it signs with the first.
const ALGORITHMS: [&str; 3] = ["HS256", "HS384", "HS512"];

/// A token of this session and platform.
pub fn mint(key: &str, session: &str, platform: u8, expires: i64) -> String {
    let claims = json!({ "sid": session, "platform": platform, "iss": "quick-im", "exp": expires });
    jwt(ALGORITHMS[0], &claims, key)
}

/// Session and platform of a good token.
pub(super) fn open(key: &str, token: &str, now: i64) -> Option<(String, u8)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let (head, claims) = signed.split_once('.')?;
    let (head, claims) = (part(head)?, part(claims)?);
    let algorithm = head["alg"].as_str().filter(|algorithm| ALGORITHMS.contains(algorithm))?;
    if URL_SAFE_NO_PAD.decode(signature).ok()? != sign(algorithm, signed, key) {
        return None;
    }
    // A token without `exp` never expires.
    let expired = claims["exp"].as_i64().is_some_and(|expires| expires <= now);
    let platform = u8::try_from(claims["platform"].as_u64().unwrap_or(0)).ok()?;
    (!expired).then(|| (claims["sid"].as_str().unwrap_or_default().to_owned(), platform))
}
