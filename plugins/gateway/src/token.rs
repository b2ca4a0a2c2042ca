//! User tokens: JWT, signed with a key both sides know (reference/gateway.md §3).
//!
//! Issued with HS256; HS384 and HS512 are accepted, too, anything else is not, `none` included. Signatures are compared in
//! constant time by the library. `iss` is not looked at, as in the original.

use crate::config::Config;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stele_plugin_api::Secret;
use stele_plugin_api::model::Micros;

/// Fewest bytes of a key: as many as the signature has (RFC 7518 §3.2).
pub const MIN_KEY_BYTES: usize = 32;
/// Who issues, as the original says.
const ISSUER: &str = "quick-im";
/// SHA-256 of the key every unmodified quick-im-core signs with, whatever its configuration says. Who read its source can make
/// any token.
const KNOWN_KEY: [u8; 32] = [
    0xc3, 0x91, 0x17, 0xd3, 0xf9, 0xf9, 0x01, 0x5d, 0xc3, 0x7a, 0xe2, 0x2c, 0x6d, 0xd1, 0x29, 0x84, 0xdc, 0xa2, 0x2a,
    0xa2, 0x37, 0xf6, 0x21, 0xf2, 0xa7, 0xcc, 0x05, 0xe3, 0x46, 0x46, 0xa5, 0x0d,
];

/// Whether this is the key that is public knowledge.
pub fn is_known_key(key: &Secret) -> bool {
    Sha256::digest(key.expose().as_bytes()).as_slice() == KNOWN_KEY
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The session: native id of the person.
    pub sid: String,
    /// Which of their devices.
    pub platform: u8,
    /// When the token ends; `None` for one that does not.
    pub expires_at: Option<Micros>,
}

#[derive(Serialize)]
struct Issued<'a> {
    sid: &'a str,
    platform: u8,
    iss: &'a str,
    exp: i64,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sid: String,
    #[serde(default)]
    platform: u8,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Issues and checks tokens.
pub struct Tokens {
    signing: EncodingKey,
    accepted: Vec<DecodingKey>,
    validation: Validation,
    lifetime: Micros,
    require_exp: bool,
}

impl Tokens {
    /// With the keys of a configuration without mistakes: the first signs, all are accepted.
    pub fn of(config: &Config) -> Self {
        let keys = || config.jwt_keys.iter().map(|key| key.expose().as_bytes());
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        // Looked at here, with the clock of the instance.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            signing: EncodingKey::from_secret(keys().next().unwrap_or_default()),
            accepted: keys().map(DecodingKey::from_secret).collect(),
            validation,
            lifetime: i64::from(config.token_seconds) * 1_000_000,
            require_exp: config.require_exp,
        }
    }

    /// A token for a session; `None` when it cannot be signed.
    pub fn issue(&self, sid: &str, platform: u8, now: Micros) -> Option<String> {
        let exp = (now + self.lifetime) / 1_000_000;
        let claims = Issued { sid, platform, iss: ISSUER, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing).ok()
    }

    /// Whose token this is; `None` when it does not hold.
    pub fn check(&self, token: &str, now: Micros) -> Option<Caller> {
        let read = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok();
        let claims = self.accepted.iter().find_map(read)?.claims;
        let (exp, nbf) = (claims.exp.map(micros), claims.nbf.map(micros));
        let holds = exp.map_or(!self.require_exp, |exp| now < exp) && nbf.is_none_or(|nbf| nbf <= now);
        // Nobody has no name: a sender without one means that nobody sent a message.
        (holds && !claims.sid.is_empty()).then_some(Caller {
            sid: claims.sid,
            platform: claims.platform,
            expires_at: exp,
        })
    }
}

