//! `steled check`

use crate::config::{Config, ConfigErrors, DEFAULT_FILE, find_plugin};
use crate::http::Tls;
use crate::lifecycle::plugin_not_found;
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the effective configuration, secrets masked
    #[arg(long)]
    print: bool,
    /// Print the commented default configuration instead of checking anything
    #[arg(long, conflicts_with = "print")]
    default: bool,
}

/// Mistakes of the configuration end it (see the exit codes). What it refers to and is not there is said, but is no reason
/// not to start: one instance that is not well stops no other.
pub fn run(
    arguments: &Arguments,
    load: impl Fn() -> Result<Config, ConfigErrors>,
    file: Option<&Path>,
) -> Result<ExitCode> {
    if arguments.default {
        print!("{DEFAULT_FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let config = load()?;
    for warning in warnings(&config) {
        eprintln!("warning: {warning}");
    }
    match arguments.print {
        true => print!("{}", config.to_toml()),
        false => {
            let shown = file.map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
            let instances = match config.instances.len() {
                1 => "1 instance".to_owned(),
                count => format!("{count} instances"),
            };
            println!("{shown}: ok, {instances}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.instances.is_empty() {
        warnings.push("no [[instance]] is configured: there is nothing to archive".to_owned());
    }
    let folders = config.plugins.folders();
    for instance in config.instances.iter().filter(|instance| instance.enabled) {
        let name = &instance.name;
        if find_plugin(&instance.plugin, &folders).is_none() {
            warnings.push(format!("instance {name}: {}", plugin_not_found(&instance.plugin, &folders)));
        }
        if let Some(Err(error)) = instance.tls_files().map(|(cert, key)| Tls::load(cert, key)) {
            warnings.push(format!("instance {name}: {error}"));
        }
    }
    warnings
}
