//! `steled plugins check`

use crate::lifecycle::OWN_PROGRAM;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use stele_host::Carrier;
use stele_plugin_api::Encoding;
use stele_plugin_api::conformance::{Subject, run_each};
use tokio::process::Command;
use tokio::time::timeout;

/// Far more than the kit takes that any plugin passes: what is not over then hangs in the plugin beyond what the kit sees.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How the process that has the plugin within itself ends when the checks are over. Nobody exits so by chance, and the plugin might exit.
const KEPT: u8 = 200;
/// The same, where a rule is broken.
const BROKEN: u8 = 201;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of a plugin, or path of its file
    pub plugin: String,
    /// Give the plugin the configuration of this instance [default: an empty one]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Over this carrier alone [default: over both]
    #[arg(long)]
    carrier: Option<Over>,
    /// In this encoding alone [default: in each it takes]
    #[arg(long)]
    encoding: Option<Spoken>,
    /// Time for each answer, for opening and for closing
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Over the in-process carrier, in this very process
    #[arg(long, hide = true)]
    here: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Over {
    Child,
    InProcess,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Spoken {
    #[value(name = "messagepack")]
    MessagePack,
    Json,
}

/// Makes every check on the plugin in this file, and prints what was found. `config` and `texts` are what it opens with.
pub async fn run(arguments: &Arguments, path: &Path, config: &Value, texts: &[String]) -> Result<ExitCode> {
    let subject = |carrier| {
        let subject = stele_host::subject(path, carrier, Path::new(OWN_PROGRAM));
        let subject = subject.with_config(config.clone()).with_texts(texts.to_vec());
        let subject = subject.with_timeout(Duration::from_secs(arguments.timeout));
        match arguments.encoding {
            Some(Spoken::MessagePack) => subject.speaking(Encoding::MessagePack),
            Some(Spoken::Json) => subject.speaking(Encoding::Json),
            None => subject,
        }
    };
    if arguments.here {
        let kept = check(Carrier::InProcess, &subject(Carrier::InProcess)).await;
        return Ok(ExitCode::from(if kept { KEPT } else { BROKEN }));
    }
    let wanted = |carrier| arguments.carrier.is_none_or(|only| only == carrier);
    let mut kept = true;
    if wanted(Over::Child) {
        kept &= check(Carrier::Child, &subject(Carrier::Child)).await;
    }
    if wanted(Over::InProcess) {
        kept &= check_apart().await?;
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(carrier: Carrier, subject: &Subject) -> bool {
    let mut kept = true;
    for run in run_each(subject).await {
        print!("{carrier}, {run}");
        kept &= run.report.passed();
    }
    kept
}

/// Has this program make the checks over the in-process carrier once more as another process, since the plugin may take it down.
async fn check_apart() -> Result<bool> {
    let mut again = Command::new(OWN_PROGRAM);
    again.args(std::env::args_os().skip(1)).arg("--here").stdin(Stdio::null()).kill_on_drop(true);
    let Ok(status) = timeout(PATIENCE, again.status()).await else {
        println!("FAIL {}: the process that has loaded the plugin does not end", Carrier::InProcess);
        return Ok(false);
    };
    let status = status.context("this program cannot be run once more")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    if !matches!(code, Some(KEPT | BROKEN)) {
        println!("FAIL {}: the plugin ended the process that had loaded it ({status})", Carrier::InProcess);
    }
    Ok(code == Some(KEPT))
}
