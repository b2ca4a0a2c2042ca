//! The C ABI, version 1: the five structures that cross a library's edge, and safe ways to hold them.
//!
//! Everything a plugin and its host share is here and in `include/stele_plugin.h`, which a test makes out of it and compares. The ABI is
//! frozen: a structure that must grow says so in its `size`, and [`ABI`] only changes when an old plugin could no longer be
//! loaded.
//!
//! # Ownership
//!
//! * A [`SteleSlice`] is borrowed for the duration of the call it is passed to.
//! * A [`SteleBuf`] is moved. Whoever holds it calls `release(owner)` exactly once, on any thread, when the bytes are no
//!   longer needed. A null `release` means memory that needs none (static bytes, or nothing at all).
//! * `post` moves payload and body to the callee, whatever happens next; the frame structure itself stays the caller's.
//!
//! # Threads
//!
//! `post` may be called from any thread, several at once, and may be called back from within `post`; it enqueues and returns.
//! `open` and `close` are called once each, never at the same time. After `close` returned neither side posts any more.
//!
//! The wrappers below ([`Port`], [`Remote`], [`Descriptor`], [`OpenPlugin`]) keep these rules, so that no other module needs
//! to.

#![allow(unsafe_code)]

mod error;

pub use error::{AbiError, TextFault};

use crate::frame::{Frame, Kind, MAX_OP};
use bytes::Bytes;
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// First field of a descriptor: the bytes `STEL`, read as a little-endian number.
pub const MAGIC: u32 = 0x4c45_5453;

/// The version of the ABI; part of the symbol's name.
pub const ABI: u16 = 1;

/// Minor of the operations: grows when an operation or a field is added. Told in hello, never a reason to refuse.
pub const ABI_MINOR: u32 = 4;

/// The only symbol a plugin exports: a function of type [`EntryPoint`].
pub const SYMBOL: &CStr = c"stele_plugin_v1";

/// Descriptor flag: the plugin's payloads are JSON, and so are those sent to it. Without it they are MessagePack.
pub const DESCRIPTOR_JSON: u16 = 1;

/// Bytes the name or the version of a plugin may have.
const MAX_TEXT: usize = 256;

/// What [`SYMBOL`] is.
pub type EntryPoint = unsafe extern "C" fn() -> *const SteleDescriptor;

/// `open` went well.
pub const OPEN_OK: i32 = 0;
/// `open` was called with something it cannot use.
pub const OPEN_INVALID: i32 = -1;
/// `open` failed within the plugin.
pub const OPEN_FAILED: i32 = -2;

/// Bytes borrowed for the duration of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SteleSlice {
    /// First byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Bytes that are moved, with the function that gives them back.
#[repr(C)]
#[derive(Debug)]
pub struct SteleBuf {
    /// First byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
    /// Handed to `release`.
    pub owner: *mut c_void,
    /// Called exactly once, on any thread; null when nothing needs to be released.
    pub release: Option<unsafe extern "C" fn(owner: *mut c_void)>,
}

/// One message between a plugin and its host.
#[repr(C)]
#[derive(Debug)]
pub struct SteleFrame {
    /// `sizeof(stele_frame)` of whoever made it.
    pub size: u32,
    /// One of `STELE_HELLO` to `STELE_GOODBYE`, or one of the future.
    pub kind: u32,
    /// Number of the call it belongs to; 0 when it belongs to none.
    pub id: u64,
    /// `STELE_FRAME_JSON`, `STELE_FRAME_STREAM`; others are ignored.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Name of the operation, UTF-8; only in calls and notifies.
    pub op: SteleSlice,
    /// Encoded request, reply, item or error.
    pub payload: SteleBuf,
    /// Bulk bytes.
    pub body: SteleBuf,
}

