//! Surviving a message that kills the process.
//!
//! The library aborts on input it does not like, and takes the process with it (reference/wecom-archive.md §1.7); or it
//! does not return, and the plugin ends the process ([`crate::lost`]). The daemon starts the plugin again, it fetches the
//! same page, and dies again: one message would stop the archive for good. So the plugin writes down what it is about to
//! open, in the daemon's small state, because it has no files of its own:
//!
//! 1. before a page: its range of seqs (one write per page of up to 1000);
//! 2. after a death in that range: the page is opened one by one, each seq written down before;
//! 3. after a death at one seq: that envelope is parked with the reason, and everything else goes on;
//! 4. after deaths at [`QUICK_DEATHS`] seqs of a page: more of it are opened only by a process that has lived for a while,
//!    lest the daemon lets the plugin stay down ([`crate::lost`]).
//!
//! Only the library's victim must be blamed. When the daemon is killed the plugin dies with it, at whatever page it just
//! was; so the record carries who its keeper was (the process that started the plugin), and under another keeper says
//! nothing. Envelopes that proved deadly are remembered as long as the library is the same file.
//!
//! Of several daemons each has a record of its own. One record would say what the daemon was about that opened the page last: two
//! that die of it in turns would both forget for ever.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use stele_plugin_api::notify::Level;
use stele_plugin_api::{Host, ops};
use tokio::sync::OnceCell;

/// Most deadly envelopes that are remembered; once parked they are not asked for again, so that the latest suffice.
const MAX_DEADLY: usize = 64;

/// Envelopes of one page that may kill in quick succession.
const QUICK_DEATHS: usize = 2;

/// The daemon that has no number in the names of its records: the first one of an archive.
const FIRST: u16 = 1;

/// What the plugin was doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// Process that started the plugin: see [`keeper`].
    keeper: String,
    /// Identity of the library.
    library: String,
    /// The page that was being opened.
    first: u64,
    last: u64,
    /// The envelope that was being opened, when it was one by one.
    at: Option<u64>,
    /// Envelopes the library died of.
    deadly: Vec<u64>,
}

/// The record of one corp and one kind of work.
pub struct Attempts {
    host: Host,
    key: String,
    keeper: String,
    library: String,
    /// What the process before left behind; read when it is needed first.
    before: OnceCell<Before>,
}

#[derive(Clone, Debug, Default)]
struct Before {
    suspect: Option<RangeInclusive<u64>>,
    deadly: Vec<u64>,
}

/// How a page should be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Care {
    /// All at once.
    Normal,
    /// One by one.
    OneByOne,
}

impl Attempts {
    /// The record of this name; `library` tells the library from another one.
    pub fn new(host: Host, work: &str, corp: &str, library: &str) -> Self {
        Self::kept_by(keeper(), host, work, corp, library)
    }

    fn kept_by(keeper: String, host: Host, work: &str, corp: &str, library: &str) -> Self {
        let key = match host.node().filter(|node| *node != FIRST) {
            Some(node) => format!("wecom/{work}/{corp}/{node}"),
            None => format!("wecom/{work}/{corp}"),
        };
        Self { host, key, keeper, library: library.to_owned(), before: OnceCell::new() }
    }

    /// How to open a page of these seqs. Writes down that it is about to be opened.
    pub async fn begin(&self, page: &RangeInclusive<u64>) -> Care {
        let before = self.before().await;
        let touches = |suspect: &RangeInclusive<u64>| suspect.start() <= page.end() && page.start() <= suspect.end();
        self.write(page, None).await;
        if before.suspect.as_ref().is_some_and(touches) { Care::OneByOne } else { Care::Normal }
    }

    /// Writes down that the page was opened one by one: whatever ends the process from now on, no envelope of it does.
    pub async fn end_one_by_one(&self, page: &RangeInclusive<u64>) {
        self.write(page, None).await;
    }

    /// Writes down that this one envelope of the page is about to be opened.
    pub async fn begin_one(&self, page: &RangeInclusive<u64>, seq: u64) {
        self.write(page, Some(seq)).await;
    }

    /// Whether so many processes have died of envelopes of this page that the next should not die soon.
    pub async fn kills_quickly(&self, page: &RangeInclusive<u64>) -> bool {
        self.before().await.deadly.iter().filter(|seq| page.contains(seq)).count() >= QUICK_DEATHS
    }

    /// Whether the library died of it.
    pub async fn is_deadly(&self, seq: u64) -> bool {
        self.before().await.deadly.contains(&seq)
    }

    async fn before(&self) -> &Before {
        self.before
            .get_or_init(|| async {
                let Some(record) = self.read().await else { return Before::default() };
                if record.library != self.library {
                    return Before::default();
                }
                let mut deadly = record.deadly;
                let mut suspect = None;
                if record.keeper == self.keeper {
                    deadly.extend(record.at);
                    suspect = Some(record.first..=record.last);
                }
                deadly.dedup();
                let surplus = deadly.len().saturating_sub(MAX_DEADLY);
                Before { suspect, deadly: deadly.split_off(surplus) }
            })
            .await
    }

    async fn read(&self) -> Option<Record> {
        match self.host.call::<ops::StateGet>(ops::StateKey { key: self.key.clone() }).await {
            Ok(state) => serde_json::from_slice(&state.value?).ok(),
            Err(error) => {
                self.complain(&error.to_string());
                None
            }
        }
    }

