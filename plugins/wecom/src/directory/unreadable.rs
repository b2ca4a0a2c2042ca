//! What WeCom never tells: groups that WeChat users made, customers nobody of the company knows any more.
//!
//! Asking for them again in every run would use up the calls that others need, so refusals are remembered for a week, in
//! the daemon's state and up to a bound; beyond it the oldest are asked for again. They are read where they are needed, since
//! the run before may have been another daemon's.

use bytes::Bytes;
use std::collections::BTreeMap;
use stele_plugin_api::notify::Level;
use stele_plugin_api::{Error, Host, ops};

/// Days a refusal is believed.
const DAYS: i64 = 7;
/// Refusals that are remembered: with ids of some 60 bytes well within a value of 64 KiB.
const MOST: usize = 600;

/// The refusals of one corp.
pub struct Unreadable {
    host: Host,
    key: String,
}

/// Native ids, and the day each was refused (days since 1970).
type Refused = BTreeMap<String, i64>;

impl Unreadable {
    /// The refusals of this corp.
    pub fn new(host: Host, corp: &str) -> Self {
        Self { host, key: format!("wecom/unreadable/{corp}") }
    }

    /// What asking for is pointless on this day.
    pub async fn believed(&self, today: i64) -> Refused {
        let refused = self.read(today).await;
        refused.unwrap_or_else(|error| {
            self.complain(&error);
            Refused::default()
        })
    }

    /// Remembers refusals of this day.
    pub async fn add(&self, native_ids: Vec<String>, today: i64) {
        if native_ids.is_empty() {
            return;
        }
        if let Err(error) = self.write(native_ids, today).await {
            self.complain(&error);
        }
    }

    async fn write(&self, native_ids: Vec<String>, today: i64) -> Result<(), Error> {
        let mut refused = self.read(today).await?;
        refused.extend(native_ids.into_iter().map(|native_id| (native_id, today)));
        while refused.len() > MOST {
            let oldest = refused.iter().min_by_key(|(_, day)| **day).map(|(native_id, _)| native_id.clone());
            oldest.and_then(|oldest| refused.remove(&oldest));
        }
        let value = Bytes::from(serde_json::to_vec(&refused).expect("texts and numbers can be written"));
        let entry = ops::StateEntry { key: self.key.clone(), value: Some(value) };
        self.host.call::<ops::StatePut>(entry).await.map(drop)
    }

    async fn read(&self, today: i64) -> Result<Refused, Error> {
        let kept = self.host.call::<ops::StateGet>(ops::StateKey { key: self.key.clone() }).await?.value;
        let mut refused: Refused = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default();
        refused.retain(|_, day| today - *day < DAYS);
        Ok(refused)
    }

    fn complain(&self, error: &Error) {
        self.host.log(Level::Warn, "cannot remember what cannot be read", &[("error", &error.to_string())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use stele_plugin_api::testing::MockHost;

    #[tokio::test]
    async fn what_one_daemon_was_refused_another_does_not_ask_for() {
        let state = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&state);
        let host = MockHost::new()
            .on::<ops::StateGet>(move |_| Ok(ops::StateValue { value: state.lock().unwrap().clone() }))
            .on::<ops::StatePut>(move |entry| {
                *kept.lock().unwrap() = entry.value;
                Ok(ops::Empty {})
            });
        let [one, two] = [1, 2].map(|node| Unreadable::new(host.host().at_node(node), "corp123"));
        assert!(two.believed(1).await.is_empty());
        one.add(vec!["a".into(), "b".into()], 1).await;
        two.add(vec!["c".into(), "b".into()], 3).await;
        for daemon in [&one, &two] {
            assert!(daemon.believed(DAYS).await.keys().eq(["a", "b", "c"]));
            assert!(daemon.believed(DAYS + 1).await.keys().eq(["b", "c"]), "a week has passed");
        }
        one.add((0..MOST).map(|number| number.to_string()).collect(), 4).await;
        assert_eq!(two.believed(4).await.len(), MOST);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_written_over() {
        let host = MockHost::new().on::<ops::StatePut>(|_| Ok(ops::Empty {}));
        Unreadable::new(host.host(), "corp123").add(vec!["a".into()], 1).await;
        assert!(host.requests::<ops::StatePut>().is_empty());
        assert_eq!(host.logs().len(), 1);
    }
}
