//! `steled serve`

use crate::config::Config;
use crate::lifecycle::{self, logging};
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

pub async fn run(config: Config, file: Option<PathBuf>) -> Result<ExitCode> {
    let filter = logging::begin(&config.log);
    let version = env!("CARGO_PKG_VERSION");
    let shown = file.as_ref().map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    tracing::info!(version, config = shown, data_dir = %config.data_dir.display(), "starting");
    if config.instances.is_empty() {
        tracing::warn!("no [[instance]] is configured: there is nothing to archive");
    }
    let source = Box::new(move || Config::load(file.as_deref()));
    lifecycle::serve(config, source, filter, |_| Ok(())).await?;
    Ok(ExitCode::SUCCESS)
}
