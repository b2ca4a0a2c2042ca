//! The in-process carrier: the plugin's functions are called directly.
//!
//! No bytes are copied and no process is in between, and no process protects the daemon: a plugin that crashes takes the
//! daemon with it, and one that hangs cannot be killed, only left alone. For trusted plugins on a hot path.

use crate::{
    carrier::{About, Deliver, Exit, Link, StartError},
    loader::{self, LoadError},
    spec::InstanceSpec,
};
use std::{sync::Arc, time::Duration};
use stele_plugin_api::{
    abi::OpenPlugin,
    frame::{Decoded, Frame},
};
use tokio::{sync::watch, time::timeout};

/// A plugin in this process.
pub(crate) struct InProcessLink {
    plugin: Arc<OpenPlugin>,
    about: About,
    exit: watch::Sender<Option<Exit>>,
}

impl InProcessLink {
    /// Loads the plugin and opens an instance. Frames come to `deliver` on the plugin's threads.
    pub(crate) async fn start(spec: &InstanceSpec, deliver: Deliver) -> Result<Arc<Self>, StartError> {
        let (path, rules) = (spec.plugin.clone(), spec.file.clone());
        // Constructors of a library and `open` may take their time.
        let opened = tokio::task::spawn_blocking(move || {
            let descriptor = loader::load(&path, &rules)?;
            let plugin = descriptor.open(move |frame| {
                // On a thread of the plugin's own: one that floods is kept busy by that itself.
                deliver(Decoded::Frame(frame));
            });
            let plugin = plugin.map_err(|reason| LoadError::at(&path, reason))?;
            Ok::<_, LoadError>((Arc::new(plugin), About::from(&descriptor)))
        });
        let (plugin, about) = opened.await.map_err(|error| StartError::Lost(error.to_string()))??;
        Ok(Arc::new(Self { plugin, about, exit: watch::Sender::new(None) }))
    }

    /// Closes the plugin on a thread of its own, because it may block for ever.
    fn close(&self) {
        let (plugin, exit) = (self.plugin.clone(), self.exit.clone());
        let closed = std::thread::Builder::new().name("plugin-close".into()).spawn(move || {
            plugin.close();
            exit.send_replace(Some(Exit::Closed));
        });
        if let Err(error) = closed {
            self.exit.send_replace(Some(Exit::Unknown(error.to_string())));
        }
    }
}

#[async_trait::async_trait]
impl Link for InProcessLink {
    fn send(&self, frame: Frame) {
        self.plugin.post(frame);
    }

    async fn room(&self) {
        // What is sent is the plugin's at once.
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn about(&self) -> &About {
        &self.about
    }

    async fn ended(&self) -> Exit {
        match self.exit.subscribe().wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Closed),
            Err(_) => Exit::Closed,
        }
    }

    async fn end(&self, grace: Duration) -> Exit {
        self.close();
        timeout(grace, self.ended()).await.unwrap_or(Exit::NotClosed { ended: false })
    }

    fn kill(&self) {
        self.close();
    }
}

impl Drop for InProcessLink {
    fn drop(&mut self) {
        // The last reference may be dropped on one of the plugin's own threads, which `close` waits for.
        self.close();
    }
}
