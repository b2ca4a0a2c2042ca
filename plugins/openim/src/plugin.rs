//! The plugin: operations of the boundary, handed to whoever does them.

use crate::Clock;
use crate::answer;
use crate::api::{self, Api};
use crate::config::Config;
use crate::upstream::{HOOK, Upstream};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use stele_plugin_api::model::{Micros, Page};
use stele_plugin_api::ops::{
    Description, DirectoryPull, Empty, HealthReport, HttpReply, HttpRequest, Op, Partitions, PullRequest, SyncDiscover,
    SyncPull,
};
use stele_plugin_api::{Error, ErrorCode, Host, Mistake, Plugin};

/// How often an upstream is asked for what is new: every minute.
const DEFAULT_SYNC: &str = "0 * * * * *";
/// How often it is asked who is who: every hour.
const DEFAULT_DIRECTORY: &str = "0 30 * * * *";

/// An instance.
pub struct Openim {
    api: Api,
    upstream: Option<Arc<Upstream>>,
    findings: Vec<String>,
}

impl Openim {
    /// An instance with another clock than the machine's; [`Plugin::open`] takes that one. Needs a runtime.
    pub fn with_clock(config: Config, host: Host, clock: Clock) -> Self {
        let (findings, upstream) = (config.findings(), Upstream::of(&config, &host, &clock));
        Self { findings, api: Api::new(host, config, clock, upstream.clone()), upstream }
    }

    fn upstream(&self, op: &str) -> Result<&Upstream, Error> {
        let none = || Error::new(ErrorCode::Unsupported, format!("{op} needs an upstream, and none is configured"));
        self.upstream.as_deref().ok_or_else(none)
    }
}

impl Plugin for Openim {
    type Config = Config;
    const NAME: &'static str = "openim";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    /// One for pages of a sync, one for the API, so that neither waits for the other.
    const THREADS: usize = 2;
    /// Nothing here waits for anything but the daemon.
    const NONBLOCKING: bool = true;

    fn mistakes(config: &Config) -> Vec<Mistake> {
        config.mistakes()
    }

    async fn open(config: Config, host: Host) -> Result<Self, Error> {
        Ok(Self::with_clock(config, host, Arc::new(now)))
    }

    fn describe(&self) -> Description {
        let mut operations = vec!["health", "http.handle"];
        if self.upstream.is_some() {
            operations.extend([SyncDiscover::NAME, SyncPull::NAME, DirectoryPull::NAME]);
        }
        let with_upstream = |cron: &str| self.upstream.as_ref().map(|_| cron.to_owned());
        Description {
            name: Self::NAME.to_owned(),
            version: Self::VERSION.to_owned(),
            summary: "OpenIM's message search".to_owned(),
            operations: operations.into_iter().map(str::to_owned).collect(),
            default_sync: with_upstream(DEFAULT_SYNC),
            default_directory: with_upstream(DEFAULT_DIRECTORY),
            default_listen: Some(api::DEFAULT_LISTEN.to_owned()),
            default_rate: Some(api::DEFAULT_RATE),
            default_max_body: Some(api::DEFAULT_MAX_BODY),
            error_template: Some(api::ERROR_TEMPLATE.to_owned()),
            error_headers: answer::cors().collect(),
            secret_paths: vec![HOOK.to_owned()],
        }
    }

    async fn health(&self) -> Result<HealthReport, Error> {
        let trouble = self.upstream.as_ref().and_then(|upstream| upstream.trouble());
        let ok = trouble.is_none();
        Ok(HealthReport { ok, findings: trouble.into_iter().chain(self.findings.iter().cloned()).collect() })
    }

    async fn sync_discover(&self, _: Empty) -> Result<Partitions, Error> {
        self.upstream(SyncDiscover::NAME).map(|_| Upstream::partitions())
    }

    async fn sync_pull(&self, request: PullRequest) -> Result<Page, Error> {
        self.upstream(SyncPull::NAME)?.pull(&request).await
    }

    async fn directory_pull(&self, request: PullRequest) -> Result<Page, Error> {
        self.upstream(DirectoryPull::NAME)?.directory(&request).await
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply, Error> {
        Ok(self.api.handle(&request).await)
    }
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
