//! What WeCom never tells: groups that WeChat users made, customers nobody of the company knows any more.
//!
//! Asking for them again in every run would use up the calls that others need, so refusals are remembered for a week, in
//! the daemon's state and up to a bound; beyond it the oldest are asked for again.

use bytes::Bytes;
use std::collections::BTreeMap;
use stele_plugin_api::notify::Level;
use stele_plugin_api::{Host, ops};
use tokio::sync::{Mutex, MutexGuard};

/// Days a refusal is believed.
const DAYS: i64 = 7;
/// Refusals that are remembered: with ids of some 60 bytes well within a value of 64 KiB.
const MOST: usize = 600;

/// The refusals of one corp.
pub struct Unreadable {
    host: Host,
    key: String,
    /// Native id, and the day it was refused; `None` until it is needed first.
    known: Mutex<Option<BTreeMap<String, i64>>>,
}

impl Unreadable {
    /// The refusals of this corp.
    pub fn new(host: Host, corp: &str) -> Self {
        Self { host, key: format!("wecom/unreadable/{corp}"), known: Mutex::default() }
    }

    /// Whether asking for it is pointless on this day (days since 1970).
    pub async fn contains(&self, native_id: &str, today: i64) -> bool {
        let known = self.known().await;
        known.as_ref().and_then(|known| known.get(native_id)).is_some_and(|day| today - day < DAYS)
    }

    /// Remembers refusals of this day.
    pub async fn add(&self, native_ids: Vec<String>, today: i64) {
        if native_ids.is_empty() {
            return;
        }
        let mut slot = self.known().await;
        let known = slot.get_or_insert_default();
        known.retain(|_, day| today - *day < DAYS);
        known.extend(native_ids.into_iter().map(|native_id| (native_id, today)));
        while known.len() > MOST {
            let oldest = known.iter().min_by_key(|(_, day)| **day).map(|(native_id, _)| native_id.clone());
            oldest.and_then(|oldest| known.remove(&oldest));
        }
        let value = serde_json::to_vec(known).map(Bytes::from).ok();
        let entry = ops::StateEntry { key: self.key.clone(), value };
        if let Err(error) = self.host.call::<ops::StatePut>(entry).await {
            self.host.log(Level::Warn, "cannot remember what cannot be read", &[("error", &error.to_string())]);
        }
    }

    async fn known(&self) -> MutexGuard<'_, Option<BTreeMap<String, i64>>> {
        let mut known = self.known.lock().await;
        if known.is_none() {
            let stored = self.host.call::<ops::StateGet>(ops::StateKey { key: self.key.clone() }).await;
            let stored = stored.ok().and_then(|state| serde_json::from_slice(&state.value?).ok());
            *known = Some(stored.unwrap_or_default());
        }
        known
    }
}
