//! The plugin: operations of the boundary, handed to whoever does them.

use crate::Clock;
use crate::answer;
use crate::api::{self, Api};
use crate::config::Config;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{Description, HealthReport, HttpReply, HttpRequest};
use stele_plugin_api::{Error, Host, Mistake, Plugin};

/// An instance.
pub struct Openim {
    api: Api,
    findings: Vec<String>,
}

impl Openim {
    /// An instance with another clock than the machine's; [`Plugin::open`] takes that one. Needs a runtime.
    pub fn with_clock(config: Config, host: Host, clock: Clock) -> Self {
        Self { findings: config.findings(), api: Api::new(host, config, clock) }
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
        Description {
            name: Self::NAME.to_owned(),
            version: Self::VERSION.to_owned(),
            summary: "OpenIM's message search".to_owned(),
            operations: ["health", "http.handle"].map(str::to_owned).to_vec(),
            default_listen: Some(api::DEFAULT_LISTEN.to_owned()),
            default_rate: Some(api::DEFAULT_RATE),
            error_template: Some(api::ERROR_TEMPLATE.to_owned()),
            error_headers: answer::cors().collect(),
            ..Description::default()
        }
    }

    async fn health(&self) -> Result<HealthReport, Error> {
        Ok(HealthReport { ok: true, findings: self.findings.clone() })
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply, Error> {
        Ok(self.api.handle(&request).await)
    }
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
