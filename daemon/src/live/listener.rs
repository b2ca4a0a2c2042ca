//! What a carrier holds of a session.

use super::event::Event;
use super::hub::{Hub, pause};
use super::session::{Carrier, End, Next, Session};
use std::sync::Arc;

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// An event.
    Event(Arc<Event>),
    /// Nothing any more. `None`: a later poll of the session goes on.
    End(Option<End>),
}

/// A carrier's hold of a session. When it is dropped the session ends; one of polls waits for the next of them.
pub struct Listener {
    hub: Arc<Hub>,
    session: Arc<Session>,
    turn: u64,
    failures: u32,
}

impl Listener {
    pub(super) fn new(hub: Arc<Hub>, session: Arc<Session>, turn: u64) -> Self {
        Self { hub, session, turn, failures: 0 }
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What comes next. May be dropped at any time: nothing is lost by it.
    pub async fn next(&mut self) -> Step {
        loop {
            // Before looking: whoever changes something after the look wakes this one.
            let woken = self.session.woken.notified();
            let after = match self.look() {
                Ok(step) => return step,
                Err(None) => {
                    woken.await;
                    continue;
                }
                Err(Some(after)) => after,
            };
            let read = tokio::select! {
                biased;
                () = woken => continue,
                read = self.hub.catch_up(&self.session, after) => read,
            };
            match read {
                Ok(()) => self.failures = 0,
                Err(error) => {
                    self.failures += 1;
                    tracing::warn!(instance = self.hub.name, %error, "what a listener missed cannot be read; trying again");
                    tokio::time::sleep(pause(self.failures)).await;
                }
            }
        }
    }

    /// What is there already.
    pub fn try_next(&self) -> Option<Step> {
        self.look().ok()
    }

    /// Ends the session for this reason; what waits may still be taken if the reason is that the server stops.
    pub fn end(&self, end: End) {
        self.hub.end(&self.session, end);
    }

    /// The next step, or from where to read; from nowhere: there is nothing yet.
    fn look(&self) -> Result<Step, Option<stele_archive::Rev>> {
        let (next, was_crowded) = self.session.next(self.turn);
        if was_crowded {
            self.hub.taken(&self.session);
        }
        match next {
            Next::Event(event) => {
                self.hub.meters.delivered();
                Ok(Step::Event(event))
            }
            Next::End(end) => Ok(Step::End(Some(end))),
            Next::Superseded => Ok(Step::End(None)),
            Next::Read(after) => Err(Some(after)),
            Next::Wait => Err(None),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        match self.session.carrier {
            Carrier::Poll => self.session.leave(self.turn),
            Carrier::WebSocket | Carrier::Sse => self.hub.end(&self.session, End::Gone),
        }
    }
}
