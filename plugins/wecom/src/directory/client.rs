//! WeCom's own HTTP API, through the daemon's client.
//!
//! Access tokens last two hours and are limited in number, so each secret's is kept until it runs out, and fetched anew
//! once when WeCom no longer likes it. Secrets and tokens stand in the query, which the daemon never logs.

use crate::corp::Corp;
use crate::refusal::Refusal;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::{Error, ErrorCode, Host, Secret, ops};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A token is given up this long before it runs out.
const TOKEN_MARGIN: Duration = Duration::from_secs(120);
/// How long a token lasts when WeCom does not say.
const TOKEN_LIFE_SECONDS: u64 = 7200;
/// `errcode` of a system that is busy.
const BUSY: i64 = -1;

/// Whose right a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// The self-built app's: contacts and customers.
    App,
    /// The message archive's.
    Archive,
}

impl Right {
    /// The setting that gives it.
    fn setting(self) -> &'static str {
        match self {
            Self::App => "app_secret",
            Self::Archive => "archive_secret",
        }
    }
}

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// WeCom refused this call; others may work.
    Refused(Refusal, Right),
    /// No call works just now.
    Failed(Error),
}

/// Calls for one corp.
pub struct Client {
    corp: Arc<Corp>,
    host: Host,
    base: String,
    tokens: Mutex<HashMap<Right, (Secret, Instant)>>,
}

impl Client {
    /// Calls to the API at `base`.
    pub fn new(corp: Arc<Corp>, host: Host, base: &str) -> Self {
        Self { corp, host, base: base.trim_end_matches('/').to_owned(), tokens: Mutex::default() }
    }

    /// Whether there is a secret for it.
    pub fn has(&self, right: Right) -> bool {
        !self.secret(right).is_empty()
    }

    /// `GET` with these parameters.
    pub async fn get(&self, right: Right, path: &str, query: &[(&str, &str)]) -> Result<Value, CallError> {
        self.call(right, path, query, None).await
    }

    /// `POST` of this JSON.
    pub async fn post(&self, right: Right, path: &str, body: &Value) -> Result<Value, CallError> {
        self.call(right, path, &[], Some(body)).await
    }

    /// A refusal in words for operators.
    pub fn explain(&self, refusal: &Refusal, right: Right) -> Error {
        refusal.error(right.setting(), self.secret(right))
    }

    async fn call(
        &self,
        right: Right,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let mut may_renew = true;
        loop {
            let token = self.token(right).await?;
            let mut query = query.to_vec();
            query.push(("access_token", token.expose()));
            match self.request(path, &query, body).await.map_err(CallError::Failed)? {
                Ok(reply) => return Ok(reply),
                Err(refusal) if refusal.is_stale_token() && may_renew => {
                    may_renew = false;
                    self.tokens.lock().await.remove(&right);
                }
                Err(refusal) => return Err(self.sorted(refusal, right)),
            }
        }
    }

    /// The secret's access token. Whoever asks while it is being fetched waits for the same one.
    async fn token(&self, right: Right) -> Result<Secret, CallError> {
        let mut tokens = self.tokens.lock().await;
        if let Some((token, until)) = tokens.get(&right)
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let query = [("corpid", self.corp.id()), ("corpsecret", self.secret(right).expose())];
        let reply = match self.request("/cgi-bin/gettoken", &query, None).await.map_err(CallError::Failed)? {
            Ok(reply) => reply,
            Err(refusal) => return Err(self.sorted(refusal, right)),
        };
        let token = Secret::new(reply["access_token"].as_str().unwrap_or_default());
        if token.is_empty() {
            return Err(CallError::Failed(Error::new(ErrorCode::Unavailable, "wecom gave no access token")));
        }
        let life = Duration::from_secs(reply["expires_in"].as_u64().unwrap_or(TOKEN_LIFE_SECONDS));
        tokens.insert(right, (token.clone(), Instant::now() + life.saturating_sub(TOKEN_MARGIN)));
        Ok(token)
    }

    /// Tells refusals of one call from those of any call at this moment.
    fn sorted(&self, refusal: Refusal, right: Right) -> CallError {
        let error = self.explain(&refusal, right);
        if error.code == ErrorCode::RateLimited || refusal.code == BUSY {
            CallError::Failed(error)
        } else {
            CallError::Refused(refusal, right)
        }
    }

    async fn request(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Result<Value, Refusal>, Error> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = ops::FetchRequest {
            method: if body.is_some() { "POST" } else { "GET" }.to_owned(),
            url: format!("{}{path}?{}", self.base, query.join("&")),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            timeout_ms: u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            body: body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string())),
        };
        let reply = self.host.call::<ops::HttpFetch>(request).await?;
        let failed = |code, what: String| Err(Error::new(code, format!("wecom answers {path} with {what}")));
        match reply.status {
            200..=299 => {}
            429 => return failed(ErrorCode::RateLimited, "status 429".to_owned()),
            status => return failed(ErrorCode::Unavailable, format!("status {status}")),
        }
        let Ok(reply) = serde_json::from_slice::<Value>(&reply.body) else {
            return failed(ErrorCode::Unavailable, "no JSON".to_owned());
        };
        match reply["errcode"].as_i64() {
            None | Some(0) => Ok(Ok(reply)),
            Some(code) => Ok(Err(Refusal { code, message: reply["errmsg"].as_str().unwrap_or_default().to_owned() })),
        }
    }

    fn secret(&self, right: Right) -> &Secret {
        match right {
            Right::App => &self.corp.config.app_secret,
            Right::Archive => &self.corp.config.archive_secret,
        }
    }
}
