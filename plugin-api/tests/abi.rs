//! What crosses the C edge is owned once, and what is unusable is given back.

#![allow(unsafe_code)]

use bytes::Bytes;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use stele_plugin_api::abi::{
    ABI, AbiError, Descriptor, MAGIC, OPEN_FAILED, OPEN_INVALID, OPEN_OK, Port, Remote, SteleBuf, SteleDescriptor,
    SteleFrame, StelePeer, SteleSlice, TextFault, close_port, take_frame,
};
use stele_plugin_api::frame::{Frame, Kind, MAX_OP};

fn raw(op: &[u8], releases: &Arc<AtomicU32>) -> SteleFrame {
    let buf = |text: &'static str| SteleBuf::export_counted(Bytes::from_static(text.as_bytes()), releases.clone());
    SteleFrame {
        size: size_of::<SteleFrame>() as u32,
        kind: 2,
        id: 7,
        flags: 1,
        reserved: 0,
        op: SteleSlice { ptr: op.as_ptr(), len: op.len() },
        payload: buf("payload"),
        body: buf(""),
    }
}

#[test]
fn a_frame_is_taken_without_a_copy_and_released_once() {
    let releases = Arc::new(AtomicU32::new(0));
    let mut raw = raw(b"sync.pull", &releases);
    let ptr = raw.payload.ptr;
    // SAFETY: a frame made by the rules, twice: the second time its buffers are gone.
    let (first, second) = unsafe { (take_frame(&raw mut raw), take_frame(&raw mut raw)) };
    let frame = first.expect("a frame");
    assert_eq!((frame.kind, frame.id, frame.flags, frame.op.as_ref()), (Kind::Call, 7, 1, "sync.pull"));
    assert_eq!((frame.payload.as_ptr(), &frame.payload[..]), (ptr, &b"payload"[..]));
    assert!(second.expect("a frame").payload.is_empty());
    // The empty body was of no use; the payload lives as long as its last clone.
    assert_eq!(releases.load(Ordering::SeqCst), 1);
    let clone = frame.payload.slice(1..3);
    drop(frame);
    assert_eq!((releases.load(Ordering::SeqCst), &clone[..]), (1, &b"ay"[..]));
    std::thread::spawn(move || drop(clone)).join().expect("any thread may release");
    assert_eq!(releases.load(Ordering::SeqCst), 2);
}

#[test]
fn names_are_mended_and_what_is_no_frame_is_refused() {
    let check = |op: &[u8], expected: &str| {
        let mut raw = raw(op, &Arc::default());
        // SAFETY: a frame made by the rules.
        let frame = unsafe { take_frame(&raw mut raw) }.expect("a frame");
        assert_eq!(frame.op, expected);
    };
    check(b"", "");
    check(b"a\xffb", "a\u{fffd}b");
    check(&[b'x'; MAX_OP + 1], &"x".repeat(MAX_OP));

    let mut small = raw(b"x", &Arc::default());
    small.size = 8;
    // SAFETY: null, and a frame that says that it is smaller than one.
    assert!(unsafe { take_frame(std::ptr::null_mut()).is_none() && take_frame(&raw mut small).is_none() });
}

/// A structure of ours with what a later version puts behind it.
#[repr(C)]
struct Grown<T> {
    ours: T,
    more: [u64; 4],
}

