//! A real WuKongIM behind the instance, v2 or v3: its channels are archived (reference/wukongim.md §10), and sends are done there
//! first ([`relay`]).
//!
//! The listing of its channels is walked at every run of the sync ([`pull`]), for completeness; webhooks name channels that are
//! read at once ([`hook`], [`fresh`]), for freshness. Either way what is stored is what the upstream stored.

mod client;
mod config;
mod decode;
mod doubts;
mod fresh;
mod hook;
mod lists;
mod native;
mod notes;
mod pull;
mod reading;
mod relay;
mod streams;
mod walk;

pub use config::UpstreamConfig;

use crate::Clock;
use crate::commit::Numbering;
use crate::config::Config;
use client::Client;
use doubts::Doubts;
use fresh::Turns;
use hook::Inbox;
use std::sync::Arc;
use stele_plugin_api::Host;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{Partition, Partitions};
use tokio::sync::Semaphore;

/// An upstream.
pub struct Upstream {
    host: Host,
    clock: Clock,
    numbering: Numbering,
    client: Client,
    config: UpstreamConfig,
    /// Tells this process of the plugin from others.
    process: Micros,
    /// Whose turn it is to read a channel outside of the sync.
    turns: Turns,
    inbox: Inbox,
    /// Whose turn it is to send the same thing.
    sends: Turns,
    /// Sends whose outcome nobody knows.
    doubts: Doubts,
    /// Room for sends.
    under_way: Arc<Semaphore>,
}

impl Upstream {
    /// The upstream of an instance, if it has one. Starts the tasks that read what webhooks name; needs a runtime.
    pub fn of(config: &Config, host: &Host, clock: &Clock, numbering: &Numbering) -> Option<Arc<Self>> {
        let upstream = config.upstream.clone()?;
        let process = clock();
        let upstream = Arc::new(Self {
            client: Client::new(host.clone(), &upstream),
            host: host.clone(),
            clock: clock.clone(),
            numbering: numbering.clone(),
            config: upstream,
            process,
            turns: Turns::default(),
            inbox: Inbox::default(),
            sends: Turns::default(),
            doubts: Doubts::new(host.clone(), process),
            under_way: Arc::new(Semaphore::new(relay::MAX_UNDER_WAY)),
        });
        hook::start(&upstream);
        Some(upstream)
    }

    /// What keeps it from working, for the person who can change it.
    pub fn trouble(&self) -> Option<String> {
        self.client.trouble()
    }

    /// The one partition of all channels.
    pub fn partitions() -> Partitions {
        let key = walk::PARTITION.to_owned();
        Partitions { partitions: vec![Partition { title: key.clone(), key }] }
    }
}
