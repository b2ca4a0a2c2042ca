//! Who is a member of what: the upstream says so session by session, and the archive is told of what that changes at once.
//!
//! Sessions are asked for by the discovery, when they call, and every minute while they listen. An answer may be older than a
//! join or a leave that went through this instance meanwhile; such a one is not taken, and the upstream is asked again.

use super::Upstream;
use super::client::{CallError, Device};
use super::decode;
use super::relay::{Refusal, device};
use crate::token::Caller;
use serde_json::json;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::Error;
use stele_plugin_api::model::{Conversation, ConversationKind, Micros, Page};
use stele_plugin_api::ops::{ArchiveAppend, ConversationJoined, JoinedQuery, MAX_ROWS};
use tokio::time::{Instant, timeout_at};

/// Longest id of a conversation that is archived, in bytes; the original's have 36.
const MAX_ID: usize = 256;
/// Sessions of which it is remembered when they were asked for, and that they listen.
const MAX_ASKED: usize = 10_000;
/// Longest time a session is taken to listen.
const LISTENING: Micros = 24 * 3600 * 1_000_000;
/// Listeners that are asked for before one page of messages.
const MAX_LISTENERS: usize = 32;
/// Time for that.
const LISTENERS_TIME: Duration = Duration::from_secs(5);
/// Time for an answer that is only wanted to be sure.
const PATIENCE: Duration = Duration::from_secs(2);
/// Times an answer is asked for that is older than a change made meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// Pause before a session is asked for again that was asked for in vain.
const AGAIN: Micros = 1_000_000;
/// Questions that are asked at the same time; sessions share them.
pub const QUESTIONS: usize = 256;

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As new as can be.
    Now,
    /// Seconds: it stands against what the caller wants.
    Doubted,
    /// A minute: nobody doubts it.
    Believed,
}

impl Age {
    fn micros(self) -> Micros {
        match self {
            Self::Now => 0,
            Self::Doubted => 10_000_000,
            Self::Believed => 60_000_000,
        }
    }
}

/// When sessions were asked for last.
#[derive(Default)]
pub struct Asked(HashMap<String, Turn>);

#[derive(Clone, Copy)]
struct Turn {
    at: Micros,
    /// Until when it is taken to listen; 0 when it does not.
    listens: Micros,
}

impl Asked {
    /// Whether a session is asked for, when an answer may be so old; if so, that is noted.
    fn begin(&mut self, session: &str, now: Micros, age: Age) -> bool {
        if let Some(turn) = self.0.get_mut(session) {
            let is_due = now - turn.at >= age.micros();
            turn.at = if is_due { now } else { turn.at };
            return is_due;
        }
        if !self.has_room(now) {
            // Whether it was asked for a moment ago nobody knows.
            return age == Age::Now;
        }
        self.0.insert(session.to_owned(), Turn { at: now, listens: 0 });
        true
    }

    /// A session was asked for in vain: that its answer is young counts no more.
    fn failed(&mut self, session: &str, now: Micros) {
        if let Some(turn) = self.0.get_mut(session) {
            turn.at = now - Age::Doubted.micros() + AGAIN;
        }
    }

    /// A session listens until then.
    fn listens(&mut self, session: &str, now: Micros, until: Micros) {
        if self.0.contains_key(session) || self.has_room(now) {
            let turn = self.0.entry(session.to_owned()).or_insert(Turn { at: 0, listens: 0 });
            turn.listens = turn.listens.max(until.min(now + LISTENING));
        }
    }

    /// Listeners whose turn it is, the ones that wait longest first.
    fn due(&self, now: Micros) -> Vec<String> {
        let due = self.0.iter().filter(|(_, turn)| turn.listens > now && now - turn.at >= Age::Believed.micros());
        let mut due: Vec<_> = due.map(|(session, turn)| (turn.at, session)).collect();
        due.sort_unstable();
        due.into_iter().take(MAX_LISTENERS).map(|(_, session)| session.clone()).collect()
    }

    fn has_room(&mut self, now: Micros) -> bool {
        if self.0.len() >= MAX_ASKED {
            self.0.retain(|_, turn| turn.listens > now || now - turn.at < Age::Doubted.micros());
        }
        self.0.len() < MAX_ASKED
    }
}

impl Upstream {
    /// Has the archive know what the caller is a member of. `false` when an answer not older than this was given before. What is
    /// only believed does not wait long for the upstream, nor fail with it.
    ///
    /// # Errors
    ///
    /// Those of the upstream; the archive's are [`Refusal::Failed`].
    pub async fn check(&self, caller: &Caller, age: Age) -> Result<bool, Refusal> {
        if age == Age::Believed {
            return Ok(matches!(tokio::time::timeout(PATIENCE, self.question(caller, age)).await, Ok(Ok(true))));
        }
        let asked = self.question(caller, age).await;
        // Whoever waited for the answer to somebody else's question looks at the archive again, too.
        self.done("/get_joined_conversation", asked).map(|_| true)
    }