#[test]
fn structures_that_grew_are_taken_and_smaller_ones_refused() {
    let releases = Arc::default();
    let mut frame = Grown { ours: raw(b"x", &releases), more: [7; 4] };
    frame.ours.size = size_of::<Grown<SteleFrame>>() as u32;
    // Flags nobody knows, and the reserved field in use.
    (frame.ours.flags, frame.ours.reserved) = (1 << 31 | 1, 9);
    // SAFETY: a frame made by the rules of a later version.
    let taken = unsafe { take_frame(&raw mut frame.ours) }.expect("a frame");
    assert_eq!((taken.op.as_ref(), taken.payload.as_ref(), frame.more), ("x", &b"payload"[..], [7; 4]));
    drop(taken);
    assert_eq!(releases.load(Ordering::SeqCst), 2);

    let peer = Port::new(|_| {}).into_peer();
    let grown = Grown { ours: StelePeer { size: size_of::<Grown<StelePeer>>(), ..peer }, more: [0; 4] };
    // SAFETY: the port behind the peer is closed below.
    let remote = unsafe { Remote::new(&raw const grown.ours) }.expect("a peer");
    remote.post(Frame::bare(Kind::Notify, 0));
    remote.close();
    // SAFETY: the context of this port, closed once.
    unsafe { close_port(peer.ctx) };

    unsafe extern "C" fn open(_: *const StelePeer, _: *mut StelePeer) -> i32 {
        OPEN_FAILED
    }
    unsafe extern "C" fn close(_: *mut c_void) {}
    const fn descriptor(size: usize) -> SteleDescriptor {
        let (name, version) = (c"grown".as_ptr(), c"1".as_ptr());
        SteleDescriptor {
            magic: MAGIC,
            abi: ABI,
            flags: 1 << 15,
            size,
            name,
            version,
            open: Some(open),
            close: Some(close),
        }
    }
    unsafe extern "C" fn grown_entry() -> *const SteleDescriptor {
        static GROWN: Grown<SteleDescriptor> =
            Grown { ours: descriptor(size_of::<Grown<SteleDescriptor>>()), more: [0; 4] };
        &raw const GROWN.ours
    }
    unsafe extern "C" fn small_entry() -> *const SteleDescriptor {
        static SMALL: SteleDescriptor = descriptor(size_of::<SteleDescriptor>() - 1);
        &raw const SMALL
    }
    // SAFETY: constants of this program.
    let (grown, small) = unsafe { (Descriptor::load(grown_entry), Descriptor::load(small_entry)) };
    assert!(grown.is_ok_and(|grown| grown.name() == "grown" && !grown.is_json()));
    assert_eq!(small.err(), Some(AbiError::Size(size_of::<SteleDescriptor>() - 1)));
}

#[test]
fn bytes_survive_the_way_out_and_back() {
    for text in ["", "x", "a longer text"] {
        let bytes = Bytes::from(text.as_bytes().to_vec());
        // SAFETY: the buffer is exported here and taken once.
        assert_eq!(unsafe { SteleBuf::export(bytes.clone()).into_bytes() }, bytes);
    }
    // Static memory needs no release.
    let buf = SteleBuf { ptr: b"static".as_ptr(), len: 6, owner: std::ptr::null_mut(), release: None };
    // SAFETY: the bytes live for ever.
    assert_eq!(unsafe { buf.into_bytes() }, "static");
}

#[test]
fn a_peer_that_cannot_be_posted_to_is_refused() {
    unsafe extern "C" fn post(_: *mut c_void, _: *mut SteleFrame) {}
    let sound = StelePeer { size: size_of::<StelePeer>(), ctx: std::ptr::null_mut(), post: Some(post) };
    let check = |peer: StelePeer, expected: bool| {
        // SAFETY: the peer lives for the call, and its post needs no context.
        assert_eq!(unsafe { Remote::new(&raw const peer) }.is_some(), expected);
    };
    check(sound, true);
    check(StelePeer { size: 8, ..sound }, false);
    check(StelePeer { post: None, ..sound }, false);
    // SAFETY: null is no peer.
    assert!(unsafe { Remote::new(std::ptr::null()) }.is_none());
}

