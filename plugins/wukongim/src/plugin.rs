//! The plugin: operations of the boundary, handed to whoever does them.

use crate::Clock;
use crate::api::{self, Api};
use crate::commit::Numbering;
use crate::config::Config;
use crate::upstream::Upstream;
use crate::webhook::Webhooks;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use stele_plugin_api::model::{Micros, Page};
use stele_plugin_api::ops::{
    Description, Empty, HealthReport, HttpReply, HttpRequest, Op, Partitions, PullRequest, SyncDiscover, SyncPull,
};
use stele_plugin_api::{Error, ErrorCode, Host, Mistake, Plugin};

/// How often an upstream is asked for what is new: every minute.
const DEFAULT_SYNC: &str = "0 * * * * *";

/// How long opening waits for the webhooks to know where they begin, so that the first message sent is told.
const BEGINNING: Duration = Duration::from_secs(5);

/// An instance.
pub struct Wukongim {
    api: Api,
    webhooks: Option<Arc<Webhooks>>,
    upstream: Option<Arc<Upstream>>,
    findings: Vec<String>,
}

impl Wukongim {
    /// An instance with another clock than the machine's; [`Plugin::open`] takes that one. Needs a runtime.
    pub fn with_clock(config: Config, host: Host, clock: Clock) -> Self {
        let numbering = Numbering::new(config.node_of_ids(host.node()), clock.clone());
        let (findings, upstream) = (findings(&config), Upstream::of(&config, &host, &clock, &numbering));
        let webhooks = Webhooks::start(&config, &host, &clock).map(Arc::new);
        let api = Api::new(host, config, (clock, numbering), upstream.clone(), webhooks.clone());
        Self { findings, api, upstream, webhooks }
    }

    fn upstream(&self, op: &str) -> Result<&Upstream, Error> {
        let none = || Error::new(ErrorCode::Unsupported, format!("{op} needs an upstream, and none is configured"));
        self.upstream.as_deref().ok_or_else(none)
    }
}

impl Plugin for Wukongim {
    type Config = Config;
    const NAME: &'static str = "wukongim";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    /// One for pages of a sync, one for the API, so that neither waits for the other.
    const THREADS: usize = 2;
    /// Nothing here waits for anything but the daemon.
    const NONBLOCKING: bool = true;

    fn mistakes(config: &Config) -> Vec<Mistake> {
        config.mistakes()
    }

    async fn open(config: Config, host: Host) -> Result<Self, Error> {
        let plugin = Self::with_clock(config, host, Arc::new(now));
        if let Some(webhooks) = &plugin.webhooks {
            // An archive that takes longer is followed from when it answers.
            let _ = tokio::time::timeout(BEGINNING, webhooks.begun()).await;
        }
        Ok(plugin)
    }

    fn describe(&self) -> Description {
        let mut operations = vec!["health", "http.handle"];
        if self.upstream.is_some() {
            operations.extend([SyncDiscover::NAME, SyncPull::NAME]);
        }
        Description {
            name: Self::NAME.to_owned(),
            version: Self::VERSION.to_owned(),
            summary: "WuKongIM's message API".to_owned(),
            operations: operations.into_iter().map(str::to_owned).collect(),
            default_sync: self.upstream.as_ref().map(|_| DEFAULT_SYNC.to_owned()),
            default_listen: Some(api::DEFAULT_LISTEN.to_owned()),
            default_rate: Some(api::DEFAULT_RATE),
            default_max_body: Some(api::DEFAULT_MAX_BODY),
            error_template: Some(api::ERROR_TEMPLATE.to_owned()),
            error_headers: vec![(api::CORS.0.to_owned(), api::CORS.1.to_owned())],
            secret_paths: vec![api::HOOK.to_owned()],
            ..Description::default()
        }
    }

    async fn health(&self) -> Result<HealthReport, Error> {
        let trouble = self.upstream.as_ref().and_then(|upstream| upstream.trouble());
        let ok = trouble.is_none();
        let webhooks = self.webhooks.as_ref().and_then(|webhooks| webhooks.trouble());
        let findings = trouble.into_iter().chain(self.findings.iter().cloned()).chain(webhooks).collect();
        Ok(HealthReport { ok, findings })
    }

    async fn sync_discover(&self, _: Empty) -> Result<Partitions, Error> {
        self.upstream(SyncDiscover::NAME).map(|_| Upstream::partitions())
    }

    async fn sync_pull(&self, request: PullRequest) -> Result<Page, Error> {
        self.upstream(SyncPull::NAME)?.pull(&request).await
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply, Error> {
        Ok(self.api.handle(&request).await)
    }
}

/// What is worth knowing about a configuration without mistakes.
fn findings(config: &Config) -> Vec<String> {
    let open = "there is no token: whoever reaches the listener reads everything and sends as anybody";
    if config.token.is_none() { vec![open.to_owned()] } else { Vec::new() }
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
