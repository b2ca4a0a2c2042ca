//! Calls of the upstream, through the daemon's client.
//!
//! What an OpenIM says of a request is in its envelope, under HTTP 200 (reference/openim.md §1, §3). What was asked for once is
//! never asked for again here, save with another token where it did not take the first: then nothing was done.

use super::token::Tokens;
use crate::Clock;
use crate::config::{Config, Upstream as UpstreamConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::{Error, ErrorCode, Host, ops};

/// Time the daemon may take for one of our requests; its own limit comes first.
const FETCH: Duration = Duration::from_secs(40);
/// Characters of what an upstream says that are told on.
const MAX_SAID: usize = 200;
/// Requests with one body, each with another token.
const ATTEMPTS: usize = 3;
/// `errCode`: the caller may not.
const NO_PERMISSION: i64 = 1002;
/// `errCode`: what is answered is too large for its services.
const TOO_LARGE: i64 = 8;
/// `errCode`: too much at once.
const TOO_MANY: i64 = 429;

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The upstream says so, with this `errCode` and in these words.
    Refused(i64, String),
    /// The answer is none. What was asked for may be done.
    Unreadable,
    /// There was no answer, or none that leaves something to do. What was asked for may be done.
    Failed(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(code, said) => Self::unavailable(format!("the upstream answers {code}: {said}")),
            CallError::Unreadable => Self::unavailable("the upstream's answer cannot be read"),
            // Who can ask for less has looked at it before.
            CallError::Failed(Error { code: ErrorCode::TooLarge, message, .. }) => Self::unavailable(message),
            CallError::Failed(error) => error,
        }
    }
}

impl CallError {
    /// Fewer messages may be answered.
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::Refused(code, _) => *code == TOO_LARGE,
            Self::Failed(error) => error.code == ErrorCode::TooLarge,
            Self::Unreadable => false,
        }
    }

    /// A person must act.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Failed(error) if error.code == ErrorCode::Denied)
    }
}

/// Whether an `errCode` is about the token: it ended, or was ended (reference/openim.md §3.4).
fn is_of_token(code: i64) -> bool {
    (1501..=1507).contains(&code)
}

/// Calls of one upstream.
pub struct Client {
    host: Host,
    url: String,
    timeout_ms: u64,
    tokens: Tokens,
    /// Tells requests apart in the upstream's log.
    process: i64,
    requests: AtomicU64,
    /// What a person must do something about.
    trouble: Mutex<Option<String>>,
}

/// What is around an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    err_code: i64,
    #[serde(default)]
    err_msg: String,
    #[serde(default)]
    err_dlt: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Client {
    /// Calls of this upstream.
    pub fn new(host: Host, config: &Config, upstream: &UpstreamConfig, clock: &Clock) -> Self {
        Self {
            tokens: Tokens::new(host.clone(), config, upstream, clock.clone()),
            host,
            url: upstream.url.trim_end_matches('/').to_owned(),
            timeout_ms: u64::from(upstream.timeout_seconds) * 1000,
            process: clock(),
            requests: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    /// The person whose token is used.
    pub fn admin(&self) -> &str {
        self.tokens.admin()
    }

    /// What keeps every call from working, as far as the last one showed.
    pub fn trouble(&self) -> Option<String> {
        self.told().clone()
    }

    /// A call with a token. Data that is missing or null is read as the default.
    pub async fn call<A: DeserializeOwned + Default>(&self, path: &str, body: &Value) -> Result<A, CallError> {
        let body = body.to_string().into();
        let operation = format!("stele-{:x}-{}", self.process, self.requests.fetch_add(1, Ordering::Relaxed));
        let reply = self.send(path, body, &operation).await?;
        self.answer(path, &reply)
    }

    /// The reply to a request with a token, whatever it says, unless that is about the token. What it refuses is the affair of
    /// whoever made the request.
    pub async fn send(&self, path: &str, body: bytes::Bytes, operation: &str) -> Result<ops::FetchReply, CallError> {
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            let token = self.tokens.other_than(refused.as_deref(), self).await?;
            let reply = self.fetch(path, Some(&token), body.clone(), operation).await?;
            match serde_json::from_slice::<Envelope<'_>>(&reply.body) {
                Ok(said) if is_of_token(said.err_code) => refused = Some(token),
                _ => return Ok(reply),
            }
        }
        Err(CallError::Failed(Error::unavailable("the upstream ends every token it gives")))
    }

    /// A call without a token.
    pub async fn call_openly<A: DeserializeOwned + Default>(&self, path: &str, body: &Value) -> Result<A, CallError> {
        let operation = format!("stele-{:x}-{}", self.process, self.requests.fetch_add(1, Ordering::Relaxed));
        let reply = self.fetch(path, None, body.to_string().into(), &operation).await?;
        self.answer(path, &reply)
    }

    async fn fetch(
        &self,
        path: &str,
        token: Option<&str>,
        body: bytes::Bytes,
        operation: &str,
    ) -> Result<ops::FetchReply, CallError> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![header("content-type", "application/json"), header("operationid", operation)];
        headers.extend(token.map(|token| header("token", token)));
        let request = ops::FetchRequest {
            method: "POST".to_owned(),
            url: format!("{}{path}", self.url),
            headers,
            timeout_ms: self.timeout_ms,
            body,
        };
        self.host.call_within::<ops::HttpFetch>(request, FETCH).await.map_err(CallError::Failed)
    }

    fn answer<A: DeserializeOwned + Default>(&self, path: &str, reply: &ops::FetchReply) -> Result<A, CallError> {
        let envelope = serde_json::from_slice::<Envelope<'_>>(&reply.body).ok();
        let unavailable = |what: String| Err(CallError::Failed(Error::unavailable(what)));
        let envelope = match (reply.status, envelope) {
            (200..=299, Some(envelope)) => envelope,
            (200..=299, None) => return Err(CallError::Unreadable),
            (404, _) => return Err(CallError::Refused(404, format!("there is no {path}"))),
            (300..=403 | 405..=428, _) => {
                let status = reply.status;
                return Err(
                    self.denied(format!("the upstream answers {path} with status {status}: is its address right?"))
                );
            }
            (429, _) => return Err(CallError::Failed(Error::new(ErrorCode::RateLimited, "the upstream is busy"))),
            (status, _) => return unavailable(format!("the upstream answers {path} with status {status}")),
        };
        match envelope.err_code {
            0 => {}
            // Some versions repeat the token in their words.
            code if is_of_token(code) => return Err(CallError::Refused(code, "about the token".to_owned())),
            TOO_MANY => return Err(CallError::Failed(Error::new(ErrorCode::RateLimited, "the upstream is busy"))),
            code => {
                let words = [envelope.err_msg, envelope.err_dlt].join(" ");
                let said: String = words.trim().chars().take(MAX_SAID).collect();
                if code == NO_PERMISSION {
                    *self.told() = Some(format!("the upstream refuses {path} ({code}): {said}"));
                }
                return Err(CallError::Refused(code, said));
            }
        }
        let data = envelope.data.map_or(Ok(None), |data| serde_json::from_str::<Option<A>>(data.get()));
        let data = data.map_err(|_| CallError::Unreadable)?;
        *self.told() = None;
        Ok(data.unwrap_or_default())
    }

    /// That a person must act; every call fails likewise until then.
    pub fn denied(&self, trouble: String) -> CallError {
        *self.told() = Some(trouble.clone());
        CallError::Failed(Error::new(ErrorCode::Denied, trouble))
    }

    fn told(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
