//! Tokens: JWT, signed with the secret OpenIM's servers share (reference/openim.md §3.5), and the secret itself.
//!
//! Only HS256 is accepted, as it is issued; the library compares signatures in constant time.

use crate::answer::Failure;
use crate::config::Config;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stele_plugin_api::model::Micros;
use subtle::ConstantTimeEq;

/// `PlatformID` of tokens of admins.
const ADMIN_PLATFORM: i32 = 10;
/// How long before it is issued a token is good, in seconds: clocks differ.
const EARLY: i64 = 5;
const DAY: i64 = 86_400;
const SECOND: Micros = 1_000_000;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Their id.
    pub user_id: String,
    /// Which of their devices.
    pub platform_id: i32,
    /// When the token ends, in seconds since 1970.
    pub expires: i64,
}

#[derive(Serialize)]
struct Issued<'a> {
    #[serde(rename = "UserID")]
    user_id: &'a str,
    #[serde(rename = "PlatformID")]
    platform_id: i32,
    exp: i64,
    iat: i64,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "UserID")]
    user_id: String,
    #[serde(rename = "PlatformID", default)]
    platform_id: i32,
    exp: f64,
    nbf: Option<f64>,
}

/// Issues and checks tokens.
pub struct Tokens {
    /// SHA-256 of the secret.
    secret: Vec<u8>,
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
    lifetime: i64,
}

impl Tokens {
    /// With the secret of a configuration without mistakes.
    pub fn of(config: &Config) -> Self {
        let secret = config.secret.expose().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        // Looked at here, with the clock of the instance.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            secret: Sha256::digest(secret).to_vec(),
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            validation,
            lifetime: i64::from(config.token_days) * DAY,
        }
    }

    /// Whether somebody knows the secret.
    pub fn is_secret(&self, sent: &str) -> bool {
        // Of equal length and compared whole, so that the time it takes tells nothing.
        Sha256::digest(sent).as_slice().ct_eq(&self.secret).into()
    }

    /// How long a token is good for, in seconds.
    pub fn lifetime(&self) -> i64 {
        self.lifetime
    }

    /// A token of an admin; `None` when it cannot be signed.
    pub fn issue(&self, user_id: &str, now: Micros) -> Option<String> {
        let now = now.div_euclid(SECOND);
        let claims = Issued { user_id, platform_id: ADMIN_PLATFORM, exp: now + self.lifetime, iat: now - EARLY };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing).ok()
    }

    /// Whose token this is.
    ///
    /// # Errors
    ///
    /// 1503 it is none, 1505 it is somebody else's, 1501 it is not good any more, 1504 not yet.
    pub fn check(&self, token: &str, now: Micros) -> Result<Caller, Failure> {
        let read = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation);
        let claims = read.map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Failure::token_unknown(),
            _ => Failure::token_malformed(),
        })?;
        let claims = claims.claims;
        let now = now as f64 / SECOND as f64;
        if now >= claims.exp {
            return Err(Failure::token_expired());
        }
        if claims.nbf.is_some_and(|nbf| now < nbf) {
            return Err(Failure::token_not_yet());
        }
        // A number too large is the largest there is.
        Ok(Caller { user_id: claims.user_id, platform_id: claims.platform_id, expires: claims.exp as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const SECRET: &str = "openIM123";
    const NOW: Micros = 1_700_000_000_000_000;

    fn tokens() -> Tokens {
        Tokens::of(&serde_json::from_value(json!({ "secret": SECRET })).unwrap())
    }

    fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    #[test]
    fn a_token_says_what_the_original_says() {
        let tokens = tokens();
        let token = tokens.issue("imAdmin", NOW).unwrap();
        let claims: Value = jsonwebtoken::dangerous::insecure_decode(&token).unwrap().claims;
        let expected = r#"{"UserID":"imAdmin","PlatformID":10,"exp":1707776000,"iat":1699999995}"#;
        assert_eq!(claims.to_string(), expected);
        let caller = Caller { user_id: "imAdmin".into(), platform_id: 10, expires: 1_707_776_000 };
        let end = 1_707_776_000 * SECOND;
        assert_eq!((tokens.check(&token, NOW), tokens.check(&token, end - 1)), (Ok(caller.clone()), Ok(caller)));
        assert_eq!(tokens.check(&token, end), Err(Failure::token_expired()));
        assert_eq!(tokens.lifetime(), 7_776_000);
    }

    #[test]
    fn every_defect_of_a_token_has_its_code() {
        let check = |token: &str, code: i32| {
            assert_eq!(tokens().check(token, NOW).map_or_else(|failure| failure.code, |_| 0), code, "{token}");
        };
        let good = json!({ "UserID": "a", "PlatformID": 5, "exp": 1_700_000_001 });
        check(&signed(Algorithm::HS256, SECRET, &good), 0);
        check(&signed(Algorithm::HS256, SECRET, &json!({ "UserID": "a", "exp": 1_700_000_000.5, "nbf": 1 })), 0);
        check(&signed(Algorithm::HS256, "another secret", &good), 1505);
        check(&signed(Algorithm::HS384, SECRET, &good), 1505);
        check(&signed(Algorithm::HS256, SECRET, &json!({ "UserID": "a", "exp": 1_700_000_000 })), 1501);
        check(&signed(Algorithm::HS256, SECRET, &json!({ "UserID": "a", "exp": -1 })), 1501);
        let early = json!({ "UserID": "a", "exp": 1_700_000_001, "nbf": 1_700_000_001 });
        check(&signed(Algorithm::HS256, SECRET, &early), 1504);
        for odd in [
            json!({ "UserID": 7, "exp": 1_700_000_001 }),
            json!({ "exp": 1_700_000_001 }),
            json!({ "UserID": "a", "exp": "soon" }),
            json!({ "UserID": "a" }),
        ] {
            check(&signed(Algorithm::HS256, SECRET, &odd), 1503);
        }
        // {"alg":"none","typ":"JWT"} and {"UserID":"a","exp":1700000001}
        check("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJVc2VySUQiOiJhIiwiZXhwIjoxNzAwMDAwMDAxfQ.", 1503);
        for odd in ["", "x", "a.b.c", "Bearer x"] {
            check(odd, 1503);
        }
    }

    #[test]
    fn the_secret_is_known_or_not() {
        let tokens = tokens();
        assert!(tokens.is_secret(SECRET));
        assert!(["", "openIM12", "openIM1234", "OPENIM123"].iter().all(|sent| !tokens.is_secret(sent)));
    }

    proptest! {
        #[test]
        fn what_is_no_token_of_ours_is_none(token in ".{0,80}|[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,43}") {
            prop_assert!(tokens().check(&token, NOW).is_err());
        }

        #[test]
        fn a_changed_token_does_not_hold(at in 0usize..1000, flip in 1u8..255) {
            let mut token = tokens().issue("imAdmin", NOW).unwrap().into_bytes();
            let at = at % token.len();
            token[at] ^= flip;
            prop_assert!(!String::from_utf8(token).is_ok_and(|token| tokens().check(&token, NOW).is_ok()));
        }

        #[test]
        fn what_is_issued_holds(user_id in ".{0,40}") {
            let caller = tokens().check(&tokens().issue(&user_id, NOW).unwrap(), NOW).unwrap();
            prop_assert_eq!(caller.user_id, user_id);
        }
    }
}
