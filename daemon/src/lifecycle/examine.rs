//! Asking a plugin what it thinks of its configuration, with no archive and no listener.

use super::plugin::spec;
use crate::config::{self, Config};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stele_host::{Incoming, Instance, Services};
use stele_plugin_api::notify::{LogRecord, MetricRecord};
use stele_plugin_api::ops::{Empty, Health};
use stele_plugin_api::{Error, ErrorCode};

/// What the plugin of an instance finds wrong with what the instance refers to: one sentence each.
///
/// # Errors
///
/// Why the plugin does not start; `invalid` when it is its configuration that it refuses.
pub async fn examine(instance: &config::Instance, config: &Config, plugin: PathBuf) -> Result<Vec<String>, Error> {
    let spec = spec(instance, config, plugin).map_err(Error::internal)?;
    let timeout = Duration::from_secs(config.plugins.start_timeout_seconds);
    let plugin = Instance::start(spec, Arc::new(Nobody));
    let findings = findings(&plugin, timeout).await;
    plugin.stop(Duration::from_secs(config.plugins.stop_timeout_seconds)).await;
    findings
}

async fn findings(plugin: &Instance, timeout: Duration) -> Result<Vec<String>, Error> {
    // What the plugin said itself, not that it is unavailable.
    plugin.ready(timeout).await.map_err(|error| plugin.last_error().unwrap_or(error))?;
    match plugin.call::<Health>(Empty {}, timeout).await {
        Ok(report) => Ok(report.findings),
        // A plugin need not have an opinion.
        Err(error) if error.code == ErrorCode::Unsupported => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A daemon that has nothing to offer.
struct Nobody;

#[async_trait]
impl Services for Nobody {
    async fn call(&self, _: &str, call: Incoming) -> Result<stele_host::Outgoing, Error> {
        Err(call.unsupported())
    }

    fn log(&self, _: &str, _: LogRecord) {}

    fn metric(&self, _: &str, _: MetricRecord) {}
}
