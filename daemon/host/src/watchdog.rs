//! Notices a plugin that lives and does not answer.
//!
//! A crash is told by the system; a deadlock is not, and would let every call run into its deadline for ever. So a plugin that
//! was silent for a while is asked for its health. Any answer counts as a sign of life, so that a plugin that is only slow, or
//! answers too late, or does not know the operation, is left alone: calls are concurrent, and one that takes its time keeps a
//! live plugin from nothing. What a plugin says or asks of itself is none: a thread that reports a number every second goes on
//! while another one, which has all calls to answer, waits for ever.
//!
//! Unanswered questions are counted, not time: when machine, daemon and plugin were asleep together, the one question that was
//! open then may be missed, and the next one is answered.

use crate::{
    connection::Connection,
    instance::Shared,
    limits::processor_time,
    spec::{Carrier, InstanceState},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
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
    /// How long it may take to answer anything after it was asked.
    pub deadline: Duration,
    /// So many questions without an answer to any call, one after the other, mean that it hangs.
    pub misses: u32,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::after(Duration::from_secs(135))
    }
}

impl Watchdog {
    /// A plugin hangs when it was silent for about this long, though it was asked three times.
    pub fn after(silence: Duration) -> Self {
        let misses = 3;
        // Of each third one part before it is asked, and two to answer.
        let every = silence / (3 * misses);
        Self { every, deadline: 2 * every, misses }
    }
}

/// A plugin that hangs.
pub(crate) struct Hung {
    /// What is wrong with it.
    pub(crate) reason: String,
    /// When it answered last.
    pub(crate) since: Instant,
}

/// The time since a plugin was heard last.
struct Silence {
    /// In `/proc`; in-process it has none of its own.
    process: Option<PathBuf>,
    since: Instant,
    /// Processor time it had used until then.
    used: Option<Duration>,
}

impl Silence {
    fn begin(pid: Option<u32>) -> Self {
        let process = pid.map(|pid| PathBuf::from(format!("/proc/{pid}")));
        let used = process.as_deref().and_then(processor_time);
        Self { process, since: Instant::now(), used }
    }

    /// What is wrong with the plugin. The time it took tells one that is too busy from one that waits for ever.
    fn told(&self) -> String {
        let hangs = "the plugin hangs: it did not answer";
        let silent = self.since.elapsed().as_secs_f64();
        let now = self.process.as_deref().and_then(processor_time);
        match now.zip(self.used).map(|(now, before)| now.saturating_sub(before).as_secs_f64()) {
            None => format!("{hangs} for {silent:.1} s"),
            Some(used) => format!("{hangs} for {silent:.1} s, and took {used:.1} s of processor time"),
        }
    }
}

/// Watches a plugin until it is to be killed. In-process, where it cannot be, only its state tells.
pub(crate) async fn hung(shared: &Shared, connection: &Arc<Connection>) -> Hung {
    let Watchdog { every, deadline, misses: bound } = shared.spec().limits.watchdog;
    let (instance, plugin) = (&shared.name, shared.plugin());
    let mut misses: u32 = 0;
    let mut silence = Silence::begin(connection.link.pid());
    loop {
        let before = connection.heard();
        sleep(every).await;
        if connection.heard() == before {
            // What it answers is for others: that it answers is enough.
            let _ = connection.peer.call_in_turn::<Health>(Empty {}, deadline).await;
        }
        if connection.heard() != before {
            misses = 0;
            silence = Silence::begin(connection.link.pid());
            if shared.state() == InstanceState::Unresponsive {
                tracing::info!(instance, plugin, "plugin answers again");
                shared.show(InstanceState::Running, Some(connection.clone()));
            }
            continue;
        }
        misses = misses.saturating_add(1);
        if misses == 1 {
            tracing::warn!(instance, plugin, "plugin does not answer; it is asked again");
        }
        if misses < bound {
            continue;
        }
        let reason = silence.told();
        match shared.spec().carrier {
            Carrier::Child => return Hung { reason, since: silence.since },
            Carrier::InProcess => {
                if shared.state() != InstanceState::Unresponsive {
                    tracing::error!(instance, plugin, reason, "plugin cannot be killed in this process");
                    shared.set_last_error(Error::new(ErrorCode::Unavailable, reason));
                    shared.show(InstanceState::Unresponsive, Some(connection.clone()));
                }
            }
        }
    }
}