#[test]
fn nothing_is_posted_after_close_and_every_buffer_is_released() {
    let (received, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    // A panic would stay within the port: what is wrong is counted.
    let wrong = Arc::new(AtomicUsize::new(0));
    let port = Port::new({
        let (received, closed, wrong) = (received.clone(), closed.clone(), wrong.clone());
        move |frame: Frame| {
            if closed.load(Ordering::SeqCst) || frame.payload != "payload" {
                wrong.fetch_add(1, Ordering::SeqCst);
            }
            received.fetch_add(1, Ordering::SeqCst);
        }
    });
    let ended = Arc::new(AtomicUsize::new(0));
    let port = port.on_close({
        let ended = ended.clone();
        move || {
            ended.fetch_add(1, Ordering::SeqCst);
        }
    });
    let peer = port.into_peer();
    // SAFETY: the port is closed below, after the remote.
    let remote = Arc::new(unsafe { Remote::new(&raw const peer) }.expect("a sound peer"));
    let posting: Vec<_> = (0..4)
        .map(|_| {
            let remote = remote.clone();
            std::thread::spawn(move || {
                let frame = || Frame { payload: "payload".into(), ..Frame::bare(Kind::Notify, 0) };
                let releases: Vec<Arc<AtomicU32>> = (0..500).map(|_| Arc::default()).collect();
                releases.iter().for_each(|releases| remote.post_counted(frame(), releases));
                releases
            })
        })
        .collect();
    while received.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    remote.close();
    closed.store(true, Ordering::SeqCst);
    // SAFETY: the context of this port, closed once.
    unsafe { close_port(peer.ctx) };
    for thread in posting {
        for releases in thread.join().expect("no panic") {
            assert_eq!(releases.load(Ordering::SeqCst), 2, "payload and body");
        }
    }
    assert_eq!((wrong.load(Ordering::SeqCst), ended.load(Ordering::SeqCst)), (0, 1));
    // SAFETY: null is no port.
    unsafe { close_port(std::ptr::null_mut()) };
}

/// Its work of closing waits for nobody's last post but its own.
#[test]
fn what_is_posted_while_a_port_closes_arrives() {
    let received = Arc::new(AtomicUsize::new(0));
    let remote = Arc::new(std::sync::OnceLock::<Remote>::new());
    let port = Port::new({
        let received = received.clone();
        move |_| _ = received.fetch_add(1, Ordering::SeqCst)
    });
    let peer = port
        .on_close({
            let remote = remote.clone();
            move || {
                let remote = remote.get().expect("set before the port is closed");
                remote.post(Frame::bare(Kind::Notify, 0));
                remote.close();
            }
        })
        .into_peer();
    // SAFETY: the port is closed below, and closes the remote itself.
    assert!(remote.set(unsafe { Remote::new(&raw const peer) }.expect("a sound peer")).is_ok());
    // SAFETY: the context of this port, closed once.
    unsafe { close_port(peer.ctx) };
    remote.get().expect("set above").post(Frame::bare(Kind::Notify, 0));
    assert_eq!(received.load(Ordering::SeqCst), 1);
}

/// A plugin that gives back what it is sent, at once, and says something of itself when it is opened and when it is closed.
#[test]
fn an_instance_is_opened_posted_to_and_closed() {
    fn say(host: &StelePeer, id: u64) {
        let mut frame = SteleFrame { kind: 8, id, ..raw(b"said", &Arc::default()) };
        // SAFETY: the host's peer stays usable until the instance is closed.
        unsafe { host.post.expect("a host can be posted to")(host.ctx, &raw mut frame) };
    }
    unsafe extern "C" fn open(host: *const StelePeer, plugin: *mut StelePeer) -> i32 {
        // SAFETY: the host lends both structures for this call.
        let (host, plugin) = unsafe { (Box::new(*host), &mut *plugin) };
        say(&host, 1);
        plugin.ctx = Box::into_raw(host).cast();
        plugin.post = Some(post);
        OPEN_OK
    }
    unsafe extern "C" fn post(ctx: *mut c_void, frame: *mut SteleFrame) {
        // SAFETY: `ctx` is the box of `open`, and lives until `close`.
        let host = unsafe { &*ctx.cast::<StelePeer>() };
        // SAFETY: the frame is the poster's, and moved on whole.
        unsafe { host.post.expect("a host can be posted to")(host.ctx, frame) };
    }
    unsafe extern "C" fn close(ctx: *mut c_void) {
        // SAFETY: as in `post`; the instance is closed once.
        let host = unsafe { Box::from_raw(ctx.cast::<StelePeer>()) };
        say(&host, 3);
    }
    unsafe extern "C" fn entry() -> *const SteleDescriptor {
        static DESCRIPTOR: SteleDescriptor = SteleDescriptor {
            magic: MAGIC,
            abi: ABI,
            flags: 0,
            size: size_of::<SteleDescriptor>(),
            name: c"mirror".as_ptr(),
            version: c"1".as_ptr(),
            open: Some(open),
            close: Some(close),
        };
        &raw const DESCRIPTOR
    }
    // SAFETY: a constant of this program.
    let descriptor = unsafe { Descriptor::load(entry) }.expect("a sound descriptor");
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let plugin = descriptor.open({
        let heard = heard.clone();
        move |frame| heard.lock().expect("nobody panics with it").push((frame.id, frame.payload))
    });
    let plugin = Box::new(plugin.expect("it opens"));
    plugin.post(Frame { payload: "given".into(), ..Frame::bare(Kind::Notify, 2) });
    plugin.close();
    plugin.post(Frame::bare(Kind::Notify, 4));
    drop(plugin);
    let heard = heard.lock().expect("nobody panics with it");
    let expected = [(1, "payload"), (2, "given"), (3, "payload")];
    assert_eq!(heard.as_slice(), expected.map(|(id, payload)| (id, Bytes::from(payload))));
}

#[test]
fn a_panic_stays_on_its_side() {
    let peer = Port::new(|_| panic!("stays inside")).on_close(|| panic!("this one too")).into_peer();
    // SAFETY: the port is closed below, after the last post.
    let remote = unsafe { Remote::new(&raw const peer) }.expect("a sound peer");
    let releases = Arc::default();
    remote.post_counted(Frame::bare(Kind::Notify, 0), &releases);
    assert_eq!(releases.load(Ordering::SeqCst), 2);
    remote.close();
    // SAFETY: the context of this port, closed once.
    unsafe { close_port(peer.ctx) };
}

/// A library whose `open` fails, and ones that are no plugins.
#[test]
fn what_is_no_plugin_is_refused() {
    unsafe extern "C" fn refuse<const CODE: i32>(_: *const StelePeer, _: *mut StelePeer) -> i32 {
        CODE
    }
    unsafe extern "C" fn close(_: *mut c_void) {}
    const SOUND: SteleDescriptor = SteleDescriptor {
        magic: MAGIC,
        abi: ABI,
        flags: 0,
        size: size_of::<SteleDescriptor>(),
        name: c"broken".as_ptr(),
        version: c"1".as_ptr(),
        open: Some(refuse::<-7>),
        close: Some(close),
    };
    macro_rules! check {
        ($expected:expr, $told:literal, $field:ident: $value:expr) => {{
            static DESCRIPTOR: SteleDescriptor = SteleDescriptor { $field: $value, ..SOUND };
            unsafe extern "C" fn entry() -> *const SteleDescriptor {
                &raw const DESCRIPTOR
            }
            // SAFETY: the descriptor is a constant of this program.
            let loaded = unsafe { Descriptor::load(entry) };
            let error = loaded.and_then(|descriptor| descriptor.open(|_| {}).map(drop)).expect_err("it is no plugin");
            assert_eq!((&error, error.to_string().as_str()), (&$expected, $told));
        }};
    }
    unsafe extern "C" fn null() -> *const SteleDescriptor {
        std::ptr::null()
    }
    static LONG: [u8; 258] = {
        let mut text = [b'x'; 258];
        text[257] = 0;
        text
    };
    check!(
        AbiError::Open(-7),
        "the plugin refused to open with code -7 (which means what its author says), and 0 (`STELE_OPEN_OK`) is wanted",
        flags: 0
    );
    check!(
        AbiError::Open(OPEN_FAILED),
        "the plugin refused to open with code -2 (`STELE_OPEN_FAILED`: something failed within it, which it may have printed), \
         and 0 (`STELE_OPEN_OK`) is wanted",
        open: Some(refuse::<OPEN_FAILED>)
    );
    check!(
        AbiError::Open(OPEN_INVALID),
        "the plugin refused to open with code -1 (`STELE_OPEN_INVALID`: it cannot use what it was given), \
         and 0 (`STELE_OPEN_OK`) is wanted",
        open: Some(refuse::<OPEN_INVALID>)
    );
    check!(
        AbiError::Peer,
        "the plugin has no usable post function: its `open` returned 0 without `size` and `post` of the peer it has to fill in",
        open: Some(refuse::<0>)
    );
    check!(
        AbiError::Magic(7),
        "the descriptor begins with 0x00000007 instead of 0x4c455453: its `magic` has to be `STELE_MAGIC`",
        magic: 7
    );
    check!(
        AbiError::Version(2),
        "the plugin speaks ABI 2, this program speaks ABI 1: it has to be built with the `STELE_ABI` of this program's header",
        abi: 2
    );
    check!(
        AbiError::Size(8),
        "the descriptor has 8 bytes, ABI 1 needs 48: its `size` has to be `sizeof(stele_descriptor)`",
        size: 8
    );
    check!(
        AbiError::Text("name", TextFault::Null),
        "the descriptor has no usable name: it is null, and has to be UTF-8 of 1 to 256 bytes with a zero behind it",
        name: std::ptr::null()
    );
    check!(
        AbiError::Text("version", TextFault::Empty),
        "the descriptor has no usable version: it is empty, and has to be UTF-8 of 1 to 256 bytes with a zero behind it",
        version: c"".as_ptr()
    );
    check!(
        AbiError::Text("name", TextFault::NotUtf8),
        "the descriptor has no usable name: it is not UTF-8, and has to be UTF-8 of 1 to 256 bytes with a zero behind it",
        name: c"\xff".as_ptr()
    );
    check!(
        AbiError::Text("name", TextFault::TooLong),
        "the descriptor has no usable name: it is longer, and has to be UTF-8 of 1 to 256 bytes with a zero behind it",
        name: LONG.as_ptr().cast()
    );
    check!(
        AbiError::Missing("close"),
        "the descriptor has no `close`, but null: it has to be a function",
        close: None
    );
    // SAFETY: null says that there is no descriptor.
    let error = unsafe { Descriptor::load(null) }.expect_err("there is no descriptor");
    assert_eq!(
        (&error, error.to_string().as_str()),
        (
            &AbiError::Null,
            "the library returned no descriptor, but null: `stele_plugin_v1` has to return the address of its `stele_descriptor`"
        )
    );
}
