//! `steled verify`

use crate::config::Config;
use crate::lifecycle::{Store, place, refuse_foreign};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use stele_store::LedgerReport;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Another file than the configured archive, such as a backup
    file: Option<PathBuf>,
    /// A head an earlier run printed: the archive must still begin with all that it had then
    #[arg(long, value_name = "HASH", value_parser = hash)]
    kept: Option<[u8; 32]>,
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map(|()| hash).map_err(|error| format!("a head has 64 hex digits: {error}"))
}

/// Reads the whole archive, beside a daemon that runs: nobody waits for it.
pub async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode> {
    let file = arguments.file.clone().or_else(|| Store::file(config));
    if let Some(file) = &file {
        let whole = file.canonicalize().with_context(|| format!("there is no archive {}", file.display()))?;
        refuse_foreign(whole.parent().unwrap_or(Path::new("/")))?;
    }
    let place = file.as_ref().map_or_else(|| place(config), |file| file.display().to_string());
    let store = Store::inspect(config, file.as_deref()).await?;
    let template = "{bar:40} {percent}% {human_pos} messages [{elapsed} < {eta}]";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(store.archive().stats(None).await?.messages).with_style(style);
    let mut found = arguments.kept.is_none();
    let report = store.verify_ledger(|messages, hash| {
        bar.inc(messages);
        found |= arguments.kept.as_ref() == Some(hash);
    });
    let report = report.await?;
    bar.finish_and_clear();
    let damage = store.check().await?;
    store.close().await?;
    let wrong = [wrongs(&report, found), damage].concat();
    if !wrong.is_empty() {
        bail!("{place} is not as it was written: {}", wrong.join("; "));
    }
    println!("{} pages, {} messages: all as they were written", report.pages, report.messages);
    println!("head {}", if report.head.is_empty() { "-" } else { &report.head });
    Ok(ExitCode::SUCCESS)
}

fn wrongs(report: &LedgerReport, found: bool) -> Vec<String> {
    let mut wrongs = Vec::new();
    if let Some(page) = report.broken {
        wrongs.push(format!("page {page} of {} does not match its hash", report.pages));
    }
    if report.uncovered > 0 {
        wrongs.push(format!("{} messages belong to no page", report.uncovered));
    }
    if !found {
        wrongs.push("no page leads to the head that was kept".to_owned());
    }
    wrongs
}