/// One end of the boundary: where frames for it are posted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StelePeer {
    /// `sizeof(stele_peer)` of whoever made it.
    pub size: usize,
    /// Handed to `post` (and, the plugin's, to `close`).
    pub ctx: *mut c_void,
    /// Takes a frame. Enqueues and returns.
    pub post: Option<unsafe extern "C" fn(ctx: *mut c_void, frame: *mut SteleFrame)>,
}

/// What a plugin's library says about itself.
#[repr(C)]
#[derive(Debug)]
pub struct SteleDescriptor {
    /// `STELE_MAGIC`.
    pub magic: u32,
    /// `STELE_ABI`.
    pub abi: u16,
    /// `STELE_DESCRIPTOR_JSON`, or 0.
    pub flags: u16,
    /// `sizeof(stele_descriptor)` of the plugin.
    pub size: usize,
    /// Name of the plugin, NUL-terminated UTF-8 of 1 to 256 bytes.
    pub name: *const c_char,
    /// Version of the plugin, NUL-terminated UTF-8 of 1 to 256 bytes.
    pub version: *const c_char,
    /// Opens an instance: fills `plugin` and returns 0, or returns another number and nothing was opened. `host` is borrowed: copy
    /// it. Its `ctx` and `post` stay usable until `close` returned.
    pub open: Option<unsafe extern "C" fn(host: *const StelePeer, plugin: *mut StelePeer) -> i32>,
    /// Closes an instance, given the `ctx` its `open` filled in. Returns when the plugin posts no more.
    pub close: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
}

// What is frozen, on machines of 64 bits; the header asserts the same of C.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(MAGIC == u32::from_le_bytes(*b"STEL"));
    assert!(size_of::<SteleSlice>() == 16 && offset_of!(SteleSlice, len) == 8);
    assert!(size_of::<SteleBuf>() == 32 && offset_of!(SteleBuf, owner) == 16 && offset_of!(SteleBuf, release) == 24);
    assert!(size_of::<SteleFrame>() == 104 && offset_of!(SteleFrame, kind) == 4 && offset_of!(SteleFrame, id) == 8);
    assert!(offset_of!(SteleFrame, flags) == 16 && offset_of!(SteleFrame, op) == 24);
    assert!(offset_of!(SteleFrame, payload) == 40 && offset_of!(SteleFrame, body) == 72);
    assert!(size_of::<StelePeer>() == 24 && offset_of!(StelePeer, ctx) == 8 && offset_of!(StelePeer, post) == 16);
    assert!(size_of::<SteleDescriptor>() == 48 && offset_of!(SteleDescriptor, abi) == 4);
    assert!(offset_of!(SteleDescriptor, flags) == 6 && offset_of!(SteleDescriptor, size) == 8);
    assert!(offset_of!(SteleDescriptor, name) == 16 && offset_of!(SteleDescriptor, version) == 24);
    assert!(offset_of!(SteleDescriptor, open) == 32 && offset_of!(SteleDescriptor, close) == 40);
};

// SAFETY: a descriptor is a constant of its library: two strings and two functions that may be used from any thread.
unsafe impl Sync for SteleDescriptor {}
// SAFETY: as above.
unsafe impl Send for SteleDescriptor {}

impl SteleBuf {
    /// No bytes.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0, owner: std::ptr::null_mut(), release: None };

    /// Hands bytes out without copying them. They live until `release` is called.
    pub fn export(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::EMPTY;
        }
        let (ptr, len) = (bytes.as_ptr(), bytes.len());
        Self { ptr, len, owner: Box::into_raw(Box::new(bytes)).cast(), release: Some(release_exported) }
    }

    /// Hands bytes out like [`SteleBuf::export`] and counts every `release`, so that a test can tell once from never and from
    /// twice. The bytes are leaked on purpose: a second release must not be a second free.
    pub fn export_counted(bytes: Bytes, releases: Arc<AtomicU32>) -> Self {
        let counted: &'static (Bytes, Arc<AtomicU32>) = Box::leak(Box::new((bytes, releases)));
        Self {
            ptr: counted.0.as_ptr(),
            len: counted.0.len(),
            owner: std::ptr::from_ref(counted).cast_mut().cast(),
            release: Some(release_counted),
        }
    }

    /// Takes the bytes over without copying them; dropping the last clone releases them.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for reading `len` bytes that nobody changes until `release` is called, and `release`, if any, must be
    /// callable once with `owner` on any thread. The caller must not use the buffer afterwards.
    pub unsafe fn into_bytes(self) -> Bytes {
        let owned = OwnedBuf(self);
        if owned.0.len == 0 || owned.0.ptr.is_null() { Bytes::new() } else { Bytes::from_owner(owned) }
    }
}

