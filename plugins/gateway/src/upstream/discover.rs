//! `sync.discover` and `directory.pull`: which conversations there are, and who is in them.
//!
//! The original lists conversations only to their members. So every session that is known is asked for: the configured ones,
//! and the people of the archive. That is as many requests as sessions; what does not fit into one discovery is asked in the
//! next, and whoever cannot be asked for keeps nobody else waiting. A conversation that was found once is kept as the plugin's
//! state, so that it stays after everybody left. Every daemon discovers for itself, and adds to what the others kept.

use super::client::{CallError, Device, FAILED};
use super::decode::{self, Detail};
use super::{Upstream, attributes};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use stele_plugin_api::model::{Conversation, ConversationKind, Notice, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{
    MAX_ROWS, Partition, Partitions, PersonList, PersonQuery, PullRequest, StateEntry, StateGet, StateKey, StatePut,
};
use stele_plugin_api::{Error, ErrorCode};
use tokio::time::{Instant, timeout_at};

/// Time in which a discovery begins to ask for sessions.
const TIME: Duration = Duration::from_secs(15);
/// Time for the last answer; the daemon gives a discovery half a minute.
const LAST: Duration = Duration::from_secs(10);
/// Sessions in a row for which the upstream may fail until it is taken to fail for all.
const MAX_FAILURES: usize = 3;
/// Most people that are asked for.
const MAX_SESSIONS: usize = 100_000;
/// Bytes of ids in one value of the state, which has at most 64 KiB.
const MAX_VALUE: usize = 48 * 1024;
/// What the names of these values begin with, and whose turn it is to add to them.
const CONVERSATIONS: &str = "upstream.conversations";

/// What was found and saved, and whose turn it is to be asked.
#[derive(Default)]
pub struct Progress {
    /// The value that is being filled: its number and its ids.
    value: (usize, Vec<String>),
    /// The session that was asked last.
    last: String,
}

impl Upstream {
    /// The conversations there are, each of them a partition.
    ///
    /// # Errors
    ///
    /// Those of the upstream, as long as nothing is known.
    pub async fn discover(&self) -> Result<Partitions, Error> {
        let mut progress = self.progress.lock().await;
        self.load(&mut progress).await?;
        self.config.conversations.iter().for_each(|conversation| self.known().add(conversation));
        let sessions = self.sessions().await?;
        if let Err(error) = self.ask(&sessions, &mut progress).await {
            if self.known().conversations().next().is_none() {
                return Err(error);
            }
            let reason = error.to_string();
            self.host.log_from("upstream", Level::Warn, "not every session could be asked for", &[("error", &reason)]);
        }
        self.save(&mut progress).await?;
        let partition = |key: &str| Partition { key: key.to_owned(), title: key.to_owned() };
        Ok(Partitions { partitions: self.known().conversations().map(partition).collect() })
    }

    /// What the upstream tells of a conversation. Its members the archive knows from what their sessions were asked.
    ///
    /// # Errors
    ///
    /// Those of the upstream.
    pub async fn directory(&self, request: &PullRequest) -> Result<Page, Error> {
        let id = request.partition.as_str();
        let (detail, notice) = match self.detail(id).await {
            Ok(detail) => (Some(detail), None),
            Err(CallError::Refused(FAILED)) => {
                let message = format!("the upstream does not tell of conversation {id}, or fails");
                (None, Some(Notice { code: "no-detail".to_owned(), message }))
            }
            Err(error) => return Err(error.into()),
        };
        let kind = detail.as_ref().and_then(|detail| u8::try_from(detail.kind).ok());
        let conversation = Conversation {
            native_id: id.to_owned(),
            partition: id.to_owned(),
            kind: Some(ConversationKind::Group),
            archived: detail.as_ref().map(|detail| detail.archived),
            deleted: detail.as_ref().map(|detail| detail.deleted),
            attributes: kind.map(attributes),
            ..Conversation::default()
        };
        Ok(Page {
            conversations: vec![conversation],
            notices: Vec::from_iter(notice),
            caught_up: true,
            ..Page::default()
        })
    }

    /// The details of a conversation.
    pub(super) async fn detail(&self, conversation: &str) -> Result<Detail, CallError> {
        let device = Device { sid: self.reader(conversation), platform: 0 };
        let body = json!({ "conversation_id": conversation });
        self.client.call(&device, "/get_conversation_detail", &body, decode::detail).await
    }

    /// The configured sessions and the people of the archive.
    async fn sessions(&self) -> Result<BTreeSet<String>, Error> {
        let mut sessions: BTreeSet<String> = self.config.sessions.iter().cloned().collect();
        let mut after = String::new();
        while sessions.len() < MAX_SESSIONS {
            let query = PersonQuery { after, limit: MAX_ROWS };
            let people = match self.host.call::<PersonList>(query).await {
                Err(error) if error.code == ErrorCode::Unsupported => break,
                people => people?.people,
            };
            let is_last = people.len() < MAX_ROWS as usize;
            after = people.iter().map(|person| person.native_id.clone()).max().unwrap_or_default();
            sessions.extend(people.into_iter().map(|person| person.native_id));
            if is_last {
                break;
            }
        }
        Ok(sessions)
    }

    /// Asks for one session after the other, from where the last discovery ended.
    async fn ask(&self, sessions: &BTreeSet<String>, progress: &mut Progress) -> Result<(), Error> {
        let until = Instant::now() + TIME;
        let after = progress.last.clone();
        let (before, behind): (Vec<_>, Vec<_>) = sessions.iter().partition(|session| **session <= after);
        let (mut failures, mut failure) = (0, None);
        for session in behind.into_iter().chain(before) {
            if Instant::now() >= until || failures > MAX_FAILURES {
                break;
            }
            // Whatever comes of it, the next discovery begins behind it.
            progress.last.clone_from(session);
            let answer = timeout_at(until + LAST, self.renew(&Device { sid: session.clone(), platform: 0 })).await;
            let late = |_| Err(CallError::Failed(Error::new(ErrorCode::Deadline, "the upstream takes too long")));
            match answer.unwrap_or_else(late).map_err(Error::from) {
                Ok(()) => failures = 0,
                Err(error) if error.code == ErrorCode::Denied => return Err(error),
                Err(error) => {
                    failures += 1;
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Reads what was found before, by whichever daemon, from the value on that was the last one before.
    async fn load(&self, progress: &mut Progress) -> Result<(), Error> {
        let mut number = progress.value.0;
        while let Some(value) = self.host.call::<StateGet>(StateKey { key: key(number) }).await?.value {
            let ids: Vec<String> = serde_json::from_slice(&value)
                .map_err(|_| Error::internal("the list of conversations cannot be read"))?;
            ids.iter().for_each(|id| self.known().remember(id.clone()));
            progress.value = (number, ids);
            number += 1;
        }
        Ok(())
    }

    /// Keeps what is new. One daemon after the other: each adds to what those before it kept.
    async fn save(&self, progress: &mut Progress) -> Result<(), Error> {
        if self.known().unkept().len() == 0 {
            return Ok(());
        }
        let mut turn = self.host.turn(CONVERSATIONS);
        turn.wait().await;
        let added = turn.during(self.add_new(progress)).await;
        turn.give_back().await;
        added.unwrap_or_else(|| Err(Error::unavailable("what was found could not be kept in time")))
    }

    async fn add_new(&self, progress: &mut Progress) -> Result<(), Error> {
        self.load(progress).await?;
        let new: Vec<String> = self.known().unkept().map(str::to_owned).collect();
        let mut changed = Vec::new();
        let (mut number, mut ids) = progress.value.clone();
        for id in &new {
            if ids.iter().map(|id| id.len() + 3).sum::<usize>() + id.len() > MAX_VALUE {
                changed.push((number, std::mem::take(&mut ids)));
                number += 1;
            }
            ids.push(id.clone());
        }
        changed.push((number, ids.clone()));
        for (number, ids) in changed {
            let value = Bytes::from(serde_json::to_vec(&ids).expect("texts can be written"));
            self.host.call::<StatePut>(StateEntry { key: key(number), value: Some(value) }).await?;
        }
        progress.value = (number, ids);
        new.into_iter().for_each(|id| self.known().remember(id));
        Ok(())
    }
}

/// Name of a value of the state.
fn key(number: usize) -> String {
    format!("{CONVERSATIONS}.{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use stele_plugin_api::ops::{Empty, StateValue};
    use stele_plugin_api::testing::MockHost;

    #[tokio::test]
    async fn what_one_daemon_found_another_keeps() {
        let state = Arc::new(Mutex::new(HashMap::<String, Bytes>::new()));
        let (get, put) = (Arc::clone(&state), state);
        let mock = MockHost::new()
            .on::<StateGet>(move |key| Ok(StateValue { value: get.lock().unwrap().get(&key.key).cloned() }))
            .on::<StatePut>(move |entry| {
                put.lock().unwrap().insert(entry.key, entry.value.unwrap_or_default());
                Ok(Empty {})
            });
        let daemon = || {
            let config = serde_json::from_value(json!({ "upstream": { "url": "http://im.example.com" } })).unwrap();
            let clock: Clock = Arc::new(|| 0);
            (Upstream::of(&config, &mock.host(), &clock).expect("it has an upstream"), Progress::default())
        };
        let (mut one, mut two) = (daemon(), daemon());
        one.0.load(&mut one.1).await.unwrap();
        two.0.load(&mut two.1).await.unwrap();
        // More than one value has.
        for number in 0..100 {
            for (name, (upstream, progress)) in [("one", &mut one), ("two", &mut two)] {
                upstream.known().add(&format!("{name} {number} {}", "x".repeat(1000)));
                upstream.save(progress).await.unwrap();
            }
        }
        for (upstream, mut progress) in [one, two, daemon()] {
            upstream.load(&mut progress).await.unwrap();
            assert_eq!(upstream.known().conversations().count(), 200);
        }
    }
}
