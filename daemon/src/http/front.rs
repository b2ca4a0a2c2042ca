//! What stands between the callers of an instance and its plugin.

use super::Answers;
use super::caller::CallerRates;
use super::listener::Peer;
use super::live::{self, Asked};
use super::observe::{Paths, observed};
use super::unsent::Unsent;
use crate::config::Http;
use crate::live::Hub;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use std::fmt::Display;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use stele_host::{LineRate, Passage};
use stele_plugin_api::ops::{Description, HttpReply, HttpRequest};
use stele_plugin_api::{Error, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::ServiceExt;

/// Largest body of a request where neither the configuration nor the plugin says, in bytes.
const DEFAULT_BODY: usize = 1 << 20;

/// When to come back while the instance does not work or is full.
const COME_BACK: Duration = Duration::from_secs(1);

/// Headers that belong to a connection, which the plugin has none of (RFC 9110 §7.6.1), and those the daemon sets itself.
const NOT_FROM_PLUGINS: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::DATE,
];

/// Whoever answers the requests of an instance: its plugin.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What the log calls it.
    fn name(&self) -> String;

    /// The answer, within this time.
    async fn handle(&self, request: HttpRequest, deadline: Duration) -> Result<HttpReply, Error>;
}

/// Bounds of one instance.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Largest body of a request, in bytes; `None` for what the plugin recommends.
    pub max_body_bytes: Option<usize>,
    /// Time from the head of a request to its answer.
    pub request_timeout: Duration,
    /// Most requests worked on at the same time.
    pub max_in_flight: usize,
    /// Most bytes of large answers that wait for their clients to take them.
    pub max_unsent_bytes: usize,
    /// Most of them that are for one caller.
    pub max_unsent_bytes_per_caller: usize,
    /// Requests a second of one caller; 0 for any number, `None` for what the plugin recommends.
    pub rate_limit: Option<u32>,
    /// Address clients use, for links in answers; `None` for the `Host` they sent.
    pub public_url: Option<String>,
}

impl From<&Http> for Bounds {
    fn from(http: &Http) -> Self {
        Self {
            max_body_bytes: http.max_body_bytes,
            request_timeout: http.request_timeout(),
            max_in_flight: http.max_in_flight,
            max_unsent_bytes: http.max_unsent_bytes,
            max_unsent_bytes_per_caller: http.max_unsent_bytes_per_caller,
            rate_limit: None,
            public_url: None,
        }
    }
}

impl Bounds {
    /// Bytes that all bodies share. A recommendation does not count: the memory for bodies is the operator's to grant.
    fn all_bodies(&self) -> usize {
        let each = self.max_body_bytes.unwrap_or(DEFAULT_BODY);
        self.max_in_flight.saturating_mul(each).min(Semaphore::MAX_PERMITS)
    }
}

/// The front of one instance.
pub struct Front {
    name: String,
    backend: Arc<dyn Backend>,
    media: Router,
    hub: Option<Arc<Hub>>,
    bounds: Bounds,
    in_flight: Semaphore,
    /// Bytes that bodies may still take.
    body_bytes: Arc<Semaphore>,
    unsent: Unsent,
    /// Bounds the lines about requests that were not answered well: a plugin that answers none must not fill the log.
    complaints: Mutex<LineRate>,
    manner: RwLock<Arc<Manner>>,
}

/// What the plugin's description decides.
struct Manner {
    answers: Answers,
    paths: Paths,
    /// Largest body of a request, in bytes.
    max_body: usize,
    rates: Option<CallerRates>,
    /// A rate of their own, since a limit counts calls: a page that is shown fetches a file for each of its rows.
    file_rates: Option<CallerRates>,
}

impl Manner {
    fn of(description: &Description, paths: Paths, bounds: &Bounds) -> Self {
        let rate = bounds.rate_limit.or(description.default_rate).unwrap_or(0);
        let recommended =
            description.default_max_body.map_or(DEFAULT_BODY, |most| most.try_into().unwrap_or(usize::MAX));
        Self {
            answers: Answers::of(description),
            paths,
            max_body: bounds.max_body_bytes.unwrap_or_else(|| recommended.min(bounds.all_bodies())),
            rates: CallerRates::per_second(rate),
            file_rates: CallerRates::of_files(rate),
        }
    }
}

impl Front {
    /// The front of the instance `name`; `media` answers what is under `/media/`.
    pub fn new(name: &str, backend: Arc<dyn Backend>, media: Router, bounds: Bounds) -> Self {
        let in_flight = Semaphore::new(bounds.max_in_flight);
        let body_bytes = Arc::new(Semaphore::new(bounds.all_bodies()));
        let unsent = Unsent::new(bounds.max_unsent_bytes, bounds.max_unsent_bytes_per_caller);
        let manner = RwLock::new(Arc::new(Manner::of(&Description::default(), Paths::FirstSegment, &bounds)));
        let (name, complaints) = (name.to_owned(), Mutex::default());
        Self { name, backend, media, hub: None, bounds, in_flight, body_bytes, unsent, complaints, manner }
    }