/// A buffer of the other side; releases it when dropped.
struct OwnedBuf(SteleBuf);

// SAFETY: by the ABI a moved buffer may be read and released on any thread.
unsafe impl Send for OwnedBuf {}
// SAFETY: the bytes are never changed, so that threads may read them together.
unsafe impl Sync for OwnedBuf {}

impl AsRef<[u8]> for OwnedBuf {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `into_bytes` only wraps a buffer with a non-null pointer to `len` readable bytes, which stay as they are
        // until `release`, which only happens in `drop`.
        unsafe { std::slice::from_raw_parts(self.0.ptr, self.0.len) }
    }
}

impl Drop for OwnedBuf {
    fn drop(&mut self) {
        if let Some(release) = self.0.release.take() {
            // SAFETY: the contract of `into_bytes`; `take` makes this the only call.
            unsafe { release(self.0.owner) }
        }
    }
}

/// `release` of [`SteleBuf::export`].
unsafe extern "C" fn release_exported(owner: *mut c_void) {
    // A panic must not cross the edge; dropping bytes has nothing to report.
    let _ = catch_unwind(|| {
        // SAFETY: `owner` is the box made in `export`, and is released once.
        drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
    });
}

/// `release` of [`SteleBuf::export_counted`].
unsafe extern "C" fn release_counted(owner: *mut c_void) {
    // SAFETY: `owner` was leaked in `export_counted`, and lives for ever.
    let counted = unsafe { &*owner.cast::<(Bytes, Arc<AtomicU32>)>() };
    counted.1.fetch_add(1, Ordering::SeqCst);
}

/// Takes a posted frame over: payload and body are owned by the result, and released even when the frame is unusable.
///
/// `None` when the pointer is null or the structure is smaller than version 1's. A name that is too long or not UTF-8 is
/// mended, so that its call is answered `unsupported` rather than not at all.
///
/// # Safety
///
/// `frame` must be null or point to a frame that was posted by the rules of this module.
pub unsafe fn take_frame(frame: *mut SteleFrame) -> Option<Frame> {
    // SAFETY: every version of the structure begins with its size, so that four bytes are readable behind a non-null pointer.
    let size = if frame.is_null() { return None } else { unsafe { (*frame).size } };
    if (size as usize) < size_of::<SteleFrame>() {
        return None;
    }
    // SAFETY: the structure is at least as large as ours, and the poster does not touch it until we return.
    let frame = unsafe { &mut *frame };
    let payload = std::mem::replace(&mut frame.payload, SteleBuf::EMPTY);
    let body = std::mem::replace(&mut frame.body, SteleBuf::EMPTY);
    // SAFETY: the buffers were moved to us by `post`, and replaced above, so that nobody takes them twice.
    let (payload, body) = unsafe { (payload.into_bytes(), body.into_bytes()) };
    let op: Cow<'static, str> = if frame.op.len == 0 || frame.op.ptr.is_null() {
        Cow::Borrowed("")
    } else {
        // SAFETY: `op` is borrowed for this call, and at most `len` bytes of it are read.
        let op = unsafe { std::slice::from_raw_parts(frame.op.ptr, frame.op.len.min(MAX_OP)) };
        Cow::Owned(String::from_utf8_lossy(op).into_owned())
    };
    Some(Frame { kind: Kind::from(frame.kind), id: frame.id, flags: frame.flags, op, payload, body })
}

