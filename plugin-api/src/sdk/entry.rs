//! What [`export_plugin!`](crate::export_plugin) expands to: the C functions of a plugin, and what runs behind them.

#![allow(unsafe_code)]

use super::{Host, Plugin, hook};
use crate::abi::{self, Port, Remote, SteleDescriptor, StelePeer};
use crate::codec::Encoding;
use crate::error::Error;
use crate::hello::{Config, Hello, Limits};
use crate::ops::{
    Describe, DirectoryPull, Health, HttpHandle, LiveRender, MediaFetch, Op, SyncDiscover, SyncPull, SyncRecover,
};
use crate::peer::{BoxFuture, CatchUnwind, Dispatch, Handler, Incoming, Outgoing, Peer, Setup};
use crate::session::Role;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How long `close` waits for work that blocks.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Exports a [`Plugin`] as this library's plugin: defines the one symbol `stele_plugin_v1`.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        const _: () = {
            static NAME: [u8; <$plugin as $crate::Plugin>::NAME.len() + 1] =
                $crate::entry::c_string(<$plugin as $crate::Plugin>::NAME);
            static VERSION: [u8; <$plugin as $crate::Plugin>::VERSION.len() + 1] =
                $crate::entry::c_string(<$plugin as $crate::Plugin>::VERSION);
            static DESCRIPTOR: $crate::abi::SteleDescriptor = $crate::entry::descriptor::<$plugin>(&NAME, &VERSION);

            /// The entry point of the plugin.
            #[unsafe(no_mangle)]
            pub extern "C" fn stele_plugin_v1() -> *const $crate::abi::SteleDescriptor {
                &raw const DESCRIPTOR
            }
        };
    };
}

/// `text` with a final NUL.
///
/// # Panics
///
/// When compiled: if `N` is not one more than the length, or the text contains a NUL.
pub const fn c_string<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    assert!(N == text.len() + 1, "a C string is one byte longer than its text");
    let mut out = [0; N];
    let mut at = 0;
    while at < text.len() {
        assert!(text[at] != 0, "a C string contains no NUL");
        out[at] = text[at];
        at += 1;
    }
    out
}

/// The descriptor of a plugin.
pub const fn descriptor<P: Plugin>(name: &'static [u8], version: &'static [u8]) -> SteleDescriptor {
    SteleDescriptor {
        magic: abi::MAGIC,
        abi: abi::ABI,
        flags: 0,
        size: size_of::<SteleDescriptor>(),
        name: name.as_ptr().cast::<c_char>(),
        version: version.as_ptr().cast::<c_char>(),
        open: Some(open::<P>),
        close: Some(abi::close_port),
    }
}

/// The checked descriptor of a plugin of this program. Like a library it is never unloaded: each one leaks a few bytes.
#[cfg(feature = "conformance")]
pub(crate) fn loaded<P: Plugin>() -> Result<abi::Descriptor, abi::AbiError> {
    let c_string = |text: &str| -> &'static [u8] { [text.as_bytes(), &[0][..]].concat().leak() };
    let descriptor = Box::leak(Box::new(descriptor::<P>(c_string(P::NAME), c_string(P::VERSION))));
    // SAFETY: the descriptor and its strings, which end with a NUL, are leaked and never changed.
    unsafe { abi::Descriptor::read(descriptor) }
}

/// `open` of a plugin.
unsafe extern "C" fn open<P: Plugin>(host: *const StelePeer, plugin: *mut StelePeer) -> i32 {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by the ABI every version of the structure begins with its size.
        if plugin.is_null() || unsafe { (*plugin).size } < size_of::<StelePeer>() {
            return abi::OPEN_INVALID;
        }
        // SAFETY: by the ABI the host's peer stays usable until `close` returned, which closes the remote.
        let Some(remote) = (unsafe { Remote::new(host) }) else { return abi::OPEN_INVALID };
        let Ok(port) = start::<P>(Arc::new(remote)) else { return abi::OPEN_FAILED };
        // SAFETY: the host gave us a structure that is at least as large as ours to fill in.
        unsafe { plugin.write(port.into_peer()) };
        abi::OPEN_OK
    }))
    .unwrap_or(abi::OPEN_FAILED)
}