    /// The same, with a hub for those who listen.
    pub fn with_hub(self, hub: Arc<Hub>) -> Self {
        Self { hub: Some(hub), ..self }
    }

    /// Takes over what a plugin says of itself: the shape of errors, which paths hold secrets, and the rate and the
    /// largest body when the configuration has none.
    pub fn describe(&self, description: &Description) {
        let manner = Manner::of(description, Paths::AllBut(description.secret_paths.clone()), &self.bounds);
        *self.manner.write().expect("no panic happens while the manner is locked") = Arc::new(manner);
    }

    /// Answers a request whose path begins with `prefix`.
    pub async fn answer(&self, request: Request<Body>, prefix: &str, peer: Peer) -> Response<Body> {
        let manner = Arc::clone(&self.manner.read().expect("no panic happens while the manner is locked"));
        let answers = &manner.answers;
        observed(&self.name, answers, &manner.paths, request, peer, async |request, id| {
            let is_media = is_media(request.method(), path_under(&request, prefix));
            let rates = if is_media { &manner.file_rates } else { &manner.rates };
            if let Some(Err(wait)) = rates.as_ref().map(|rates| rates.check(peer.remote.ip())) {
                metrics::counter!("stele_http_rate_limited_total", "instance" => self.name.clone()).increment(1);
                return answers.render_with_retry(StatusCode::TOO_MANY_REQUESTS, "too many requests", wait);
            }
            if is_media {
                return self.media(request, prefix).await;
            }
            let deadline = Instant::now() + self.bounds.request_timeout;
            match self.forward(request, prefix, peer, (&id, manner.max_body), deadline).await {
                Ok(Answer::Whole(response)) => response,
                // Whoever listens is not in flight: it may listen for days.
                Ok(Answer::Live(asked)) => live::answer(self.hub.as_ref(), answers, &id, *asked).await,
                Err(refusal) => self.refuse(answers, &id, refusal),
            }
        })
        .await
    }

    async fn media(&self, mut request: Request<Body>, prefix: &str) -> Response<Body> {
        if !prefix.is_empty() {
            let inside = path_under(&request, prefix);
            let target = request.uri().query().map_or(inside.to_owned(), |query| format!("{inside}?{query}"));
            *request.uri_mut() = target.parse::<Uri>().unwrap_or_default();
        }
        let Ok(response) = self.media.clone().oneshot(request).await;
        response
    }

