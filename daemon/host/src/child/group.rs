//! The process of a plugin, and whatever it has started: they lead and end as one process group.
//!
//! A signal goes to the group, and what is left of the group ends with the process, whichever way that ended. The number of a
//! group is safe from being somebody else's as long as its leader was not waited for. So the end of the leader is noticed first,
//! then the others are killed, and only then the leader is waited for.
//!
//! When the daemon itself is gone the [`keeper`] has the group. What leaves the group (`setsid`) is out of reach; a service manager
//! that keeps processes by control group has that.

use super::keeper;
use crate::spec::Names;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{fs, io, process::ExitStatus};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
};

/// A child that leads a process group. Killed with its group when dropped.
pub(super) struct Group {
    leader: Child,
    names: Names,
    /// What it left behind was told.
    was_looked_at: bool,
}

impl Group {
    /// The group that this child leads.
    pub(super) fn of(leader: Child, names: Names) -> Self {
        Self { leader, names, was_looked_at: false }
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
        self.tell_what_is_left();
        self.signal(Signal::KILL);
        let group = self.pid();
        let status = self.leader.wait().await;
        keeper::forget(group);
        status
    }

    /// A plugin is not expected to leave anything behind.
    fn tell_what_is_left(&mut self) {
        if std::mem::replace(&mut self.was_looked_at, true) {
            return;
        }
        let left = others_in_group(self.pid());
        if left > 0 {
            let Names { instance, plugin } = &self.names;
            tracing::warn!(instance, plugin, processes = left, "plugin leaves processes behind; they are killed");
        }
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

/// How many processes live in the group of this leader, itself not counted.
fn others_in_group(leader: u32) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stats =
        pids.filter(|&pid| pid != leader).filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter(|stat| lives_in(stat, leader)).count()
}

/// Whether this is the status of a process that lives, in the group of this leader; see proc_pid_stat(5).
fn lives_in(stat: &str, leader: u32) -> bool {
    // Behind the name, which may hold anything.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect::<Vec<_>>());
    match fields.as_deref() {
        Some(&[state, _parent, group, ..]) => !matches!(state, "Z" | "X") && group.parse() == Ok(leader),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_everything_in_it_confuses_nobody() {
        for (stat, expected) in [
            ("7 (a) Z 1 43 (b c) S 1 42 42 0 -1", true),
            ("7 (x) Z 1 42 42 0 -1", false),
            ("7 (x) S 1 43 42 0 -1", false),
            ("7 (x) S", false),
            ("", false),
        ] {
            assert_eq!(lives_in(stat, 42), expected, "{stat}");
        }
    }
}
