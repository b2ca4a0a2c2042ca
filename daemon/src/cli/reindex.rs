//! `steled reindex`

use super::client::{self, Daemon, Reached};
use crate::config::Config;
use anyhow::{Result, bail};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::Value;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often to look how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// What is said where daemons share the index.
const ASKED: &str = "whoever feeds the index builds it anew, also when this command is interrupted";

pub async fn run(config: &Config) -> Result<ExitCode> {
    let template = "{bar:40} {percent}% {msg} [{elapsed} < {eta}]";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(0).with_style(style);
    let begun = Instant::now();
    let told = AtomicBool::new(false);
    let shown = |rev: u64, last_rev: u64, rows: u64, asked: bool| {
        if asked && !told.swap(true, Ordering::Relaxed) {
            bar.suspend(|| eprintln!("{ASKED}"));
        }
        bar.set_length(last_rev);
        bar.set_position(rev);
        bar.set_message(format!("{} messages", HumanCount(rows)));
    };
    let rows = match client::parts(config).await? {
        Reached::Daemon(daemon) => follow(&daemon, shown).await,
        Reached::Here(parts) => {
            let rebuilt = parts.reindex(|progress| {
                let (rev, last_rev) = (progress.rev.0.unsigned_abs(), progress.last_rev.0.unsigned_abs());
                shown(rev, last_rev, progress.rows, progress.asked);
            });
            let rebuilt = rebuilt.await;
            parts.close().await;
            rebuilt.map(|progress| progress.rows).map_err(Into::into)
        }
    };
    bar.finish_and_clear();
    println!("indexed {} messages in {:.1} s", rows?, begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

async fn follow(daemon: &Daemon, shown: impl Fn(u64, u64, u64, bool)) -> Result<u64> {
    daemon.post("/index/rebuild").await?;
    loop {
        let state = daemon.get("/index").await?;
        let rebuild = &state["rebuild"];
        let number = |key: &str| rebuild["progress"][key].as_u64().unwrap_or(0);
        shown(number("rev"), number("last_rev"), number("rows"), rebuild["progress"]["asked"] == true);
        match (&rebuild["error"], &rebuild["running"]) {
            (Value::String(error), _) => bail!("{error}"),
            (_, Value::Bool(false)) => return Ok(number("rows")),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
