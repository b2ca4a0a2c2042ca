//! The face for people: commands, their output and their exit codes.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed; standard error says why |
//! | 2 | the command line is wrong |
//! | 78 | the configuration is wrong (`EX_CONFIG`); every mistake is listed with its place |
//!
//! Commands about the archive ask the running daemon when there is one (it holds the data folder and wrote down where its
//! own API listens), and do the work themselves when there is none.

mod check;
mod client;
mod conformance;
mod demo;
mod describe;
mod jobs;
mod migrate;
mod plugins;
mod reindex;
mod serve;
mod sync;
mod table;
mod verify;

use crate::config::{Config, ConfigErrors};
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Read when nothing else is said and it is there.
const DEFAULT_CONFIG: &str = "/etc/stele/steled.toml";
/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// One daemon that archives every chat system a company runs, keeps the archive searchable, and answers each system's own
/// HTTP API.
#[derive(Debug, Parser)]
#[command(name = "steled", version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file [default: /etc/stele/steled.toml when it is there]
    #[arg(short, long, global = true, env = "STELE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (the default)
    Serve,
    /// Check the configuration, and what it refers to
    Check(check::Arguments),
    /// Try it: archive a generated company, and serve it
    Demo(demo::Arguments),
    /// Fetch new messages of an instance now
    Sync(sync::Arguments),
    /// Show jobs and their latest runs
    Jobs(jobs::Arguments),
    /// Show plugins and the instances that use them; describe, check or reload one
    Plugins(plugins::Arguments),
    /// Build the search index anew
    Reindex,
    /// Prove that the archive is as it was written
    Verify(verify::Arguments),
    /// Move the archive from its file into a Postgres
    Migrate(migrate::Arguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Hold a plugin: how the daemon starts them
    #[command(hide = true)]
    PluginHost,
    /// End what plugins have started when the daemon is gone
    #[command(hide = true)]
    PluginKeeper,
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before anything else: this process belongs to a plugin, or to all of them.
    match cli.command {
        Some(Command::PluginHost) => return stele_host::plugin_host_main(),
        Some(Command::PluginKeeper) => return stele_host::plugin_keeper_main(),
        _ => {}
    }
    if let Some(Command::Completions { shell }) = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "steled", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let ended = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    match ended.and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<ConfigErrors>() {
            Some(errors) => {
                eprintln!("{errors}");
                ExitCode::from(EXIT_CONFIG)
            }
            None => {
                eprintln!("error: {}", told(&error));
                ExitCode::FAILURE
            }
        },
    }
}

/// An error and its causes, each once: some sentences hold that of their cause already.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let file = cli.config.or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.is_file()));
    let load = || Config::load(file.as_deref());
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(load()?, file).await,
        Command::Check(arguments) => check::run(&arguments, load, file.as_deref()).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Sync(arguments) => sync::run(&arguments, load()?).await,
        Command::Jobs(arguments) => jobs::run(&arguments, &load()?).await,
        Command::Plugins(arguments) => plugins::run(&arguments, &load()?).await,
        Command::Reindex => reindex::run(&load()?).await,
        Command::Verify(arguments) => verify::run(&arguments, &load()?).await,
        Command::Migrate(arguments) => migrate::run(&arguments, &load()?).await,
        Command::Completions { .. } | Command::PluginHost | Command::PluginKeeper => {
            unreachable!("handled before there is a runtime")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("it cannot be opened: {source}")]
        struct Holding {
            source: std::io::Error,
        }
        let cause = || std::io::Error::other("the disk is gone");
        let check = |error: anyhow::Error, expected: &str| assert_eq!(told(&error), expected);
        check(Holding { source: cause() }.into(), "it cannot be opened: the disk is gone");
        check(anyhow::Error::new(cause()).context("no archive"), "no archive: the disk is gone");
    }
}