    /// Asks what the caller is a member of, unless that was done not longer ago than this. One question of a session at a time:
    /// nothing is said against a caller while there is an answer to come.
    async fn question(&self, caller: &Caller, age: Age) -> Result<bool, CallError> {
        let place = self.hasher.hash_one(&caller.sid) as usize % QUESTIONS;
        let _question = self.questions[place].lock().await;
        if !self.asked().begin(&caller.sid, (self.clock)(), age) {
            return Ok(false);
        }
        let renewed = self.renew(&device(caller)).await;
        if renewed.is_err() {
            self.asked().failed(&caller.sid, (self.clock)());
        }
        renewed.map(|()| true)
    }

    /// The caller begins to listen.
    pub fn listens(&self, caller: &Caller) {
        let now = (self.clock)();
        self.asked().listens(&caller.sid, now, caller.expires_at.unwrap_or(Micros::MAX));
    }

    /// Asks for those who listen, so that what comes next reaches them if they are members by now.
    pub(super) async fn renew_listeners(&self) {
        let until = Instant::now() + LISTENERS_TIME;
        let renewed = timeout_at(until, async {
            let _turn = self.turn.lock().await;
            let now = (self.clock)();
            let due = self.asked().due(now);
            for session in due {
                self.asked().begin(&session, now, Age::Believed);
                // It is asked for again in a minute, whatever comes of it.
                let _ = self.renew(&Device { sid: session, platform: 0 }).await;
            }
        });
        let _ = renewed.await;
    }

    /// Asks what a session is a member of, and tells the archive what that changes.
    pub(super) async fn renew(&self, device: &Device) -> Result<(), CallError> {
        for _ in 0..MAX_ATTEMPTS {
            let changes = self.known().changes(&device.sid);
            let mut told = self.client.call(device, "/get_joined_conversation", &json!({}), decode::joined).await?;
            told.retain(|id| !id.is_empty() && id.len() <= MAX_ID);
            told.sort_unstable();
            told.dedup();
            let stored = self.stored(&device.sid).await.map_err(CallError::Failed)?;
            if !self.known().tell(&device.sid, changes, &told) {
                continue;
            }
            self.settle(&device.sid, &told, &stored).await.map_err(CallError::Failed)?;
            if self.known().changes(&device.sid) == changes {
                break;
            }
        }
        Ok(())
    }

    /// Commits in what the archive is wrong about a session. Both lists are in order.
    async fn settle(&self, session: &str, told: &[String], stored: &[String]) -> Result<(), Error> {
        let one = |id: &String| Conversation {
            native_id: id.clone(),
            partition: id.clone(),
            kind: Some(ConversationKind::Group),
            ..Conversation::default()
        };
        let sid = || vec![session.to_owned()];
        let joined = told.iter().filter(|id| stored.binary_search(id).is_err());
        let joined = joined.map(|id| Conversation { joined: sid(), ..one(id) });
        let left = stored.iter().filter(|id| told.binary_search(id).is_err());
        let changes: Vec<_> = joined.chain(left.map(|id| Conversation { left: sid(), ..one(id) })).collect();
        for conversations in changes.chunks(MAX_ROWS as usize) {
            let page = Page { conversations: conversations.to_vec(), ..Page::default() };
            self.host.call::<ArchiveAppend>(page).await?;
        }
        Ok(())
    }

    /// Everything a session is a member of as far as the archive knows, in order.
    async fn stored(&self, session: &str) -> Result<Vec<String>, Error> {
        let mut conversations: Vec<String> = Vec::new();
        loop {
            let after = conversations.last().cloned().unwrap_or_default();
            let query = JoinedQuery { person: session.to_owned(), after, limit: MAX_ROWS };
            let page = self.host.call::<ConversationJoined>(query).await?.conversations;
            let is_last = page.len() < MAX_ROWS as usize;
            conversations.extend(page);
            if is_last {
                return Ok(conversations);
            }
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_in_vain_does_not_stand_against_anybody_for_long() {
        let mut asked = Asked::default();
        assert!(asked.begin("alice", 1_000_000_000, Age::Doubted));
        assert!(!asked.begin("alice", 1_000_000_000 + AGAIN, Age::Doubted));
        asked.failed("alice", 1_000_000_000);
        assert!(!asked.begin("alice", 1_000_000_000, Age::Doubted));
        assert!(asked.begin("alice", 1_000_000_000 + AGAIN, Age::Doubted));
    }
}
