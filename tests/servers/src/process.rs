//! A server's process.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs the program given to it, and ends it with the signal given first as soon as nobody has the other end of the input any more: a
/// test that is killed leaves no server behind.
const WATCHED: &str = r#"signal=$1; shift
exec 3<&0
"$@" 3<&- </dev/null & server=$!
trap 'kill -s "$signal" "$server"' TERM
(cat <&3 >/dev/null; kill -s TERM $$) & watch=$!
wait "$server"; wait "$server"; status=$?
kill "$watch" 2>/dev/null
exit "$status""#;

/// The command of a server that is ended by this signal; for arguments, surroundings, and a user to run as.
pub fn command(program: impl AsRef<OsStr>, signal: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHED, "watch", signal]).arg(program);
    command
}

/// A server that ends with this handle.
#[derive(Debug)]
pub struct Process {
    watch: Child,
}

impl Process {
    /// Starts what [`command`] made and waits until the log says that it is `ready`.
    pub fn start(mut command: Command, log: &Path, ready: &str) -> Result<Self> {
        let out = File::create(log)?;
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let mut process = Self { watch: command.spawn().context("sh cannot be run")? };
        let begun = Instant::now();
        loop {
            let said = fs::read(log)?;
            if String::from_utf8_lossy(&said).contains(ready) {
                return Ok(process);
            }
            if let Some(status) = process.watch.try_wait()? {
                bail!("the server ended with {status}: {}", crate::fetch::last_line(&said));
            }
            if begun.elapsed() > PATIENCE {
                bail!("the server was not ready in time: {}", crate::fetch::last_line(&said));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // It has been told; what is left is its own end.
        _ = self.watch.wait();
    }
}