    async fn forward(
        &self,
        request: Request<Body>,
        prefix: &str,
        peer: Peer,
        (id, max_body): (&str, usize),
        deadline: Instant,
    ) -> Result<Answer, Refusal> {
        let (path, base_url) = (path_under(&request, prefix).to_owned(), self.base_url(&request, prefix, peer));
        let (head, body) = request.into_parts();
        let body = tokio::time::timeout_at(deadline, self.read_body(&head.headers, body, max_body)).await;
        // Its share of the memory for bodies is given back when the request is done.
        let (body, _share) = body.map_err(|_| Refusal::BodyTooLate)??;
        // Only now: who dawdles with a body takes nobody's place.
        let _permit = self.in_flight.try_acquire().map_err(|_| Refusal::TooBusy)?;
        let headers = head.headers.iter();
        let request = HttpRequest {
            method: head.method.to_string(),
            path,
            query: head.uri.query().map(str::to_owned),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            remote: peer.remote.ip().to_canonical().to_string(),
            request_id: id.to_owned(),
            base_url,
            body,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let mut reply = tokio::time::timeout_at(deadline, self.backend.handle(request, left))
            .await
            .map_err(|_| Refusal::TooLate)??;
        let subscription = reply.subscription.take();
        let (mut reply, body) = response_of(reply).ok_or(Refusal::BadReply)?;
        *reply.body_mut() = self.unsent.body(body, peer.remote.ip()).ok_or(Refusal::TooBusy)?;
        Ok(match subscription {
            None => Answer::Whole(reply),
            Some(subscription) => Answer::Live(Box::new(Asked { head, subscription, reply })),
        })
    }

    /// The whole body, and the memory it was granted bit by bit: who dawdles holds no more than what was sent.
    async fn read_body(
        &self,
        headers: &http::HeaderMap,
        mut body: Body,
        limit: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > limit as u64) {
            return Err(Refusal::BodyTooLarge(limit));
        }
        let mut whole = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
            if whole.len() + data.len() > limit {
                return Err(Refusal::BodyTooLarge(limit));
            }
            let bytes = u32::try_from(data.len()).map_err(|_| Refusal::BodyTooLarge(limit))?;
            let granted = Arc::clone(&self.body_bytes).try_acquire_many_owned(bytes).map_err(|_| Refusal::TooBusy)?;
            match &mut share {
                Some(share) => share.merge(granted),
                None => share = Some(granted),
            }
            whole.extend_from_slice(&data);
        }
        Ok((whole.freeze(), share))
    }

    fn base_url(&self, request: &Request<Body>, prefix: &str, peer: Peer) -> String {
        if let Some(url) = &self.bounds.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let host = request.uri().authority().map(|authority| authority.to_string());
        let host = host.or_else(|| {
            let sent = request.headers().get(header::HOST)?.to_str().ok()?;
            // Only what is an authority: it ends up in links.
            sent.parse::<http::uri::Authority>().ok().filter(|host| !host.as_str().contains('@')).map(|a| a.to_string())
        });
        let scheme = if peer.encrypted { "https" } else { "http" };
        format!("{scheme}://{}{prefix}", host.unwrap_or_else(|| peer.local.to_string()))
    }

    fn refuse(&self, answers: &Answers, id: &str, refusal: Refusal) -> Response<Body> {
        match refusal {
            Refusal::BodyTooLarge(limit) => {
                answers.render(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {limit} bytes"))
            }
            Refusal::BodyBroken => answers.render(StatusCode::BAD_REQUEST, "the body ended early"),
            Refusal::BodyTooLate => answers.render(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            Refusal::TooBusy => answers.render_with_retry(StatusCode::SERVICE_UNAVAILABLE, "too busy", COME_BACK),
            Refusal::TooLate => {
                self.complain(id, &"not answered in time");
                answers.render(StatusCode::GATEWAY_TIMEOUT, "this took too long")
            }
            Refusal::BadReply => {
                self.complain(id, &"its reply is not HTTP");
                answers.render(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
            Refusal::Plugin(error) => self.refuse_plugin(answers, id, &error),
        }
    }

    /// The plugin's own sentence is for operators: callers get the class of the error.
    fn refuse_plugin(&self, answers: &Answers, id: &str, error: &Error) -> Response<Body> {
        self.complain(id, error);
        let after = error.retry_after_ms.map_or(COME_BACK, Duration::from_millis);
        match error.code {
            ErrorCode::Unsupported => answers.render(StatusCode::NOT_FOUND, "this instance serves no HTTP"),
            ErrorCode::RateLimited => {
                answers.render_with_retry(StatusCode::TOO_MANY_REQUESTS, "too many requests", after)
            }
            ErrorCode::Unavailable | ErrorCode::Cancelled => {
                answers.render_with_retry(StatusCode::SERVICE_UNAVAILABLE, "not available now", after)
            }
            ErrorCode::Deadline => answers.render(StatusCode::GATEWAY_TIMEOUT, "this took too long"),
            ErrorCode::TooLarge => answers.render(StatusCode::INTERNAL_SERVER_ERROR, "the answer is too large"),
            _ => answers.render(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }
}

impl Front {
    /// Tells the operator that the plugin did not answer a request, and why, unless there is too much of that.
    fn complain(&self, id: &str, error: &dyn Display) {
        let passage = {
            let mut complaints = self.complaints.lock().expect("no panic happens while the rate is locked");
            complaints.pass(std::time::Instant::now(), 0)
        };
        let (instance, plugin) = (&self.name, self.backend.name());
        match passage {
            Passage::Passes { left_out } => {
                if left_out > 0 {
                    tracing::warn!(
                        instance,
                        plugin,
                        requests = left_out,
                        "the plugin did not answer more requests than were told"
                    );
                }
                tracing::warn!(instance, plugin, request_id = id, %error, "the plugin did not answer a request");
            }
            Passage::Closes => {
                tracing::warn!(instance, plugin, "the plugin does not answer many requests; further ones are not told");
            }
            Passage::LeftOut => {}
        }
    }
}

/// What the plugin answers.
enum Answer {
    Whole(Response<Body>),
    /// That somebody listens.
    Live(Box<Asked>),
}

/// Why a request is not answered by the plugin.
enum Refusal {
    /// Larger than so many bytes.
    BodyTooLarge(usize),
    BodyBroken,
    BodyTooLate,
    TooBusy,
    TooLate,
    BadReply,
    Plugin(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Plugin(error)
    }
}

fn path_under<'r>(request: &'r Request<Body>, prefix: &str) -> &'r str {
    match request.uri().path().strip_prefix(prefix) {
        Some("") | None => "/",
        Some(rest) => rest,
    }
}

fn is_media(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && path.starts_with("/media/")
}

/// The answer without its body, and that.
fn response_of(reply: HttpReply) -> Option<(Response<Body>, Bytes)> {
    let status = StatusCode::from_u16(reply.status).ok().filter(|status| !status.is_informational())?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in reply.headers {
        let (name, value) = (name.parse::<HeaderName>().ok()?, HeaderValue::from_str(&value).ok()?);
        if !NOT_FROM_PLUGINS.contains(&name) {
            response.headers_mut().append(name, value);
        }
    }
    Some((response, reply.body))
}
