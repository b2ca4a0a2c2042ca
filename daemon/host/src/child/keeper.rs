//! Ends what plugins have started when the daemon is gone.
//!
//! The kernel kills a plugin's process with the daemon, but not what that process has started. So one small process of the daemon's
//! own knows the groups of all plugins, by a pipe whose other end only the daemon has. When that ends the daemon has ended, in
//! whatever way, and so do the groups. A group is known before any code of its plugin runs.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
};

/// The argument that makes the host program the keeper.
pub(super) const KEEPER_ARGUMENT: &str = "plugin-keeper";

/// Keeps the groups it is told of, and kills them when its input ends. The whole of the hidden `plugin-keeper` command.
pub fn plugin_keeper_main() -> ExitCode {
    let mut groups = BTreeSet::new();
    let (mut input, mut word) = (io::stdin().lock(), [0; 4]);
    while input.read_exact(&mut word).is_ok() {
        match i32::from_le_bytes(word) {
            ended if ended < 0 => _ = groups.remove(&ended.saturating_neg()),
            begun => _ = groups.insert(begun),
        }
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        // Most have ended with the daemon, and nobody has got their numbers since: these go round.
        let _ = kill_process_group(group, Signal::KILL);
    }
    ExitCode::SUCCESS
}

/// The keeper of this process, once there is one, and what it knows.
static KEEPER: Mutex<Keeper> = Mutex::new(Keeper { process: None, groups: BTreeSet::new() });

struct Keeper {
    process: Option<Child>,
    groups: BTreeSet<i32>,
}

/// Has the keeper know a group from now on. May start it, with this program, and so takes its time.
pub(super) fn keep(program: &Path, group: u32) -> io::Result<()> {
    let group = i32::try_from(group).map_err(io::Error::other)?;
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    keeper.groups.insert(group);
    match keeper.tell(group) {
        // There is none yet, or somebody has killed it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::BrokenPipe) => {
            keeper.start(program)
        }
        told => told,
    }
}

/// Has the keeper forget a group, which has ended.
pub(super) fn forget(group: u32) {
    let Ok(group) = i32::try_from(group) else { return };
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    if keeper.groups.remove(&group) {
        // One that is not there needs not forget; the next one is not told.
        let _ = keeper.tell(-group);
    }
}

impl Keeper {
    /// A word is a few bytes in a pipe that the keeper empties at once, so this does not wait.
    fn tell(&mut self, word: i32) -> io::Result<()> {
        let input = self.process.as_mut().and_then(|process| process.stdin.as_mut());
        input.ok_or(io::ErrorKind::NotFound)?.write_all(&word.to_le_bytes())
    }

    fn start(&mut self, program: &Path) -> io::Result<()> {
        if let Some(mut killed) = self.process.take() {
            killed.wait()?;
        }
        let mut command = Command::new(program);
        command.arg0("stele").arg(KEEPER_ARGUMENT).env_clear();
        // A group of its own: what ends the daemon by a signal of its terminal must not end the keeper.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.process = Some(command.spawn()?);
        self.groups.clone().into_iter().try_for_each(|group| self.tell(group))
    }
}
