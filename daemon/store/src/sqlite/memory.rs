//! What the writer remembers between commits.

use super::error::Failure;
use crate::common::interned::{Interned, PARTICIPANTS, STANDING, WORDS};
use crate::common::recent::Recent;
use crate::common::standing::Standing;
use sqlx::{Row, SqliteConnection};
use std::collections::HashMap;
use stele_archive::Result;

/// What the writer remembers between commits; all of it can be read from the file again.
#[derive(Debug)]
pub(super) struct Memory {
    /// The next id of a message, and the next revision: they share a counter (see the schema).
    pub next: i64,
    /// The latest revision that a message has.
    pub last_rev: i64,
    pub next_person: i64,
    pub next_conversation: i64,
    pub next_media: i64,
    next_word: i64,
    /// Envelopes parked, over all instances: nothing is looked up while there are none.
    pub parked: i64,
    /// Revocations that wait for their message, over all instances.
    pub revocations: i64,
    /// The ledger's latest hash.
    pub hash: [u8; 32],
    words: HashMap<String, i64>,
    interned: HashMap<i64, Interned>,
    /// How conversations stand, as of the last page that touched them.
    pub standing: Recent<i64, Standing>,
    /// Who was seen in which conversation.
    pub taking_part: Recent<(i64, i64), ()>,
}

impl Memory {
    /// Read it from the file.
    pub async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        let row = sqlx::query(
            "SELECT ifnull((SELECT max(id) FROM message), 0), \
                    ifnull((SELECT max(late) FROM message WHERE late IS NOT NULL), 0), \
                    ifnull((SELECT max(reserved) FROM parked), 0), ifnull((SELECT max(id) FROM person), 0), \
                    ifnull((SELECT max(id) FROM conversation), 0), ifnull((SELECT max(id) FROM media), 0), \
                    ifnull((SELECT max(id) FROM word), 0), (SELECT count(*) FROM parked), \
                    (SELECT count(*) FROM revocation), (SELECT hash FROM ledger ORDER BY id DESC LIMIT 1)",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(Failure)?;
        let number = |column: usize| -> i64 { row.get(column) };
        let last_rev = number(0).max(number(1));
        let hash = row.get::<Option<Vec<u8>>, _>(9).and_then(|hash| hash.try_into().ok()).unwrap_or([0; 32]);
        let words: Vec<(String, i64)> = sqlx::query_as("SELECT word, id FROM word LIMIT ?")
            .bind(WORDS as i64)
            .fetch_all(&mut *connection)
            .await
            .map_err(Failure)?;
        Ok(Self {
            next: last_rev.max(number(2)) + 1,
            last_rev,
            next_person: number(3) + 1,
            next_conversation: number(4) + 1,
            next_media: number(5) + 1,
            next_word: number(6) + 1,
            parked: number(7),
            revocations: number(8),
            hash,
            words: words.into_iter().collect(),
            interned: HashMap::new(),
            standing: Recent::new(STANDING),
            taking_part: Recent::new(PARTICIPANTS),
        })
    }

    /// What is remembered of an instance.
    pub fn interned(&mut self, instance: i64) -> &mut Interned {
        self.interned.entry(instance).or_default()
    }

    /// The number of a kind, given when it is new.
    pub async fn word(&mut self, connection: &mut SqliteConnection, word: &str) -> Result<i64, Failure> {
        if let Some(id) = self.words.get(word) {
            return Ok(*id);
        }
        let known: Option<i64> = sqlx::query_scalar("SELECT id FROM word WHERE word = ?")
            .bind(word)
            .fetch_optional(&mut *connection)
            .await?;
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.next_word;
                sqlx::query("INSERT INTO word (id, word) VALUES (?, ?)")
                    .bind(id)
                    .bind(word)
                    .execute(connection)
                    .await?;
                self.next_word += 1;
                id
            }
        };
        if self.words.len() >= WORDS {
            self.words.clear();
        }
        self.words.insert(word.to_owned(), id);
        Ok(id)
    }

    /// The next revision; also the next id of a message.
    pub fn next(&mut self) -> i64 {
        self.next += 1;
        self.next - 1
    }
}
