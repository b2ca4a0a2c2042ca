//! Asking a plugin what it is, and what it thinks of its configuration, with no archive and no listener.

use super::plugin::spec;
use crate::config::{self, Config};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stele_host::{Described, Instance, Nobody};
use stele_plugin_api::ops::{Empty, Health};
use stele_plugin_api::{Error, ErrorCode};

/// What a plugin says of an instance.
pub struct Examined {
    /// What is wrong with what the instance refers to: one sentence each.
    pub findings: Vec<String>,
    /// Where it is served unless it says so itself.
    pub default_listen: Option<String>,
}

/// Asks the plugin of an instance about it.
///
/// # Errors
///
/// Why the plugin does not start; `invalid` when it is its configuration that it refuses.
pub async fn examine(instance: &config::Instance, config: &Config, plugin: PathBuf) -> Result<Examined, Error> {
    let spec = spec(instance, config, plugin, None);
    let timeout = Duration::from_secs(config.plugins.start_timeout_seconds);
    let plugin = Instance::start(spec, Arc::new(Nobody));
    let examined = examined(&plugin, timeout).await;
    plugin.stop(Duration::from_secs(config.plugins.stop_timeout_seconds)).await;
    examined
}

async fn examined(plugin: &Instance, timeout: Duration) -> Result<Examined, Error> {
    // What the plugin said itself, not that it is unavailable.
    let description = plugin.ready(timeout).await.map_err(|error| plugin.last_error().unwrap_or(error))?;
    let findings = match plugin.call::<Health>(Empty {}, timeout).await {
        Ok(report) => report.findings,
        // A plugin need not have an opinion.
        Err(error) if error.code == ErrorCode::Unsupported => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Examined { findings, default_listen: description.default_listen })
}

/// Asks a plugin's file of this SHA-256 what it is, with the configuration of an instance or an empty one.
///
/// # Errors
///
/// Why it cannot be loaded as a plugin, in a sentence.
pub async fn describe(
    plugin: PathBuf,
    sum: &str,
    instance: Option<&config::Instance>,
    config: &Config,
) -> anyhow::Result<Described> {
    let nobody = config::Instance { name: "describe".to_owned(), ..config::Instance::default() };
    let mut spec = spec(instance.unwrap_or(&nobody), config, plugin, None);
    // Whoever asks has said which file, and is told the sum of what says these things of itself.
    (spec.file.folders, spec.file.sha256) = (None, Some(sum.to_owned()));
    Ok(stele_host::describe(&spec).await?)
}
