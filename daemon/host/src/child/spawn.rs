//! Starts the process that holds one plugin.
//!
//! The child asks the kernel to be killed when its parent dies, and for the kernel the parent is the *thread* that spawned
//! it, not the process. Worker threads of a runtime come and go, so every child is spawned from one thread that lives as
//! long as the daemon.

use super::keeper;
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::Path,
    process::Stdio,
    sync::{OnceLock, mpsc},
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    sync::oneshot,
};

/// The argument that makes the host program hold a plugin.
pub(crate) const HOST_ARGUMENT: &str = "plugin-host";

/// The only variables a plugin's process sees: configuration, secrets included, comes by hello alone, and what the daemon
/// was started with (tokens of a supervisor, `STELE_` overrides, `LD_PRELOAD`) is none of a plugin's business.
const KEPT_VARIABLES: [&str; 5] = ["PATH", "LANG", "TZ", "HOME", "RUST_BACKTRACE"];

type Job = Box<dyn FnOnce() + Send>;

/// Starts `program plugin-host` and returns it with the daemon's end of the socket that is the child's stdin.
///
/// The child leads a process group of its own: a signal for the daemon's terminal does not reach it, and the whole group
/// can be killed. It dies when the returned handle is dropped.
pub(crate) async fn spawn(program: &Path, instance: &str) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(program);
    command
        // What `ps` shows: `stele:hq plugin-host`.
        .arg0(format!("stele:{}", instance.replace('\0', "")))
        .arg(HOST_ARGUMENT)
        .env_clear()
        .envs(KEPT_VARIABLES.iter().filter_map(|&name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);

    let (runtime, program) = (tokio::runtime::Handle::current(), program.to_owned());
    let (spawned, wait) = oneshot::channel();
    let job: Job = Box::new(move || {
        let _guard = runtime.enter();
        let child = command.spawn().and_then(|child| {
            keeper::keep(&program, child.id().unwrap_or_default())?;
            Ok(child)
        });
        // When nobody waits any more the child comes back here and is killed by its drop.
        let _ = spawned.send(child);
    });
    spawner()?.send(job).map_err(|_| io::Error::other("the thread that starts plugin processes is gone"))?;
    let child = wait.await.map_err(|_| io::Error::other("the thread that starts plugin processes is gone"))??;
    Ok((child, UnixStream::from_std(ours)?))
}

/// The thread all children are spawned from.
fn spawner() -> io::Result<&'static mpsc::Sender<Job>> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    if let Some(sender) = SPAWNER.get() {
        return Ok(sender);
    }
    let (sender, jobs) = mpsc::channel::<Job>();
    // Lost races leave a thread whose sender is dropped, so that it ends at once.
    std::thread::Builder::new().name("plugin-spawner".into()).spawn(move || {
        for job in jobs {
            // A job that panics (its runtime is shutting down) must not take the thread with it.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    })?;
    Ok(SPAWNER.get_or_init(|| sender))
}
