//! Sends, committed together ([`commit`]): the order of commit is that of ids, and of the numbers the archive gives.
//!
//! An append whose outcome is unknown is tried once more, with the same ids: what was stored is known by its id then, and nothing
//! is stored twice.

use crate::draft::Draft;
use crate::id::Ids;
use crate::{CALL, Clock};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stele_plugin_api::commit::{self, Outcome, Store};
use stele_plugin_api::model::{Conversation, Page};
use stele_plugin_api::ops::{AppendReport, ArchiveAppend, ArchiveGet, ByIds, MessageView};
use stele_plugin_api::{Error, Host};

/// Most conversations remembered as told of.
const MAX_TOLD: usize = 100_000;

/// Takes messages to commit.
pub type Committer = commit::Committer<Appending>;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is stored under this id and number.
    As(i64, i64),
    /// It is not, since it repeats the one with this native id.
    Repeats(String),
}

/// Gives ids, for those that are not stored as well.
#[derive(Clone)]
pub struct Numbering {
    clock: Clock,
    ids: Arc<Mutex<Ids>>,
}

impl Numbering {
    /// Ids of this node.
    pub fn new(node: u16, clock: Clock) -> Self {
        Self { clock, ids: Arc::new(Mutex::new(Ids::new(node))) }
    }

    /// The next id.
    pub fn id(&self) -> i64 {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).next((self.clock)())
    }
}

/// Starts the task that commits, on the current runtime. It ends when nobody can send any more.
pub fn start(host: Host, numbering: Numbering) -> Committer {
    Committer::start(host.clone(), Appending { host, numbering, told: HashSet::new() }, CALL)
}

/// Gives messages their ids, and appends them.
pub struct Appending {
    host: Host,
    numbering: Numbering,
    /// Conversations the archive was told of.
    told: HashSet<String>,
}

impl Store for Appending {
    type Item = Arc<Draft>;
    type Answer = Kept;

    fn bytes(draft: &Arc<Draft>) -> usize {
        draft.bytes()
    }

    async fn store(&mut self, drafts: Vec<&Arc<Draft>>, within: Duration) -> Result<Vec<Outcome<Kept>>, Error> {
        let ids: Vec<_> = drafts.iter().map(|_| self.numbering.id()).collect();
        let messages: Vec<_> = drafts.iter().zip(&ids).map(|(draft, id)| draft.message(*id)).collect();
        let bodies: Vec<_> = messages.iter().map(|message| message.body.clone()).collect();
        let conversations = self.untold(&drafts);
        let told: Vec<_> = conversations.iter().map(|told| told.native_id.clone()).collect();
        let people = drafts.iter().find_map(|draft| draft.person()).into_iter().collect();
        let page = Page { messages, conversations, people, ..Page::default() };
        let report = self.append(page, within).await?;
        self.remember(told);
        let stored: HashMap<_, _> = report.stored.into_iter().map(|stored| (stored.native_id, stored.seq)).collect();
        let repeated: HashMap<_, _> =
            report.repeated.into_iter().map(|repeated| (repeated.native_id, repeated.first)).collect();
        let is_missing = |id: &String| !stored.contains_key(id) && !repeated.contains_key(id);
        let missing = ids.iter().map(ToString::to_string).filter(is_missing).collect();
        let known = self.known(missing, within).await;
        let outcome = |(id, body): (i64, Bytes)| {
            let native_id = id.to_string();
            if let Some(seq) = stored.get(&native_id) {
                return Outcome::Stored(Kept::As(id, *seq));
            }
            if let Some(first) = repeated.get(&native_id) {
                return Outcome::Stored(Kept::Repeats(first.clone()));
            }
            match &known {
                Ok(known) => match known.get(&native_id) {
                    Some(known) if known.body == body => Outcome::Stored(Kept::As(id, known.seq)),
                    _ => Outcome::Again,
                },
                Err(error) => Outcome::Refused(error.clone()),
            }
        };
        Ok(ids.into_iter().zip(bodies).map(outcome).collect())
    }
}

impl Appending {
    /// Appends a page; once more, with the same ids, where the outcome is not known.
    async fn append(&self, page: Page, within: Duration) -> Result<AppendReport, Error> {
        let within = within / 2;
        match self.host.call_within::<ArchiveAppend>(page.clone(), within).await {
            Err(error) if error.is_transient() => self.host.call_within::<ArchiveAppend>(page, within).await,
            outcome => outcome,
        }
    }

    /// The messages that were known before by their ids. One of them is the one to store if it says the same: an append before
    /// this one stored it. Else it is that of somebody with the same node id, or of a time before the clock went back.
    async fn known(&self, native_ids: Vec<String>, within: Duration) -> Result<HashMap<String, MessageView>, Error> {
        if native_ids.is_empty() {
            return Ok(HashMap::new());
        }
        // A batch is much smaller than an answer may be.
        let found = self.host.call_within::<ArchiveGet>(ByIds { native_ids }, within).await?;
        Ok(found.rows.into_iter().map(|known| (known.native_id.clone(), known)).collect())
    }

    /// The conversations of these messages that the archive was not told of yet.
    fn untold(&self, drafts: &[&Arc<Draft>]) -> Vec<Conversation> {
        let mut untold = BTreeMap::new();
        for conversation in drafts.iter().flat_map(|draft| draft.conversations()) {
            // What a stream is changes.
            if conversation.attributes.is_some() || !self.told.contains(&conversation.native_id) {
                untold.insert(conversation.native_id.clone(), conversation);
            }
        }
        untold.into_values().collect()
    }

    fn remember(&mut self, told: Vec<String>) {
        if self.told.len() + told.len() > MAX_TOLD {
            self.told.clear();
        }
        self.told.extend(told);
    }
}
