//! Rendering: patient with a plugin that is away, firm with a message it cannot render.

use super::event::Event;
use super::hub::{Hub, pause};
use super::{Renderer, Unrendered};
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use stele_archive::{Rev, StoredMessage};
use stele_plugin_api::ops::LiveEvent;
use stele_plugin_api::{Error, ErrorCode};
use tokio::time::Instant;

/// Attempts at a message the plugin fails at, alone and while it is there; about ten seconds. Then nobody gets it.
const ATTEMPTS: u32 = 8;
/// For how many of them one counts that the plugin does not survive, or does not answer: three of those are too many already,
/// since an instance that dies again and again is given up.
const FATAL: u32 = 3;
/// Messages the plugin fails at that are remembered; the oldest is forgotten first.
const REMEMBERED: usize = 1024;

/// Who renders, and what it fails at: shared by all who need it rendered.
#[derive(Default)]
pub(super) struct Rendering {
    by: Option<Arc<dyn Renderer>>,
    /// Messages it fails at.
    failed: BTreeMap<Rev, Failures>,
}

/// How often a message was tried, and when that was counted last.
#[derive(Clone, Copy)]
struct Failures {
    attempts: u32,
    counted: Instant,
}

impl Rendering {
    /// Counts a failure at a message, and returns how many there are. Attempts that were made at the same time fail for the
    /// same reason: one that began before the latest failure counts nothing.
    fn count(&mut self, message: Rev, weight: u32, begun: Instant) -> u32 {
        let now = Instant::now();
        let failures = self.failed.entry(message).or_insert(Failures { attempts: 0, counted: begun });
        if failures.counted <= begun {
            *failures = Failures { attempts: failures.attempts.saturating_add(weight), counted: now };
        }
        let attempts = failures.attempts;
        if self.failed.len() > REMEMBERED {
            self.failed.pop_first();
        }
        attempts
    }
}

impl Hub {
    /// From now on this renders, or nobody.
    pub(super) fn render_by(&self, renderer: Option<Arc<dyn Renderer>>) {
        *self.rendering() = Rendering { by: renderer, failed: BTreeMap::new() };
    }

    /// What listeners get of messages. Waits for a plugin that is away as long as it takes.
    pub(super) async fn render(&self, mut messages: Vec<StoredMessage>) -> Vec<Arc<Event>> {
        {
            let rendering = self.rendering();
            messages.retain(|row| rendering.failed.get(&row.rev).is_none_or(|failures| failures.attempts < ATTEMPTS));
        }
        let mut events = Vec::with_capacity(messages.len());
        // What is tried together: all, until the plugin fails at them.
        let (mut rest, mut together, mut away) = (&messages[..], messages.len(), 0);
        while !rest.is_empty() {
            let (tried, after) = rest.split_at(together.min(rest.len()));
            let begun = Instant::now();
            let (error, weight) = match self.try_render(tried).await {
                Ok(rendered) => {
                    let rendered = tried.iter().zip(rendered);
                    events.extend(rendered.filter_map(|(row, event)| Some(Arc::new(Event::new(row.rev, event?)))));
                    (rest, away) = (after, 0);
                    continue;
                }
                Err(Unrendered::Away(error)) => {
                    away += 1;
                    tracing::warn!(instance = self.name, %error, "the plugin does not render; trying again");
                    tokio::time::sleep(pause(away)).await;
                    continue;
                }
                Err(Unrendered::Failed(error)) => (error, 1),
                Err(Unrendered::Fatal(error)) => (error, FATAL),
            };
            if tried.len() > 1 {
                tracing::warn!(instance = self.name, %error, "the plugin does not render; trying one at a time");
                together = 1;
                continue;
            }
            let attempts = self.rendering().count(tried[0].rev, weight, begun);
            if attempts < ATTEMPTS {
                tracing::debug!(instance = self.name, %error, "the plugin does not render a message; trying again");
                tokio::time::sleep(pause(attempts)).await;
            } else {
                let message = tried[0].id.0;
                tracing::error!(instance = self.name, message, %error, "the plugin cannot render a message");
                self.meters.dropped("unrendered", 1);
                rest = after;
            }
        }
        events
    }

    async fn try_render(&self, messages: &[StoredMessage]) -> Result<Vec<Option<LiveEvent>>, Unrendered> {
        let renderer = self.rendering().by.clone();
        let renderer = renderer.ok_or_else(|| Unrendered::Away(Error::unavailable("nobody renders")))?;
        let rendered = renderer.render(messages).await?;
        if rendered.len() != messages.len() {
            let (given, asked) = (rendered.len(), messages.len());
            let sentence = format!("{given} events for {asked} messages");
            return Err(Unrendered::Failed(Error::new(ErrorCode::Internal, sentence)));
        }
        Ok(rendered)
    }

    fn rendering(&self) -> MutexGuard<'_, Rendering> {
        self.rendering.lock().expect("no panic happens while it is locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_together_count_once() {
        let mut rendering = Rendering::default();
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        // One death of the plugin, three that waited for it.
        assert_eq!([(); 3].map(|()| rendering.count(Rev(1), FATAL, begun)), [FATAL; 3]);
        assert_eq!(rendering.count(Rev(1), FATAL, Instant::now()), 2 * FATAL);
        assert_eq!(rendering.count(Rev(2), 1, begun), 1);
    }
}
