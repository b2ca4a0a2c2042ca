//! User tokens as quick-im-core makes and checks them (reference/gateway.md §3).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The key every quick-im-core uses, whatever its settings say.
pub const FIXED_KEY: &str = "config.Config.Jwt.Key";

/// A token of this session and platform, with any further claims.
pub fn mint(key: &str, session: &str, platform: u8, expires: i64) -> String {
    let claims = json!({ "sid": session, "platform": platform, "iss": "quick-im", "exp": expires });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// Session and platform of a good token.
pub(super) fn open(key: &str, token: &str, now: i64) -> Option<(String, u8)> {
    let (signed, signature) = token.rsplit_once('.')?;
    mac(key, signed).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let (head, claims) = signed.split_once('.')?;
    let (head, claims) = (part(head)?, part(claims)?);
    // A token without `exp` never expires.
    let expired = claims["exp"].as_i64().is_some_and(|expires| expires <= now);
    let platform = u8::try_from(claims["platform"].as_u64().unwrap_or(0)).ok()?;
    (head["alg"] == "HS256" && !expired).then(|| (claims["sid"].as_str().unwrap_or_default().to_owned(), platform))
}

fn mac(key: &str, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac
}
