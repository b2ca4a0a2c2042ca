//! What a daemon remembers between its commits.
//!
//! Others commit in between. Ids never change, nor does who was seen where; how a conversation stands does, so that is remembered
//! only while nobody else has committed ([`Memory::goes_on_from`]). What a commit learns is remembered once it is committed, and
//! all is forgotten with the connection it was learnt over: another server may have taken over, with commits of the first one
//! missing.

use super::commit::Txn;
use super::error::Failure;
use super::head::next;
use super::text::written;
use crate::common::interned::{Interned, PARTICIPANTS, STANDING, WORDS};
use crate::common::recent::Recent;
use crate::common::standing::Standing;
use std::collections::HashMap;

/// What is remembered; all of it can be read again.
pub(super) struct Memory {
    /// The commit that all of it is as of.
    version: i64,
    words: HashMap<String, i64>,
    interned: HashMap<i64, Interned>,
    /// How conversations stand, as of the last page that touched them.
    pub standing: Recent<i64, Standing>,
    /// Who was seen in which conversation.
    pub taking_part: Recent<(i64, i64), ()>,
}

/// What a commit learns.
#[derive(Default)]
pub(super) struct Learnt {
    pub words: Vec<(String, i64)>,
    pub people: Vec<(Box<str>, i64)>,
    pub conversations: Vec<(Box<str>, i64)>,
    pub standing: Vec<(i64, Standing)>,
    pub taking_part: Vec<(i64, i64)>,
}

impl Memory {
    /// Nothing is remembered.
    pub fn new() -> Self {
        Self {
            version: 0,
            words: HashMap::new(),
            interned: HashMap::new(),
            standing: Recent::new(STANDING),
            taking_part: Recent::new(PARTICIPANTS),
        }
    }

    /// Forget what the commits of others may have changed, if there were any up to this one.
    pub fn goes_on_from(&mut self, version: i64) {
        if version < self.version {
            *self = Self::new();
        }
        if version > self.version {
            self.standing = Recent::new(STANDING);
        }
        self.version = version;
    }

    /// What is remembered of an instance.
    pub fn interned(&mut self, instance: i64) -> &mut Interned {
        self.interned.entry(instance).or_default()
    }

    /// A commit was stored, as this one.
    pub fn learn(&mut self, instance: i64, version: i64, learnt: Learnt) {
        self.version = version;
        if self.words.len() + learnt.words.len() > WORDS {
            self.words.clear();
        }
        self.words.extend(learnt.words);
        let interned = self.interned(instance);
        learnt.people.into_iter().for_each(|(native, id)| interned.people.insert(native, id));
        learnt.conversations.into_iter().for_each(|(native, id)| interned.conversations.insert(native, id));
        learnt.standing.into_iter().for_each(|(id, standing)| self.standing.insert(id, standing));
        learnt.taking_part.into_iter().for_each(|pair| self.taking_part.insert(pair, ()));
    }
}

impl Txn<'_> {
    /// The number of a kind, given when it is new.
    pub async fn word(&mut self, word: &str) -> Result<i64, Failure> {
        let learnt = || self.learnt.words.iter().find(|(known, _)| known == word).map(|(_, id)| *id);
        if let Some(id) = self.memory.words.get(word).copied().or_else(learnt) {
            return Ok(id);
        }
        let known = sqlx::query_scalar("SELECT id FROM word WHERE word = $1").bind(written(word));
        let id = match known.fetch_optional(&mut *self.connection).await? {
            Some(id) => id,
            None => {
                let id = next(&mut self.head.next_word);
                let insert = sqlx::query("INSERT INTO word (id, word) VALUES ($1, $2)").bind(id).bind(written(word));
                insert.execute(&mut *self.connection).await?;
                id
            }
        };
        self.learnt.words.push((word.to_owned(), id));
        Ok(id)
    }
}
