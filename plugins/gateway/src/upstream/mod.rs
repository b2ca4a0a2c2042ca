//! A real quick-im-core behind the instance: its conversations are archived, and what clients do is relayed to it
//! (reference/gateway.md; "Conclusion for the archive client" in §5: history only, its pushes are not used).

mod apart;
mod client;
mod config;
mod decode;
mod discover;
mod keep;
mod known;
mod members;
mod notes;
mod pull;
mod relay;
mod times;
mod window;

pub use config::UpstreamConfig;
pub use members::Age;
pub use relay::Refusal;

use crate::Clock;
use crate::config::Config;
use client::Client;
use discover::Progress;
use keep::Keeper;
use known::Known;
use members::{Asked, QUESTIONS};
use std::hash::RandomState;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::Host;
use stele_plugin_api::model::Micros;
use tokio::sync::Mutex;

/// Time the daemon may take for one of our requests; its own limit comes first.
const FETCH: Duration = Duration::from_secs(130);
/// Who reads history where no member is known. Any session may (reference/gateway.md §6).
const READER: &str = "stele";

/// An upstream.
pub struct Upstream {
    host: Host,
    clock: Clock,
    client: Client,
    config: UpstreamConfig,
    /// Text of the message a new conversation begins with.
    greeting: String,
    begins: Micros,
    /// In numbers of ids.
    overlap: i64,
    /// Archives what is relayed.
    keeper: Keeper,
    known: std::sync::Mutex<Known>,
    /// Held by the discovery that goes on.
    progress: Mutex<Progress>,
    asked: std::sync::Mutex<Asked>,
    /// Held while the session of somebody who waits is asked for; by hash of the session.
    questions: [Mutex<()>; QUESTIONS],
    hasher: RandomState,
    /// Held while listeners are asked for.
    turn: Mutex<()>,
}

impl Upstream {
    /// The upstream of an instance, if it has one. Needs a runtime.
    pub fn of(config: &Config, host: &Host, clock: &Clock) -> Option<Self> {
        let upstream = config.upstream.clone()?;
        Some(Self {
            client: Client::new(host.clone(), clock.clone(), &upstream),
            host: host.clone(),
            clock: clock.clone(),
            greeting: config.greeting.clone(),
            begins: upstream.begins(),
            overlap: i64::from(upstream.overlap_minutes) * 60_000 * window::MILLISECOND,
            keeper: Keeper::start(host.clone()),
            known: std::sync::Mutex::default(),
            progress: Mutex::default(),
            asked: std::sync::Mutex::default(),
            questions: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            turn: Mutex::default(),
            config: upstream,
        })
    }

    /// What keeps it from working, for the person who can change it.
    pub fn trouble(&self) -> Option<String> {
        self.client.trouble()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token reads the history of a conversation: a member's, should the upstream look at that.
    fn reader(&self, conversation: &str) -> String {
        let member = self.known().members(conversation).next().map(str::to_owned);
        member.or_else(|| self.config.sessions.first().cloned()).unwrap_or_else(|| READER.to_owned())
    }
}

/// What the archive keeps of a conversation for the plugin: its type.
fn attributes(kind: u8) -> String {
    format!("{{\"type\":{kind}}}")
}
