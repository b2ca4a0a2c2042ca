//! Tokens made by hand, right ones and wrong ones (reference/gateway.md §3).

use super::KEY;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::{Sha256, Sha384, Sha512};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a token says.
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    pub sid: String,
    pub platform: u32,
    pub iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

impl Claims {
    /// Valid for an hour.
    pub fn new(session: &str, platform: u32) -> Self {
        Self::lasting(session, platform, 3600)
    }

    /// Valid for so many seconds from now; for none when less than 0.
    pub fn lasting(session: &str, platform: u32, seconds: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let exp = Some(now.saturating_add_signed(seconds));
        Self { sid: session.into(), platform, iss: "quick-im".into(), exp }
    }
}

/// A token of this algorithm (`HS256`, `HS384`, `HS512`, `none`), whatever it claims.
pub fn jwt(algorithm: &str, claims: &impl Serialize, key: &str) -> String {
    let part = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let header = serde_json::json!({ "alg": algorithm, "typ": "JWT" }).to_string();
    let claims = serde_json::to_vec(claims).expect("claims have a JSON form");
    let signed = format!("{}.{}", part(header.as_bytes()), part(&claims));
    format!("{signed}.{}", part(&sign(algorithm, &signed, key)))
}

/// The signature of a text; that of HS256 for an algorithm that is not known.
pub fn sign(algorithm: &str, signed: &str, key: &str) -> Vec<u8> {
    macro_rules! sum {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
            mac.update(signed.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }};
    }
    match algorithm {
        "HS384" => sum!(Sha384),
        "HS512" => sum!(Sha512),
        "none" => Vec::new(),
        _ => sum!(Sha256),
    }
}

/// A good token of this session and platform.
pub fn token(session: &str, platform: u32) -> String {
    jwt("HS256", &Claims::new(session, platform), KEY)
}
