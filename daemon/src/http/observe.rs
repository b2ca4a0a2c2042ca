//! What every request gets, whoever answers it: an id, a line in the access log, figures, and a barrier against panics.
//!
//! The log shows the path without its query: queries carry keys, signatures and what people search for. Of a path that holds a
//! secret it shows what stands before that.

use super::Answers;
use super::listener::Peer;
use axum::body::Body;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use stele_plugin_api::ops::first_segment;

/// The header that carries a request's id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a caller, in bytes.
const MAX_ID_BYTES: usize = 128;
/// Longest path in the log, in characters.
const MAX_PATH_CHARS: usize = 200;

/// How much the log shows of paths.
#[derive(Debug, Default)]
pub enum Paths {
    /// Nobody has said where secrets are: the first segment.
    #[default]
    FirstSegment,
    /// Everything but what follows one of these.
    AllBut(Vec<String>),
}

impl Paths {
    fn shown(&self, path: &str) -> String {
        let shown = match self {
            Self::FirstSegment => first_segment(path),
            Self::AllBut(secret) => {
                // However it is written, and wherever it begins: behind the prefix of an instance, or a slash too many.
                let plain = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
                let held = secret.iter().find(|beginning| plain.contains(&beginning.to_ascii_lowercase()));
                held.map_or(path.into(), |beginning| format!("{beginning}…").into())
            }
        };
        shown.chars().take(MAX_PATH_CHARS).collect()
    }
}

/// How long an answer waited for something to happen, which is nobody's work.
#[derive(Clone, Copy)]
pub struct Waited(pub Duration);

/// Answers a request through `work`, which is told its id.
pub async fn observed<F>(
    instance: &str,
    answers: &Answers,
    paths: &Paths,
    request: Request<Body>,
    peer: Peer,
    work: impl FnOnce(Request<Body>, String) -> F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let begun = Instant::now();
    let id = id_of(&request);
    let method = request.method().clone();
    let path = paths.shown(request.uri().path());
    metrics::gauge!("stele_http_requests_in_flight", "instance" => instance.to_owned()).increment(1.0);
    let in_flight = scope_end(|| {
        metrics::gauge!("stele_http_requests_in_flight", "instance" => instance.to_owned()).decrement(1.0);
    });
    let answered = AssertUnwindSafe(work(request, id.clone())).catch_unwind().await;
    drop(in_flight);
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!(instance, request_id = id, "a request made the daemon panic");
        answers.render(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    });
    let status = response.status().as_u16();
    let waited = response.extensions_mut().remove::<Waited>().map_or(Duration::ZERO, |waited| waited.0);
    let elapsed = begun.elapsed().saturating_sub(waited);
    metrics::counter!("stele_http_requests_total", "instance" => instance.to_owned(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("stele_http_request_seconds", "instance" => instance.to_owned()).record(elapsed.as_secs_f64());
    tracing::info!(
        target: "steled::access",
        instance,
        %method,
        path,
        status,
        ms = elapsed.as_secs_f64() * 1000.0,
        remote = %peer.remote.ip(),
        request_id = id,
    );
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The caller's id when it is harmless, else a new one.
fn id_of(request: &Request<Body>) -> String {
    let harmless = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b))
    };
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(harmless);
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Calls a function when it goes out of scope, also when the work is dropped halfway.
fn scope_end(work: impl FnMut()) -> impl Drop {
    struct AtEnd<F: FnMut()>(F);
    impl<F: FnMut()> Drop for AtEnd<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    AtEnd(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_beginning_of_a_secret_is_not_shown() {
        let paths = Paths::AllBut(vec!["/hook/".into(), "/k/".into()]);
        let long = format!("/{}", "x".repeat(300));
        for (path, shown) in [
            ("/", "/"),
            ("/health/x", "/health/x"),
            ("/hook", "/hook"),
            ("/hook/", "/hook/…"),
            ("/hook/hunter2/more", "/hook/…"),
            ("/prefix/hook/hunter2", "/hook/…"),
            ("//hook/hunter2", "/hook/…"),
            ("/%68ook%2fhunter2", "/hook/…"),
            ("/Hook/hunter2", "/hook/…"),
            ("/k/hunter2", "/k/…"),
            (&long, &long[..MAX_PATH_CHARS]),
        ] {
            assert_eq!(paths.shown(path), shown, "{path}");
        }
        assert_eq!(Paths::FirstSegment.shown("/hook/hunter2"), "/hook/…");
    }
}