/// Our end: hands every frame that is posted to it to a function. Made into a [`StelePeer`] for the other side.
pub struct Port {
    deliver: Box<dyn Fn(Frame) + Send + Sync>,
    on_close: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Port {
    /// A port that hands frames to `deliver`, which must return soon: it runs on the poster's thread.
    pub fn new(deliver: impl Fn(Frame) + Send + Sync + 'static) -> Box<Self> {
        Box::new(Self { deliver: Box::new(deliver), on_close: Mutex::new(None) })
    }

    /// What [`close_port`] does before the port is gone.
    #[must_use]
    pub fn on_close(self: Box<Self>, close: impl FnOnce() + Send + 'static) -> Box<Self> {
        *self.on_close.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(close));
        self
    }

    /// The structure for the other side, which owns the port from now on and gives it back through [`close_port`].
    pub fn into_peer(self: Box<Self>) -> StelePeer {
        // The box is taken apart first: a pointer from before that would be worth nothing once the box has moved.
        peer_of(Box::into_raw(self))
    }
}

/// The structure for the other side of a port that is where `port` says until nobody posts any more.
fn peer_of(port: *const Port) -> StelePeer {
    StelePeer { size: size_of::<StelePeer>(), ctx: port.cast_mut().cast(), post: Some(post_to_port) }
}

/// `post` of every [`Port`].
unsafe extern "C" fn post_to_port(ctx: *mut c_void, frame: *mut SteleFrame) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the poster obeys the rules of this module.
        let Some(frame) = (unsafe { take_frame(frame) }) else { return };
        // SAFETY: `ctx` is the port this function was published with; it outlives every post.
        let port = unsafe { &*ctx.cast::<Port>() };
        (port.deliver)(frame);
    }));
}

/// `close` of a plugin whose `open` handed out [`Port::into_peer`].
///
/// # Safety
///
/// `ctx` must come from [`Port::into_peer`], and be closed once.
pub unsafe extern "C" fn close_port(ctx: *mut c_void) {
    let port = ctx.cast::<Port>();
    if port.is_null() {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as promised by the caller, `ctx` is a port nobody else frees. The closing work may still be posted to, so that
        // until it is done the port is shared, as posting shares it, and nobody's own.
        let port = unsafe { &*port };
        let close = port.on_close.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(close) = close {
            close();
        }
    }));
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the pointer is that of the box which `into_peer` took apart, and nobody posts any more.
        drop(unsafe { Box::from_raw(port) });
    }));
}

/// The other end: where our frames go. Safe to share; stops posting when told so.
pub struct Remote {
    peer: StelePeer,
    posting: AtomicUsize,
    closed: AtomicBool,
}

// SAFETY: by the ABI `post` may be called from any thread, several at once.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

impl Remote {
    /// Wraps the peer of the other side.
    ///
    /// # Safety
    ///
    /// `peer` must be null or point to a peer that stays usable until [`Remote::close`] returned.
    pub unsafe fn new(peer: *const StelePeer) -> Option<Self> {
        if peer.is_null() {
            return None;
        }
        // SAFETY: every version of the structure begins with its size.
        if unsafe { (*peer).size } < size_of::<StelePeer>() {
            return None;
        }
        // SAFETY: it is at least as large as ours.
        let peer = unsafe { *peer };
        peer.post?;
        Some(Self { peer, posting: AtomicUsize::new(0), closed: AtomicBool::new(false) })
    }

    /// Posts a frame; does nothing after [`Remote::close`].
    pub fn post(&self, frame: Frame) {
        let (payload, body) = (SteleBuf::export(frame.payload), SteleBuf::export(frame.body));
        self.post_raw(frame.kind.into(), frame.id, frame.flags, &frame.op, payload, body);
    }

