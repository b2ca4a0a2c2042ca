//! Sends of which nobody may know what became of them: each is noted before it goes out, where a daemon or a plugin that is
//! killed meanwhile leaves it (`state.put`), and is no more once its outcome is known.
//!
//! What is noted at once is written at once, by whoever is first. During a reload two processes of the plugin are there; each
//! writes a place of its own, and begins with what both of them hold. So does each daemon, and looks at what the others have noted
//! after it has noted a send itself: of two that send the same at once one at least knows of the other, and looks for it first. Where
//! both do, neither has sent it, and the one of the greater number looks once more than the other, who sends it meanwhile.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{StateEntry, StateGet, StateKey, StatePut};
use stele_plugin_api::{Error, Host};

use crate::CALL;

/// Most sends that are remembered: the oldest are given up first. Their names have 32 KiB together, of the 64 KiB of a value.
const MAX: usize = 4096;
/// The daemon whose places have no number in their names: the first one of an archive.
const FIRST: u16 = 1;
/// Where the numbers of all daemons that ever noted something are kept: two bytes each.
const DAEMONS: &str = "relay/daemons";
/// Bytes of a name.
const NAME: usize = 8;

/// Sends nobody may know the outcome of.
pub(super) struct Doubts {
    host: Host,
    /// When this process began.
    process: Micros,
    held: Mutex<Held>,
    writing: tokio::sync::Mutex<Writing>,
}

#[derive(Default)]
struct Held {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    /// How many were ever noted.
    noted: u64,
}

#[derive(Default)]
struct Writing {
    /// Where this process writes, once it has read what was left.
    place: Option<String>,
    /// How many of those ever noted are written.
    written: u64,
}

impl Doubts {
    pub(super) fn new(host: Host, process: Micros) -> Self {
        Self { host, process, held: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// Notes a send that is about to go out, for good when this returns. How often it is to be looked for before, each time for as
    /// long as one that is under way may take: 0 when there was none whose outcome is unknown.
    ///
    /// # Errors
    ///
    /// Those of the daemon; then it must not go out.
    pub(super) async fn note(&self, key: &str) -> Result<usize, Error> {
        let name = name(key);
        let place = self.place().await?;
        // What is known is written: it was left here, or was noted before.
        let (is_new, noted) = {
            let held = &mut *self.held();
            (held.add(name), held.noted)
        };
        let mut writing = self.writing.lock().await;
        if is_new && writing.written < noted {
            let (value, upto) = {
                let held = self.held();
                (written(self.process, &held.order), held.noted)
            };
            let entry = StateEntry { key: place, value: Some(value) };
            if let Err(error) = self.host.call_within::<StatePut>(entry, CALL).await {
                self.settle(key);
                return Err(error);
            }
            writing.written = upto;
        }
        drop(writing);
        let others = self.noted_by_others(name).await;
        if others.is_err() && is_new {
            self.settle(key);
        }
        let others = others?;
        let before = others.iter().filter(|daemon| **daemon < self.daemon()).count();
        Ok(if is_new && others.is_empty() { 0 } else { 1 + before })
    }

    /// The other daemons that have noted this.
    async fn noted_by_others(&self, name: u64) -> Result<Vec<u16>, Error> {
        let mut found = Vec::new();
        for daemon in self.daemons().await?.into_iter().filter(|daemon| *daemon != self.daemon()) {
            for place in places(daemon) {
                if read(&self.kept(place).await?).1.contains(&name) {
                    found.push(daemon);
                    break;
                }
            }
        }
        Ok(found)
    }

    fn daemon(&self) -> u16 {
        self.host.node().unwrap_or(FIRST)
    }

    /// All daemons that ever noted something.
    async fn daemons(&self) -> Result<Vec<u16>, Error> {
        let kept = self.kept(DAEMONS.to_owned()).await?;
        Ok(kept.as_chunks::<2>().0.iter().map(|daemon| u16::from_le_bytes(*daemon)).collect())
    }

    /// Makes this daemon known to the others.
    async fn join(&self) -> Result<(), Error> {
        if self.daemons().await?.contains(&self.daemon()) {
            return Ok(());
        }
        // One after the other: nobody is to be forgotten.
        let mut turn = self.host.turn(DAEMONS);
        turn.wait().await;
        let joined = async {
            let mut daemons = self.daemons().await?;
            daemons.push(self.daemon());
            let value = daemons.into_iter().flat_map(u16::to_le_bytes).collect();
            let entry = StateEntry { key: DAEMONS.to_owned(), value: Some(value) };
            self.host.call_within::<StatePut>(entry, CALL).await.map(drop)
        };
        let joined = joined.await;
        turn.give_back().await;
        joined
    }

    async fn kept(&self, key: String) -> Result<Bytes, Error> {
        Ok(self.host.call_within::<StateGet>(StateKey { key }, CALL).await?.value.unwrap_or_default())
    }

    /// The outcome is known. That is written with whatever is noted next: until then a send that comes again is looked for once
    /// more than is needed.
    pub(super) fn settle(&self, key: &str) {
        let (held, name) = (&mut *self.held(), name(key));
        if held.known.remove(&name) {
            held.order.retain(|other| *other != name);
        }
    }

    /// Where this process writes: not where the one before it does, which may still be there.
    async fn place(&self) -> Result<String, Error> {
        let mut writing = self.writing.lock().await;
        if let Some(place) = &writing.place {
            return Ok(place.clone());
        }
        self.join().await?;
        let mut left = Vec::new();
        for place in places(self.daemon()) {
            left.push((read(&self.kept(place.clone()).await?), place));
        }
        left.sort_by_key(|((process, _), _)| *process);
        let held = &mut *self.held();
        left.iter().flat_map(|((_, names), _)| names).for_each(|name| _ = held.add(*name));
        let (_, place) = left.swap_remove(0);
        writing.place = Some(place.clone());
        Ok(place)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether it was unknown.
    fn add(&mut self, name: u64) -> bool {
        if !self.known.insert(name) {
            return false;
        }
        self.noted += 1;
        self.order.push_back(name);
        if self.order.len() > MAX
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        true
    }
}

/// Where a daemon keeps them.
fn places(daemon: u16) -> [String; 2] {
    [0, 1].map(|place| if daemon == FIRST { format!("relay/{place}") } else { format!("relay/{daemon}/{place}") })
}

/// Two sends of one name cost a look that is not needed.
fn name(key: &str) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|place| Sha256::digest(key)[place]))
}

