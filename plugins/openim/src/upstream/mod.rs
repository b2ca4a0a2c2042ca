//! A real OpenIM behind the instance, 3.8.0 or later: its conversations are archived (reference/openim.md §7), and what is sent here
//! is done there ([`relay`]).
//!
//! Its groups, and what every person has, are walked at every run of the sync ([`pull`]), for completeness; webhooks name
//! conversations that are read at once ([`hook`], [`fresh`]), for freshness. Either way what is stored is what the upstream stored.

mod client;
mod directory;
mod entry;
mod fresh;
mod hook;
mod listing;
mod lists;
mod notes;
mod owed;
mod pull;
mod readers;
mod reading;
mod relay;
mod revokes;
mod sightings;
mod token;
mod walk;

use crate::Clock;
use crate::config::{self, Config};
use client::Client;
use fresh::Turns;
pub use hook::HOOK;
use hook::Inbox;
use listing::Listed;
pub use relay::RELAYED;
use sightings::Sightings;
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::Micros;
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{Partition, Partitions};
use stele_plugin_api::{Error, Host};

/// An upstream.
pub struct Upstream {
    host: Host,
    client: Client,
    config: config::Upstream,
    /// Those of the instance, and that of the upstream.
    admins: Vec<String>,
    /// Tells this process of the plugin from others.
    process: Micros,
    sightings: Sightings,
    listed: Listed,
    /// Whose turn it is to read a conversation outside of the sync.
    turns: Turns,
    inbox: Inbox,
}

impl Upstream {
    /// The upstream of an instance, if it has one. Starts the tasks that read what webhooks name; needs a runtime.
    pub fn of(config: &Config, host: &Host, clock: &Clock) -> Option<Arc<Self>> {
        let upstream = config.upstream.clone()?;
        let client = Client::new(host.clone(), config, &upstream, clock);
        let mut admins = config.admins.clone();
        admins.push(client.admin().to_owned());
        admins.sort();
        admins.dedup();
        let upstream = Arc::new(Self {
            client,
            host: host.clone(),
            admins,
            process: clock(),
            sightings: Sightings::new(Duration::from_secs(u64::from(upstream.grace_seconds))),
            listed: Listed::default(),
            turns: Turns::default(),
            inbox: Inbox::default(),
            config: upstream,
        });
        hook::start(&upstream);
        Some(upstream)
    }

    /// What keeps it from working, for the person who can change it.
    pub fn trouble(&self) -> Option<String> {
        self.client.trouble()
    }

    /// The one partition of all conversations.
    pub fn partitions() -> Partitions {
        let key = walk::PARTITION.to_owned();
        Partitions { partitions: vec![Partition { title: key.clone(), key }] }
    }

    fn warn(&self, what: &str, error: &Error) {
        self.host.log_from("upstream", Level::Warn, what, &[("error", &error.to_string())]);
    }
}
