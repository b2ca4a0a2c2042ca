//! `steled plugins`

use super::{client, conformance, describe, table};
use crate::config::{Config, Instance, find_plugin};
use crate::lifecycle::{plugin_not_found, plugins_of};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the conformance kit against a plugin
    Check(conformance::Arguments),
    /// Ask a plugin what it is, in a process of its own that is thrown away
    Describe {
        /// Name of a plugin, or path of its file
        plugin: String,
        /// Give the plugin the configuration of this instance [default: an empty one]
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the running daemon start a plugin anew, from its file as it is now; no request fails meanwhile
    Reload {
        /// Name of an instance, or of a plugin: then all instances of it
        name: String,
    },
}

pub async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode> {
    match &arguments.command {
        None => Ok(list(config, arguments.json)),
        Some(Command::Check(arguments)) => check(config, arguments).await,
        Some(Command::Describe { plugin, instance, json }) => {
            let (path, instance) = (file_of(config, plugin)?, named(config, instance.as_deref())?);
            describe::run(config, &path, instance, *json).await
        }
        Some(Command::Reload { name }) => reload(config, name).await,
    }
}

fn file_of(config: &Config, plugin: &str) -> Result<PathBuf> {
    let folders = config.plugins.folders();
    find_plugin(plugin, &folders).with_context(|| plugin_not_found(plugin, &folders))
}

fn named<'c>(config: &'c Config, name: Option<&str>) -> Result<Option<&'c Instance>> {
    let Some(name) = name else { return Ok(None) };
    let found = config.instances.iter().find(|instance| instance.name == name);
    found.map(Some).with_context(|| format!("there is no instance {name:?}"))
}

async fn check(config: &Config, arguments: &conformance::Arguments) -> Result<ExitCode> {
    let path = file_of(config, &arguments.plugin)?;
    let (settings, texts) = match named(config, arguments.instance.as_deref())? {
        None => (serde_json::json!({}), Vec::new()),
        Some(instance) => (instance.config.value().clone(), instance.config.texts()),
    };
    conformance::run(arguments, &path, &settings, &texts).await
}

async fn reload(config: &Config, name: &str) -> Result<ExitCode> {
    let answer = client::daemon(config)?.reload_plugins(name, config).await?;
    for reload in answer["reloaded"].as_array().into_iter().flatten() {
        let [instance, version, pid] = ["instance", "version", "pid"].map(|key| table::text(&reload[key]));
        println!("{instance}: started anew, version {version}, process {pid}");
    }
    Ok(ExitCode::SUCCESS)
}

fn list(config: &Config, json: bool) -> ExitCode {
    let plugins = plugins_of(config);
    if json {
        println!("{}", serde_json::json!({ "plugins": plugins }));
        return ExitCode::SUCCESS;
    }
    if plugins.is_empty() {
        let folders: Vec<String> = config.plugins.folders().iter().map(|folder| folder.display().to_string()).collect();
        println!("no plugins in {}", folders.join(", "));
        return ExitCode::SUCCESS;
    }
    let rows: Vec<Vec<String>> = plugins
        .into_iter()
        .map(|plugin| {
            let path = plugin.path.map_or_else(|| "not found".to_owned(), |path| path.display().to_string());
            let instances = if plugin.instances.is_empty() { "-".to_owned() } else { plugin.instances.join(",") };
            vec![plugin.name, instances, path]
        })
        .collect();
    print!("{}", table::render(&["PLUGIN", "INSTANCES", "FILE"], &rows));
    ExitCode::SUCCESS
}
