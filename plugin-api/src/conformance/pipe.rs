//! An instance as the kit is given it.

use crate::abi::Descriptor;
use crate::frame::Frame;
use crate::peer::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use tokio::sync::{mpsc, oneshot};

/// Frames of an instance that wait for the kit, at most; of one that sends more meanwhile the rest is lost. A plugin that keeps the rules
/// has a few thousand on their way.
pub const MOST_WAITING: usize = 65_536;

/// An open instance, before hello.
pub struct Pipe {
    /// Sends a frame to it; never blocks.
    pub post: Box<dyn Fn(Frame) + Send + Sync>,
    /// Sends a frame and counts the releases of its payload and body; `None` when the carrier cannot tell (a child process).
    pub post_counted: Option<Box<dyn Fn(Frame) -> Arc<AtomicU32> + Send + Sync>>,
    /// The frames it sends, at most [`MOST_WAITING`].
    pub frames: mpsc::Receiver<Frame>,
    /// Closes it; says what went wrong, e.g. that it crashed.
    pub close: Box<dyn FnOnce() -> BoxFuture<Result<(), String>> + Send>,
}

/// What the thread of an instance is to do.
enum Order {
    Post(Frame),
    PostCounted(Frame, Arc<AtomicU32>),
    Close(oneshot::Sender<()>),
}

impl Pipe {
    /// Opens an instance of a library of this process, which `load` has, or loads.
    ///
    /// Whatever is done with it is done on a thread of its own: one that never returns is left alone, and neither the kit nor the
    /// end of its runtime waits for it. A pipe that is dropped closes its instance there.
    ///
    /// # Errors
    ///
    /// Why it was not loaded, or does not open.
    pub async fn in_process(
        load: impl FnOnce() -> Result<Descriptor, String> + Send + 'static,
    ) -> Result<Self, String> {
        let (sender, frames) = mpsc::channel(MOST_WAITING);
        let (orders, received) = std::sync::mpsc::channel();
        let (tell, opened) = oneshot::channel();
        let work = move || {
            let plugin = load().and_then(|descriptor| {
                // What is one too many is lost, and the kit may have what it wanted.
                let opened = descriptor.open(move |frame| drop(sender.try_send(frame)));
                opened.map_err(|error| error.to_string())
            });
            let plugin = match plugin {
                Ok(plugin) => plugin,
                Err(reason) => return drop(tell.send(Err(reason))),
            };
            // Who does not wait any more drops the orders as well.
            let _ = tell.send(Ok(()));
            for order in received {
                match order {
                    Order::Post(frame) => plugin.post(frame),
                    Order::PostCounted(frame, releases) => plugin.post_counted(frame, &releases),
                    Order::Close(closed) => {
                        plugin.close();
                        let _ = closed.send(());
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("conformance".to_owned()).spawn(work);
        thread.map_err(|error| format!("no thread can be had: {error}"))?;
        opened.await.unwrap_or_else(|_| Err("it panicked while it opened".to_owned()))?;
        // A thread that is gone has panicked, which whoever waits for it notices.
        let order = move |order| drop(orders.send(order));
        let (posting, counting, closing) = (order.clone(), order.clone(), order);
        Ok(Self {
            post: Box::new(move |frame| posting(Order::Post(frame))),
            post_counted: Some(Box::new(move |frame| {
                let releases = Arc::default();
                counting(Order::PostCounted(frame, Arc::clone(&releases)));
                releases
            })),
            frames,
            close: Box::new(move || {
                let (closed, done) = oneshot::channel();
                closing(Order::Close(closed));
                Box::pin(async move { done.await.map_err(|_| "close panicked".to_owned()) })
            }),
        })
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}
