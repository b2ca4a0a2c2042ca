//! Calls of the upstream, through the daemon's client.
//!
//! Answers are told by their content: v2 labels some JSON as text, says what went wrong in the body of a 200, and answers 400
//! whatever failed (reference/wukongim.md §2). What was asked for once is never asked for again here, save that a login which
//! v3's manager does not take any more is renewed, once: then nothing was done.

use super::config::UpstreamConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::{Error, ErrorCode, Host, Secret, ops};

/// Time the daemon may take for one of our requests; its own limit comes first.
const FETCH: Duration = Duration::from_secs(40);
/// Characters of what an upstream says that are told on.
const MAX_SAID: usize = 200;

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The upstream says so, in these words, and with this status.
    Refused(u16, String),
    /// The answer is none. What was asked for may be done.
    Unreadable,
    /// There was no answer, or none that leaves something to do. What was asked for may be done.
    Failed(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(status, said) => Self::unavailable(format!("the upstream answers {status}: {said}")),
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
        matches!(self, Self::Failed(error) if error.code == ErrorCode::TooLarge)
    }

    /// There was no answer in time.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Failed(error) if error.code == ErrorCode::Deadline)
    }

    /// A person must act.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Failed(error) if error.code == ErrorCode::Denied)
    }
}

/// Which line of WuKongIM it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Written until 2026: messages are read from its API.
    V2,
    /// The rewrite: messages are read from its manager.
    V3,
}

/// Calls of one upstream.
pub struct Client {
    host: Host,
    url: String,
    manager_url: Option<String>,
    timeout_ms: u64,
    token: Option<Secret>,
    login: Option<(String, Secret)>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    version: Option<Version>,
    /// What a login at the manager gave. It signs tokens and keeps none, so each daemon's holds beside the others'.
    access: Option<Secret>,
    /// What a person must do something about.
    trouble: Option<String>,
}

/// What an answer is to be read as something else for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    status: Value,
    msg: Option<String>,
    message: Option<String>,
    error: Option<String>,
}

impl Client {
    /// Calls of this upstream.
    pub fn new(host: Host, config: &UpstreamConfig) -> Self {
        let base = |url: &String| url.trim_end_matches('/').to_owned();
        Self {
            host,
            url: base(&config.url),
            manager_url: config.manager_url.as_ref().map(base),
            timeout_ms: u64::from(config.timeout_seconds) * 1000,
            token: config.token.clone(),
            login: config.username.clone().zip(config.password.clone()),
            known: Mutex::default(),
        }
    }

    /// What keeps every call from working, as far as the last one showed.
    pub fn trouble(&self) -> Option<String> {
        self.known().trouble.clone()
    }

    /// Which version it is; asked for once, until something is not where it belongs.
    pub async fn version(&self) -> Result<Version, CallError> {
        if let Some(version) = self.known().version {
            return Ok(version);
        }
        let version = self.look().await?;
        if version == Version::V3 && self.manager_url.is_none() {
            return Err(self.denied("the upstream is of v3: upstream.manager_url is needed to read it"));
        }
        self.known().version = Some(version);
        Ok(version)
    }

    /// Whether it answers at all.
    pub async fn is_alive(&self) -> bool {
        self.look().await.is_ok()
    }

    /// v3 has `/healthz`, v2 has not. `/health` says whether something is there at all.
    async fn look(&self) -> Result<Version, CallError> {
        let reply = self.fetch("GET", &self.url, "/healthz", &[], None).await?;
        let is_ok = |body: &[u8]| serde_json::from_slice::<Value>(body).is_ok_and(|value| value["status"] == "ok");
        match reply.status {
            200..=299 if is_ok(&reply.body) => Ok(Version::V3),
            // v2 with a token says nothing without it, not even that there is no such path.
            200..=299 | 401 | 404 | 405 => {
                let health = |body: &[u8]| is_ok(body).then_some(Version::V2);
                self.call("GET", "/health", None, health).await
            }
            status => Err(unavailable("/healthz", status)),
        }
    }

    /// A call of the API. `read` takes what is wanted from the body; what it cannot read is [`CallError::Unreadable`].
    pub async fn call<T>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, CallError> {
        let headers: Vec<_> = self.token.iter().map(|token| ("token".to_owned(), token.expose().to_owned())).collect();
        let reply = self.fetch(method, &self.url, path, &headers, body).await?;
        self.answer(path, &reply, read)
    }

