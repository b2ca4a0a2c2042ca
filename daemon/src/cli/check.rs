//! `steled check`

use crate::config::{Config, ConfigErrors, DEFAULT_FILE, Instance, find_plugin};
use crate::http::Tls;
use crate::lifecycle::{examine, plugin_not_found};
use anyhow::Result;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use stele_plugin_api::{ErrorCode, Mistake};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the effective configuration, secrets masked, and ask no plugin about it
    #[arg(long)]
    print: bool,
    /// Print the commented default configuration instead of checking anything
    #[arg(long, conflicts_with = "print")]
    default: bool,
}

/// Mistakes of the configuration end it (see the exit codes), all of them told at once: plugins are asked about their parts
/// also when something is wrong elsewhere. What it refers to and is not there, or not fit for use, is said, but is no reason
/// not to start: one instance that is not well stops no other.
pub async fn run(
    arguments: &Arguments,
    load: impl Fn() -> Result<Config, ConfigErrors>,
    file: Option<&Path>,
) -> Result<ExitCode> {
    if arguments.default {
        print!("{DEFAULT_FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let (config, errors) = match load() {
        Ok(config) => (config, ConfigErrors { problems: Vec::new(), rest: None }),
        Err(mut errors) => match errors.rest.take() {
            Some(rest) if !arguments.print => (*rest, errors),
            _ => return Err(errors.into()),
        },
    };
    let mut warnings = warnings(&config);
    if !arguments.print {
        let mut listens = vec![None; config.instances.len()];
        let mistakes = ask_plugins(&config, &mut warnings, &mut listens).await;
        errors.and_of_plugins(file, &config, mistakes).and_at(file, taken(&config, &listens)).none()?;
    }
    for warning in warnings {
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

/// What the plugins find wrong with the instances, and where they recommend to serve them, by index.
async fn ask_plugins(
    config: &Config,
    warnings: &mut Vec<String>,
    listens: &mut [Option<SocketAddr>],
) -> Vec<(usize, Mistake)> {
    let folders = config.plugins.folders();
    let mut mistakes = Vec::new();
    for (index, instance) in config.instances.iter().enumerate().filter(|(_, instance)| instance.enabled) {
        let Some(plugin) = find_plugin(&instance.plugin, &folders) else { continue };
        match examine(instance, config, plugin).await {
            Ok(examined) => {
                let finding = |finding| format!("instance {}: {finding}", instance.name);
                warnings.extend(examined.findings.into_iter().map(finding));
                listens[index] = examined.default_listen.and_then(|listen| listen.parse().ok());
            }
            Err(error) if !error.mistakes.is_empty() => {
                mistakes.extend(error.mistakes.into_iter().map(|mistake| (index, mistake)));
            }
            Err(error) if error.code == ErrorCode::Invalid => mistakes.push((index, Mistake::new("", error.message))),
            Err(error) => warnings.push(format!("instance {}: its plugin does not start: {error}", instance.name)),
        }
    }
    mistakes
}

/// Instances that do not say where they are served, and would be where something else is: which of them is there would be
/// chance. Those that say so are told when the configuration is read.
fn taken(config: &Config, recommended: &[Option<SocketAddr>]) -> Vec<(String, String)> {
    let is_served = |(_, instance): &(usize, &Instance)| instance.enabled;
    let instances = || config.instances.iter().enumerate().filter(is_served);
    let written = instances().filter_map(|(_, instance)| Some(((instance.listen?, &instance.prefix), &instance.name)));
    let mut taken: BTreeMap<_, _> = written.collect();
    let mut wrong = Vec::new();
    for (index, instance) in instances().filter(|(_, instance)| instance.listen.is_none()) {
        let Some(listen) = recommended[index] else { continue };
        let owner = match taken.entry((listen, &instance.prefix)) {
            _ if config.admin.enabled && config.admin.listen == listen => "admin.listen".to_owned(),
            Entry::Occupied(owner) => format!("instance {:?}", owner.get()),
            Entry::Vacant(free) => {
                free.insert(&instance.name);
                continue;
            }
        };
        let plugin = &instance.plugin;
        let message = format!(
            "{listen}, where {plugin} is served unless said otherwise, is taken by {owner}: give each its own listen, \
             or its own prefix"
        );
        wrong.push((format!("instance[{index}].listen"), message));
    }
    wrong
}

fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.instances.is_empty() {
        warnings.push("no [[instance]] is configured: there is nothing to archive".to_owned());
    }
    warnings.extend(config.search.in_clear());
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
