//! Which conversations the upstream has, and which of them have something new.
//!
//! Groups are listed with their owners, who see all of them. People have the rest, and dismissed groups: those are listed nowhere
//! else. What a person has says the upstream with one call, for each of them.

use super::Upstream;
use super::client::CallError;
use super::notes::{self, Note};
use super::pull::{AT_ONCE, ATTEMPTS};
use super::reading::Reading;
use super::walk::Place;
use crate::ids;
use futures::StreamExt;
use futures::future::ready;
use futures::stream;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::Error;
use stele_plugin_api::ops::{MAX_IDS, PartitionKeys, PartitionReached};
use tokio::time::Instant;

/// Conversations that are being read at most: they are part of the cursor.
const MOST: usize = 2000;
/// Admins the upstream named that are remembered: each costs a channel to ask for with every person.
const MAX_ADMINS: usize = 100;
/// Conversations that are remembered since nothing is seen of them.
const MAX_BARREN: usize = 100_000;
/// Conversations that are remembered since the upstream had fewer messages of them than are archived.
const MAX_FEWER: usize = 10_000;
/// How long those are of which nothing is seen.
const BARREN_TIME: Duration = Duration::from_secs(3600);

/// What listings told that is not part of the cursor: what is forgotten costs some calls.
#[derive(Default)]
pub struct Listed {
    /// Groups that are listed, with somebody as whom they are read.
    groups: Mutex<HashSet<String>>,
    /// Admins the upstream named.
    admins: Mutex<BTreeSet<String>>,
    /// Groups that are not, as whom nothing new was seen of them, and up to which number.
    barren: Mutex<Barren>,
    /// Conversations of which the upstream had fewer messages than are archived: as many are not the same.
    fewer: Mutex<HashSet<String>>,
}

/// Conversations, as whom nothing new was seen of them, and up to which number; since when.
#[derive(Default)]
struct Barren {
    since: Option<Instant>,
    known: HashSet<(String, String, i64)>,
}

/// Conversations that have something new.
pub struct Found {
    pub reading: Vec<Reading>,
    /// Where the listing goes on.
    pub next: Option<Place>,
    pub notes: Vec<Note>,
}

impl Listed {
    /// A listing begins anew.
    pub fn begin(&self) {
        self.groups().clear();
    }

    /// What is archived of a conversation may be of another one of the same name.
    pub fn may_differ(&self, conversation: &str) {
        let mut fewer = self.fewer();
        if fewer.len() < MAX_FEWER {
            fewer.insert(conversation.to_owned());
        }
    }

    /// What is archived of a conversation is what the upstream has.
    pub fn is_the_same(&self, conversation: &str) {
        self.fewer().remove(conversation);
    }

    /// Nothing new is seen of a conversation as whom it is read.
    pub fn saw_nothing(&self, reading: &Reading) {
        // Of a group that is listed somebody sees what comes.
        if ids::group_of(&reading.conversation).is_none_or(|group| self.groups().contains(group)) {
            return;
        }
        let Barren { since, known } = &mut *self.barren();
        if known.len() >= MAX_BARREN || since.is_none_or(|since| since.elapsed() > BARREN_TIME) {
            known.clear();
            *since = Some(Instant::now());
        }
        let readers = [&reading.reader].into_iter().chain(reading.others.iter().flatten());
        known.extend(readers.map(|reader| (reading.conversation.clone(), reader.clone(), reading.last)));
    }

    /// Whether there may be something new.
    fn is_new(&self, conversation: &str, last: i64, archived: i64) -> bool {
        if last < archived {
            self.may_differ(conversation);
        }
        last > 0 && (last != archived || self.fewer().contains(conversation))
    }

