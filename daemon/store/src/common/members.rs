//! What a page says of members.

use super::Ids;
use std::collections::{HashMap, HashSet};
use stele_archive::model::Conversation;

/// A conversation and a person.
pub(crate) type Pair = (i64, i64);

/// What a page says of a conversation's members, all of its words on it together.
#[derive(Default)]
pub(crate) struct Told<'a> {
    /// All of them, but for the changes.
    members: Option<&'a [String]>,
    /// Whether somebody is a member.
    changes: HashMap<&'a str, bool>,
}

/// Who becomes a member, and who is one no more.
#[derive(Default)]
pub(crate) struct Moves {
    pub joined: Vec<Pair>,
    pub left: Vec<Pair>,
}

/// What a page says of members, by conversation.
pub(crate) fn told<'a>(described: &'a [Conversation], conversations: &Ids<'_>) -> HashMap<i64, Told<'a>> {
    let mut told: HashMap<i64, Told<'a>> = HashMap::new();
    for conversation in described {
        let Conversation { native_id, members, joined, left, .. } = conversation;
        if members.is_none() && joined.is_empty() && left.is_empty() {
            continue;
        }
        let known = told.entry(conversations[native_id.as_str()]).or_default();
        if let Some(members) = members {
            *known = Told { members: Some(members), changes: HashMap::new() };
        }
        known.changes.extend(left.iter().map(|native| (native.as_str(), false)));
        known.changes.extend(joined.iter().map(|native| (native.as_str(), true)));
    }
    told
}

impl Told<'_> {
    /// All there are to be, if the page says so.
    pub fn members(&self, people: &Ids<'_>) -> Option<HashSet<i64>> {
        let mut members: HashSet<i64> =
            self.members?.iter().filter_map(|native| people.get(native.as_str()).copied()).collect();
        for (person, member) in self.changes(people) {
            if member {
                members.insert(person)
            } else {
                members.remove(&person)
            };
        }
        Some(members)
    }

    /// Who is to be a member, and who is to be none.
    pub fn changes(&self, people: &Ids<'_>) -> impl Iterator<Item = (i64, bool)> {
        self.changes.iter().filter_map(|(native, member)| Some((people.get(native).copied()?, *member)))
    }
}

impl Moves {
    /// From the members there are to those there are to be.
    pub fn replace(&mut self, conversation: i64, old: impl IntoIterator<Item = i64>, mut new: HashSet<i64>) {
        self.left.extend(old.into_iter().filter(|person| !new.remove(person)).map(|person| (conversation, person)));
        self.joined.extend(new.into_iter().map(|person| (conversation, person)));
    }

    /// Those of the candidates for whom something changes.
    pub fn choose(&mut self, candidates: &[(Pair, bool)], members: &HashSet<Pair>) {
        for (pair, member) in candidates {
            match (member, members.contains(pair)) {
                (true, false) => self.joined.push(*pair),
                (false, true) => self.left.push(*pair),
                _ => {}
            }
        }
    }
}
