//! `steled plugins`

use super::table;
use crate::config::Config;
use crate::lifecycle::plugins_of;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    list(config, arguments.json)
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
