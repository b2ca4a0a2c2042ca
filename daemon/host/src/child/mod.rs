//! The child carrier: a plugin in a process of its own.
//!
//! ```text
//! daemon                                        child (`steled plugin-host`)
//!   session ─▶ Outbox ─────── socketpair ───────▶ pump ─▶ post ─┐
//!   session ◀─ read_frames ◀─────────────────── Outbox ◀─ post ◀┴─ plugin
//!   log     ◀─ capture ◀───── stdout, stderr ─── whatever the plugin prints
//! ```
//!
//! One task owns the process: it alone waits for it and signals it, so that a signal never meets a process that was given
//! the same number.
//!
//! What floods is taken at a bounded pace, be it what the plugin prints or frames nobody asked for: the plugin waits, and nobody else.
//! Reading goes on whatever happens, since a plugin may wait for it before it reads itself. So what becomes of a plugin that sends
//! and does not read is bounded elsewhere. Its calls are worked on while less than [`ROOM`] is unread, and of the rest (calls too
//! many, each refused by a small frame) it may leave [`UNREAD`] before it counts as stuck: some 20 MiB of the daemon's memory,
//! beside the answers to calls that began before.

mod capture;
mod group;
mod keeper;
mod outbox;
mod preamble;
mod process;
mod spawn;

pub use keeper::plugin_keeper_main;
pub use process::plugin_host_main;

use crate::{
    carrier::{About, Deliver, Exit, Link, StartError},
    limits,
    pace::Pace,
    spec::{InstanceSpec, Limits},
};
use bytes::BytesMut;
use group::Group;
use outbox::{Bound, Outbox, Wait};
use preamble::{LoadReply, LoadRequest};
use rustix::process::Signal;
use std::{
    future::Future,
    io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    pin::Pin,
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};
use stele_plugin_api::{
    frame::{Decoded, Decoder, Frame},
    hello,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc, watch},
    task::{JoinHandle, yield_now},
    time::timeout,
};

/// Bytes the input buffer has room for at least before each read.
const READ_BYTES: usize = 64 * 1024;
/// What a child may leave unread before it counts as stuck. Bytes are what the daemon itself asks of it; and of frames there are
/// never as many that matter: it is as many as calls may ever be in flight.
const UNREAD: Bound = Bound { bytes: 512 << 20, frames: hello::Limits::MOST.max_calls as usize };
/// Bytes a child may leave unread while calls of its own are worked on.
const ROOM: u64 = 8 << 20;
/// Frames nobody asked for that are taken in a second; who sends more waits. Many more than anybody needs, and few enough to take.
const MAX_UNASKED_PER_SECOND: u64 = 10_000;
/// Bytes of such a frame that count as another one.
const UNASKED_BYTES: u64 = 4096;
/// How long a process may live on after its socket has ended, and its output after itself.
const TIDY_UP: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL, at least.
const TERM_GRACE: Duration = Duration::from_secs(1);

/// A plugin's process, seen from the daemon.
pub(crate) struct ChildLink {
    outbox: Arc<Outbox>,
    /// Told whenever the outbox was emptied.
    emptied: Arc<Notify>,
    pid: u32,
    about: About,
    orders: mpsc::UnboundedSender<Order>,
    exit: watch::Receiver<Option<Exit>>,
}

/// Waits until the process is past one of its limits.
type OverLimit = Pin<Box<dyn Future<Output = Exit> + Send>>;

/// What the task that owns the process is told.
enum Order {
    /// SIGTERM, because of this.
    Terminate(Exit),
    /// SIGKILL, because of this.
    Kill(Option<Exit>),
}

