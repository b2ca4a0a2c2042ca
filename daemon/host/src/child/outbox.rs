//! Frames on their way into a socket.
//!
//! Whoever sends a frame while nobody writes writes it at once, on its own thread: a call then costs one system call and no
//! change of threads. What is sent meanwhile is queued and goes out in one vectored write. When the socket is full the
//! rest is left to the *drainer* (a task in the daemon, a thread in the child), which is woken for it; so nobody who sends
//! ever waits here.
//!
//! The right to write is a flag, not a lock: exactly one party has it, and hands it over with the flag still set.

use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{SendFlags, Shutdown, sendmsg, shutdown};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
};
use stele_plugin_api::frame::Frame;

/// Buffers of one vectored write; well under the system's limit of 1024.
const MAX_BUFFERS: usize = 64;
/// Frames up to this many bytes of payload and body are copied behind their header: cheaper than three buffers.
const COPY_BYTES: u64 = 4096;

/// What to do when the socket is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Return `WouldBlock`.
    Never,
    /// Wait in the system call until it takes more.
    ForRoom,
}

/// How much may be queued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) bytes: u64,
    /// Frames; one that is not copied counts up to three times. What is being written is not counted.
    pub(crate) frames: usize,
}

/// A queue of frames in front of a socket.
pub(crate) struct Outbox {
    socket: OwnedFd,
    queue: Mutex<Queue>,
    /// What the party with the right to write is writing. Only that party locks it.
    writing: Mutex<VecDeque<Bytes>>,
    /// Called when the socket is full: [`Outbox::flush`] must be called once it is not.
    wake_drainer: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    buffers: VecDeque<Bytes>,
    /// Bytes queued or being written.
    bytes: u64,
    /// Somebody has the right to write.
    taken: bool,
    /// The socket failed or was shut down; everything sent from now on is dropped.
    closed: bool,
    /// The socket is shut down once nothing is queued.
    closing: bool,
}

impl Outbox {
    /// An outbox for a connected stream socket.
    pub(crate) fn new(socket: OwnedFd, wake_drainer: impl Fn() + Send + Sync + 'static) -> Self {
        Self { socket, queue: Mutex::default(), writing: Mutex::default(), wake_drainer: Box::new(wake_drainer) }
    }

