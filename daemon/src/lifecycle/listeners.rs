//! The listeners of instances: one per address, shared by prefixes.
//!
//! Who is configured at a place comes before who is only still served there: an instance keeps its old place until it has the
//! new one, and gives way when another needs it.

use crate::config::{Http, Instance};
use crate::http::{Front, Listener, Mounts, Running, Tls, TlsError};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

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
    #[error("{address}{prefix} is served by instance {owner:?}: give each its own listen, or its own prefix")]
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
    /// The instances as they run or are to run.
    instances: RwLock<Arc<[Instance]>>,
    sites: Mutex<BTreeMap<SocketAddr, Site>>,
    /// Listeners that are closed and have requests to finish.
    draining: TaskTracker,
}

struct Site {
    running: Running,
    mounts: Arc<Mounts>,
    tls: Option<Arc<Tls>>,
    /// By prefix.
    places: BTreeMap<String, Place>,
}

struct Place {
    owner: String,
    front: Arc<Front>,
}

impl Listeners {
    /// None yet.
    pub fn new(bounds: Http) -> Self {
        let instances = RwLock::new(Arc::from([]));
        Self { bounds, instances, sites: Mutex::default(), draining: TaskTracker::new() }
    }

    /// From now on these are the instances, wherever each is still served.
    pub fn configure(&self, instances: Vec<Instance>) {
        *self.instances.write().expect("no panic happens while they are locked") = instances.into();
    }

    /// Serves an instance, in the place of itself and of those that are to be served elsewhere.
    pub async fn mount(
        &self,
        instance: &Instance,
        address: SocketAddr,
        front: Arc<Front>,
    ) -> Result<Mount, MountError> {
        let (name, prefix, tls) = (&instance.name, &instance.prefix, instance.tls_files());
        let mut sites = self.sites.lock().await;
        let instances = self.instances();
        // Port 0 is a new address every time.
        let address = match sites.get(&address) {
            Some(_) => address,
            None => self.open(&mut sites, address, load(tls)?).await?,
        };
        let site = sites.get_mut(&address).expect("it was found or opened");
        if let Some(Place { owner, .. }) = site.places.get(prefix).filter(|place| place.owner != *name)
            && instances.iter().any(|other| other.name == *owner && other.prefix == *prefix && belongs(other, address))
        {
            return Err(MountError::Taken { address, prefix: prefix.clone(), owner: owner.clone() });
        }
        if site.tls.as_deref().map(Tls::files) != tls.map(|(cert, key)| (&**cert, &**key)) {
            // An address that a plugin recommends is only known now. Nobody is served in plain text who wants none.
            let is_here = |other: &&Instance| site.places.values().any(|place| place.owner == other.name);
            let others = instances.iter().filter(|other| other.name != *name && other.tls_files() != tls);
            let others: Vec<&Instance> = others.filter(is_here).collect();
            if let Some(other) = others.iter().find(|other| belongs(other, address)) {
                return Err(MountError::OtherTls { address, owner: other.name.clone() });
            }
            site.tls = load(tls)?;
            site.places.retain(|prefix, place| {
                let gives_way = others.iter().any(|other| other.name == place.owner);
                !gives_way || !site.mounts.unmount(prefix, &place.front)
            });
            site.running.encrypt(site.tls.clone());
        }
        site.places.insert(prefix.clone(), Place { owner: name.clone(), front: Arc::clone(&front) });
        site.mounts.mount(prefix, front);
        tracing::info!(instance = name, listen = %address, prefix, tls = site.tls.is_some(), "serving");
        Ok(Mount { address, prefix: prefix.clone() })
    }

    /// Opens a listener; returns its address as bound.
    async fn open(
        &self,
        sites: &mut BTreeMap<SocketAddr, Site>,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
    ) -> Result<SocketAddr, MountError> {
        let mut bound = Listener::bind(address, tls.clone()).await;
        if bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
            && let Some(in_the_way) = self.in_the_way(sites, address)
            && let Some(site) = sites.remove(&in_the_way)
        {
            self.close(site).await;
            bound = Listener::bind(address, tls.clone()).await;
        }
        let listener = bound.map_err(|source| MountError::Bind { address, source })?;
        let address = listener.address();
        let mounts = Arc::new(Mounts::default());
        let running = listener.serve(Arc::clone(&mounts) as Arc<_>, &self.bounds);
        sites.insert(address, Site { running, mounts, tls, places: BTreeMap::new() });
        Ok(address)
    }

    /// A listener that keeps this address from being bound, although nobody is to be served there any more: it has the same
    /// port, and one of the two is for every address of the machine.
    fn in_the_way(&self, sites: &BTreeMap<SocketAddr, Site>, address: SocketAddr) -> Option<SocketAddr> {
        let instances = self.instances();
        let is_left = |there: SocketAddr, site: &Site| {
            let mut owners = instances.iter().filter(|one| site.places.values().any(|place| place.owner == one.name));
            !owners.any(|owner| belongs(owner, there))
        };
        let overlaps = |there: &SocketAddr| {
            there.port() == address.port() && (there.ip().is_unspecified() || address.ip().is_unspecified())
        };
        sites.iter().find(|(there, site)| overlaps(there) && is_left(**there, site)).map(|(there, _)| *there)
    }

