//! Server-sent events: an answer without end.

use super::listener::{Listener, Step};
use super::session::End;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most bytes of an event that are handed over at a time, so that no connection buffers a large one whole.
const CHUNK: usize = 16 << 10;
/// Says that the stream is still there.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// The body of the answer. It ends at `expires` or when the session does, with a comment that says why.
pub fn body(listener: Listener, expires: Option<Instant>, leaving: CancellationToken) -> Body {
    let heartbeat = listener.hub().options().sse_heartbeat;
    let stream = Stream { listener, heartbeat, expires, leaving: Some(leaving), rest: Bytes::new(), is_over: false };
    Body::from_stream(stream::unfold(stream, async |stream| {
        let (chunk, stream) = stream.next().await?;
        Some((Ok::<_, Infallible>(chunk), stream))
    }))
}

struct Stream {
    listener: Listener,
    heartbeat: Duration,
    expires: Option<Instant>,
    /// `None` once it was heard.
    leaving: Option<CancellationToken>,
    /// What of the latest event was not handed over yet.
    rest: Bytes,
    is_over: bool,
}

impl Stream {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if !self.rest.is_empty() {
            return Some((self.chunk(), self));
        }
        if self.is_over {
            return None;
        }
        let beat = Instant::now() + self.heartbeat;
        loop {
            let timer = self.expires.map_or(beat, |expires| expires.min(beat));
            let leaving = self.leaving.as_ref();
            let left = async {
                match leaving {
                    Some(leaving) => leaving.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let step = tokio::select! {
                biased;
                () = left => {
                    self.leaving = None;
                    self.listener.end(End::Stopped);
                    continue;
                }
                step = self.listener.next() => step,
                () = tokio::time::sleep_until(timer) => {
                    if timer == beat {
                        return Some((HEARTBEAT, self));
                    }
                    self.expires = None;
                    self.listener.end(End::Expired);
                    continue;
                }
            };
            return match step {
                Step::Event(event) => {
                    self.rest = event.sse();
                    Some((self.chunk(), self))
                }
                Step::End(end) => {
                    self.is_over = true;
                    let why = end.map_or("", End::sentence);
                    Some((Bytes::from(format!(": {why}\n\n")), self))
                }
            };
        }
    }

    fn chunk(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(CHUNK))
    }
}