/// Starts runtime, session and thread of an instance. It opens when the host's hello comes.
fn start<P: Plugin>(remote: Arc<Remote>) -> std::io::Result<Box<Port>> {
    let slot = hook::Slot::default();
    let runtime = runtime::<P>(slot.clone())?;
    let hello = Hello {
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        limits: Limits { max_calls: P::MAX_CALLS, ..Limits::default() },
        threads: u32::try_from(P::THREADS).unwrap_or(u32::MAX),
        ..Hello::default()
    };
    let peer = Peer::new(Setup {
        role: Role::Plugin,
        hello,
        post: {
            let remote = remote.clone();
            move |frame| remote.post(frame)
        },
        handler: Arc::new(Served::<P>::default()),
        runtime: runtime.handle().clone(),
        dispatch: if P::NONBLOCKING { Dispatch::PollFirst } else { Dispatch::Spawn },
    });
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Host::new(peer.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let emptied = slot.clone();
    let thread = std::thread::Builder::new().name(thread_name::<P>()).spawn(move || {
        hook::adopt_thread(slot);
        // An error means that the port was dropped without being closed: an end as well.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_timeout(CLOSE_WAIT);
    })?;
    let port = Port::new({
        let peer = peer.clone();
        move |frame| {
            peer.receive(frame);
        }
    });
    Ok(port.on_close(move || {
        peer.lost("the instance was closed");
        let _ = stop.send(());
        // A thread that panicked is gone as well.
        let _ = thread.join();
        remote.close();
        *emptied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }))
}

fn runtime<P: Plugin>(slot: hook::Slot) -> std::io::Result<Runtime> {
    let mut builder = if P::THREADS > 1 {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(P::THREADS);
        builder
    } else {
        Builder::new_current_thread()
    };
    builder
        .enable_time()
        .thread_name(thread_name::<P>())
        .on_thread_start(move || hook::adopt_thread(slot.clone()))
        .build()
}

fn thread_name<P: Plugin>() -> String {
    format!("plugin-{}", P::NAME)
}

/// Serves the calls of the host from a plugin.
struct Served<P>(Arc<OnceLock<Arc<P>>>);

impl<P> Default for Served<P> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<P: Plugin> Handler for Served<P> {
    fn hello(&self, peer: &Peer, hello: &Hello) {
        let (slot, peer) = (self.0.clone(), peer.clone());
        let host = Host::new(peer.clone()).greeted(hello);
        let (Config(config), texts) = (hello.config.clone(), hello.texts.clone());
        let opened = peer.clone();
        opened.spawn(async move {
            match CatchUnwind(Box::pin(open_instance::<P>(config, texts, host))).await {
                Ok(Ok(plugin)) => {
                    let _ = slot.set(Arc::new(plugin));
                    peer.accept(Encoding::MessagePack);
                }
                Ok(Err(error)) => peer.refuse(&error),
                Err(_) => peer.refuse(&Error::internal("the plugin panicked while it opened")),
            }
        });
    }

    fn call(&self, call: Incoming) -> BoxFuture<Result<Outgoing, Error>> {
        let plugin = self.0.get().cloned();
        Box::pin(async move {
            let plugin = plugin.ok_or_else(|| Error::unavailable("the instance is not open"))?;
            serve(&*plugin, call).await
        })
    }

    fn drained(&self) -> BoxFuture<()> {
        let plugin = self.0.get().cloned();
        Box::pin(async move {
            if let Some(plugin) = plugin {
                plugin.close().await;
            }
        })
    }
}

async fn open_instance<P: Plugin>(config: serde_json::Value, texts: Vec<String>, host: Host) -> Result<P, Error> {
    let config = super::config::read(config, &texts, P::mistakes)?;
    P::open(config, host).await
}

async fn serve<P: Plugin>(plugin: &P, mut call: Incoming) -> Result<Outgoing, Error> {
    /// Decodes, calls, and wraps the answer.
    macro_rules! answer {
        ($op:ty, |$request:ident| $reply:expr) => {{
            let $request = call.decode::<$op>()?;
            Ok(Outgoing::of::<$op>($reply))
        }};
    }
    match call.op.as_ref() {
        Describe::NAME => answer!(Describe, |_request| plugin.describe()),
        Health::NAME => answer!(Health, |_request| plugin.health().await?),
        SyncDiscover::NAME => answer!(SyncDiscover, |request| plugin.sync_discover(request).await?),
        SyncPull::NAME => answer!(SyncPull, |request| plugin.sync_pull(request).await?),
        SyncRecover::NAME => answer!(SyncRecover, |request| plugin.sync_recover(request).await?),
        DirectoryPull::NAME => answer!(DirectoryPull, |request| plugin.directory_pull(request).await?),
        HttpHandle::NAME => answer!(HttpHandle, |request| plugin.http_handle(request).await?),
        LiveRender::NAME => answer!(LiveRender, |request| plugin.live_render(request).await?),
        MediaFetch::NAME => {
            let sink = call.sink();
            answer!(MediaFetch, |request| plugin.media_fetch(request, sink).await?)
        }
        _ => Err(call.unsupported()),
    }
}