    /// A call of v3's manager.
    pub async fn manage<T>(&self, path: &str, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, CallError> {
        let base = self.manager_url.as_deref().unwrap_or(&self.url);
        for may_renew in [true, false] {
            let token = self.access(base).await?;
            let bearer = |token: &Secret| ("authorization".to_owned(), format!("Bearer {}", token.expose()));
            let headers: Vec<_> = token.iter().map(bearer).collect();
            let reply = self.fetch("GET", base, path, &headers, None).await?;
            if reply.status == 401 && may_renew && self.login.is_some() {
                self.known().access = None;
                continue;
            }
            return self.answer(path, &reply, read);
        }
        Err(self.refused_token(401))
    }

    /// What the manager wants to see.
    async fn access(&self, base: &str) -> Result<Option<Secret>, CallError> {
        let Some((username, password)) = &self.login else { return Ok(self.token.clone()) };
        if let Some(access) = self.known().access.clone() {
            return Ok(Some(access));
        }
        let path = "/manager/login";
        let body = json!({ "username": username, "password": password.expose() });
        let reply = self.fetch("POST", base, path, &[], Some(&body)).await?;
        let token = |body: &[u8]| {
            let answer: Value = serde_json::from_slice(body).ok()?;
            Some(Secret::new(answer["access_token"].as_str()?))
        };
        let access = self.answer(path, &reply, token)?;
        self.known().access = Some(access.clone());
        Ok(Some(access))
    }

    async fn fetch(
        &self,
        method: &str,
        base: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<&Value>,
    ) -> Result<ops::FetchReply, CallError> {
        let json = body.map(|_| ("content-type".to_owned(), "application/json".to_owned()));
        let request = ops::FetchRequest {
            method: method.to_owned(),
            url: format!("{base}{path}"),
            headers: headers.iter().cloned().chain(json).collect(),
            timeout_ms: self.timeout_ms,
            body: body.map(|body| body.to_string().into()).unwrap_or_default(),
        };
        self.host.call_within::<ops::HttpFetch>(request, FETCH).await.map_err(CallError::Failed)
    }

    fn answer<T>(
        &self,
        path: &str,
        reply: &ops::FetchReply,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, CallError> {
        // The query names channels.
        let path = path.split('?').next().unwrap_or_default();
        if (200..=299).contains(&reply.status)
            && let Some(found) = read(&reply.body)
        {
            self.known().trouble = None;
            return Ok(found);
        }
        let said = serde_json::from_slice::<Said>(&reply.body).ok();
        let of_body = said.as_ref().and_then(|said| said.status.as_u64()).and_then(|status| u16::try_from(status).ok());
        match (reply.status, &said) {
            (200..=299, _) if of_body.is_none_or(|status| status < 400) => return Err(CallError::Unreadable),
            (200..=299, _) | (400 | 404 | 409, Some(_)) => {}
            (401 | 403, _) => return Err(self.refused_token(reply.status)),
            (300..=399 | 404 | 405, _) => {
                // It may have become another version.
                self.known().version = None;
                let status = reply.status;
                let trouble = format!("the upstream answers {path} with status {status}: is its address right?");
                return Err(self.denied(&trouble));
            }
            (429, _) => return Err(CallError::Failed(Error::new(ErrorCode::RateLimited, "the upstream is busy"))),
            (status, _) => return Err(unavailable(path, status)),
        }
        let said = said.unwrap_or_default();
        let status = of_body.unwrap_or(reply.status);
        let words = said.msg.or(said.message).or(said.error).unwrap_or_default();
        Err(CallError::Refused(status, words.chars().take(MAX_SAID).collect()))
    }

    fn refused_token(&self, status: u16) -> CallError {
        let setting = if self.login.is_some() { "upstream.username" } else { "upstream.token" };
        self.denied(&format!("the upstream refuses its token ({status}): is {setting} right?"))
    }

    fn denied(&self, trouble: &str) -> CallError {
        self.known().trouble = Some(trouble.to_owned());
        CallError::Failed(Error::new(ErrorCode::Denied, trouble))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(path: &str, status: u16) -> CallError {
    CallError::Failed(Error::unavailable(format!("the upstream answers {path} with status {status}")))
}