impl ChildLink {
    /// Starts the process and has it load the plugin. Frames come to `deliver` from then on.
    pub(crate) async fn start(spec: &InstanceSpec, deliver: Deliver) -> Result<Arc<Self>, StartError> {
        let spawned = spawn::spawn(&spec.host_program, &spec.name).await;
        let (mut child, mut socket) =
            spawned.map_err(|source| StartError::Spawn { program: spec.host_program.clone(), source })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let captures = [
            stdout.map(|out| tokio::spawn(capture::capture(out, capture::Stream::Stdout, spec.names()))),
            stderr.map(|err| tokio::spawn(capture::capture(err, capture::Stream::Stderr, spec.names()))),
        ];
        let mut group = Group::of(child, spec.names());
        let mut over_limit: OverLimit = Box::pin(limits::exceeded(group.pid(), spec.limits.process));
        let loaded = tokio::select! {
            loaded = load(&mut socket, spec) => loaded,
            exit = &mut over_limit => return Err(StartError::Lost(exit.to_string())),
        };
        let about = match loaded {
            Ok(LoadReply::Loaded(about)) => about,
            Ok(LoadReply::Refused { reason, may_pass }) => return Err(StartError::Refused { reason, may_pass }),
            Err(error) => {
                let reason = match timeout(TIDY_UP, group.ended()).await {
                    Ok(Ok(status)) => exit_of(status).to_string(),
                    _ => error.to_string(),
                };
                return Err(StartError::Lost(reason));
            }
        };
        let max_frame_bytes = spec.limits.max_frame_bytes;
        let link = Self::attach(group, about, over_limit, socket, captures, max_frame_bytes, deliver);
        link.map_err(|error| StartError::Lost(error.to_string()))
    }

    fn attach(
        group: Group,
        about: About,
        over_limit: OverLimit,
        socket: UnixStream,
        captures: [Option<JoinHandle<()>>; 2],
        max_frame_bytes: u32,
        deliver: Deliver,
    ) -> io::Result<Arc<Self>> {
        let full = Arc::new(Notify::new());
        let wake = full.clone();
        let outbox = Arc::new(Outbox::new(socket.as_fd().try_clone_to_owned()?, move || wake.notify_one()));
        let (read, write) = socket.into_split();
        let emptied = Arc::new(Notify::new());
        let drainer = tokio::spawn(drain(outbox.clone(), write, full, emptied.clone()));
        let reader = tokio::spawn(read_frames(read, max_frame_bytes, deliver));
        let (orders, received) = mpsc::unbounded_channel();
        let (tell_exit, exit) = watch::channel(None);
        let pid = group.pid();
        tokio::spawn(own(group, over_limit, reader, drainer, captures, received, tell_exit));
        Ok(Arc::new(Self { outbox, emptied, pid, about, orders, exit }))
    }
}

#[async_trait::async_trait]
impl Link for ChildLink {
    fn send(&self, frame: Frame) {
        self.outbox.send(frame);
        if self.outbox.give_up_beyond(UNREAD) {
            let _ = self.orders.send(Order::Kill(Some(Exit::Stuck)));
        }
        self.emptied.notify_waiters();
    }

    async fn room(&self) {
        loop {
            // Made before the look, so that nothing is missed in between.
            let emptied = self.emptied.notified();
            if self.outbox.queued_bytes() <= ROOM {
                return;
            }
            emptied.await;
        }
    }

    fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn about(&self) -> &About {
        &self.about
    }

    async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_else(unknown),
            Err(_) => unknown(),
        }
    }

    async fn end(&self, grace: Duration) -> Exit {
        // The plugin may still be closing: what holds files, threads and connections deserves its time.
        self.outbox.shut_down();
        if let Ok(exit) = timeout(grace, self.ended()).await {
            return exit;
        }
        let _ = self.orders.send(Order::Terminate(Exit::NotClosed { ended: true }));
        if let Ok(exit) = timeout(TERM_GRACE, self.ended()).await {
            return exit;
        }
        self.kill();
        self.ended().await
    }

    fn kill(&self) {
        let _ = self.orders.send(Order::Kill(None));
    }
}

impl Drop for ChildLink {
    fn drop(&mut self) {
        self.kill();
    }
}

fn unknown() -> Exit {
    Exit::Unknown("its task is gone".into())
}

