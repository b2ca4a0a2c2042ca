//! Whether an HTTP/2 connection has come to rest: hyper has no bound on how long one may stand without a request, nor on how
//! long its client may take nothing of an answer.

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// Most bytes of an answer that are handed over at a time: each such step shows that the client takes what it is sent.
const STEP: usize = 16 << 10;

/// What goes on on a connection.
#[derive(Clone, Copy, Default)]
struct Activity {
    /// Requests worked on.
    working: usize,
    /// Whether there ever was a request.
    asked: bool,
}

/// Told of everything that goes on on a connection.
#[derive(Clone, Default)]
pub struct Rest(watch::Sender<Activity>);

impl Rest {
    /// A request has come; it is worked on until this is dropped or turned into the answer's body.
    pub fn request(&self) -> Working {
        self.0.send_modify(|activity| {
            activity.working += 1;
            activity.asked = true;
        });
        Working(self.0.clone())
    }

    /// Whether there ever was a request.
    pub fn asked(&self) -> bool {
        self.0.borrow().asked
    }

    /// Ends when for so long nothing was worked on and nothing of an answer was taken.
    pub async fn reached(&self, time: Duration) {
        let mut activity = self.0.subscribe();
        loop {
            let working = activity.borrow_and_update().working > 0;
            let change = activity.changed();
            if working {
                // What is worked on has bounds of its own. The sender is this one: it is not gone.
                let _ = change.await;
            } else if tokio::time::timeout(time, change).await.is_err() {
                return;
            }
        }
    }
}

/// A request that is worked on.
pub struct Working(watch::Sender<Activity>);

impl Working {
    /// The body of its answer.
    pub fn answered(self, body: Body) -> Answer {
        Answer { body, rest: Bytes::new(), activity: self.0.clone() }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.send_modify(|activity| activity.working -= 1);
    }
}

/// The body of an answer, in small steps.
pub struct Answer {
    body: Body,
    /// What of the latest frame was not handed over yet.
    rest: Bytes,
    activity: watch::Sender<Activity>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        self.activity.send_modify(|_| {});
        let step = self.rest.len().min(STEP);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(step)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
