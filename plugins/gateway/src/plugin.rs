//! The plugin: operations of the boundary, handed to whoever does them.

use crate::Clock;
use crate::api::{self, Api};
use crate::config::Config;
use crate::message::Shown;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{Description, HealthReport, HttpReply, HttpRequest, LiveEvent, RenderRequest, Rendered};
use stele_plugin_api::{Error, Host, Mistake, Plugin};

/// The `event` of a message.
const EVENT: &str = "message";

/// An instance.
pub struct Gateway {
    api: Api,
    findings: Vec<String>,
}

impl Gateway {
    /// An instance with another clock than the machine's; [`Plugin::open`] takes that one. Needs a runtime.
    pub fn with_clock(config: Config, host: Host, clock: Clock) -> Self {
        let findings = findings(&config);
        Self { api: Api::new(host, config, clock), findings }
    }
}

impl Plugin for Gateway {
    type Config = Config;
    const NAME: &'static str = "gateway";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
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
            summary: "the quick-im gateway API, with live delivery".to_owned(),
            operations: ["health", "http.handle", "live.render"].map(str::to_owned).to_vec(),
            default_listen: Some(api::DEFAULT_LISTEN.to_owned()),
            default_rate: Some(api::DEFAULT_RATE),
            error_template: Some(api::ERROR_TEMPLATE.to_owned()),
            ..Description::default()
        }
    }

    async fn health(&self) -> Result<HealthReport, Error> {
        Ok(HealthReport { ok: true, findings: self.findings.clone() })
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply, Error> {
        Ok(self.api.handle(&request).await)
    }

    async fn live_render(&self, request: RenderRequest) -> Result<Rendered, Error> {
        let event = |message| {
            let shown = Shown::of(message, self.api.times());
            LiveEvent { id: message.native_id.clone(), name: EVENT.to_owned(), data: api::line(&shown) }
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