    /// Posts a frame and counts in `releases` how often the other side releases its payload and body: 2 is right. See
    /// [`SteleBuf::export_counted`]; for tests of a plugin.
    pub fn post_counted(&self, frame: Frame, releases: &Arc<AtomicU32>) {
        let payload = SteleBuf::export_counted(frame.payload, releases.clone());
        let body = SteleBuf::export_counted(frame.body, releases.clone());
        self.post_raw(frame.kind.into(), frame.id, frame.flags, &frame.op, payload, body);
    }

    fn post_raw(&self, kind: u32, id: u64, flags: u32, op: &str, payload: SteleBuf, body: SteleBuf) {
        let mut raw = SteleFrame {
            size: size_of::<SteleFrame>() as u32,
            kind,
            id,
            flags,
            reserved: 0,
            op: SteleSlice { ptr: op.as_ptr(), len: op.len() },
            payload,
            body,
        };
        // The count is raised before the flag is read, so that `close` either sees this post or stops it.
        self.posting.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            // SAFETY: nobody else has seen these buffers; this releases them.
            drop(unsafe { take_frame(&raw mut raw) });
        } else if let Some(post) = self.peer.post {
            // SAFETY: the peer is usable until `close` returned, which waits for this post.
            unsafe { post(self.peer.ctx, &raw mut raw) };
        }
        self.posting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Posts no more. Returns when no post is under way; must not be called from within one.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.posting.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// A checked descriptor of a library that stays loaded.
#[derive(Clone, Debug)]
pub struct Descriptor {
    raw: &'static SteleDescriptor,
    name: &'static str,
    version: &'static str,
}

impl Descriptor {
    /// Reads and checks what the library says about itself.
    ///
    /// # Errors
    ///
    /// [`AbiError`], when it is no plugin of this ABI.
    ///
    /// # Safety
    ///
    /// `entry` must be the symbol [`SYMBOL`] of a library that is never unloaded.
    pub unsafe fn load(entry: EntryPoint) -> Result<Self, AbiError> {
        // SAFETY: the caller names a plugin's entry point, whose descriptor is a constant.
        unsafe { Self::read(entry()) }
    }

    /// Checks what a library, or this program, says about itself.
    ///
    /// # Safety
    ///
    /// `raw` must be null or point to a descriptor that stays as it is for ever.
    pub(crate) unsafe fn read(raw: *const SteleDescriptor) -> Result<Self, AbiError> {
        if raw.is_null() {
            return Err(AbiError::Null);
        }
        // Magic, version and size come first in every version: read them before believing in the rest.
        // SAFETY: a descriptor is a constant of a library that stays loaded; only its common head is read here.
        let (magic, abi, size) = unsafe { ((*raw).magic, (*raw).abi, (*raw).size) };
        if magic != MAGIC {
            return Err(AbiError::Magic(magic));
        }
        if abi != ABI {
            return Err(AbiError::Version(abi));
        }
        if size < size_of::<SteleDescriptor>() {
            return Err(AbiError::Size(size));
        }
        // SAFETY: it is at least as large as ours, constant, and never unloaded.
        let raw: &'static SteleDescriptor = unsafe { &*raw };
        // SAFETY: the strings of a descriptor are NUL-terminated constants.
        let (name, version) = unsafe { (text(raw.name), text(raw.version)) };
        let name = name.map_err(|fault| AbiError::Text("name", fault))?;
        let version = version.map_err(|fault| AbiError::Text("version", fault))?;
        raw.open.ok_or(AbiError::Missing("open"))?;
        raw.close.ok_or(AbiError::Missing("close"))?;
        Ok(Self { raw, name, version })
    }

    /// Name of the plugin.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Version of the plugin.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Whether the plugin's payloads are JSON.
    pub fn is_json(&self) -> bool {
        self.raw.flags & DESCRIPTOR_JSON != 0
    }

