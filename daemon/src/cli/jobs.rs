//! `steled jobs`

use super::client::{self, Reached};
use super::table;
use crate::config::Config;
use crate::jobs::HOLD;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only of this instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// How many runs to show
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode> {
    let shown = match client::parts(config).await? {
        Reached::Daemon(daemon) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("limit", &arguments.limit.to_string())
                .extend_pairs(arguments.instance.iter().map(|name| ("instance", name)))
                .finish();
            daemon.get(&format!("/jobs?{query}")).await?
        }
        Reached::Here(parts) => {
            let instance = arguments.instance.as_deref();
            let mut jobs = parts.archive.jobs().await?;
            jobs.retain(|job| job.key.kind != HOLD && instance.is_none_or(|name| job.key.instance == name));
            let runs = parts.archive.runs(instance, arguments.limit).await?;
            let shown = json!({ "jobs": jobs, "runs": runs });
            parts.close().await;
            shown
        }
    };
    match arguments.json {
        true => println!("{shown}"),
        false => print!("{}", tables(&shown)),
    }
    Ok(ExitCode::SUCCESS)
}

fn tables(shown: &Value) -> String {
    let array = |key: &str| shown[key].as_array().cloned().unwrap_or_default();
    let (jobs, runs) = (array("jobs"), array("runs"));
    if jobs.is_empty() {
        return "no jobs yet: they are defined when an instance has told its partitions\n".to_owned();
    }
    let jobs: Vec<Vec<String>> = jobs.iter().map(job_row).collect();
    let heads = ["INSTANCE", "KIND", "PARTITION", "PATTERN", "ZONE", "STATE", "FAILURES", "LAST DUE", "NEXT DUE"];
    let mut text = table::render(&heads, &jobs);
    if !runs.is_empty() {
        let runs: Vec<Vec<String>> = runs.iter().map(run_row).collect();
        let heads = [
            "RUN",
            "INSTANCE",
            "KIND",
            "PARTITION",
            "TRIGGER",
            "BEGAN",
            "OUTCOME",
            "STORED",
            "KNOWN",
            "PARKED",
            "ERROR OR NOTES",
        ];
        text.push('\n');
        text.push_str(&table::render(&heads, &runs));
    }
    text
}

fn job_row(job: &Value) -> Vec<String> {
    let key = &job["key"];
    let state = match (job["running"].as_bool(), job["lease"].is_null()) {
        (Some(true), _) => "running",
        (_, false) => "leased",
        _ => "idle",
    };
    vec![
        table::text(&key["instance"]),
        table::text(&key["kind"]),
        table::text(&key["partition"]),
        table::text(&job["pattern"]),
        table::text(&job["zone"]),
        state.to_owned(),
        table::text(&job["failures"]),
        table::time(&job["last_due"]),
        table::time(&job["next_due"]),
    ]
}

fn run_row(run: &Value) -> Vec<String> {
    let (job, report) = (&run["job"], &run["report"]);
    vec![
        table::text(&run["id"]),
        table::text(&job["instance"]),
        table::text(&job["kind"]),
        table::text(&job["partition"]),
        table::text(&run["trigger"]),
        table::time(&run["started_at"]),
        table::text(&run["outcome"]),
        table::text(&report["stored"]),
        table::text(&report["known"]),
        table::text(&report["parked"]),
        remarks(report),
    ]
}

/// Why it failed; of a run that did not, what it noted: a gap, sealed messages, files that are lost.
fn remarks(report: &Value) -> String {
    let notices: Vec<&str> = report["notices"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match report["error"].as_str() {
        None if !notices.is_empty() => notices.join("; "),
        _ => table::text(&report["error"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_noted_is_shown() {
        let check = |report: Value, expected: &str| assert_eq!(remarks(&report), expected, "{report}");
        check(json!({ "error": null, "notices": [] }), "-");
        check(
            json!({ "error": null, "notices": ["gap: 9 days", "sealed: 2 messages"] }),
            "gap: 9 days; sealed: 2 messages",
        );
        check(json!({ "error": "denied: 301042", "notices": ["attempt 1 failed"] }), "denied: 301042");
        check(Value::Null, "-");
    }
}
