//! The request signature: HMAC-SHA256 over the sorted parameters, in every spelling honest clients sign.
//!
//! The contract says `key=value&key=value`, sorted, and leaves open whether values are escaped; its JavaScript sample
//! signs them raw, its Python sample signs `urlencode(...)`. Form encoders moreover disagree about `~`, `*` and the space.
//! So a signature is compared with a short list of candidate texts (reference/wecom-archive.md §3.1): raw, the wire form,
//! and the encoders in use. The price is small: a signed text with a `+` or a `%E4` in it can be read in two ways, raw
//! and encoded; who wants one reading only signs what is sent, or sends nothing that needs escaping.
//!
//! Every candidate is computed and compared for every key, whatever matched before, so that the time taken tells nothing
//! about the keys.

use super::errors::ApiError;
use super::legacy;
use super::params::{Param, Params};
use super::router::Endpoint;
use crate::config::Config;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Seconds a caller's clock may be ahead of ours.
const CLOCK_SKEW_S: i64 = 60;
/// Unix times from here on are taken for milliseconds (as seconds it would be the year 5138).
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Python's `quote`: keeps `_.-~`.
const QUOTE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');
/// The form encoding of browsers, Node and Java: keeps `*-._`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');
/// JavaScript's `encodeURIComponent`: keeps `-_.!~*'()`.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Encoders honest clients sign with: what they keep, and whether a space becomes `+`.
const ENCODERS: [(&AsciiSet, bool); 5] =
    [(QUOTE, true), (QUOTE, false), (FORM, true), (FORM, false), (COMPONENT, false)];

/// A configured key.
struct Key {
    mac: Hmac<Sha256>,
    /// The corps it may ask about; empty means every one.
    corps: Vec<String>,
    /// It may be used with the Go text, which does not cover the corp: it can mean one corp only.
    legacy: bool,
}

impl Key {
    fn allows(&self, corp: &str) -> bool {
        self.corps.is_empty() || self.corps.iter().any(|allowed| allowed == corp)
    }

    fn matches(&self, texts: &[String], signature: &[u8; 32]) -> Choice {
        texts.iter().fold(Choice::from(0), |found, text| {
            let mac = self.mac.clone().chain_update(text.as_bytes()).finalize().into_bytes();
            found | mac.as_slice().ct_eq(signature)
        })
    }
}

/// What decides whether a request is signed well.
pub struct Signatures {
    keys: Vec<Key>,
    /// When above 0, a signed `timestamp` no older than this many seconds is required.
    timestamp_s: u32,
}

/// A caller whose signature is right.
#[derive(Debug)]
pub struct Caller {
    allowed: bool,
}

impl Caller {
    /// 403 when the caller's key is not meant for the corp they ask about.
    pub fn authorize(&self) -> Result<(), ApiError> {
        if self.allowed { Ok(()) } else { Err(ApiError::forbidden()) }
    }
}

impl Signatures {
    /// The keys and switches of a configuration.
    pub fn of(config: &Config) -> Self {
        let one_corp = config.corp.len() == 1;
        // The Go text carries no timestamp either, so it cannot satisfy the demand for one.
        let legacy = config.legacy_go_signature && config.signed_timestamp_seconds == 0;
        let keys = config.api_keys.iter().map(|api_key| Key {
            mac: Hmac::new_from_slice(api_key.key.expose().as_bytes()).expect("HMAC takes keys of any length"),
            corps: api_key.corps.clone(),
            legacy: legacy && (api_key.corps.len() == 1 || api_key.corps.is_empty() && one_corp),
        });
        Self { keys: keys.collect(), timestamp_s: config.signed_timestamp_seconds }
    }

    /// Verify a request. `now_s` is the Unix time in seconds.
    ///
    /// # Errors
    ///
    /// The endpoint's code for a missing, wrong or stale signature.
    pub fn verify(&self, endpoint: Endpoint, params: &Params, now_s: i64) -> Result<Caller, ApiError> {
        let refused = ApiError::signature(endpoint.signature_code());
        let mut signature = [0; 32];
        if hex::decode_to_slice(params.signature().unwrap_or_default(), &mut signature).is_err() {
            return Err(refused);
        }
        let corp = params.get("ext_corp_id").unwrap_or_default();
        let texts = candidates(params.signed());
        let legacy = [legacy::text(endpoint, params)];
        let (mut known, mut allowed) = (false, false);
        for key in &self.keys {
            let by_go = key.matches(&legacy, &signature) & Choice::from(u8::from(key.legacy));
            let matched = bool::from(key.matches(&texts, &signature) | by_go);
            known |= matched;
            allowed |= matched && key.allows(corp);
        }
        if known && self.is_fresh(params, now_s) { Ok(Caller { allowed }) } else { Err(refused) }
    }

    fn is_fresh(&self, params: &Params, now_s: i64) -> bool {
        if self.timestamp_s == 0 {
            return true;
        }
        let Some(stamp) = params.get("timestamp").and_then(|text| text.parse::<i64>().ok()) else { return false };
        let stamp_s = if stamp >= MILLISECONDS_FROM { stamp / 1000 } else { stamp };
        stamp_s <= now_s.saturating_add(CLOCK_SKEW_S) && stamp_s >= now_s.saturating_sub(i64::from(self.timestamp_s))
    }
}

/// Every text a client may have signed for these parameters, each once.
fn candidates(params: &[Param]) -> Vec<String> {
    let mut orders: Vec<Vec<&Param>> = vec![params.iter().collect(), params.iter().collect()];
    orders[0].sort_by(|a, b| a.name.cmp(&b.name));
    // JavaScript sorts by UTF-16 units; it differs only for names outside of the basic plane.
    orders[1].sort_by(|a, b| a.name.encode_utf16().cmp(b.name.encode_utf16()));
    orders.dedup();
    let mut texts = Vec::with_capacity(orders.len() * (2 + ENCODERS.len()));
    for order in orders {
        texts.push(join(&order, |param| format!("{}={}", param.name, param.value)));
        texts.push(join(&order, |param| param.wire.clone()));
        for (kept, plus) in ENCODERS {
            texts.push(join(&order, |param| {
                format!("{}={}", encode(&param.name, kept, plus), encode(&param.value, kept, plus))
            }));
        }
    }
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn join(params: &[&Param], pair: impl Fn(&Param) -> String) -> String {
    params.iter().map(|param| pair(param)).collect::<Vec<_>>().join("&")
}

fn encode(text: &str, kept: &'static AsciiSet, plus: bool) -> String {
    let encoded = utf8_percent_encode(text, kept).to_string();
    if plus { encoded.replace("%20", "+") } else { encoded }
}
