//! Comparing what was stored with what was moved.
//!
//! Each side reads a table whole, in whatever order comes easiest, and adds up the hashes of its rows: the sums are equal when the rows
//! are, each as often.

use super::rows::Field;
use super::tables::Table;
use super::{reached, stored as unread};
use crate::{PostgresArchive, SqliteArchive};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use stele_archive::Result;

/// Rows between two words on how far it has come.
const STEP: u64 = 10_000;

/// The rows of a table, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub rows: u64,
    hashes: (u128, u128),
}

impl Sum {
    fn add(&mut self, fields: impl Iterator<Item = Field>) {
        let mut hash = Sha256::new();
        for field in fields {
            let (tag, bytes) = match field {
                Field::Number(number) => (b'n', number.map(|number| number.to_le_bytes().to_vec())),
                Field::Flag(flag) => (b'f', flag.map(|flag| vec![u8::from(flag)])),
                Field::Text(text) => (b't', text.map(String::into_bytes)),
                Field::Bytes(bytes) => (b'b', bytes),
            };
            // A length nothing has stands for nothing.
            let length = bytes.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64);
            hash.update([tag]);
            hash.update(length.to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        }
        let hash: [u8; 32] = hash.finalize().into();
        let (low, high) = hash.split_at(16);
        let number = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().expect("half of a hash has 16 bytes"));
        self.rows += 1;
        self.hashes.0 = self.hashes.0.wrapping_add(number(low));
        self.hashes.1 = self.hashes.1.wrapping_add(number(high));
    }
}

/// What SQLite has of a table.
pub(super) async fn stored(from: &SqliteArchive, table: &Table, told: &mut impl FnMut(u64)) -> Result<Sum> {
    let mut snapshot = from.read().await?;
    let sql = table.stored_sql(false, false);
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *snapshot);
    let mut sum = Sum::default();
    while let Some(row) = rows.try_next().await.map_err(unread)? {
        let fields = table.columns.iter().enumerate().map(|(number, (_, _, kind))| Field::stored(&row, number, *kind));
        sum.add(fields.collect::<Result<Vec<_>, _>>().map_err(unread)?.into_iter());
        if sum.rows % STEP == 0 {
            told(STEP);
        }
    }
    told(sum.rows % STEP);
    Ok(sum)
}

/// What Postgres has of it: one statement, which only reads, and takes as long as it takes.
pub(super) async fn moved(to: &PostgresArchive, table: &Table, told: &mut impl FnMut(u64)) -> Result<Sum> {
    let sql = table.moved_sql();
    let mut connection = to.lend().await?;
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *connection);
    let mut sum = Sum::default();
    while let Some(row) = rows.try_next().await.map_err(reached)? {
        let fields = table.columns.iter().enumerate().map(|(number, (_, _, kind))| Field::moved(&row, number, *kind));
        sum.add(fields.collect::<Result<Vec<_>, _>>().map_err(reached)?.into_iter());
        if sum.rows % STEP == 0 {
            told(STEP);
        }
    }
    told(sum.rows % STEP);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::{Field, Sum};

    #[test]
    fn sums_tell_rows_apart_and_know_no_order() {
        let text = |text: &str| Field::Text(Some(text.to_owned()));
        let sum = |rows: &[Vec<Field>]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row.iter().cloned()));
            sum
        };
        let (a, b) =
            (vec![Field::Number(Some(1)), text("ab"), text("c")], vec![Field::Number(Some(2)), text(""), text("")]);
        assert_eq!(sum(&[a.clone(), b.clone()]), sum(&[b.clone(), a.clone()]));
        for other in [
            vec![Field::Number(Some(1)), text("a"), text("bc")],
            vec![Field::Number(None), text("ab"), text("c")],
            vec![Field::Number(Some(1)), text("ab"), Field::Text(None)],
        ] {
            assert_ne!(sum(std::slice::from_ref(&a)), sum(&[other]));
        }
        assert_ne!(sum(&[a.clone(), a.clone()]), sum(&[a]));
    }
}
