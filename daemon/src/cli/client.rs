//! Reaching the archive: through the daemon that runs, or by opening it here.

use crate::config::Config;
use crate::jobs::NotStarted;
use crate::lifecycle::{App, DataLock, LockError, Mode, Parts, StartError, Store};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest wait for an answer of the running daemon.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The daemon that holds the data folder.
pub struct Daemon {
    client: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Daemon {
    fn new(admin: SocketAddr, config: &Config) -> Result<Self> {
        // One that listens on every address is reached on the loopback.
        let admin = match admin.ip().is_unspecified() {
            true => SocketAddr::from(([127, 0, 0, 1], admin.port())),
            false => admin,
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let key = config.admin.api_keys.first().map(|key| key.expose().to_owned());
        Ok(Self { client, base: format!("http://{admin}/api/v1"), key })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.client.get(format!("{}{path}", self.base))).await
    }

    pub async fn post(&self, path: &str) -> Result<Value> {
        self.answer(self.client.post(format!("{}{path}", self.base))).await
    }

    /// Starts plugins anew, and waits until that is done: for the end of a life that was replaced before, and for the start, the
    /// description and the health of the new one.
    pub async fn reload_plugins(&self, name: &str, config: &Config) -> Result<Value> {
        let start = Duration::from_secs(config.plugins.start_timeout_seconds);
        let drain = config.http.request_timeout() + Duration::from_secs(config.plugins.stop_timeout_seconds);
        let request = self.client.post(format!("{}/plugins/{}/reload", self.base, segment(name)));
        self.answer(request.timeout(4 * start + drain + TIMEOUT)).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.context("the running daemon does not answer")?;
        let status = response.status();
        let body: Value = response.json().await.context("the running daemon gave no JSON")?;
        if status.is_success() {
            return Ok(body);
        }
        bail!("{}", body["error"].as_str().unwrap_or(status.as_str()))
    }
}

/// The daemon that runs.
pub fn daemon(config: &Config) -> Result<Daemon> {
    let nobody = || anyhow!("no daemon runs on the data folder {}", config.data_dir.display());
    if !config.data_dir.is_dir() {
        return Err(nobody());
    }
    match reached(DataLock::acquire(&config.data_dir).map_err(StartError::from), config)? {
        Reached::Daemon(daemon) => Ok(daemon),
        Reached::Here(_) => Err(nobody()),
    }
}

/// A name as a segment of a path.
fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Who has the archive.
pub enum Reached<T> {
    /// A daemon that runs.
    Daemon(Daemon),
    /// This process.
    Here(T),
}

/// The archive without instances. There must be one: what reads it, or makes an index of it, makes none.
pub async fn parts(config: &Config) -> Result<Reached<Parts>> {
    match Store::file(config) {
        Some(file) => {
            if !file.try_exists().with_context(|| format!("{} cannot be looked at", file.display()))? {
                bail!(
                    "there is no archive {}: nothing was archived yet, or data_dir is another folder",
                    file.display()
                );
            }
        }
        None => Store::inspect(config, None).await?.close().await?,
    }
    reached(Parts::open(config).await, config)
}

/// The archive with instances and their jobs.
pub async fn app(config: Config) -> Result<Reached<App>> {
    reached(App::start(config.clone(), Mode::Jobs).await, &config)
}

fn reached<T>(opened: Result<T, StartError>, config: &Config) -> Result<Reached<T>> {
    match opened {
        Ok(opened) => Ok(Reached::Here(opened)),
        Err(StartError::Lock(LockError::InUse { admin: Some(admin), .. })) => {
            Ok(Reached::Daemon(Daemon::new(admin, config)?))
        }
        Err(StartError::Lock(error @ LockError::InUse { .. })) => {
            Err(anyhow!(error).context("the archive is held by a process that serves no API (admin.enabled)"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Jobs and runs, wherever they are.
pub enum JobPort {
    /// Of the daemon that runs.
    Daemon(Daemon),
    /// Of this process.
    Here(Box<App>),
}

impl JobPort {
    /// Of the daemon that runs, or of one that is brought up here for as long.
    pub async fn open(config: Config) -> Result<Self> {
        Ok(match app(config).await? {
            Reached::Daemon(daemon) => Self::Daemon(daemon),
            Reached::Here(app) => {
                app.settled().await;
                Self::Here(Box::new(app))
            }
        })
    }

    /// Asks for a run; `started` and `running`.
    pub async fn request(&self, instance: &str, kind: &str, partition: Option<&str>) -> Result<Value> {
        match self {
            Self::Daemon(daemon) => {
                let query = partition.map(|partition| format!("?partition={}", segment(partition))).unwrap_or_default();
                daemon.post(&format!("/jobs/{}/{}/run{query}", segment(instance), segment(kind))).await
            }
            Self::Here(app) => match app.parts().jobs.request_by_hand(instance, kind, partition).await? {
                Ok(answer) => Ok(json!(answer)),
                Err(NotStarted::Unknown) => bail!("{}", self.no_job(app, instance, kind, partition)),
                Err(stopping) => Err(stopping.into()),
            },
        }
    }

    /// `jobs` and the latest `runs` of an instance, as the API shows them.
    pub async fn snapshot(&self, instance: &str) -> Result<Value> {
        match self {
            Self::Daemon(daemon) => daemon.get(&format!("/jobs?instance={}&limit=1000", segment(instance))).await,
            Self::Here(app) => {
                let jobs: Vec<_> = app.parts().jobs.overview().await;
                let runs = app.parts().archive.runs(Some(instance), 1000).await?;
                Ok(json!({ "jobs": jobs, "runs": runs }))
            }
        }
    }

    /// Takes down what was brought up here.
    pub async fn close(self) {
        if let Self::Here(app) = self {
            app.stop().await;
        }
    }

    fn no_job(&self, app: &App, instance: &str, kind: &str, partition: Option<&str>) -> String {
        let views = app.overview().instances();
        let Some(view) = views.iter().find(|view| view.name == instance) else {
            let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
            return format!("there is no instance {instance:?}; there are: {}", names.join(", "));
        };
        match &view.problem {
            Some(problem) => format!("instance {instance}: {problem}"),
            None if view.state == "disabled" => format!("instance {instance} is disabled"),
            None => {
                let of = partition.map(|partition| format!(" for partition {partition:?}")).unwrap_or_default();
                format!("instance {instance} has no {kind} job{of}")
            }
        }
    }
}