    /// Queues a frame, and writes what is queued if nobody else does. Never blocks; a frame for a closed socket is dropped.
    pub(crate) fn send(&self, frame: Frame) {
        let mut head = BytesMut::new();
        let size = frame.size();
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        if size <= COPY_BYTES {
            frame.encode(&mut head);
            queue.push(head.freeze());
        } else {
            frame.encode_head(&mut head);
            queue.push(head.freeze());
            queue.push(frame.payload);
            queue.push(frame.body);
        }
        let write = !std::mem::replace(&mut queue.taken, true);
        drop(queue);
        if write && self.flush(Wait::Never).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            (self.wake_drainer)();
        }
    }

    /// Writes until nothing is queued, which gives up the right to write. For the party that has it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` keeps the right: call again when the socket takes more. Any other error closes the outbox; the reader
    /// of the socket learns of the end as well.
    pub(crate) fn flush(&self, wait: Wait) -> io::Result<()> {
        let mut batch = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if batch.is_empty() {
                let mut queue = self.lock();
                if queue.buffers.is_empty() {
                    queue.taken = false;
                    if queue.closing {
                        self.shut_down_now(&mut queue);
                    }
                    return Ok(());
                }
                std::mem::swap(&mut *batch, &mut queue.buffers);
            }
            match self.write(&batch, wait) {
                Ok(written) => {
                    self.lock().bytes -= written as u64;
                    advance(&mut batch, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => {
                    batch.clear();
                    *self.lock() = Queue { closed: true, ..Queue::default() };
                    return Err(error);
                }
            }
        }
    }

    /// Bytes that are not written yet.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Whether more than that is queued.
    pub(crate) fn is_beyond(&self, bound: Bound) -> bool {
        self.lock().is_beyond(bound)
    }

    /// Closes the outbox if more than that is queued, which is dropped then; says so once.
    pub(crate) fn give_up_beyond(&self, bound: Bound) -> bool {
        let mut queue = self.lock();
        let gives_up = !queue.closed && queue.is_beyond(bound);
        if gives_up {
            queue.closed = true;
            queue.buffers = VecDeque::new();
        }
        gives_up
    }

    /// Ends the stream after what is queued: the other side reads to its end.
    pub(crate) fn shut_down(&self) {
        let mut queue = self.lock();
        queue.closing = true;
        if !queue.taken {
            self.shut_down_now(&mut queue);
        }
    }

    fn shut_down_now(&self, queue: &mut Queue) {
        queue.closed = true;
        // It fails when the other side is gone, which is as good.
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    fn write(&self, batch: &VecDeque<Bytes>, wait: Wait) -> io::Result<usize> {
        let slices: Vec<IoSlice<'_>> = batch.iter().take(MAX_BUFFERS).map(|buffer| IoSlice::new(buffer)).collect();
        // NOSIGNAL: the other side's death is an error here, not a signal for the process.
        let flags = match wait {
            Wait::Never => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            Wait::ForRoom => SendFlags::NOSIGNAL,
        };
        Ok(sendmsg(&self.socket, &slices, &mut Default::default(), flags)?)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_beyond(&self, Bound { bytes, frames }: Bound) -> bool {
        self.bytes > bytes || self.buffers.len() > frames
    }

    fn push(&mut self, buffer: Bytes) {
        if !buffer.is_empty() {
            self.bytes += buffer.len() as u64;
            self.buffers.push_back(buffer);
        }
    }
}

/// Drops the first `count` bytes.
fn advance(batch: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = batch.front_mut() {
        if first.len() > count {
            first.advance(count);
            return;
        }
        count -= first.len();
        batch.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        borrow::Cow,
        io::Read,
        os::unix::net::UnixStream,
        sync::{Arc, mpsc},
        thread,
    };
    use stele_plugin_api::frame::{Decoded, Decoder, Kind};

    fn frame(id: u64, bytes: usize) -> Frame {
        let body = Bytes::from(vec![id as u8; bytes]);
        Frame { op: Cow::Borrowed("media.fetch"), body, ..Frame::bare(Kind::Call, id) }
    }

    /// An outbox whose drainer is a thread, as in the child.
    fn outbox(socket: UnixStream) -> Arc<Outbox> {
        let (wake, woken) = mpsc::channel();
        let outbox = Arc::new(Outbox::new(socket.into(), move || wake.send(()).unwrap()));
        let drained = Arc::downgrade(&outbox);
        thread::spawn(move || {
            while woken.recv().is_ok() {
                let Some(outbox) = drained.upgrade() else { return };
                let _ = outbox.flush(Wait::ForRoom);
            }
        });
        outbox
    }

    #[test]
    fn frames_of_many_threads_arrive_whole_and_in_order_of_each_thread() {
        const THREADS: u64 = 4;
        const FRAMES: u64 = 200;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = outbox(ours);
        let senders: Vec<_> = (0..THREADS)
            .map(|thread| {
                let outbox = outbox.clone();
                thread::spawn(move || {
                    for number in 0..FRAMES {
                        // Small ones are copied, large ones are not and fill the socket.
                        outbox.send(frame(thread << 32 | number, if number % 7 == 0 { 100_000 } else { 40 }));
                    }
                })
            })
            .collect();

        let mut decoder = Decoder::new(1 << 20);
        let mut input = BytesMut::new();
        let mut chunk = vec![0; 64 * 1024];
        let mut next = [0; THREADS as usize];
        while next != [FRAMES; THREADS as usize] {
            let count = theirs.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "the stream ended early: {next:?}");
            input.extend_from_slice(&chunk[..count]);
            while let Some(decoded) = decoder.decode(&mut input).unwrap() {
                let Decoded::Frame(found) = decoded else { panic!("too large") };
                let (thread, number) = ((found.id >> 32) as usize, found.id & 0xffff_ffff);
                assert_eq!(number, next[thread], "a frame of thread {thread} is missing or out of order");
                assert!(found.body.iter().all(|&byte| byte == found.id as u8), "the body is mixed up");
                next[thread] += 1;
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(outbox.queued_bytes(), 0);
    }

    #[test]
    fn shutting_down_keeps_what_was_sent_before() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = outbox(ours);
        outbox.send(frame(1, 3_000_000));
        outbox.shut_down();
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert!(all.len() > 3_000_000, "{} bytes arrived", all.len());
    }

    #[test]
    fn what_is_beyond_the_bound_is_given_up_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = outbox(ours);
        // More than the socket takes, which the drainer is left with.
        outbox.send(frame(0, 10_000_000));
        let bound = Bound { bytes: u64::MAX, frames: 100 };
        for id in 1..=100 {
            outbox.send(frame(id, 10));
            assert!(!outbox.is_beyond(bound) && !outbox.give_up_beyond(bound));
        }
        outbox.send(frame(101, 10));
        assert!(outbox.is_beyond(bound) && outbox.give_up_beyond(bound));
        assert!(!outbox.is_beyond(bound) && !outbox.give_up_beyond(bound), "nothing is kept, and that is told once");
        outbox.send(frame(102, 10));
        assert!(!outbox.is_beyond(Bound { bytes: u64::MAX, frames: 0 }), "nor is what comes later");
        drop(theirs);
    }

    #[test]
    fn a_closed_socket_swallows_frames() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let outbox = outbox(ours);
        for id in 0..100 {
            outbox.send(frame(id, 1000));
        }
        assert_eq!(outbox.queued_bytes(), 0);
    }
}
