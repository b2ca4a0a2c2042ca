//! The row that all numbers come from.

use super::error::Failure;
use sqlx::{PgConnection, Row};

/// The row, held until the transaction ends: whoever else wants it waits.
pub(super) struct Head {
    /// How many commits there have been.
    pub version: i64,
    /// The next id of a message, and the next revision: they share a counter.
    pub next_id: i64,
    /// The latest revision that a message has.
    pub last_rev: i64,
    pub next_person: i64,
    pub next_conversation: i64,
    pub next_media: i64,
    pub next_word: i64,
    /// The next link of the ledger.
    pub next_page: i64,
    /// Envelopes parked, over all instances: nothing is looked up while there are none.
    pub parked: i64,
    /// Revocations that wait for their message, over all instances.
    pub revocations: i64,
    /// The ledger's latest hash.
    pub hash: [u8; 32],
}

impl Head {
    /// Take it, once all who had it before are done.
    pub async fn take(connection: &mut PgConnection) -> Result<Self, Failure> {
        let sql = "SELECT version, next_id, last_rev, next_person, next_conversation, next_media, next_word, next_page, parked, \
                   revocations, hash FROM head WHERE one = 1 FOR UPDATE";
        let row = sqlx::query(sql).fetch_one(connection).await?;
        let hash = <[u8; 32]>::try_from(row.get::<&[u8], _>(10));
        Ok(Self {
            version: row.get(0),
            next_id: row.get(1),
            last_rev: row.get(2),
            next_person: row.get(3),
            next_conversation: row.get(4),
            next_media: row.get(5),
            next_word: row.get(6),
            next_page: row.get(7),
            parked: row.get(8),
            revocations: row.get(9),
            hash: hash
                .map_err(|error| sqlx::Error::ColumnDecode { index: "hash".to_owned(), source: Box::new(error) })?,
        })
    }

    /// Write down what was given.
    pub async fn put(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        let sql = "UPDATE head SET version = $1, next_id = $2, last_rev = $3, next_person = $4, next_conversation = $5, \
                   next_media = $6, next_word = $7, next_page = $8, parked = $9, revocations = $10, hash = $11 WHERE one = 1";
        sqlx::query(sql)
            .bind(self.version)
            .bind(self.next_id)
            .bind(self.last_rev)
            .bind(self.next_person)
            .bind(self.next_conversation)
            .bind(self.next_media)
            .bind(self.next_word)
            .bind(self.next_page)
            .bind(self.parked)
            .bind(self.revocations)
            .bind(&self.hash[..])
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The next of a counter.
pub(super) fn next(counter: &mut i64) -> i64 {
    *counter += 1;
    *counter - 1
}
