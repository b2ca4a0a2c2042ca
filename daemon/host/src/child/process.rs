//! The other side of the child carrier: what runs in a plugin's own process.
//!
//! It has no session: it loads the plugin the daemon names and moves frames between the socket and the C ABI. The socket
//! comes as stdin and is moved out of the way at once, so that neither a plugin that reads stdin nor one that prints to
//! stdout can touch the protocol.
//!
//! It leaves no orphan: the kernel kills it when the daemon is gone, whatever the plugin is doing, and it ends by itself when
//! the socket does.

use super::{
    outbox::{Bound, Outbox, Wait},
    preamble::{self, LoadReply, LoadRequest},
};
use crate::{
    carrier::About,
    loader::{self, LoadError},
};
use bytes::BytesMut;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{self, ExitCode},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use stele_plugin_api::{
    abi::OpenPlugin,
    frame::{Decoded, Decoder, Frame, Head},
};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;
/// What the plugin may have on its way to the daemon before its posting threads must wait. Frames nobody asked for the daemon takes
/// at its own pace, some thousands a second: no answer is to wait behind many.
const UNSENT: Bound = Bound { bytes: 64 << 20, frames: 4096 };

/// Bytes of a frame beyond which no header can say its length.
const MAX_FRAME_BYTES: u64 = u32::MAX as u64;
/// How much rather than the daemon the kernel is to end this process when memory runs out, of 1000.
const OOM_SCORE: &str = "500";

/// Runs a plugin in this process until the daemon ends it. The whole of the hidden `plugin-host` command.
///
/// Prints what goes wrong to stderr, which the daemon logs, and never anything to stdout.
pub fn plugin_host_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plugin host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mut socket = take_socket()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Where it may not be said, the kernel decides as it likes.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let request: LoadRequest = preamble::read(&mut socket)?;
    // A daemon that died before the signal was asked for sends none; what it wrote is here all the same.
    if getppid().is_none_or(|parent| parent.as_raw_pid().unsigned_abs() != request.daemon) {
        return Err(io::Error::other("the daemon is gone"));
    }
    // What tools show that show no arguments; the kernel cuts it.
    let _ = fs::write("/proc/self/comm", format!("stele:{}", request.instance));
    // Before there is a second thread, and before any code of the plugin runs.
    if let Err(reason) = request.limits.apply() {
        return refuse(&mut socket, reason, false);
    }
    let descriptor = match loader::load(&request.plugin, &request.file) {
        Ok(descriptor) => descriptor,
        Err(error) => return refuse(&mut socket, error.to_string(), error.may_pass()),
    };

    // Set once the preamble is over: what a plugin posts before its host has spoken is against the rules, and dropped.
    let outbox = Arc::new(OnceLock::<Drained>::new());
    let posted = outbox.clone();
    let opened = descriptor.open(move |frame| {
        if let Some(outbox) = posted.get() {
            outbox.send(frame);
        }
    });
    let plugin = match opened {
        Ok(plugin) => plugin,
        Err(error) => {
            let error = LoadError::at(&request.plugin, error);
            return refuse(&mut socket, error.to_string(), error.may_pass());
        }
    };
    socket.write_all(&preamble::encode(&LoadReply::Loaded(About::from(&descriptor)))?)?;
    let _ = outbox.set(Drained::start(socket.try_clone()?)?);

    pump(&mut socket, &plugin, request.max_frame_bytes)?;
    // The daemon lets go of the plugin, or is gone. If it is there it waits as long as it likes and then kills; if it is
    // gone, the kernel has killed this process already.
    plugin.close();
    Ok(())
}

/// The socket that is fd 0, which becomes `/dev/null`.
fn take_socket() -> io::Result<UnixStream> {
    let stdin = io::stdin();
    if rustix::net::sockopt::socket_type(stdin.as_fd()).is_err() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "stdin is no socket: only the daemon starts this command",
        ));
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}

fn refuse(socket: &mut UnixStream, reason: String, may_pass: bool) -> io::Result<()> {
    socket.write_all(&preamble::encode(&LoadReply::Refused { reason, may_pass })?)
}

/// Hands frames from the socket to the plugin until the stream ends.
fn pump(socket: &mut UnixStream, plugin: &OpenPlugin, max_frame_bytes: u32) -> io::Result<()> {
    let mut decoder = Decoder::new(max_frame_bytes);
    let mut input = BytesMut::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        while let Some(decoded) = decoder.decode(&mut input).map_err(io::Error::other)? {
            match decoded {
                Decoded::Frame(frame) => plugin.post(frame),
                // The daemon keeps to what the plugin said in hello, so that only a broken one comes here.
                Decoded::Oversized(Head { size, .. }) => {
                    return Err(io::Error::other(format!(
                        "a frame of {size} bytes was sent, {max_frame_bytes} are allowed"
                    )));
                }
            }
        }
        match socket.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => input.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The daemon was killed with frames of ours unread: an end like any other.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The outbox of this process: a thread drains it, and posting threads wait when too much is queued.
///
/// Waiting within `post` is what "enqueues and returns" leaves of a full queue: the plugin is slowed down to the pace of the
/// daemon, which reads whatever happens on its side, so that the wait ends.
struct Drained {
    outbox: Arc<Outbox>,
    room: Arc<Room>,
}

/// What the posting threads and the draining thread tell each other.
#[derive(Default)]
struct Room {
    /// The socket was full: the drainer has the right to write.
    full: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
}

impl Drained {
    fn start(socket: UnixStream) -> io::Result<Self> {
        let room = Arc::new(Room::default());
        let waker = room.clone();
        let outbox = Arc::new(Outbox::new(socket.into(), move || waker.socket_is_full()));
        let drained = Self { outbox: outbox.clone(), room: room.clone() };
        thread::Builder::new().name("outbox".into()).spawn(move || {
            loop {
                room.wait_until_full();
                // An error closes the outbox, and the pump sees the end of the same socket.
                let _ = outbox.flush(Wait::ForRoom);
                room.tell_waiting();
            }
        })?;
        Ok(drained)
    }

    fn send(&self, frame: Frame) {
        if frame.size() > MAX_FRAME_BYTES {
            // No session lets it pass: this plugin has none, and whoever waits for the frame would not learn of it.
            eprintln!("plugin host: the plugin posted a frame of {} bytes, which no header can say", frame.size());
            process::abort();
        }
        if self.outbox.is_beyond(UNSENT) {
            self.room.wait(|| !self.outbox.is_beyond(UNSENT));
        }
        self.outbox.send(frame);
        self.room.tell_waiting();
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socket_is_full(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    fn wait_until_full(&self) {
        let guard = self.changed.wait_while(self.lock(), |full| !*full);
        *guard.unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn wait(&self, ready: impl Fn() -> bool) {
        // Announced before the condition is read: whoever makes it true afterwards knows that somebody waits.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.changed.wait_while(self.lock(), |_| !ready()));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn tell_waiting(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.changed.notify_all();
        }
    }
}
