//! Long polling: a request for each event.

use super::event::Event;
use super::listener::{Listener, Step};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The next event; `None` when there is none until then, when a later poll has the place of this one, or when the session or
/// the listener ends.
pub async fn next(mut listener: Listener, until: Instant, leaving: &CancellationToken) -> Option<Arc<Event>> {
    tokio::select! {
        biased;
        step = listener.next() => match step {
            Step::Event(event) => Some(event),
            Step::End(_) => None,
        },
        () = leaving.cancelled() => None,
        () = tokio::time::sleep_until(until) => None,
    }
}
