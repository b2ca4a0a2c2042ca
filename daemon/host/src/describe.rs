//! What a plugin says about itself, asked of a process of its own that is thrown away.

use crate::{
    carrier::{About, StartError},
    connection::{Connection, Loaded},
    services::{Incoming, Services},
    spec::{Carrier, InstanceSpec},
};
use std::{sync::Arc, time::Duration};
use stele_plugin_api::{
    Encoding, Error,
    abi::ABI,
    hello::Hello,
    notify::{LogRecord, MetricRecord},
    ops::Description,
    peer::Outgoing,
};

/// What such a process may take to end; it has done nothing that would be lost.
const GOODBYE: Duration = Duration::from_millis(500);

/// What a plugin says about itself.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name, as its library says it.
    pub name: String,
    /// Its version, likewise.
    pub version: String,
    /// Version of the ABI it is made for.
    pub abi: u16,
    /// How its payloads are written.
    pub encoding: Encoding,
    /// What it says once it is open; why it does not open with this configuration, or does not say what it offers.
    pub opened: Result<Opened, Error>,
}

/// What a plugin says once it is open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its answer to hello.
    pub hello: Arc<Hello>,
    /// What it offers.
    pub description: Description,
}

/// Asks the plugin of `spec`, in a process of its own whatever the carrier is, for what it says about itself. Loading, hello and the
/// answer have [`crate::Limits::start_timeout`] each.
///
/// # Errors
///
/// Why the file cannot be loaded as a plugin.
pub async fn describe(spec: &InstanceSpec) -> Result<Described, StartError> {
    let spec = InstanceSpec { carrier: Carrier::Child, ..spec.clone() };
    let loaded = Loaded::start(&spec).await?;
    let About { name, version, json } = loaded.link.about().clone();
    let encoding = if json { Encoding::Json } else { Encoding::MessagePack };
    let opened = match loaded.greet(&spec, Arc::new(Nobody)).await {
        Ok(connection) => {
            let opened = opened(&connection, spec.limits.start_timeout).await;
            connection.retire(GOODBYE).await;
            opened
        }
        Err(error) => Err(error),
    };
    Ok(Described { name, version, abi: ABI, encoding, opened })
}

async fn opened(connection: &Connection, within: Duration) -> Result<Opened, Error> {
    let hello = connection.peer.opened().await?;
    let description = connection.described(within).await?;
    Ok(Opened { hello, description })
}

/// A daemon that has nothing to offer.
pub struct Nobody;

#[async_trait::async_trait]
impl Services for Nobody {
    async fn call(&self, _: &str, call: Incoming) -> Result<Outgoing, Error> {
        Err(call.unsupported())
    }

    fn log(&self, _: &str, _: LogRecord) {}

    fn metric(&self, _: &str, _: MetricRecord) {}
}
