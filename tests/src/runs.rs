//! Jobs of a running daemon, through its own API.

use crate::daemon::{Site, wait_for};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Name of the instance in every test's configuration.
const INSTANCE: &str = "wecom";

/// A run as the history tells it.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: i64,
    pub kind: String,
    pub outcome: String,
    pub stored: u64,
    pub known: u64,
    pub parked: u64,
    pub retries: u64,
    pub notices: Vec<String>,
    pub error: Option<String>,
}

impl Run {
    fn of(value: &Value) -> Result<Self> {
        let report = &value["report"];
        let count = |name: &str| report[name].as_u64().with_context(|| format!("a run without {name}: {value}"));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            id: value["id"].as_i64().context("a run has an id")?,
            kind: text(&value["job"]["kind"]).context("a run has a kind")?,
            outcome: text(&value["outcome"]).context("a run has an outcome")?,
            stored: count("stored")?,
            known: count("known")?,
            parked: count("parked")?,
            retries: count("retries")?,
            notices: report["notices"].as_array().into_iter().flatten().filter_map(text).collect(),
            error: text(&report["error"]),
        })
    }

    /// Everything it says about what went wrong.
    pub fn complaints(&self) -> String {
        let mut lines = self.notices.clone();
        lines.extend(self.error.clone());
        lines.join("\n")
    }
}

impl Site {
    /// The history, latest first.
    pub async fn runs(&self, kind: &str) -> Result<Vec<Run>> {
        let reply = self.admin("/api/v1/jobs?limit=1000").await?;
        let runs = reply["runs"].as_array().context("no runs")?.iter().map(Run::of).collect::<Result<Vec<_>>>()?;
        Ok(runs.into_iter().filter(|run| run.kind == kind).collect())
    }

    /// Whether a job of this kind runs, or is about to.
    pub async fn is_running(&self, kind: &str) -> Result<bool> {
        let reply = self.admin("/api/v1/jobs?limit=1").await?;
        let jobs = reply["jobs"].as_array().context("no jobs")?;
        Ok(jobs.iter().any(|job| job["key"]["kind"] == kind && job["running"] == true))
    }

    /// Asks for a run without waiting for it.
    pub async fn request_run(&self, kind: &str) -> Result<Value> {
        self.request_run_of(INSTANCE, kind).await
    }

    /// The same for another instance.
    pub async fn request_run_of(&self, instance: &str, kind: &str) -> Result<Value> {
        let url = format!("http://{}/api/v1/jobs/{instance}/{kind}/run", self.settings.admin);
        let response = crate::client::http().post(url).send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "running {kind} was answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Runs a job and returns how its latest run ended.
    pub async fn run_job(&self, kind: &str) -> Result<Run> {
        self.run_job_of(INSTANCE, kind).await
    }

    /// The same for another instance.
    pub async fn run_job_of(&self, instance: &str, kind: &str) -> Result<Run> {
        // Jobs are defined once the plugin has told its partitions, which may be a moment after readiness.
        wait_for("definition of the jobs", || async {
            let reply = self.admin("/api/v1/jobs?limit=1").await.map_err(|error| error.to_string())?;
            let is_it = |job: &Value| job["key"]["kind"] == kind && job["key"]["instance"] == instance;
            let known = reply["jobs"].as_array().is_some_and(|jobs| jobs.iter().any(is_it));
            if known { Ok(()) } else { Err(reply.to_string()) }
        })
        .await?;
        let before = self.runs(kind).await?.first().map_or(0, |run| run.id);
        self.request_run_of(instance, kind).await?;
        self.ended_after(kind, before).await
    }

    /// Runs a job that has to succeed, and returns what it had to tell.
    pub async fn notices_of(&self, instance: &str, kind: &str) -> Result<Vec<String>> {
        let run = self.run_job_of(instance, kind).await?;
        ensure!(run.outcome == "succeeded", "{run:?}\n{}", self.log_tail());
        Ok(run.notices)
    }

    /// Asks for runs of a job until one goes on.
    pub async fn begin_run_of(&self, instance: &str, kind: &str) -> Result<()> {
        wait_for("a run", || async {
            let requested = self.request_run_of(instance, kind).await;
            let runs = self.is_running(kind).await;
            if matches!(runs, Ok(true)) { Ok(()) } else { Err(format!("{requested:?} {runs:?}")) }
        })
        .await
    }

    /// The latest run of this kind after the one of this id, once it has ended and no other goes on.
    pub async fn ended_after(&self, kind: &str, before: i64) -> Result<Run> {
        wait_for(&format!("end of {kind}"), || async {
            let look = async {
                let running = self.is_running(kind).await?;
                anyhow::Ok((running, self.runs(kind).await?.into_iter().find(|run| run.id > before)))
            };
            match look.await {
                Ok((false, Some(run))) if run.outcome != "running" => Ok(run),
                Ok(seen) => Err(format!("{seen:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .with_context(|| self.log_tail())
    }

    /// Runs the sync until it succeeds and has nothing more to fetch.
    pub async fn sync(&self) -> Result<Run> {
        let run = self.run_job("sync").await?;
        ensure!(run.outcome == "succeeded", "sync ended {}: {}\n{}", run.outcome, run.complaints(), self.log_tail());
        Ok(run)
    }

    /// `messages`, `parked`, … of the archive.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let reply = self.admin("/api/v1/archive/stats").await?;
        reply["stats"][name].as_u64().with_context(|| format!("no {name} in {reply}"))
    }

    /// `pending`, `stored`, `parked`, `blobs` of the files.
    pub async fn media(&self, name: &str) -> Result<u64> {
        let reply = self.admin("/api/v1/archive/stats").await?;
        reply["media"][name].as_u64().with_context(|| format!("no {name} in {reply}"))
    }

    /// Waits until no file is pending.
    pub async fn media_done(&self) -> Result<()> {
        wait_for("end of the files", || async {
            let look = async { anyhow::Ok((self.media("pending").await?, self.is_running("media").await?)) };
            match look.await {
                Ok((0, false)) => Ok(()),
                Ok(seen) => Err(format!("{seen:?} files pending, and whether they are being fetched")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .with_context(|| self.log_tail())
    }
}
