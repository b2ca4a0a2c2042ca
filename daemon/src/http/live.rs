//! Answers that go on: whoever the plugin says listens, over the carrier it says.

use super::Answers;
use super::listener::Held;
use super::observe::Waited;
use crate::live::websocket::{self, Upgrade};
use crate::live::{Carrier, Hub, Refused, poll, sse};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header, request};
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::ops::{LiveCarrier, Subscription};
use tokio::time::Instant;
use tracing::Instrument;

/// When to come back while there is no place, or nobody answers.
const COME_BACK: Duration = Duration::from_secs(5);
/// Longest time a poll may wait, whatever the plugin says.
const MAX_POLL_WAIT: Duration = Duration::from_secs(600);

/// A request, and what the plugin says of it.
pub struct Asked {
    /// The request.
    pub head: request::Parts,
    /// Who listens to what.
    pub subscription: Subscription,
    /// Status and headers of the stream, or of a poll's answer.
    pub reply: Response<Body>,
}

/// Answers whoever is to listen.
pub async fn answer(hub: Option<&Arc<Hub>>, answers: &Answers, id: &str, asked: Asked) -> Response<Body> {
    let Asked { mut head, subscription, reply } = asked;
    let (Some(hub), Some(held)) = (hub, head.extensions.remove::<Held>()) else {
        return answers.render(StatusCode::SERVICE_UNAVAILABLE, "nobody can listen here");
    };
    let carrier = match &subscription.carrier {
        LiveCarrier::WebSocket => Carrier::WebSocket,
        LiveCarrier::Sse => Carrier::Sse,
        LiveCarrier::Poll => Carrier::Poll,
        LiveCarrier::Other(word) => {
            tracing::error!(request_id = id, carrier = word, "the plugin names a carrier that is none");
            return answers.render(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        }
    };
    let upgrade = match carrier {
        Carrier::WebSocket => match Upgrade::of(&mut head) {
            Some(upgrade) => Some(upgrade),
            None => return no_upgrade(),
        },
        Carrier::Sse | Carrier::Poll => None,
    };
    // Whoever waits holds nothing it does not need.
    drop(head);
    let listener = match hub.listen(&subscription, carrier).await {
        Ok(listener) => listener,
        Err(refused) => return refuse(answers, id, &refused),
    };
    let expires = subscription.expires_at.map(|at| hub.moment(at));
    match upgrade {
        Some(upgrade) => {
            let (mut response, connection) = upgrade.agree();
            response.headers_mut().extend(reply.headers().clone());
            let leaving = held.leaving().clone();
            let deliver = websocket::deliver(connection, listener, expires, leaving);
            let span = tracing::debug_span!("listener", request_id = id);
            let task = async move {
                held.cut_off().run_until_cancelled(deliver).await;
                drop(held);
            };
            tokio::spawn(task.instrument(span));
            response
        }
        None if carrier == Carrier::Sse => {
            let body = sse::body(listener, expires, held.leaving().clone());
            let mut response = reply.map(|_| body);
            let headers = response.headers_mut();
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("text/event-stream"));
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
            // nginx and its like hold answers back otherwise.
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            response
        }
        None => {
            let begun = Instant::now();
            let wait = match subscription.wait_ms {
                0 => hub.options().poll_wait,
                ms => Duration::from_millis(ms).min(MAX_POLL_WAIT),
            };
            let until = expires.map_or(begun + wait, |expires| expires.min(begun + wait));
            let event = poll::next(listener, until, held.leaving()).await;
            let mut response = match event {
                Some(event) => reply.map(|_| Body::from(event.body())),
                None => {
                    let mut response = reply.map(|_| Body::empty());
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    response.headers_mut().remove(header::CONTENT_TYPE);
                    response
                }
            };
            response.extensions_mut().insert(Waited(begun.elapsed()));
            response
        }
    }
}

/// Not in the shape of the protocol: that is how clients know it (reference/gateway.md §2).
fn no_upgrade() -> Response<Body> {
    let mut response = Response::new(Body::from("this address speaks WebSocket: a valid upgrade request is needed\n"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn refuse(answers: &Answers, id: &str, refused: &Refused) -> Response<Body> {
    let message = match refused {
        Refused::Full => "too many listeners",
        Refused::Closed => "not available now",
        Refused::Archive(error) => {
            tracing::warn!(request_id = id, %error, "nobody can be let listen");
            "not available now"
        }
    };
    answers.render_with_retry(StatusCode::SERVICE_UNAVAILABLE, message, COME_BACK)
}
