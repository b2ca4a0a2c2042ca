//! `steled sync`

use super::client::JobPort;
use super::table;
use crate::config::Config;
use crate::jobs::SYNC;
use anyhow::Result;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often to look how far it is.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the instance
    name: String,
    /// Only this partition, e.g. a corp
    #[arg(long)]
    partition: Option<String>,
    /// Another kind of job: directory, media or recover
    #[arg(long, default_value = SYNC)]
    kind: String,
}

pub async fn run(arguments: &Arguments, config: Config) -> Result<ExitCode> {
    let port = JobPort::open(config).await?;
    let bar = ProgressBar::new_spinner().with_style(style());
    bar.enable_steady_tick(Duration::from_millis(120));
    let begun = Instant::now();
    let followed = follow(&port, &arguments.name, &arguments.kind, arguments.partition.as_deref(), |stored| {
        let rate = stored as f64 / begun.elapsed().as_secs_f64();
        bar.set_message(format!("{} stored, {}/s", HumanCount(stored), HumanCount(rate as u64)));
    })
    .await;
    bar.finish_and_clear();
    port.close().await;
    let Followed { runs, missing } = followed?;
    runs.iter().for_each(|run| println!("{}", line(run)));
    missing.iter().for_each(|sentence| eprintln!("error: {sentence}"));
    let all_well = missing.is_empty() && runs.iter().all(|run| run["outcome"] == "succeeded");
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a request.
pub struct Followed {
    /// The runs that ended.
    pub runs: Vec<Value>,
    /// A sentence for each job that was asked for and of which no run ended.
    pub missing: Vec<String>,
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} [{elapsed}]").expect("the template is well-formed")
}

/// Runs a job and waits until it is done; `shown` hears how many messages are stored meanwhile.
pub async fn follow(
    port: &JobPort,
    instance: &str,
    kind: &str,
    partition: Option<&str>,
    shown: impl Fn(u64),
) -> Result<Followed> {
    let ours = |key: &Value| {
        key["instance"] == instance
            && key["kind"] == kind
            && partition.is_none_or(|partition| key["partition"] == partition || key["partition"] == "")
    };
    let rows = |snapshot: &Value, list: &str, key: &str| -> Vec<Value> {
        let rows = snapshot[list].as_array().cloned().unwrap_or_default();
        rows.into_iter().filter(|row| ours(&row[key])).collect()
    };
    let before = port.snapshot(instance).await?;
    let ended: BTreeSet<i64> = rows(&before, "runs", "job")
        .iter()
        .filter(|run| run["outcome"] != "running")
        .filter_map(|run| run["id"].as_i64())
        .collect();
    port.request(instance, kind, partition).await?;
    // Seen idle twice: a run that was asked for while one went on begins right after it.
    let mut idle = 0;
    loop {
        let now = port.snapshot(instance).await?;
        let jobs = rows(&now, "jobs", "key");
        let fresh: Vec<Value> = rows(&now, "runs", "job")
            .into_iter()
            .filter(|run| run["id"].as_i64().is_some_and(|id| !ended.contains(&id)))
            .collect();
        let runs: Vec<Value> = fresh.into_iter().filter(|run| run["outcome"] != "running").collect();
        let stored: u64 = runs
            .iter()
            .map(|run| &run["report"])
            .chain(jobs.iter().map(|job| &job["report"]))
            .filter_map(|report| report["stored"].as_u64())
            .sum();
        shown(stored);
        idle = if jobs.iter().any(|job| job["running"] == true) { 0 } else { idle + 1 };
        if idle == 2 {
            let missing = jobs.iter().filter(|job| !runs.iter().any(|run| run["job"] == job["key"])).map(without_run);
            return Ok(Followed { missing: missing.collect(), runs });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn without_run(job: &Value) -> String {
    let key = &job["key"];
    let name = [&key["instance"], &key["kind"], &key["partition"]].map(|part| part.as_str().unwrap_or_default());
    format!("{}: no run of it ended: {}", name.join(" ").trim_end(), job["error"].as_str().unwrap_or("it was stopped"))
}

fn line(run: &Value) -> String {
    let (job, report) = (&run["job"], &run["report"]);
    let seconds = match (run["started_at"].as_i64(), run["finished_at"].as_i64()) {
        (Some(began), Some(ended)) => format!(" in {:.1} s", (ended - began) as f64 / 1e6),
        _ => String::new(),
    };
    let mut text = format!(
        "{} {} {}: {}, {} stored, {} known, {} parked{seconds}",
        table::text(&job["instance"]),
        table::text(&job["kind"]),
        table::text(&job["partition"]),
        table::text(&run["outcome"]),
        report["stored"],
        report["known"],
        report["parked"],
    );
    for notice in report["notices"].as_array().into_iter().flatten() {
        text.push_str(&format!("\n  note: {}", table::text(notice)));
    }
    if let Some(error) = report["error"].as_str() {
        text.push_str(&format!("\n  error: {error}"));
    }
    text
}
