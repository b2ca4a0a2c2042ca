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
                // Before what comes: that may have no end.
                () = tokio::time::sleep_until(timer) => {
                    if timer == beat {
                        return Some((HEARTBEAT, self));
                    }
                    self.expires = None;
                    self.listener.end(End::Expired);
                    continue;
                }
                step = self.listener.next() => step,
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

#[cfg(test)]
mod tests {
    use super::super::Carrier;
    use super::super::testing::{Fake, asked, hub, options};
    use super::*;
    use http_body_util::BodyExt;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_delivered_when_the_token_has_expired() {
        let fake = Arc::new(Fake::default());
        let hub = hub(&fake, options());
        fake.turn(7, 1);
        let listener = hub.listen(&asked(1, "a", None), Carrier::Sse).await.expect("there is room");
        (0..100).for_each(|_| _ = fake.say(7));
        hub.wake();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let body = body(listener, Some(Instant::now()), CancellationToken::new());
        assert_eq!(body.collect().await.expect("it ends").to_bytes(), ": the token has expired\n\n");
    }
}