/// The preamble: names the plugin and waits until it is loaded.
async fn load(socket: &mut UnixStream, spec: &InstanceSpec) -> io::Result<LoadReply> {
    // The child's working directory need not stay ours.
    let plugin = std::path::absolute(&spec.plugin)?;
    let Limits { max_frame_bytes, process, .. } = spec.limits;
    let (file, instance, daemon) = (spec.file.clone(), spec.name.clone(), std::process::id());
    let request = LoadRequest { plugin, file, instance, max_frame_bytes, limits: process, daemon };
    socket.write_all(&preamble::encode(&request)?).await?;
    preamble::read_async(socket).await
}

/// Owns the process until it is gone: waits for it, signals it, and says how it ended once everything it sent was taken.
async fn own(
    mut group: Group,
    mut over_limit: OverLimit,
    mut reader: JoinHandle<Result<(), String>>,
    drainer: JoinHandle<()>,
    captures: [Option<JoinHandle<()>>; 2],
    mut orders: mpsc::UnboundedReceiver<Order>,
    tell_exit: watch::Sender<Option<Exit>>,
) {
    let mut verdict = None;
    let (mut reading, mut ordered, mut watched) = (true, true, true);
    let status = loop {
        tokio::select! {
            status = group.ended() => break status,
            read = &mut reader, if reading => {
                reading = false;
                if let Ok(Err(reason)) = read {
                    verdict = Some(Exit::Protocol(reason));
                    group.signal(Signal::KILL);
                }
                // The end of the socket is the end of the plugin: the process follows, or is made to.
                if let Ok(status) = timeout(TIDY_UP, group.ended()).await {
                    break status;
                }
                group.signal(Signal::KILL);
            }
            exit = &mut over_limit, if watched => {
                watched = false;
                verdict = verdict.or(Some(exit));
                group.signal(Signal::KILL);
            }
            order = orders.recv(), if ordered => match order {
                Some(Order::Terminate(why)) => {
                    verdict = verdict.or(Some(why));
                    group.signal(Signal::TERM);
                }
                Some(Order::Kill(why)) => {
                    verdict = verdict.or(why);
                    group.signal(Signal::KILL);
                }
                // The link is dropped, which has sent a kill before.
                None => ordered = false,
            }
        }
    };
    // What it sent before it ended is still in the socket, and what it printed in the pipes.
    if reading && timeout(TIDY_UP, &mut reader).await.is_err() {
        reader.abort();
    }
    drainer.abort();
    for capture in captures.into_iter().flatten() {
        let abort = capture.abort_handle();
        if timeout(TIDY_UP, capture).await.is_err() {
            abort.abort();
        }
    }
    let exit = verdict.unwrap_or_else(|| match status {
        Ok(status) => exit_of(status),
        Err(error) => Exit::Unknown(error.to_string()),
    });
    tell_exit.send_replace(Some(exit));
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown(status.to_string()),
    }
}

/// Hands frames from the socket to `deliver` until it ends.
async fn read_frames(mut socket: OwnedReadHalf, max_frame_bytes: u32, deliver: Deliver) -> Result<(), String> {
    let mut decoder = Decoder::new(max_frame_bytes);
    let mut input = BytesMut::new();
    let mut unasked = Pace::new(MAX_UNASKED_PER_SECOND);
    loop {
        input.reserve(READ_BYTES);
        let count = match socket.read_buf(&mut input).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let mut surplus = 0;
        while let Some(decoded) = decoder.decode(&mut input).map_err(|error| error.to_string())? {
            let size = match &decoded {
                Decoded::Frame(frame) => frame.size(),
                Decoded::Oversized(head) => head.size,
            };
            if !deliver(decoded) {
                surplus += 1 + size / UNASKED_BYTES;
            }
        }
        unasked.spend(surplus).await;
        if count >= READ_BYTES {
            // There is more, and whoever sends so much must not have this thread for itself.
            yield_now().await;
        }
    }
}

/// Writes what senders could not, whenever the socket was full.
async fn drain(outbox: Arc<Outbox>, socket: OwnedWriteHalf, full: Arc<Notify>, emptied: Arc<Notify>) {
    loop {
        full.notified().await;
        // An error closes the outbox; the reader of the same socket reports the end.
        let _ = socket.as_ref().async_io(Interest::WRITABLE, || outbox.flush(Wait::Never)).await;
        emptied.notify_waiters();
    }
}
