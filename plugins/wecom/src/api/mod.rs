//! Contract 000, the msg-server API: four endpoints, answered from the archive.
//!
//! A request goes through the same three gates, in this order (reference/wecom-archive.md §8-41): it is **read**
//! ([`params`]), its **signature** is checked ([`signature`]), and only then do its parameters get their meaning
//! ([`values`], [`scope`]). So whoever holds no key learns nothing about corps and staff, not even whether they exist.
//!
//! | answer | when |
//! |---|---|
//! | 400 | unreadable request, duplicate or missing parameter, or one without a code of its own |
//! | 401 | signature missing, wrong or stale (for sync 400, as in the contract's example) |
//! | 403 | right signature, but its key is not meant for this corp |
//! | 404 | no such route, or another method (HTTP 404) |
//! | 500 | a fault of ours (HTTP 500), or the archive cannot answer just now (HTTP 503 with `retry-after`) |
//! | 1001 | a corp the instance does not archive |
//! | 1002 | no userid, or nobody the archive knows: no message and no directory entry ever named them |
//! | 1003 | `session_type` is none of internal, external, group, room |
//! | 1004 | `msg_type` is none of WeCom's |
//! | 1005 | not a date, or a range that ends before it begins |
//! | 1006 | `page` or `page_size` is no number of 32 bits, or the messages of the page hold more than 32 MiB: a smaller one helps |
//!
//! An empty parameter counts as not given, except in the signature, which covers everything received. A peer nobody
//! knows, a pair that never talked and a room the member of staff is not in all have no messages: an empty list.

mod attachments;
mod avatar;
mod dates;
mod errors;
mod legacy;
mod messages;
mod params;
mod render;
mod reply;
mod router;
mod scope;
mod search;
mod sessions;
mod signature;
mod sync;
mod values;

use crate::config::Config;
use chrono_tz::Tz;
use params::Params;
use router::{Endpoint, Route};
use signature::Signatures;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{HttpReply, HttpRequest, Op};
use stele_plugin_api::{Error, Host};

pub use dates::{Range, range};
pub use errors::ApiError;
pub use router::AVATAR_PATH;
pub use values::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE};

/// Where clients expect the API (contract 000, basics).
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9002";
/// Requests a second one caller may make (contract 000, note 4).
pub const DEFAULT_RATE: u32 = 100;
/// The shape of errors the daemon answers itself, e.g. code 429 for too many requests.
pub const ERROR_TEMPLATE: &str = r#"{"code":{status},"message":"{message}","data":null}"#;

/// How long the daemon may take for one call; clients give up after about as long.
const CALL: Duration = Duration::from_secs(20);

/// Unix time in seconds.
pub type ClockFn = fn() -> i64;

/// What answering needs.
pub struct ApiState {
    host: Host,
    signatures: Signatures,
    corps: Vec<String>,
    zone: Tz,
    go_spellings: bool,
    anchor_ascending: bool,
    clock: ClockFn,
}

impl ApiState {
    /// The API of an instance with this configuration.
    pub fn new(host: Host, config: &Config) -> Self {
        Self {
            host,
            signatures: Signatures::of(config),
            corps: config.corp.iter().map(|corp| corp.id.clone()).collect(),
            zone: config.zone(),
            go_spellings: config.go_spellings,
            anchor_ascending: config.anchor_ascending,
            clock: system_time_s,
        }
    }

    /// With another clock, for signed timestamps.
    #[must_use]
    pub fn with_clock(mut self, clock: ClockFn) -> Self {
        self.clock = clock;
        self
    }

    /// Call the daemon; a failure is logged here and becomes what the caller may know of it.
    async fn call<O: Op>(&self, request: O::Request) -> Result<O::Reply, ApiError> {
        self.try_call::<O>(request).await.map_err(|error| ApiError::from_host(&error))
    }

    /// The same for rows with messages, which can be too many.
    async fn page<O: Op>(&self, request: O::Request) -> Result<O::Reply, ApiError> {
        self.try_call::<O>(request).await.map_err(|error| ApiError::of_page(&error))
    }

    async fn try_call<O: Op>(&self, request: O::Request) -> Result<O::Reply, Error> {
        let reply = self.host.call_within::<O>(request, CALL).await;
        if let Err(error) = &reply {
            let fields = [("op", O::NAME), ("error", &error.to_string())];
            self.host.log_from("api", Level::Warn, "a call of the daemon failed", &fields);
        }
        reply
    }
}

fn system_time_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Answer a request of the instance's listener.
pub async fn handle(state: &ApiState, request: HttpRequest) -> HttpReply {
    let answer = match router::route(&request) {
        Some(Route::Endpoint(endpoint)) => answer(state, endpoint, &request).await,
        Some(Route::Avatar) => Ok(avatar::reply()),
        None => Err(ApiError::not_found()),
    };
    answer.unwrap_or_else(|error| reply::failure(&error))
}

async fn answer(state: &ApiState, endpoint: Endpoint, request: &HttpRequest) -> Result<HttpReply, ApiError> {
    let params = Params::of(endpoint, request)?;
    let caller = state.signatures.verify(endpoint, &params, (state.clock)())?;
    let corp = scope::corp(state, &params, &caller)?;
    match endpoint {
        Endpoint::Sync => sync::answer(state, corp).await,
        Endpoint::Sessions => sessions::answer(state, corp, &params, &request.base_url).await,
        Endpoint::SessionMsgs => messages::answer(state, corp, &params, &request.base_url).await,
        Endpoint::Search => search::answer(state, corp, &params, &request.base_url).await,
    }
}
