//! The listeners of instances: one per address, shared by prefixes.

use crate::config::{Config, Http, Instance};
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
    /// Another instance is there, and has another certificate or none.
    #[error("{address} is shared with instance {owner:?}, whose tls differs")]
    OtherTls {
        /// The address.
        address: SocketAddr,
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

    /// Serves an instance of this configuration.
    pub async fn mount(
        &self,
        config: &Config,
        instance: &Instance,
        address: SocketAddr,
        front: Arc<Front>,
    ) -> Result<Mount, MountError> {
        let (name, prefix, tls) = (&instance.name, &instance.prefix, instance.tls_files());
        let mut sites = self.sites.lock().await;
        // Port 0 is a new address every time.
        let address = match sites.get(&address) {
            Some(_) => address,
            None => {
                let tls = load(tls)?;
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
            return Err(MountError::Taken { address, prefix: prefix.clone(), owner: owner.clone() });
        }
        if site.tls.as_deref().map(Tls::files) != tls.map(|(cert, key)| (&**cert, &**key)) {
            // An address that a plugin recommends is only known now. Nobody is served in plain text who wants none.
            let others = config.instances.iter().filter(|other| site.owners.values().any(|owner| *owner == other.name));
            if let Some(other) = others.filter(|other| other.name != *name).find(|other| other.tls_files() != tls) {
                return Err(MountError::OtherTls { address, owner: other.name.clone() });
            }
            site.tls = load(tls)?;
            site.running.encrypt(site.tls.clone());
        }
        site.owners.insert(prefix.clone(), name.clone());
        site.mounts.mount(prefix, front);
        tracing::info!(instance = name, listen = %address, prefix, tls = site.tls.is_some(), "serving");
        Ok(Mount { address, prefix: prefix.clone() })
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

fn load(files: Option<(&PathBuf, &PathBuf)>) -> Result<Option<Arc<Tls>>, TlsError> {
    files.map(|(cert, key)| Tls::load(cert, key).map(Arc::new)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;
    use crate::http::{Backend, Bounds};
    use async_trait::async_trait;
    use axum::Router;
    use stele_plugin_api::Error;
    use stele_plugin_api::ops::{HttpReply, HttpRequest};

    struct Empty;

    #[async_trait]
    impl Backend for Empty {
        async fn handle(&self, _: HttpRequest, _: Duration) -> Result<HttpReply, Error> {
            Ok(HttpReply::default())
        }
    }

    fn front(config: &Config, name: &str) -> Arc<Front> {
        Arc::new(Front::new(name, Arc::new(Empty), Router::new(), Bounds::from(&config.http)))
    }

    /// Instances `plain` and `secret`, at addresses their plugins recommend.
    fn config(folder: &std::path::Path, tls: [bool; 2]) -> Config {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("the folder is writable");
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("the folder is writable");
        let mut text = format!("data_dir = {folder:?}\n");
        for (name, tls) in ["plain", "secret"].into_iter().zip(tls) {
            text += &format!("[[instance]]\nname = \"{name}\"\nplugin = \"wecom\"\nprefix = \"/{name}\"\n");
            if tls {
                text += &format!("tls = {{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}\n", folder.display());
            }
        }
        let read_file = Box::new(|_: &std::path::Path| Err(io::Error::other("there is none")));
        let surroundings = Surroundings { variables: BTreeMap::new(), read_file };
        Config::parse(None, &text, &surroundings).expect("a right configuration")
    }

    #[tokio::test]
    async fn nobody_is_served_in_plain_text_who_wants_tls() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let mixed = config(folder.path(), [false, true]);
        for first in [0, 1] {
            let listeners = Listeners::new(mixed.http.clone());
            let (one, other) = (&mixed.instances[first], &mixed.instances[1 - first]);
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let mount = listeners.mount(&mixed, one, any, front(&mixed, &one.name)).await.expect("it is the first");
            let refused = listeners.mount(&mixed, other, mount.address, front(&mixed, &other.name)).await;
            assert!(matches!(refused, Err(MountError::OtherTls { owner, .. }) if owner == one.name));

            // A reload that makes them agree changes the listener once.
            for tls in [[true; 2], [false; 2]] {
                let agreed = config(folder.path(), tls);
                for instance in &agreed.instances {
                    let front = front(&agreed, &instance.name);
                    listeners.mount(&agreed, instance, mount.address, front).await.expect("they agree");
                }
            }
            listeners.stop(Duration::ZERO).await;
        }
    }
}