    async fn write(&self, page: &RangeInclusive<u64>, at: Option<u64>) {
        let record = Record {
            keeper: self.keeper.clone(),
            library: self.library.clone(),
            first: *page.start(),
            last: *page.end(),
            at,
            deadly: self.before().await.deadly.clone(),
        };
        let value = serde_json::to_vec(&record).map(Bytes::from).ok();
        let entry = ops::StateEntry { key: self.key.clone(), value };
        if let Err(error) = self.host.call::<ops::StatePut>(entry).await {
            // Better to archive without this guard than not at all.
            self.complain(&error.to_string());
        }
    }

    fn complain(&self, error: &str) {
        let message = "cannot keep the record that finds messages the vendor library dies of";
        self.host.log(Level::Warn, message, &[("error", error)]);
    }
}

/// The process that started this one: the daemon under the child carrier. Pids come again, and in a container the daemon's
/// is always 1; when it started tells it from its predecessors.
fn keeper() -> String {
    /// Place of the start time among what follows the name in `/proc/PID/stat` (proc(5), field 22).
    const START_TIME: usize = 19;
    let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let started = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(START_TIME));
    format!("{pid}@{}", started.unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use stele_plugin_api::testing::MockHost;

    /// A host that keeps state.
    fn host() -> MockHost {
        let state: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
        let written = Arc::clone(&state);
        MockHost::new()
            .on::<ops::StateGet>(move |key| {
                Ok(ops::StateValue { value: state.lock().expect("no test panicked").get(&key.key).cloned() })
            })
            .on::<ops::StatePut>(move |entry| {
                let value = entry.value.expect("the record is never removed");
                written.lock().expect("no test panicked").insert(entry.key, value);
                Ok(ops::Empty {})
            })
    }

    fn process(host: &MockHost, keeper: u32, library: &str) -> Attempts {
        Attempts::kept_by(keeper.to_string(), host.host(), "pull", "corp123", library)
    }

    #[tokio::test]
    async fn the_deadly_one_is_found_in_two_deaths() {
        let host = host();
        let first = process(&host, 7, "lib");
        assert_eq!(first.begin(&(1..=9)).await, Care::Normal);
        // It dies. The next process has the same daemon.
        let second = process(&host, 7, "lib");
        assert_eq!(second.begin(&(1..=9)).await, Care::OneByOne);
        for seq in 1..=5 {
            assert!(!second.is_deadly(seq).await);
            second.begin_one(&(1..=9), seq).await;
        }
        // It dies at 5, and later at 8.
        let third = process(&host, 7, "lib");
        assert_eq!(third.begin(&(1..=9)).await, Care::OneByOne);
        assert!(third.is_deadly(5).await && !third.is_deadly(8).await);
        assert!(!third.kills_quickly(&(1..=9)).await);
        third.begin_one(&(1..=9), 8).await;
        let fourth = process(&host, 7, "lib");
        assert_eq!(fourth.begin(&(1..=9)).await, Care::OneByOne);
        assert!(fourth.is_deadly(5).await && fourth.is_deadly(8).await);
        // Only this page makes it wait.
        assert!(fourth.kills_quickly(&(1..=9)).await && !fourth.kills_quickly(&(6..=19)).await);
        // The page after it is opened as ever, also by the next process if nothing dies.
        assert_eq!(fourth.begin(&(10..=19)).await, Care::Normal);
    }

    #[tokio::test]
    async fn daemons_that_die_in_turns_both_find_the_deadly_one() {
        let host = host();
        let process =
            |daemon: u16| Attempts::kept_by(daemon.to_string(), host.host().at_node(daemon), "pull", "corp123", "lib");
        for daemon in [1, 2] {
            assert_eq!(process(daemon).begin(&(1..=9)).await, Care::Normal);
        }
        for daemon in [1, 2] {
            let second = process(daemon);
            assert_eq!(second.begin(&(1..=9)).await, Care::OneByOne);
            second.begin_one(&(1..=9), 5).await;
        }
        for daemon in [1, 2] {
            assert!(process(daemon).is_deadly(5).await);
        }
    }

    #[tokio::test]
    async fn a_daemon_that_died_blames_nobody() {
        let host = host();
        process(&host, 7, "lib").begin_one(&(1..=9), 3).await;
        let next = process(&host, 8, "lib");
        assert_eq!(next.begin(&(1..=9)).await, Care::Normal);
        assert!(!next.is_deadly(3).await);
    }

    #[test]
    fn a_keeper_is_a_process_and_its_start() {
        let keeper = keeper();
        let (pid, started) = keeper.split_once('@').expect("both are there");
        assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 0), "{keeper}");
        assert!(!cfg!(target_os = "linux") || started.parse::<u64>().is_ok(), "{keeper}");
    }

    #[tokio::test]
    async fn another_library_gets_another_chance() {
        let host = host();
        process(&host, 7, "lib").begin_one(&(1..=9), 3).await;
        assert!(process(&host, 7, "lib").is_deadly(3).await);
        assert!(!process(&host, 7, "lib v3").is_deadly(3).await);
    }

    #[tokio::test]
    async fn without_state_the_archive_goes_on() {
        let host = MockHost::new();
        let attempts = process(&host, 7, "lib");
        assert_eq!(attempts.begin(&(1..=9)).await, Care::Normal);
        assert!(host.logs().iter().all(|log| log.level == Level::Warn) && !host.logs().is_empty());
    }
}
