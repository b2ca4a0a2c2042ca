//! One channel, read now: because a webhook named it, or something was sent to it.

use super::Upstream;
use super::client::CallError;
use super::decode;
use super::native::Native;
use super::reading::Reading;
use std::hash::{BuildHasher, Hash, RandomState};
use stele_plugin_api::Error;
use stele_plugin_api::model::{Message, Page, Reached};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::ArchiveAppend;
use tokio::sync::{Mutex, MutexGuard};

/// Turns that are told apart; what has the same one waits for the other now and then.
const TURNS: usize = 256;
/// Answers of one read; what is behind them comes with the sync.
const MAX_STEPS: usize = 8;
/// Messages of an answer.
const STEP: usize = 500;

/// Lets the same thing be done once at a time.
pub(super) struct Turns {
    turns: [Mutex<()>; TURNS],
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Turns {
    pub(super) async fn of(&self, what: impl Hash) -> MutexGuard<'_, ()> {
        let place = self.hasher.hash_one(what) % TURNS as u64;
        self.turns[usize::try_from(place).unwrap_or_default()].lock().await
    }
}

/// Why a channel was not read.
#[derive(Debug)]
pub(super) enum FreshError {
    /// Because of the upstream.
    Upstream(CallError),
    /// Because of the archive.
    Archive(Error),
}

impl From<FreshError> for Error {
    fn from(error: FreshError) -> Self {
        match error {
            FreshError::Upstream(error) => error.into(),
            FreshError::Archive(error) => error,
        }
    }
}

impl Upstream {
    /// Archives what is new in a channel, up to a bound, and shows every message to `see`. Whether it came to the end.
    pub(super) async fn refresh(&self, native: &Native, mut see: impl FnMut(&Message)) -> Result<bool, FreshError> {
        let _turn = self.turns.of(native).await;
        let archived = self.reached(vec![native.key()]).await.map_err(FreshError::Archive)?;
        let mut reading = Reading::new(native.clone(), archived.first().copied().unwrap_or_default(), None);
        // Behind a message whose stream is open nothing counts as archived: the sync reads it, and knows what to wait for.
        let mut most = i64::MAX;
        for _ in 0..MAX_STEPS {
            let unproved = reading.unproved;
            let step = reading.step(&self.client, STEP, (self.clock)()).await.map_err(FreshError::Upstream)?;
            let unknown = self.unknown(Vec::from_iter(step.proof.clone())).await.map_err(FreshError::Archive)?;
            if !unknown.is_empty() {
                // How far it is archived must not move: by that the sync sees what to read.
                let lost = "a channel has lost what is archived, and has other messages; the sync reads it again";
                self.host.log_from("upstream", Level::Warn, lost, &[("channel", &native.key())]);
                return Ok(false);
            }
            if unproved && step.proof.is_none() && step.messages.is_empty() {
                return Ok(false);
            }
            // What is missing the sync finds, too: there it is told.
            let reached = step.reached.filter(|_| step.holes.is_empty() && step.malformed == 0);
            step.messages.iter().for_each(&mut see);
            let is_whole = reached.is_some();
            most = step.open.first().map_or(most, |(open, _)| most.min(open - 1));
            let reached = reached.map(|reached| Reached { seq: reached.seq.min(most), ..reached });
            if !step.messages.is_empty() {
                let page = Page {
                    conversations: vec![decode::conversation(native)],
                    messages: step.messages,
                    reached: Vec::from_iter(reached),
                    ..Page::default()
                };
                self.host.call_within::<ArchiveAppend>(page, crate::CALL).await.map_err(FreshError::Archive)?;
            }
            if step.done {
                return Ok(true);
            }
            if reading.back.is_none() && !is_whole {
                break;
            }
        }
        Ok(false)
    }
}
