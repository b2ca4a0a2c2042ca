//! The way to the server: meilisearch-sdk's requests over our own client, with an end to every wait.

use async_trait::async_trait;
use futures::AsyncReadExt;
use futures::io::AsyncRead;
use meilisearch_sdk::errors::Error;
use meilisearch_sdk::request::{HttpClient, Method, parse_response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 3;

/// First pause before a request is sent again; doubled with every other one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause a server may ask for. Whoever wants more is told to be down.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Bytes of a body that must be sent in a second at least.
const SLOWEST_PER_SECOND: usize = 1 << 20;

/// A client that has the key.
#[derive(Clone)]
pub struct Wire {
    client: reqwest::Client,
    timeout: Duration,
    /// How often a request is sent at most.
    attempts: u32,
    hearing: Arc<Mutex<Hearing>>,
}

/// What was heard of the server.
#[derive(Default)]
struct Hearing {
    /// When the latest answer came, whatever it was to.
    heard: Option<Instant>,
    /// Whether a request has waited in vain since, and nothing else was answered while it did. One that only takes long says nothing
    /// of the others.
    silent: bool,
}

/// The key is in the client.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Wire {
    /// With this key, if one is needed. `timeout`: of all attempts together, the pauses between them aside. A server that does not
    /// answer is not asked a second time.
    pub fn new(key: Option<&str>, timeout: Duration) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| Error::InvalidRequest)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(other)?;
        Ok(Self { client, timeout, attempts: ATTEMPTS, hearing: Arc::default() })
    }

    /// The same for what must not be asked twice.
    pub fn once(&self) -> Self {
        Self { attempts: 1, ..self.clone() }
    }

    fn hearing(&self) -> std::sync::MutexGuard<'_, Hearing> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server takes requests and does not answer, as far as is known.
    pub fn is_silent(&self) -> bool {
        self.hearing().silent
    }

    /// Somebody waited in vain from then on.
    pub fn waited_in_vain(&self, since: Instant) {
        let mut hearing = self.hearing();
        hearing.silent |= hearing.heard.is_none_or(|heard| heard < since);
    }

    /// What an attempt failed with that began then.
    fn noted(&self, error: reqwest::Error, began: Instant) -> reqwest::Error {
        if error.is_timeout() {
            self.waited_in_vain(began);
        }
        error
    }

    async fn send(&self, request: &reqwest::Request) -> Result<(StatusCode, String), Error> {
        let mut pause = FIRST_PAUSE;
        let mut left = request.timeout().copied().unwrap_or(self.timeout);
        for attempt in 1.. {
            let mut request = request.try_clone().expect("its body lies in memory");
            *request.timeout_mut() = Some(left);
            let began = Instant::now();
            let answer = self.client.execute(request).await.map_err(|error| self.noted(error, began));
            left = left.saturating_sub(began.elapsed());
            let is_last = attempt == self.attempts || left.is_zero();
            let wanted = match answer {
                Ok(answer) if !may_pass(answer.status()) || is_last => {
                    let status = answer.status();
                    let text = answer.text().await.map_err(|error| other(self.noted(error, began)))?;
                    *self.hearing() = Hearing { heard: Some(Instant::now()), silent: false };
                    return Ok((status, text));
                }
                Ok(answer) => wanted_pause(&answer),
                Err(error) if is_last => return Err(other(error)),
                Err(_) => None,
            };
            tokio::time::sleep(wanted.unwrap_or(pause).min(MAX_PAUSE)).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }
}

/// Whether it may be another answer when the request is sent again.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

fn wanted_pause(answer: &Response) -> Option<Duration> {
    answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What failed, and its causes, without the address, which may hold a password.
fn other(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    Error::Other(text.into())
}

#[async_trait]
impl HttpClient for Wire {
    async fn stream_request<
        Query: Serialize + Send + Sync,
        Body: AsyncRead + Send + Sync + 'static,
        Output: DeserializeOwned + 'static,
    >(
        &self,
        url: &str,
        method: Method<Query, Body>,
        content_type: &str,
        expected_status_code: u16,
    ) -> Result<Output, Error> {
        let query = yaup::to_string(method.query())?;
        let verb = match &method {
            Method::Get { .. } => reqwest::Method::GET,
            Method::Post { .. } => reqwest::Method::POST,
            Method::Patch { .. } => reqwest::Method::PATCH,
            Method::Put { .. } => reqwest::Method::PUT,
            Method::Delete { .. } => reqwest::Method::DELETE,
        };
        let address = format!("{url}{query}");
        let mut request = self.client.request(verb, &address).timeout(self.timeout);
        if let Some(body) = method.into_body() {
            let mut bytes = Vec::new();
            let mut body = std::pin::pin!(body);
            body.read_to_end(&mut bytes).await.map_err(|error| Error::Other(error.into()))?;
            let sending = Duration::from_secs((bytes.len() / SLOWEST_PER_SECOND) as u64);
            request = request.timeout(self.timeout + sending).header(CONTENT_TYPE, content_type).body(bytes);
        }
        let (status, text) = self.send(&request.build().map_err(other)?).await?;
        let path = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
        let path = path.split_once('/').map_or_else(String::new, |(_, path)| format!("/{path}"));
        parse_response(status.as_u16(), expected_status_code, if text.is_empty() { "null" } else { &text }, path)
    }
}