    /// Serves it no more, unless another has taken its place. The last one on an address closes the listener, and the address
    /// is free when this returns: then what is returned ends when its requests in flight have.
    pub async fn unmount(&self, mount: &Mount, front: &Arc<Front>) -> Option<JoinHandle<()>> {
        let mut sites = self.sites.lock().await;
        let site = sites.get_mut(&mount.address)?;
        if !site.mounts.unmount(&mount.prefix, front) {
            return None;
        }
        site.places.remove(&mount.prefix);
        if !site.places.is_empty() {
            return None;
        }
        let site = sites.remove(&mount.address)?;
        Some(self.close(site).await)
    }

    /// Frees the address of a listener; its requests in flight finish within bounds meanwhile.
    async fn close(&self, Site { running, .. }: Site) -> JoinHandle<()> {
        let (running, drain) = (Arc::new(running), self.bounds.drain());
        let draining = Arc::clone(&running);
        let draining = self.draining.spawn(async move { _ = draining.stop(drain).await });
        running.close().await;
        draining
    }

    fn instances(&self) -> Arc<[Instance]> {
        Arc::clone(&self.instances.read().expect("no panic happens while they are locked"))
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
        self.draining.close();
        let stopped = join_all(sites.values().map(|site| site.running.stop(drain)));
        let (finished, ()) = tokio::join!(stopped, self.draining.wait());
        if finished.contains(&false) {
            tracing::warn!(seconds = drain.as_secs(), "requests in flight did not finish in time");
        }
    }
}

/// Whether an instance is to be served at this address, or may be: what its plugin recommends is not known here.
fn belongs(instance: &Instance, address: SocketAddr) -> bool {
    instance.listen.is_none_or(|listen| listen == address || (listen.port() == 0 && listen.ip() == address.ip()))
}

fn load(files: Option<(&PathBuf, &PathBuf)>) -> Result<Option<Arc<Tls>>, TlsError> {
    files.map(|(cert, key)| Tls::load(cert, key).map(Arc::new)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Surroundings};
    use crate::http::{Backend, Bounds};
    use async_trait::async_trait;
    use axum::Router;
    use stele_plugin_api::Error;
    use stele_plugin_api::ops::{HttpReply, HttpRequest};

    struct Empty;

    #[async_trait]
    impl Backend for Empty {
        fn name(&self) -> String {
            "empty".into()
        }

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
            listeners.configure(mixed.instances.clone());
            let (one, other) = (&mixed.instances[first], &mixed.instances[1 - first]);
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let mount = listeners.mount(one, any, front(&mixed, &one.name)).await.expect("it is the first");
            let refused = listeners.mount(other, mount.address, front(&mixed, &other.name)).await;
            assert!(matches!(refused, Err(MountError::OtherTls { owner, .. }) if owner == one.name));

            // A reload that makes them agree changes the listener once.
            for tls in [[true; 2], [false; 2], [true; 2]] {
                let agreed = config(folder.path(), tls);
                listeners.configure(agreed.instances.clone());
                for instance in &agreed.instances {
                    let front = front(&agreed, &instance.name);
                    listeners.mount(instance, mount.address, front).await.expect("they agree");
                }
            }
            // One that goes on trying as it was configured before.
            let (plain, secret) = (&mixed.instances[0], &mixed.instances[1]);
            let refused = listeners.mount(plain, mount.address, front(&mixed, &plain.name)).await;
            assert!(matches!(refused, Err(MountError::OtherTls { owner, .. }) if owner == secret.name));
            listeners.stop(Duration::ZERO).await;
        }
    }

    /// Instances `plain` and `secret` at these addresses.
    fn placed(folder: &std::path::Path, addresses: [SocketAddr; 2]) -> Config {
        let mut config = config(folder, [false; 2]);
        for (instance, address) in config.instances.iter_mut().zip(addresses) {
            (instance.listen, instance.prefix) = (Some(address), String::new());
        }
        config
    }

    fn free() -> SocketAddr {
        let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        bound.expect("there are free ports")
    }

    #[tokio::test]
    async fn who_is_configured_at_an_address_gets_it_from_who_moves() {
        let folder = tempfile::tempdir().expect("a folder");
        let (here, there) = (free(), free());
        let listeners = Listeners::new(placed(folder.path(), [here, there]).http);
        let mut before: Vec<(Mount, Arc<Front>)> = Vec::new();
        for addresses in [[here, there], [there, here]] {
            let config = placed(folder.path(), addresses);
            listeners.configure(config.instances.clone());
            let mut now = Vec::new();
            for (instance, address) in config.instances.iter().zip(addresses) {
                let front = front(&config, &instance.name);
                let mount = listeners.mount(instance, address, Arc::clone(&front)).await.expect("it belongs there");
                now.push((mount, front));
            }
            for (mount, front) in std::mem::replace(&mut before, now) {
                assert!(listeners.unmount(&mount, &front).await.is_none(), "another is there now");
            }
        }
        // Who goes on as before is not driven out.
        let config = placed(folder.path(), [here, here]);
        let refused = listeners.mount(&config.instances[0], here, front(&config, "plain")).await;
        assert!(matches!(refused, Err(MountError::Taken { owner, .. }) if owner == "secret"));
        listeners.stop(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_port_is_had_for_one_address_instead_of_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = free();
        let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
        let listeners = Listeners::new(placed(folder.path(), [one, all]).http);
        for address in [one, all, one] {
            let config = placed(folder.path(), [address, free()]);
            listeners.configure(config.instances.clone());
            let mounted = listeners.mount(&config.instances[0], address, front(&config, "plain")).await;
            assert_eq!(mounted.expect("it gives way to itself").address, address);
        }
        listeners.stop(Duration::ZERO).await;
    }
}
