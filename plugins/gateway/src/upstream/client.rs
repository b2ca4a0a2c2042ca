//! Calls of the upstream, through the daemon's client.
//!
//! A success is a code, not a status: the original answers 200 whatever happens. What was asked for once is never asked for
//! again here, save that a token it refuses is renewed, once: then nothing was done.

use super::config::UpstreamConfig;
use super::decode;
use crate::Clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stele_plugin_api::model::Micros;
use stele_plugin_api::{Error, ErrorCode, Host, Secret, ops};

/// Code of a request whose body is not what it should be.
pub const INVALID: i64 = 10_001;
/// Code of whatever fails behind the upstream's gateway.
pub const FAILED: i64 = 10_002;
/// Code of an inner call from an address that is not on the allowlist.
pub const NOT_ALLOWED: i64 = 10_003;
/// Code of a token that does not hold.
const INVALID_TOKEN: i64 = 10_101;
/// How long a token is used. The upstream's own live a day.
const TOKEN_USE: Micros = 12 * 3_600_000_000;
/// Life of a token made here, in seconds; longer than it is used, for clocks that differ.
const TOKEN_LIFE: i64 = 24 * 3600;
/// Tokens kept.
const MAX_TOKENS: usize = 10_000;

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The upstream says so; what was asked for was not done.
    Refused(i64),
    /// The answer is none. What was asked for may be done.
    Unreadable,
    /// There was no answer, or none that leaves something to do. What was asked for may be done.
    Failed(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(code) => Self::unavailable(format!("the upstream answers {code}")),
            CallError::Unreadable => Self::unavailable("the upstream's answer cannot be read"),
            // Who can ask for less has looked at it before.
            CallError::Failed(Error { code: ErrorCode::TooLarge, message, .. }) => Self::unavailable(message),
            CallError::Failed(error) => error,
        }
    }
}

/// One device of a session, for which calls are made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// The session.
    pub sid: String,
    /// Which of its devices.
    pub platform: u8,
}

/// Calls of one upstream.
pub struct Client {
    host: Host,
    clock: Clock,
    base: String,
    timeout_ms: u64,
    /// `None`: tokens are asked for.
    key: Option<Secret>,
    tokens: Mutex<HashMap<Device, (Secret, Micros)>>,
    /// What a person must do something about.
    trouble: Mutex<Option<String>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sid: &'a str,
    platform: u8,
    iss: &'a str,
    exp: i64,
}

impl Client {
    /// Calls of this upstream.
    pub fn new(host: Host, clock: Clock, config: &UpstreamConfig) -> Self {
        Self {
            host,
            clock,
            base: config.base().to_owned(),
            timeout_ms: u64::from(config.timeout_seconds) * 1000,
            key: config.key.clone(),
            tokens: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// What keeps every call from working, as far as the last one showed.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// A call for this device. `read` takes what is wanted from the data; what it cannot read is [`CallError::Unreadable`].
    pub async fn call<T>(
        &self,
        device: &Device,
        path: &str,
        body: &Value,
        read: impl Fn(Option<&RawValue>) -> Option<T>,
    ) -> Result<T, CallError> {
        for may_renew in [true, false] {
            let token = self.token(device).await?;
            match self.request(path, Some(&token), body, &read).await {
                Err(CallError::Refused(INVALID_TOKEN)) if may_renew => drop(lock(&self.tokens).remove(device)),
                Err(CallError::Refused(INVALID_TOKEN)) => break,
                answer => return answer,
            }
        }
        let setting = if self.key.is_some() { "upstream.key" } else { "upstream.use_inner_token" };
        Err(self.denied(&format!("the upstream refuses its token (10101): is {setting} right, and the clock?")))
    }

    /// A call of an inner route.
    pub async fn inner<T>(
        &self,
        path: &str,
        body: &Value,
        read: impl Fn(Option<&RawValue>) -> Option<T>,
    ) -> Result<T, CallError> {
        match self.request(path, None, body, read).await {
            Err(CallError::Refused(NOT_ALLOWED)) => {
                Err(self.denied(&format!("the upstream refuses {path} (10003): this machine is not on its allowlist")))
            }
            answer => answer,
        }
    }

    async fn token(&self, device: &Device) -> Result<Secret, CallError> {
        let now = (self.clock)();
        if let Some((token, until)) = lock(&self.tokens).get(device)
            && *until > now
        {
            return Ok(token.clone());
        }
        let token = match &self.key {
            Some(key) => {
                let (sid, exp) = (device.sid.as_str(), now / 1_000_000 + TOKEN_LIFE);
                let claims = Claims { sid, platform: device.platform, iss: "quick-im", exp };
                let key = EncodingKey::from_secret(key.expose().as_bytes());
                let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
                Secret::new(signed.map_err(|_| CallError::Failed(Error::internal("a token cannot be signed")))?)
            }
            None => {
                let body = json!({ "session": device.sid, "platform": device.platform });
                let text = |data: Option<&RawValue>| serde_json::from_str::<String>(data?.get()).ok();
                Secret::new(self.inner("/inner/get_token", &body, text).await?)
            }
        };
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(device.clone(), (token.clone(), now + TOKEN_USE));
        Ok(token)
    }

    async fn request<T>(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: &Value,
        read: impl Fn(Option<&RawValue>) -> Option<T>,
    ) -> Result<T, CallError> {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(token.map(|token| ("authorization".to_owned(), format!("Bearer {}", token.expose()))));
        let request = ops::FetchRequest {
            method: "POST".to_owned(),
            url: format!("{}{path}", self.base),
            headers,
            timeout_ms: self.timeout_ms,
            body: body.to_string().into(),
        };
        let reply = self.host.call_within::<ops::HttpFetch>(request, super::FETCH).await.map_err(CallError::Failed)?;
        let failed = |code| {
            Err(CallError::Failed(Error::new(
                code,
                format!("the upstream answers {path} with status {}", reply.status),
            )))
        };
        match reply.status {
            200..=299 => {}
            429 => return failed(ErrorCode::RateLimited),
            300..=399 | 404 | 405 => {
                return Err(self.denied(&format!(
                    "the upstream answers {path} with status {}: is upstream.url right?",
                    reply.status
                )));
            }
            _ => return failed(ErrorCode::Unavailable),
        }
        let data = decode::envelope(&reply.body).ok_or(CallError::Unreadable)?.map_err(CallError::Refused)?;
        let found = read(data).ok_or(CallError::Unreadable)?;
        lock(&self.trouble).take();
        Ok(found)
    }

    fn denied(&self, trouble: &str) -> CallError {
        *lock(&self.trouble) = Some(trouble.to_owned());
        CallError::Failed(Error::new(ErrorCode::Denied, trouble))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
