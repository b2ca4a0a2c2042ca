//! The process of a plugin, and whatever it has started: they lead and end as one process group.
//!
//! A signal goes to the group, and what is left of the group ends with the process, whichever way that ended. The number of a
//! group is safe from being somebody else's as long as its leader was not waited for. So the end of the leader is noticed first,
//! then the others are killed, and only then the leader is waited for.
//!
//! When the daemon itself is gone the [`keeper`] has the group. What leaves the group (`setsid`) is out of reach; a service manager
//! that keeps processes by control group has that.

use super::keeper;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{io, process::ExitStatus};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
};

/// A child that leads a process group. Killed with its group when dropped.
pub(super) struct Group {
    leader: Child,
}

impl Group {
    /// The group that this child leads.
    pub(super) fn of(leader: Child) -> Self {
        Self { leader }
    }

    /// Number of the leader's process; 0 once it was waited for.
    pub(super) fn pid(&self) -> u32 {
        self.leader.id().unwrap_or_default()
    }

    /// Waits for the end of the leader, and ends the others with it. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let mut changes = signal(SignalKind::child())?;
        while !self.has_ended() {
            changes.recv().await;
        }
        self.signal(Signal::KILL);
        let group = self.pid();
        let status = self.leader.wait().await;
        keeper::forget(group);
        status
    }

    /// Whether the leader has ended, or was waited for.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        pid_of(&self.leader).is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), look), Ok(None)))
    }

    /// Signals all of them, unless the leader was waited for.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = pid_of(&self.leader) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        keeper::forget(self.pid());
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}
