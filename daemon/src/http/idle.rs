//! Whether a connection has nothing to do: hyper has no bound on how long an HTTP/2 connection may stand without a request.

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// Counts a request of a connection until its answer is sent.
pub struct OpenRequest(watch::Sender<usize>);

impl OpenRequest {
    pub fn new(open: watch::Sender<usize>) -> Self {
        open.send_modify(|count| *count += 1);
        Self(open)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The body of an answer, which keeps its request open.
pub struct CountedBody {
    body: Body,
    _open: OpenRequest,
}

impl CountedBody {
    pub fn new(body: Body, open: OpenRequest) -> Self {
        Self { body, _open: open }
    }
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when no request was open for so long.
pub async fn idle(mut requests: watch::Receiver<usize>, time: Duration) {
    loop {
        let open = *requests.borrow_and_update();
        let change = requests.changed();
        if open > 0 {
            // The sender lives as long as the connection, which is what waits here.
            let _ = change.await;
        } else if tokio::time::timeout(time, change).await.is_err() {
            return;
        }
    }
}
