//! The listeners of instances: one per address, shared by prefixes.

use crate::config::Http;
use crate::http::{Front, Listener, Mounts, Running, Tls, TlsError};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Why an instance is not served.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The address cannot be had.
    #[error("{address} cannot be bound: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Another instance is there.
    #[error("{address}{prefix} is served by instance {owner:?}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The prefix.
        prefix: String,
        /// The other instance.
        owner: String,
    },
    /// Certificate and key are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Where an instance is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The address as bound.
    pub address: SocketAddr,
    /// The path below which it is served.
    pub prefix: String,
}

/// All listeners of instances.
pub struct Listeners {
    bounds: Http,
    sites: Mutex<BTreeMap<SocketAddr, Site>>,
}

struct Site {
    running: Running,
    mounts: Arc<Mounts>,
    tls: Option<Arc<Tls>>,
    /// Instance by prefix.
    owners: BTreeMap<String, String>,
}

impl Listeners {
    /// None yet.
    pub fn new(bounds: Http) -> Self {
        Self { bounds, sites: Mutex::default() }
    }

    /// Serves an instance.
    pub async fn mount(
        &self,
        name: &str,
        address: SocketAddr,
        prefix: &str,
        tls: Option<(PathBuf, PathBuf)>,
        front: Arc<Front>,
    ) -> Result<Mount, MountError> {
        let mut sites = self.sites.lock().await;
        // Port 0 is a new address every time.
        let address = match sites.get(&address) {
            Some(_) => address,
            None => {
                let tls = load(tls.as_ref())?;
                let bound = Listener::bind(address, tls.clone()).await;
                let listener = bound.map_err(|source| MountError::Bind { address, source })?;
                let address = listener.address();
                let mounts = Arc::new(Mounts::default());
                let running = listener.serve(Arc::clone(&mounts) as Arc<_>, &self.bounds);
                sites.insert(address, Site { running, mounts, tls, owners: BTreeMap::new() });
                address
            }
        };
        let site = sites.get_mut(&address).expect("it was found or inserted");
        if let Some(owner) = site.owners.get(prefix).filter(|owner| *owner != name) {
            return Err(MountError::Taken { address, prefix: prefix.to_owned(), owner: owner.clone() });
        }
        // Those that share an address are configured with the same files.
        if site.tls.as_deref().map(Tls::files) != tls.as_ref().map(|(cert, key)| (&**cert, &**key)) {
            site.tls = load(tls.as_ref())?;
            site.running.encrypt(site.tls.clone());
        }
        site.owners.insert(prefix.to_owned(), name.to_owned());
        site.mounts.mount(prefix, front);
        tracing::info!(instance = name, listen = %address, prefix, tls = site.tls.is_some(), "serving");
        Ok(Mount { address, prefix: prefix.to_owned() })
    }

    /// Serves it no more, unless another has taken its place. The last one on an address closes the listener: then that is
    /// returned, for its requests in flight.
    pub async fn unmount(&self, mount: &Mount, front: &Arc<Front>) -> Option<Running> {
        let mut sites = self.sites.lock().await;
        let site = sites.get_mut(&mount.address)?;
        if !site.mounts.unmount(&mount.prefix, front) {
            return None;
        }
        site.owners.remove(&mount.prefix);
        if !site.owners.is_empty() {
            return None;
        }
        let Site { running, .. } = sites.remove(&mount.address)?;
        running.close().await;
        Some(running)
    }

    /// Waits for the requests in flight on a listener that was closed, within bounds.
    pub async fn drain(&self, left: &Running) {
        left.stop(self.bounds.drain()).await;
    }

    /// Reads certificates and keys again.
    pub async fn reload_tls(&self) {
        for (address, site) in &*self.sites.lock().await {
            match site.tls.as_ref().map(|tls| tls.reload()) {
                Some(Err(error)) => tracing::error!(listen = %address, %error, "keeping the certificate in use"),
                Some(Ok(())) => tracing::info!(listen = %address, "certificate read again"),
                None => {}
            }
        }
    }

    /// Stops all of them; requests in flight get this long.
    pub async fn stop(&self, drain: Duration) {
        let sites = std::mem::take(&mut *self.sites.lock().await);
        let finished = join_all(sites.values().map(|site| site.running.stop(drain))).await;
        if finished.contains(&false) {
            tracing::warn!(seconds = drain.as_secs(), "requests in flight did not finish in time");
        }
    }
}

fn load(files: Option<&(PathBuf, PathBuf)>) -> Result<Option<Arc<Tls>>, TlsError> {
    files.map(|(cert, key)| Tls::load(cert, key).map(Arc::new)).transpose()
}