    /// Opens an instance. Its frames are handed to `deliver`, on the plugin's threads; those of a plugin that speaks JSON are
    /// marked so ([`crate::frame::FLAG_JSON`]).
    ///
    /// # Errors
    ///
    /// [`AbiError::Open`] when the plugin refuses, [`AbiError::Peer`] when it cannot be posted to.
    pub fn open(&self, deliver: impl Fn(Frame) + Send + Sync + 'static) -> Result<OpenPlugin, AbiError> {
        let open = self.raw.open.ok_or(AbiError::Missing("open"))?;
        let json = if self.is_json() { crate::frame::FLAG_JSON } else { 0 };
        // Shared from the beginning: whoever holds the port may move, and the pointer that the plugin keeps stays good.
        let port: Arc<Port> = Arc::from(Port::new(move |mut frame: Frame| {
            frame.flags |= json;
            deliver(frame);
        }));
        let host = peer_of(Arc::as_ptr(&port));
        let mut plugin = StelePeer { size: size_of::<StelePeer>(), ctx: std::ptr::null_mut(), post: None };
        // SAFETY: both structures are valid for the call; the port behind `host` lives in the result until `close` returned.
        let code = unsafe { open(&raw const host, &raw mut plugin) };
        if code != OPEN_OK {
            return Err(AbiError::Open(code));
        }
        // SAFETY: the plugin's peer is usable until it is closed, which `OpenPlugin` does after the last post.
        let Some(remote) = (unsafe { Remote::new(&raw const plugin) }) else {
            // It says that it is open, so that it may post for ever, and nobody knows how to close it.
            std::mem::forget(port);
            return Err(AbiError::Peer);
        };
        Ok(OpenPlugin { descriptor: self.clone(), remote, _port: port, open: AtomicBool::new(true) })
    }
}

/// A string of a descriptor.
///
/// # Safety
///
/// `ptr` must be null or point to a NUL-terminated constant.
unsafe fn text(ptr: *const c_char) -> Result<&'static str, TextFault> {
    if ptr.is_null() {
        return Err(TextFault::Null);
    }
    // SAFETY: as promised by the caller, the bytes up to the first NUL can be read; the search ends there, or before.
    let len = (0..=MAX_TEXT).find(|&at| unsafe { *ptr.add(at) } == 0).ok_or(TextFault::TooLong)?;
    // SAFETY: these bytes were just read, and are constant.
    let bytes = unsafe { std::slice::from_raw_parts(ptr.cast::<u8>(), len) };
    match std::str::from_utf8(bytes) {
        Ok("") => Err(TextFault::Empty),
        Ok(text) => Ok(text),
        Err(_) => Err(TextFault::NotUtf8),
    }
}

/// An open instance of a plugin. Closed when dropped.
#[derive(Debug)]
pub struct OpenPlugin {
    descriptor: Descriptor,
    remote: Remote,
    /// Where the plugin posts to: must outlive it.
    _port: Arc<Port>,
    open: AtomicBool,
}

impl OpenPlugin {
    /// Posts a frame to the plugin; does nothing after [`OpenPlugin::close`].
    pub fn post(&self, frame: Frame) {
        self.remote.post(frame);
    }

    /// [`Remote::post_counted`].
    pub fn post_counted(&self, frame: Frame, releases: &Arc<AtomicU32>) {
        self.remote.post_counted(frame, releases);
    }

    /// Closes the instance; blocks until the plugin's threads are gone. Further calls do nothing.
    pub fn close(&self) {
        if !self.open.swap(false, Ordering::SeqCst) {
            return;
        }
        self.remote.close();
        if let Some(close) = self.descriptor.raw.close {
            // SAFETY: `ctx` is what `open` filled in; the swap above makes this the only call, and nobody posts any more.
            unsafe { close(self.remote.peer.ctx) };
        }
    }
}

impl Drop for OpenPlugin {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}