fn written(process: Micros, names: &VecDeque<u64>) -> Bytes {
    process.to_le_bytes().into_iter().chain(names.iter().flat_map(|name| name.to_le_bytes())).collect()
}

/// When the process that wrote it began, and what it noted.
fn read(value: &[u8]) -> (Micros, Vec<u64>) {
    let (words, _) = value.as_chunks::<NAME>();
    let process = words.first().map_or(Micros::MIN, |word| Micros::from_le_bytes(*word));
    (process, words.iter().skip(1).map(|word| u64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use stele_plugin_api::ops::{Empty, StateValue};
    use stele_plugin_api::testing::MockHost;

    type State = Arc<Mutex<(BTreeMap<String, Bytes>, usize)>>;

    fn host(state: &State) -> MockHost {
        let (get, put) = (Arc::clone(state), Arc::clone(state));
        MockHost::new()
            .on::<StateGet>(move |key| Ok(StateValue { value: get.lock().unwrap().0.get(&key.key).cloned() }))
            .on::<StatePut>(move |entry| {
                let (values, writes) = &mut *put.lock().unwrap();
                values.insert(entry.key, entry.value.unwrap_or_default());
                *writes += 1;
                Ok(Empty {})
            })
    }

    async fn note(doubts: &Doubts, key: &str) -> usize {
        doubts.note(key).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_noted_outlives_its_process_until_its_outcome_is_known() {
        let state = State::default();
        let mock = host(&state);
        let first = Doubts::new(mock.host(), 1);
        assert_eq!([note(&first, "a").await, note(&first, "b").await, note(&first, "a").await], [0, 0, 1]);
        first.settle("b");
        assert_eq!(note(&first, "c").await, 0);
        // The first one is still there, and goes on.
        let second = Doubts::new(mock.host(), 2);
        assert_eq!([note(&second, "a").await, note(&second, "b").await, note(&first, "d").await], [1, 0, 0]);
        let third = Doubts::new(mock.host(), 3);
        for (key, looks) in [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 0)] {
            assert_eq!(note(&third, key).await, looks, "{key}");
        }
        assert_eq!(state.lock().unwrap().0.keys().collect::<Vec<_>>(), ["relay/0", "relay/1", DAEMONS]);
    }

    #[tokio::test]
    async fn what_is_noted_at_once_is_written_together_and_bounded() {
        let state = State::default();
        let mock = host(&state);
        let doubts = Doubts::new(mock.host(), 1);
        let keys: Vec<_> = (0..MAX + 10).map(|number| number.to_string()).collect();
        for known in futures::future::join_all(keys.iter().map(|key| doubts.note(key))).await {
            assert_eq!(known.unwrap(), 0);
        }
        let (values, writes) = &*state.lock().unwrap();
        assert!(*writes < keys.len() / 10, "{writes}");
        assert_eq!(values.values().next().unwrap().len(), NAME * (MAX + 1));
    }

    #[tokio::test]
    async fn what_one_daemon_noted_another_knows() {
        let state = State::default();
        let mock = host(&state);
        let one = Doubts::new(mock.host().at_node(1), 1);
        let two = Doubts::new(mock.host().at_node(2), 2);
        assert_eq!([note(&one, "a").await, note(&two, "b").await], [0, 0]);
        // Each knows of the other now, and one of them goes first.
        for key in ["a", "b"] {
            assert_eq!([note(&one, key).await, note(&two, key).await], [1, 2], "{key}");
        }
        // Each writes where no other one does, so neither forgets what the other noted.
        for daemon in [1, 2] {
            let again = Doubts::new(mock.host().at_node(daemon), 3);
            for key in ["a", "b"] {
                assert_eq!(note(&again, key).await, usize::from(daemon), "{daemon} {key}");
            }
        }
        assert_eq!(note(&Doubts::new(mock.host().at_node(3), 4), "c").await, 0);
    }
}
