//! The plugin: operations of the boundary, handed to whoever does them.

use crate::Clock;
use crate::api::{self, Api};
use crate::config::Config;
use crate::upstream::Upstream;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use stele_plugin_api::model::{Micros, Page};
use stele_plugin_api::ops::{
    Description, DirectoryPull, Empty, HealthReport, HttpReply, HttpRequest, LiveEvent, Op, Partitions, PullRequest,
    RenderRequest, Rendered, SyncDiscover, SyncPull,
};
use stele_plugin_api::{Error, ErrorCode, Host, Mistake, Plugin};

/// The `event` of a message.
const EVENT: &str = "message";
/// How often an upstream is asked for messages: every minute, one request for each conversation.
const DEFAULT_SYNC: &str = "0 * * * * *";
/// How often it is asked for conversations and members.
const DEFAULT_DIRECTORY: &str = "0 23 * * * *";

/// An instance.
pub struct Gateway {
    api: Api,
    upstream: Option<Arc<Upstream>>,
    findings: Vec<String>,
}

impl Gateway {
    /// An instance with another clock than the machine's; [`Plugin::open`] takes that one. Needs a runtime.
    pub fn with_clock(config: Config, host: Host, clock: Clock) -> Self {
        let findings = findings(&config);
        let upstream = Upstream::of(&config, &host, &clock).map(Arc::new);
        Self { api: Api::new(host, config, clock, upstream.clone()), upstream, findings }
    }

    fn upstream(&self, op: &str) -> Result<&Upstream, Error> {
        let none = || Error::new(ErrorCode::Unsupported, format!("{op} needs an upstream, and none is configured"));
        self.upstream.as_deref().ok_or_else(none)
    }
}

impl Plugin for Gateway {
    type Config = Config;
    const NAME: &'static str = "gateway";
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
        let mut operations = vec!["health", "http.handle", "live.render"];
        let has_upstream = self.upstream.is_some();
        if has_upstream {
            operations.extend([SyncDiscover::NAME, SyncPull::NAME, DirectoryPull::NAME]);
        }
        Description {
            name: Self::NAME.to_owned(),
            version: Self::VERSION.to_owned(),
            summary: "the quick-im gateway API, with live delivery".to_owned(),
            operations: operations.into_iter().map(str::to_owned).collect(),
            default_sync: has_upstream.then(|| DEFAULT_SYNC.to_owned()),
            default_directory: has_upstream.then(|| DEFAULT_DIRECTORY.to_owned()),
            default_listen: Some(api::DEFAULT_LISTEN.to_owned()),
            default_rate: Some(api::DEFAULT_RATE),
            error_template: Some(api::ERROR_TEMPLATE.to_owned()),
            ..Description::default()
        }
    }

    async fn health(&self) -> Result<HealthReport, Error> {
        let trouble = self.upstream.as_ref().and_then(|upstream| upstream.trouble());
        let ok = trouble.is_none();
        Ok(HealthReport { ok, findings: trouble.into_iter().chain(self.findings.iter().cloned()).collect() })
    }

    async fn sync_discover(&self, _: Empty) -> Result<Partitions, Error> {
        self.upstream(SyncDiscover::NAME)?.discover().await
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

    async fn live_render(&self, request: RenderRequest) -> Result<Rendered, Error> {
        let event = |message| {
            let data = api::line(&self.api.shown(message));
            LiveEvent { id: message.native_id.clone(), name: EVENT.to_owned(), data }
        };
        Ok(Rendered { events: request.messages.iter().map(|message| Some(event(message))).collect() })
    }
}

/// What is worth knowing about a configuration without mistakes.
fn findings(config: &Config) -> Vec<String> {
    let known = config.jwt_keys.iter().any(crate::token::is_known_key);
    let known =
        known.then_some("a key of jwt_keys is the one in the source of quick-im-core: everybody can make tokens");
    let open = (!config.membership).then_some("membership is off: whoever has a token reads and writes everywhere");
    known.into_iter().chain(open).map(str::to_owned).collect()
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
