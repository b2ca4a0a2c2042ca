//! Multi-row statements of a few fixed sizes, so that each is prepared once.

use super::error::Failure;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Encode, Sqlite, Type};

/// Rows per statement, greatest first. A page is cut greedily: 1000 rows are 3 × 256 + 3 × 64 + 32 + 8. The powers of two are close
/// for the pages of group commits, of some dozen rows: each statement goes to the connection's thread and back.
const SIZES: [usize; 8] = [256, 64, 32, 16, 8, 4, 2, 1];

/// One statement in all sizes.
pub(super) struct Bulk([String; SIZES.len()]);

impl Bulk {
    /// `head`, then `row` as often as the size says, separated by commas, then `tail`.
    pub fn new(head: &str, row: &str, tail: &str) -> Self {
        Self(SIZES.map(|size| format!("{head} {} {tail}", vec![row; size].join(", "))))
    }

    /// Cut `rows` into statements and the rows each of them takes.
    pub fn cut<'a, T>(&'static self, mut rows: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        std::iter::from_fn(move || {
            let at = SIZES.iter().position(|size| *size <= rows.len())?;
            let (taken, rest) = rows.split_at(SIZES[at]);
            rows = rest;
            Some((self.0[at].as_str(), taken))
        })
    }
}

/// Values for a statement's placeholders, in order.
#[derive(Default)]
pub(super) struct Values(SqliteArguments);

impl Values {
    /// Room for so many.
    pub fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self(arguments)
    }

    /// The next value.
    pub fn put<'v>(&mut self, value: impl Encode<'v, Sqlite> + Type<Sqlite>) -> Result<(), Failure> {
        self.0.add(value).map_err(|error| Failure(sqlx::Error::Encode(error)))
    }

    /// The finished list.
    pub fn done(self) -> SqliteArguments {
        self.0
    }
}

/// Ids as a JSON array: one value for a set of any size (`… IN (SELECT value FROM json_each(?))`).
pub(super) fn id_list(ids: impl IntoIterator<Item = i64>) -> String {
    let mut list = String::from("[");
    for id in ids {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&id.to_string());
    }
    list.push(']');
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static BULK: LazyLock<Bulk> = LazyLock::new(|| Bulk::new("insert into t values", "(?)", ""));

    #[test]
    fn every_row_is_taken_once_in_order() {
        for count in [0, 1, 3, 4, 5, 255, 256, 257, 1000, 1023] {
            let rows: Vec<usize> = (0..count).collect();
            let mut seen = Vec::new();
            for (sql, taken) in BULK.cut(&rows) {
                assert_eq!(sql.matches('?').count(), taken.len());
                seen.extend_from_slice(taken);
            }
            assert_eq!(seen, rows);
        }
    }
}
