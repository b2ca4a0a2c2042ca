//! What a carrier holds of a session.

use super::event::Event;
use super::hub::Hub;
use super::session::{Behind, Carrier, End, Next, Session};
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
}

impl Listener {
    pub(super) fn new(hub: Arc<Hub>, session: Arc<Session>, turn: u64) -> Self {
        Self { hub, session, turn }
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What comes next. May be dropped at any time: nothing is lost by it, and what is being read is read on.
    pub async fn next(&mut self) -> Step {
        loop {
            // Before looking: whoever changes something after the look wakes this one.
            let woken = self.session.woken.notified();
            match self.look() {
                Ok(step) => return step,
                Err(None) => {}
                Err(Some(behind)) => self.hub.read_on(&self.session, behind),
            }
            woken.await;
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

    /// The next step, or what to read for it; nothing: it is handed in.
    fn look(&self) -> Result<Step, Option<Behind>> {
        match self.session.next(self.turn) {
            Next::Event(event) => {
                self.hub.meters.delivered();
                Ok(Step::Event(event))
            }
            Next::End(end) => Ok(Step::End(Some(end))),
            Next::Superseded => Ok(Step::End(None)),
            Next::Read(behind) => Err(Some(behind)),
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
