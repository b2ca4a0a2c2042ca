//! Notices a plugin that lives and does not answer.
//!
//! A crash is told by the system; a deadlock is not, and would let every call run into its deadline for ever. So a plugin that
//! was silent for a while is asked for its health. Any frame counts as a sign of life, so that a plugin that is only slow, or
//! answers too late, or does not know the operation, is left alone: calls are concurrent, and one that takes its time keeps a
//! live plugin from nothing.
//!
//! Unanswered questions are counted, not time: when machine, daemon and plugin were asleep together, the one question that was
//! open then may be missed, and the next one is answered.

use crate::{
    connection::Connection,
    instance::Shared,
    spec::{Carrier, InstanceState},
};
use std::{sync::Arc, time::Duration};
use stele_plugin_api::{
    Error, ErrorCode,
    ops::{Empty, Health},
};
use tokio::time::sleep;

/// When a plugin counts as hanging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Silence before it is asked, and between questions.
    pub every: Duration,
    /// How long it may take to say anything after it was asked.
    pub deadline: Duration,
    /// So many questions without a sound, one after the other, mean that it hangs.
    pub misses: u32,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { every: Duration::from_secs(15), deadline: Duration::from_secs(30), misses: 3 }
    }
}

/// Watches a plugin, and returns why it is to be killed. In-process, where it cannot be, only its state tells.
pub(crate) async fn hung(shared: &Shared, connection: &Arc<Connection>) -> String {
    let Watchdog { every, deadline, misses: bound } = shared.spec().limits.watchdog;
    let instance = &shared.name;
    let mut misses: u32 = 0;
    loop {
        let before = connection.heard();
        sleep(every).await;
        if connection.heard() == before {
            // What it answers is for others: that it answers is enough.
            let _ = connection.peer.call_in_turn::<Health>(Empty {}, deadline).await;
        }
        if connection.heard() != before {
            misses = 0;
            if shared.state() == InstanceState::Unresponsive {
                tracing::info!(instance, "plugin answers again");
                shared.show(InstanceState::Running, Some(connection.clone()));
            }
            continue;
        }
        misses = misses.saturating_add(1);
        tracing::warn!(instance, misses, "plugin does not answer");
        if misses < bound {
            continue;
        }
        let reason = "the plugin hangs: it did not answer";
        match shared.spec().carrier {
            Carrier::Child => return reason.to_owned(),
            Carrier::InProcess => {
                if shared.state() != InstanceState::Unresponsive {
                    tracing::error!(instance, reason, "plugin cannot be killed in this process");
                    shared.set_last_error(Error::new(ErrorCode::Unavailable, reason));
                    shared.show(InstanceState::Unresponsive, Some(connection.clone()));
                }
            }
        }
    }
}
