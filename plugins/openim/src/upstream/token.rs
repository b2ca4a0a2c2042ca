//! The token the upstream is called with.
//!
//! A new one ends the admin's others some minutes later (reference/openim.md §3.5), so none is asked for that is not needed: it is
//! kept across restarts, and asked for again when the upstream does not take it any more, or shortly before its end; once for
//! all who need it, and not at any rate. Where it is kept another daemon may have put one meanwhile, which has ended this one's.

use super::client::{CallError, Client};
use crate::Clock;
use crate::config::{Config, Upstream as UpstreamConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::time::Duration;
use stele_plugin_api::model::Micros;
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{StateEntry, StateGet, StateKey, StatePut};
use stele_plugin_api::{Error, ErrorCode, Host, Secret};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Where it is kept.
const KEY: &str = "upstream.token";
/// Tokens that are asked for within [`WHILE`], at most.
const MOST: usize = 10;
/// See [`MOST`].
const WHILE: Duration = Duration::from_secs(60);
/// The last part of a token's life in which it is not used: a tenth of it, but no longer than an hour.
const LAST: i64 = 10;
const HOUR: Micros = 3_600_000_000;
const SECOND: Micros = 1_000_000;
/// `platformID` of admins.
const ADMIN_PLATFORM: i32 = 10;
/// `errCode`: the request is wrong.
const ARGUMENTS: i64 = 1001;
/// What a call answers that there is not.
const NOT_FOUND: i64 = 404;

/// A token, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Token {
    token: String,
    /// When another one is due.
    until: Micros,
    /// What it is of: address, admin and secret, as a sum.
    of: String,
}

/// The tokens of one upstream.
pub struct Tokens {
    host: Host,
    clock: Clock,
    admin: String,
    secret: Secret,
    of: String,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// When tokens were asked for.
    asked: VecDeque<Instant>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    token: String,
    expire_time_seconds: i64,
}

impl Tokens {
    /// Of this upstream.
    pub fn new(host: Host, config: &Config, upstream: &UpstreamConfig, clock: Clock) -> Self {
        let admin = upstream.admin.clone().or_else(|| config.admins.first().cloned()).unwrap_or_default();
        let secret = upstream.secret.clone().unwrap_or_else(|| config.secret.clone());
        let mut sum = Sha256::new();
        for part in [&upstream.url, &admin, secret.expose()] {
            sum.update(Sha256::digest(part));
        }
        let of = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { host, clock, admin, secret, of, held: Mutex::default() }
    }

    /// Whose they are.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// A token that is good as far as is known, and not this one.
    pub async fn other_than(&self, refused: Option<&str>, client: &Client) -> Result<String, CallError> {
        let mut held = self.held.lock().await;
        let now = (self.clock)();
        let is_good = |held: &&Token| refused != Some(held.token.as_str()) && now < held.until;
        if held.token.as_ref().filter(is_good).is_none() {
            held.token = self.kept().await.or(held.token.take());
        }
        if let Some(good) = held.token.as_ref().filter(is_good) {
            return Ok(good.token.clone());
        }
        while held.asked.front().is_some_and(|asked| asked.elapsed() > WHILE) {
            held.asked.pop_front();
        }
        if held.asked.len() >= MOST {
            return Err(CallError::Failed(Error::new(ErrorCode::RateLimited, "the upstream ends its tokens at once")));
        }
        held.asked.push_back(Instant::now());
        let token = self.ask(client, now).await?;
        held.token = Some(token.clone());
        let value = serde_json::to_vec(&token).expect("plain values can be written").into();
        let entry = StateEntry { key: KEY.to_owned(), value: Some(value) };
        if let Err(error) = self.host.call_within::<StatePut>(entry, crate::CALL).await {
            self.host.log_from("upstream", Level::Warn, "a token was not kept", &[("error", &error.to_string())]);
        }
        Ok(token.token)
    }

    async fn kept(&self) -> Option<Token> {
        let key = StateKey { key: KEY.to_owned() };
        let value = self.host.call_within::<StateGet>(key, crate::CALL).await.ok()?.value?;
        serde_json::from_slice(&value).ok().filter(|token: &Token| token.of == self.of)
    }

    /// Has the upstream give one; 3.8.0 has another call for it.
    async fn ask(&self, client: &Client, now: Micros) -> Result<Token, CallError> {
        let body = json!({ "secret": self.secret.expose(), "userID": self.admin, "platformID": ADMIN_PLATFORM });
        let mut given = client.call_openly::<Given>("/auth/get_admin_token", &body).await;
        // Where there is no such path, one without a token is not even told so.
        if matches!(given, Err(CallError::Refused(NOT_FOUND | ARGUMENTS, _)))
            && let Ok(of_old) = client.call_openly("/auth/user_token", &body).await
        {
            given = Ok(of_old);
        }
        let given = match given {
            Ok(given) if given.token.is_empty() => return Err(CallError::Unreadable),
            Ok(given) => given,
            Err(CallError::Refused(NOT_FOUND, _)) => {
                return Err(client.denied("the upstream gives no tokens (404): is its address right?".to_owned()));
            }
            Err(CallError::Refused(code @ 1001..=1499, said)) => {
                let hint = "are upstream.admin and upstream.secret right?";
                return Err(client.denied(format!("the upstream gives no token ({code}: {said}): {hint}")));
            }
            Err(error) => return Err(error),
        };
        let life = given.expire_time_seconds.saturating_mul(SECOND);
        let until = now.saturating_add(life - (life / LAST).min(HOUR));
        Ok(Token { token: given.token, until, of: self.of.clone() })
    }
}
