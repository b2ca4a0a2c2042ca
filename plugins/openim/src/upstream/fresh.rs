//! One conversation, read now: because a webhook named it, or something was sent to it.

use super::Upstream;
use super::notes::Notes;
use super::reading::{Gaps, Reading, STEP_TIME, StepError, Terms};
use crate::ids;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::AtomicBool;
use stele_plugin_api::model::{Message, Page, Revocation};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::ArchiveAppend;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Turns that are told apart; what has the same one waits for the other now and then.
const TURNS: usize = 256;
/// Answers of one read; what is behind them comes with the sync.
const MAX_STEPS: usize = 8;
/// Messages of an answer.
const STEP: usize = 100;

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

impl Upstream {
    /// Archives what is new in a conversation, up to a bound, and shows every message to `see`. `known`: who may see it.
    pub(super) async fn refresh(
        &self,
        conversation: &str,
        known: &[String],
        mut see: impl FnMut(&Message),
    ) -> Result<(), StepError> {
        let _turn = self.turns.of(conversation).await;
        let archived = self.reached(vec![conversation.to_owned()]).await.map_err(StepError::Archive)?;
        let archived = archived.first().copied().unwrap_or_default();
        let last = self.client.last_seqs(&[conversation.to_owned()]).await?;
        let last = last.get(conversation).copied().unwrap_or_default();
        // A conversation with fewer messages than are archived is read by the sync.
        if last <= archived {
            return Ok(());
        }
        let reader = match known.first() {
            Some(reader) => Some(reader.clone()),
            None => self.readers(conversation, known).await?.into_iter().next(),
        };
        let Some(reader) = reader else { return Ok(()) };
        let mut reading = Reading::new(conversation, &reader, archived, last);
        // What has to wait is left to the sync, which tells of it.
        let terms = Terms {
            gaps: Gaps::Leave,
            may_owe: false,
            search_fails: AtomicBool::default(),
            until: Instant::now() + STEP_TIME,
        };
        for _ in 0..MAX_STEPS {
            let size = reading.size;
            let step = match self.step(&mut reading, STEP, &terms).await {
                // It asks for less the next time.
                Err(_) if reading.size != size => continue,
                step => step?,
            };
            if step.reset {
                // How far it is archived must not move: by that the sync sees what to read.
                let lost = "a conversation has lost what is archived, and has other messages; the sync reads it again";
                self.host.log_from("upstream", Level::Warn, lost, &[("conversation", conversation)]);
                return Ok(());
            }
            step.messages.iter().for_each(&mut see);
            if !step.messages.is_empty() || !step.revocations.is_empty() {
                let mut notes = Notes::default();
                step.notes.into_iter().for_each(|note| notes.note(note));
                let page = Page {
                    conversations: vec![ids::described(conversation)],
                    messages: step.messages,
                    revocations: step.revocations,
                    reached: Vec::from_iter(step.reached),
                    notices: notes.told(),
                    ..Page::default()
                };
                self.host.call_within::<ArchiveAppend>(page, crate::CALL).await.map_err(StepError::Archive)?;
            }
            if step.done {
                break;
            }
        }
        Ok(())
    }

    /// Marks a message that was taken back, and archives it if it is not.
    pub(super) async fn mark(&self, conversation: &str, seq: i64, known: &[String]) -> Result<(), StepError> {
        for reader in self.readers(conversation, known).await? {
            let seen = self.client.pull(&reader, conversation, (seq, seq), 1).await?;
            let Some(entry) = seen.get(&seq) else { continue };
            let Some(revoke) = entry.revoke() else { continue };
            let revocation: Revocation = revoke.of(entry.message(conversation).native_id);
            let page = Page { revocations: vec![revocation], ..Page::default() };
            self.host.call_within::<ArchiveAppend>(page, crate::CALL).await.map_err(StepError::Archive)?;
            break;
        }
        Ok(())
    }
}
