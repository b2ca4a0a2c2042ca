//! Rows on either side.

use super::tables::{Kind, TABLES, Table};
use crate::common::keys;
use crate::postgres::again;
use crate::postgres::text::{read, written};
use crate::{PostgresArchive, SqliteArchive};
use futures::TryStreamExt;
use serde_json::{Value, json};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Postgres, Row, Sqlite};
use stele_archive::Result;

/// Texts of indexes that a source chose.
const LOOKED_UP: [(&str, &str); 11] = [
    ("instance", "name"),
    ("word", "word"),
    ("person", "native_id"),
    ("conversation", "native_id"),
    ("message", "native_id"),
    ("message", "client_id"),
    ("media", "handle"),
    ("parked", "native_id"),
    ("revocation", "native_id"),
    ("cursor", "partition"),
    ("reached", "partition"),
];

/// What a row holds in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Number(Option<i64>),
    Flag(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Field {
    /// As it came from SQLite.
    pub fn stored(row: &SqliteRow, column: usize, kind: Kind) -> Result<Self, sqlx::Error> {
        Ok(match kind {
            Kind::Number => Self::Number(row.try_get(column)?),
            Kind::Flag => Self::Flag(row.try_get::<Option<i64>, _>(column)?.map(|flag| flag != 0)),
            Kind::Text => Self::Text(row.try_get(column)?),
            Kind::Bytes => Self::Bytes(row.try_get(column)?),
        })
    }

    /// As it came from Postgres.
    pub fn moved(row: &PgRow, column: usize, kind: Kind) -> Result<Self, sqlx::Error> {
        Ok(match kind {
            Kind::Number => Self::Number(row.try_get(column)?),
            Kind::Flag => Self::Flag(row.try_get(column)?),
            Kind::Text => Self::Text(row.try_get::<Option<String>, _>(column)?.map(read)),
            Kind::Bytes => Self::Bytes(row.try_get(column)?),
        })
    }

    /// Bytes it takes, about.
    pub fn size(&self) -> usize {
        8 + match self {
            Self::Text(Some(text)) => text.len(),
            Self::Bytes(Some(bytes)) => bytes.len(),
            _ => 0,
        }
    }

    /// As a part of a key, to be kept. Keys have numbers and texts.
    pub fn json(&self) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Flag(_) | Self::Bytes(_) => unreachable!("no key has such a column"),
        }
    }
}

/// The values of a column in many rows, as Postgres takes them: an array.
pub(super) enum Column {
    Numbers(Vec<Option<i64>>),
    Flags(Vec<Option<bool>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Number => Self::Numbers(Vec::new()),
            Kind::Flag => Self::Flags(Vec::new()),
            Kind::Text => Self::Texts(Vec::new()),
            Kind::Bytes => Self::Bytes(Vec::new()),
        }
    }

    pub fn push(&mut self, field: Field) {
        match (self, field) {
            (Self::Numbers(values), Field::Number(value)) => values.push(value),
            (Self::Flags(values), Field::Flag(value)) => values.push(value),
            (Self::Texts(values), Field::Text(value)) => values.push(value.map(|text| written(&text).into_owned())),
            (Self::Bytes(values), Field::Bytes(value)) => values.push(value),
            _ => unreachable!("a column has one kind"),
        }
    }

    pub fn bind<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        match self {
            Self::Numbers(values) => query.bind(values),
            Self::Flags(values) => query.bind(values),
            Self::Texts(values) => query.bind(values),
            Self::Bytes(values) => query.bind(values),
        }
    }
}

impl Table {
    /// All rows in SQLite, in the order of the key; with `after` those behind a key, as many as the last parameter says.
    pub fn stored_sql(&self, after: bool, limited: bool) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(_, source, _)| *source).collect();
        let key: Vec<&str> = self.key.iter().map(|column| self.columns[*column].1).collect();
        let (list, marks) = (key.join(", "), vec!["?"; key.len()].join(", "));
        let behind = if after { format!("({list}) > ({marks})") } else { "true".to_owned() };
        let limit = if limited { " LIMIT ?" } else { "" };
        format!(
            "SELECT {} FROM {} WHERE {} AND {behind} ORDER BY {list}{limit}",
            columns.join(", "),
            self.from,
            self.only
        )
    }

    /// All rows in Postgres.
    pub fn moved_sql(&self) -> String {
        let columns = self.columns.iter().map(|(column, _, kind)| match kind {
            // Some are narrower.
            Kind::Number => format!("{column}::bigint"),
            _ => (*column).to_owned(),
        });
        let columns: Vec<String> = columns.collect();
        format!("SELECT {} FROM {} WHERE {}", columns.join(", "), self.name, self.only)
    }

    /// The statement that takes rows in, an array for each column.
    pub fn insert_sql(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(column, _, _)| *column).collect();
        let arrays = self.columns.iter().enumerate().map(|(number, (_, _, kind))| {
            let of = match kind {
                Kind::Number => "bigint",
                Kind::Flag => "boolean",
                Kind::Text => "text",
                Kind::Bytes => "bytea",
            };
            format!("${}::{of}[]", number + 1)
        });
        let arrays: Vec<String> = arrays.collect();
        format!("INSERT INTO {} ({}) SELECT * FROM unnest({})", self.name, columns.join(", "), arrays.join(", "))
    }
}

/// A key as it was kept, for the statement that goes on behind it.
pub(super) fn bind_key<'q>(
    mut query: Query<'q, Sqlite, SqliteArguments>,
    key: &[Value],
) -> Query<'q, Sqlite, SqliteArguments> {
    for part in key {
        query = match part {
            Value::String(text) => query.bind(text.clone()),
            number => query.bind(number.as_i64()),
        };
    }
    query
}

/// Rows of a table in SQLite.
pub(super) async fn count(from: &SqliteArchive, table: &Table) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {} WHERE {}", table.from, table.only);
    let mut snapshot = from.read().await?;
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *snapshot).await.map_err(super::stored)?;
    Ok(rows.cast_unsigned())
}

/// Rows of a table in Postgres.
pub(super) async fn moved(to: &PostgresArchive, table: &Table) -> Result<u64> {
    let rows: i64 = again(|| async {
        let sql = format!("SELECT count(*) FROM {} WHERE {}", table.name, table.only);
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *to.lend().await?).await?)
    })
    .await?;
    Ok(rows.cast_unsigned())
}

/// Whether anything was ever written to it, be it by a daemon without instances.
pub(super) async fn holds_something(to: &PostgresArchive) -> Result<bool> {
    for table in TABLES {
        let has_rows = again(|| async {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", table.name, table.only);
            Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *to.lend().await?).await?)
        });
        if has_rows.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses an archive that has what cannot be looked up in Postgres; one that an earlier Stele stored.
pub(super) async fn check_keys(from: &SqliteArchive) -> Result<()> {
    let mut snapshot = from.read().await?;
    for (table, column) in LOOKED_UP {
        let sql = format!("SELECT {column} FROM {table} WHERE length(CAST({column} AS BLOB)) > {}", keys::CERTAIN);
        let mut long = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch(&mut *snapshot);
        while let Some(key) = long.try_next().await.map_err(super::stored)? {
            keys::check(&format!("{table}.{column} of the archive to be moved"), &key)?;
        }
    }
    Ok(())
}

/// Tells one transfer, or one database, from another.
pub(super) async fn new_id(from: &SqliteArchive) -> Result<String> {
    let mut snapshot = from.read().await?;
    let id = sqlx::query_scalar("SELECT lower(hex(randomblob(16)))").fetch_one(&mut *snapshot).await;
    id.map_err(super::stored)
}