    fn fewer(&self) -> MutexGuard<'_, HashSet<String>> {
        self.fewer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> MutexGuard<'_, HashSet<String>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn barren(&self) -> MutexGuard<'_, Barren> {
        self.barren.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A conversation in a listing.
struct One {
    conversation: String,
    readers: Vec<String>,
    last: i64,
}

impl Upstream {
    /// A page of the listing, or as much of it as there is time for.
    pub(super) async fn list(&self, place: &Place, until: Instant) -> Result<Found, Error> {
        match place {
            Place::Groups(number) => self.list_groups(*number).await,
            Place::People(number, known, behind) => self.list_people(*number, *known, behind, until).await,
            Place::Owed(_) => Ok(Found { reading: Vec::new(), next: None, notes: Vec::new() }),
        }
    }

    async fn list_groups(&self, number: u32) -> Result<Found, Error> {
        let (groups, more) = self.client.groups(number).await?;
        let mut owners = BTreeMap::new();
        for group in &groups {
            if let Some(owner) = group.owner().filter(|_| !group.info.group_id.is_empty()) {
                self.listed.groups().insert(group.info.group_id.clone());
                let conversation = ids::group(&group.info.group_id);
                owners.insert(ids::notices(&conversation), self.client.admin().to_owned());
                owners.insert(conversation, owner.to_owned());
            }
        }
        let conversations: Vec<_> = owners.keys().cloned().collect();
        let last = self.client.last_seqs(&conversations).await?;
        let listed = owners.into_iter().map(|(conversation, reader)| One {
            last: last.get(&conversation).copied().unwrap_or_default(),
            conversation,
            readers: vec![reader],
        });
        let next = if more { Place::Groups(number + 1) } else { Place::People(1, 0, String::new()) };
        Ok(Found { reading: self.new_ones(listed.collect()).await?, next: Some(next), notes: Vec::new() })
    }

    async fn list_people(&self, number: u32, known: usize, behind: &str, until: Instant) -> Result<Found, Error> {
        let (people, more) = self.client.user_ids(number).await?;
        let all = people.len();
        // Some in any case, and then as many as there is time for.
        let asked = stream::iter(people.into_iter().skip(known).enumerate()).map(|(place, person)| async move {
            if place >= AT_ONCE && Instant::now() >= until {
                return None;
            }
            let told = self.conversations_of(&person, until).await;
            Some((person, told))
        });
        let asked: Vec<_> = asked.buffered(AT_ONCE).take_while(|asked| ready(asked.is_some())).collect().await;
        let asked: Vec<_> = asked.into_iter().flatten().collect();
        let people: Vec<_> = asked.iter().map(|(person, _)| person.clone()).collect();
        if asked.iter().any(|(_, told)| told.is_err()) {
            // If not, it is not the affair of a single person.
            self.client.works().await?;
        }
        let mut notes = Vec::new();
        let mut ones = BTreeMap::<String, One>::new();
        let mut add = |conversation: String, reader: &str, last: i64| {
            let one = ones.entry(conversation.clone()).or_insert(One { conversation, readers: Vec::new(), last: 0 });
            one.last = one.last.max(last);
            one.readers.push(reader.to_owned());
        };
        for (person, told) in asked {
            match told {
                Ok(conversations) => conversations.into_iter().for_each(|(conversation, last)| {
                    let reader = if conversation.starts_with("n_") { self.client.admin() } else { &person };
                    add(conversation, reader, last);
                }),
                Err(error) => {
                    notes.push(notes::unreadable(&format!("what {person} has"), &Error::from(error).to_string()));
                }
            }
        }
        // What an admin takes back between two others is told between the admin and one of them.
        let admins = self.admins(&people).await?;
        let with_admins = people.iter().flat_map(|person| admins.iter().map(move |admin| (person, admin)));
        let pairs = with_admins.filter_map(|(person, admin)| ids::conversation(ids::SINGLE, admin, person, ""));
        let pairs: BTreeSet<_> = pairs.map(|pair| ids::notices(&pair)).collect();
        let pairs: Vec<_> = pairs.into_iter().collect();
        for (conversation, last) in self.client.last_seqs(&pairs).await? {
            add(conversation, self.client.admin(), last);
        }
        let mut listed: Vec<_> = ones.into_values().filter(|one| one.conversation.as_str() > behind).collect();
        {
            let groups = self.listed.groups();
            listed.retain(|one| {
                let notices_of = || one.conversation.strip_prefix("n_");
                ids::group_of(&one.conversation).or_else(notices_of).is_none_or(|group| !groups.contains(group))
            });
        }
        let mut reading = self.new_ones(listed).await?;
        let known_now = known + people.len();
        let mut next = if known_now < all {
            Some(Place::People(number, known_now, String::new()))
        } else {
            more.then(|| Place::People(number + 1, 0, String::new()))
        };
        if reading.len() > MOST {
            reading.truncate(MOST);
            next = reading.last().map(|last| Place::People(number, known, last.conversation.clone()));
        }
        Ok(Found { reading, next, notes })
    }

    /// The admins who are known: those of the configuration, and those the upstream has named so far; some of these people may be.
    async fn admins(&self, people: &[String]) -> Result<BTreeSet<String>, CallError> {
        let found = if people.is_empty() { Vec::new() } else { self.client.admins_among(people).await? };
        let mut known = self.listed.admins.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_ADMINS.saturating_sub(known.len());
        known.extend(found.into_iter().take(room));
        Ok(known.iter().chain(&self.admins).cloned().collect())
    }

    async fn conversations_of(&self, person: &str, until: Instant) -> Result<BTreeMap<String, i64>, CallError> {
        let mut attempt = 1;
        loop {
            match self.client.conversations(person).await {
                Err(error) if attempt == ATTEMPTS || error.is_denied() || Instant::now() >= until => return Err(error),
                Err(_) => attempt += 1,
                told => return told,
            }
        }
    }

    /// Those that are not archived as they are listed, in the order they came.
    async fn new_ones(&self, listed: Vec<One>) -> Result<Vec<Reading>, Error> {
        let mut reading = Vec::new();
        for listed in listed.chunks(MAX_IDS) {
            let archived = self.reached(listed.iter().map(|one| one.conversation.clone()).collect()).await?;
            for (one, archived) in listed.iter().zip(archived) {
                if !self.listed.is_new(&one.conversation, one.last, archived) {
                    continue;
                }
                let mut readers = one.readers.iter();
                let barren = self.listed.barren();
                let sees = |reader: &&String| {
                    let known = (one.conversation.clone(), (*reader).clone(), one.last);
                    !barren.known.contains(&known)
                };
                let Some(reader) = readers.find(sees) else { continue };
                let mut new = Reading::new(&one.conversation, reader, archived, one.last);
                if new.is_notices() && self.listed.fewer().contains(&one.conversation) {
                    new.from = 0;
                }
                // Who is in a dismissed group nobody says.
                if ids::group_of(&one.conversation).is_some() && one.readers.len() > 1 {
                    let others = one.readers.iter().filter(|other| *other != reader).take(super::readers::MOST);
                    new.others = Some(others.cloned().collect());
                }
                reading.push(new);
            }
        }
        Ok(reading)
    }

    /// Up to which numbers these conversations are archived.
    pub(super) async fn reached(&self, partitions: Vec<String>) -> Result<Vec<i64>, Error> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.host.call_within::<PartitionReached>(PartitionKeys { partitions }, crate::CALL).await?.seqs)
    }
}