/// Seconds, perhaps with a fraction; what is out of range is as far as can be told.
fn micros(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const NOW: Micros = 1_700_000_000_000_000;

    fn tokens(changes: Value) -> Tokens {
        let Value::Object(changes) = changes else { panic!("changes are an object") };
        let mut config = json!({ "jwt_keys": [KEY] });
        config.as_object_mut().unwrap().extend(changes);
        Tokens::of(&serde_json::from_value(config).unwrap())
    }

    fn signed(algorithm: Algorithm, key: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key.as_bytes())).unwrap()
    }

    #[test]
    fn a_token_says_what_the_original_says() {
        let tokens = tokens(json!({}));
        let token = tokens.issue("alice", 1, NOW).unwrap();
        let claims: Value = jsonwebtoken::dangerous::insecure_decode(&token).unwrap().claims;
        assert_eq!(claims.to_string(), r#"{"sid":"alice","platform":1,"iss":"quick-im","exp":1700086400}"#);
        let caller = Caller { sid: "alice".into(), platform: 1, expires_at: Some(1_700_086_400_000_000) };
        assert_eq!(tokens.check(&token, NOW), Some(caller.clone()));
        assert_eq!(tokens.check(&token, NOW + 86_400_000_000 - 1), Some(caller));
        assert_eq!(tokens.check(&token, NOW + 86_400_000_000), None);
    }

    #[test]
    fn algorithms_of_the_family_are_accepted_and_no_others() {
        let tokens = tokens(json!({}));
        let claims = json!({ "sid": "alice", "platform": 2, "exp": 1_700_000_001 });
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(tokens.check(&signed(algorithm, KEY, &claims), NOW).is_some(), "{algorithm:?}");
        }
        // {"alg":"none","typ":"JWT"} and {"sid":"alice","platform":2,"exp":1700000001}
        let payload = "eyJzaWQiOiJhbGljZSIsInBsYXRmb3JtIjoyLCJleHAiOjE3MDAwMDAwMDF9";
        for none in [
            format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}."),
            format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}"),
        ] {
            assert_eq!(tokens.check(&none, NOW), None);
        }
    }

    #[test]
    fn claims_are_looked_at() {
        let check = |changes: Value, claims: Value, holds: bool| {
            let token = signed(Algorithm::HS256, KEY, &claims);
            assert_eq!(tokens(changes).check(&token, NOW).is_some(), holds, "{claims}");
        };
        let exp = 1_700_000_001;
        check(json!({}), json!({ "sid": "a", "platform": 255, "exp": exp }), true);
        check(json!({}), json!({ "sid": "a", "exp": exp, "iss": "somebody", "aud": "x" }), true);
        check(json!({}), json!({ "sid": "a", "exp": 1_700_000_000.5 }), true);
        check(json!({}), json!({ "sid": "a", "exp": 1_700_000_000 }), false);
        check(json!({}), json!({ "sid": "a", "exp": -1 }), false);
        check(json!({}), json!({ "sid": "a", "exp": "soon" }), false);
        check(json!({}), json!({ "sid": "a", "exp": exp, "nbf": exp }), false);
        check(json!({}), json!({ "sid": "a", "platform": 256, "exp": exp }), false);
        check(json!({}), json!({ "sid": "", "exp": exp }), false);
        check(json!({}), json!({ "exp": exp }), false);
        check(json!({}), json!({ "sid": "a" }), false);
        check(json!({ "require_exp": false }), json!({ "sid": "a" }), true);
    }

    #[test]
    fn keys_are_rotated() {
        let other = "another key of at least 32 bytes, this one";
        let (old, new) = (tokens(json!({})), tokens(json!({ "jwt_keys": [other, KEY] })));
        let (before, after) = (old.issue("a", 0, NOW).unwrap(), new.issue("a", 0, NOW).unwrap());
        assert!(new.check(&before, NOW).is_some() && new.check(&after, NOW).is_some());
        assert!(old.check(&after, NOW).is_none());
    }

    proptest! {
        #[test]
        fn what_is_no_token_of_ours_is_none(token in ".{0,80}|[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,43}") {
            prop_assert_eq!(tokens(json!({})).check(&token, NOW), None);
        }

        #[test]
        fn a_changed_token_does_not_hold(at in 0usize..1000, flip in 1u8..255) {
            let tokens = tokens(json!({}));
            let mut token = tokens.issue("alice", 1, NOW).unwrap().into_bytes();
            let at = at % token.len();
            token[at] ^= flip;
            let held = String::from_utf8(token).is_ok_and(|token| tokens.check(&token, NOW).is_some());
            prop_assert!(!held);
        }

        #[test]
        fn what_is_issued_holds(sid in ".{1,40}", platform: u8) {
            let tokens = tokens(json!({}));
            let caller = tokens.check(&tokens.issue(&sid, platform, NOW).unwrap(), NOW).unwrap();
            prop_assert_eq!((caller.sid, caller.platform), (sid, platform));
        }
    }
}
