//! Rendering: patient with a plugin that is away, firm with a message it cannot render.

use super::event::Event;
use super::hub::{Hub, pause};
use std::sync::Arc;
use stele_archive::StoredMessage;
use stele_plugin_api::ops::LiveEvent;
use stele_plugin_api::{Error, ErrorCode};

/// Attempts at a message the plugin fails at, alone and while it is there; about ten seconds. Then nobody gets it.
const ATTEMPTS: u32 = 8;

impl Hub {
    /// What listeners get of messages. Waits for a plugin that is away as long as it takes.
    pub(super) async fn render(&self, messages: Vec<StoredMessage>) -> Vec<Arc<Event>> {
        let mut events = Vec::with_capacity(messages.len());
        // What is tried together: all, until the plugin fails at them.
        let (mut rest, mut together) = (&messages[..], messages.len());
        let (mut away, mut failed) = (0, 0);
        while !rest.is_empty() {
            let (tried, after) = rest.split_at(together.min(rest.len()));
            match self.try_render(tried).await {
                Ok(rendered) => {
                    let rendered = tried.iter().zip(rendered);
                    events.extend(rendered.filter_map(|(row, event)| Some(Arc::new(Event::new(row.rev, event?)))));
                    (rest, away, failed) = (after, 0, 0);
                }
                Err(error) if is_away(&error) => {
                    away += 1;
                    tracing::warn!(instance = self.name, %error, "the plugin does not render; trying again");
                    tokio::time::sleep(pause(away)).await;
                }
                Err(error) if tried.len() > 1 => {
                    tracing::warn!(instance = self.name, %error, "the plugin does not render; trying one at a time");
                    together = 1;
                }
                Err(error) if failed + 1 < ATTEMPTS => {
                    failed += 1;
                    tracing::debug!(instance = self.name, %error, "the plugin does not render a message; trying again");
                    tokio::time::sleep(pause(failed)).await;
                }
                Err(error) => {
                    let message = tried[0].id.0;
                    tracing::error!(instance = self.name, message, %error, "the plugin cannot render a message");
                    self.meters.dropped("unrendered", 1);
                    (rest, failed) = (after, 0);
                }
            }
        }
        events
    }

    async fn try_render(&self, messages: &[StoredMessage]) -> Result<Vec<Option<LiveEvent>>, Error> {
        let renderer = self.renderer.read().expect("no panic happens while it is locked").clone();
        let renderer = renderer.ok_or_else(|| Error::new(ErrorCode::Unavailable, "nobody renders"))?;
        let rendered = renderer.render(messages).await?;
        if rendered.len() != messages.len() {
            let (given, asked) = (rendered.len(), messages.len());
            return Err(Error::new(ErrorCode::Internal, format!("{given} events for {asked} messages")));
        }
        Ok(rendered)
    }
}

/// Whether the plugin as a whole does not answer, whatever it is asked.
fn is_away(error: &Error) -> bool {
    matches!(error.code, ErrorCode::Unavailable | ErrorCode::Cancelled | ErrorCode::Deadline | ErrorCode::RateLimited)
}
