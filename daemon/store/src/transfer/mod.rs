//! An archive moved from SQLite to Postgres: every row as it is, under its ids, so that indexes, links and the chain of hashes hold
//! there as well.
//!
//! # Interrupted anywhere
//!
//! Rows are moved in the order of a key, some thousand in a transaction that also notes how far it has come. Whoever begins again
//! goes on behind the last one.
//!
//! # Never two archives
//!
//! A mark in each of the two says that rows are being moved, and a daemon opens neither while it is there: the old one would take in
//! what the new one never gets. The new one's is done when every table has been counted and compared, and then the old one's, which
//! stays. It has the id of the database the rows went to, so they go into no other one, and not twice into a database from which what
//! was archived since is gone. A database is taken that nobody has written to yet.

mod check;
mod copy;
mod rows;
mod tables;

use crate::{PostgresArchive, SqliteArchive};
use bytes::Bytes;
use check::Sum;
use serde_json::{Value, json};
use std::fmt;
use stele_archive::{ArchiveError, Daemons, InstanceId, Result, StateTable};
use tables::{TABLES, Table};

/// Name of the mark among the daemon's own values.
const MARK: &str = "transfer";
/// Name of what a database is told from others by, among the same. That of the archive comes with its rows.
const DATABASE: &str = "database_id";
/// The daemon's own values have no instance.
const OWN: InstanceId = InstanceId(0);

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferProgress {
    /// What is being done.
    pub stage: TransferStage,
    /// Rows it was done to.
    pub rows: u64,
    /// Rows there are.
    pub of: u64,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferStage {
    /// Moving rows.
    Moving,
    /// Comparing them, each side read whole.
    Comparing,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferReport {
    /// Rows of all tables, equal in number and content on both sides.
    pub rows: u64,
    /// Messages among them.
    pub messages: u64,
    /// Whether all of it had been moved before.
    pub was_complete: bool,
}

/// What a mark says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    /// One for both archives, made by whoever began.
    id: String,
    /// Id of the database the rows go to.
    database: String,
    /// Where that is, in words.
    place: String,
    /// Whether all is moved.
    done: bool,
    /// The table rows are being moved of, by its place among [`TABLES`].
    table: usize,
    /// The key of the last row that was moved of it.
    after: Option<Vec<Value>>,
}

impl Mark {
    fn json(&self) -> Vec<u8> {
        let Self { id, database, place, done, table, after } = self;
        json!({ "id": id, "database": database, "place": place, "done": done, "table": table, "after": after })
            .to_string()
            .into_bytes()
    }

    fn read(bytes: &Bytes) -> Result<Self> {
        let unreadable = || ArchiveError::Invalid("the mark of the transfer cannot be read".to_owned());
        let value: Value = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
        Ok(Self {
            id: value["id"].as_str().ok_or_else(unreadable)?.to_owned(),
            database: value["database"].as_str().ok_or_else(unreadable)?.to_owned(),
            place: value["place"].as_str().ok_or_else(unreadable)?.to_owned(),
            done: value["done"].as_bool().ok_or_else(unreadable)?,
            table: value["table"].as_u64().and_then(|table| usize::try_from(table).ok()).ok_or_else(unreadable)?,
            after: value["after"].as_array().cloned(),
        })
    }

    /// What became of a file that has it.
    fn away(self) -> Moved {
        Moved::Away { to: self.place, whole: self.done }
    }
}

/// What keeps an archive from being opened by a daemon, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is being moved elsewhere, or was.
    Away {
        /// Where, in words that show no secret.
        to: String,
        /// Whether all of it was.
        whole: bool,
    },
    /// Another is being moved into it.
    HalfIn,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { to, whole } => write!(
                f,
                "this archive {} to {to}: set archive.url to go on there, or run `steled migrate --abandon` to go on here without what \
                 has been archived there since",
                if *whole { "was moved" } else { "is being moved" },
            ),
            Self::HalfIn => f.write_str(
                "an archive is being moved into this database: run `steled migrate` again, it goes on where it was",
            ),
        }
    }
}

/// Whether a SQLite archive was moved elsewhere.
pub async fn is_away(archive: &SqliteArchive) -> Result<Option<Moved>> {
    Ok(archive.state_get(OWN, MARK).await?.as_ref().map(Mark::read).transpose()?.map(Mark::away))
}

/// Whether a Postgres archive has only a part of what is being moved into it.
pub async fn is_half_in(archive: &PostgresArchive) -> Result<Option<Moved>> {
    let mark = archive.state_get(OWN, MARK).await?.as_ref().map(Mark::read).transpose()?;
    Ok(mark.filter(|mark| !mark.done).map(|_| Moved::HalfIn))
}

/// Let a SQLite archive that was moved, or was being moved, be used again.
pub async fn abandon(archive: &SqliteArchive) -> Result<()> {
    archive.state_put(OWN, MARK, None).await
}

/// Move everything from one to the other, which is empty or has a part of it. Nobody else uses either.
///
/// # Errors
/// [`ArchiveError::Invalid`] when the other one holds something else, the rows went to another one before, or what it holds in the end
/// is not what was moved.
pub async fn transfer(
    from: &SqliteArchive,
    to: &PostgresArchive,
    mut told: impl FnMut(TransferProgress) + Send,
) -> Result<TransferReport> {
    let mut mark = begin(from, to).await?;
    let mut counts = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        counts.push(rows::count(from, table).await?);
    }
    let of = counts.iter().sum();
    let messages = TABLES.iter().zip(&counts).find(|(table, _)| table.name == "message").map_or(0, |(_, count)| *count);
    let report = TransferReport { rows: of, messages, was_complete: mark.done };
    if mark.done {
        // By now it may have more.
        is_done(from, &mark).await?;
        return Ok(report);
    }
    let mut rows: u64 = 0;
    while mark.table < TABLES.len() {
        let table = &TABLES[mark.table];
        if mark.after.is_none() {
            rows = counts[..mark.table].iter().sum();
        } else if rows == 0 {
            rows = counts[..mark.table].iter().sum::<u64>() + rows::moved(to, table).await?;
        }
        match copy::some(from, to, table, &mut mark).await? {
            0 => copy::next_table(to, &mut mark).await?,
            moved => rows += moved,
        }
        told(TransferProgress { stage: TransferStage::Moving, rows, of });
    }
    copy::numbers(from, to).await?;
    let mut rows = 0;
    for table in TABLES {
        let mut compared = |more: u64| {
            rows += more;
            told(TransferProgress { stage: TransferStage::Comparing, rows: rows / 2, of });
        };
        let there = check::stored(from, table, &mut compared).await?;
        compare(table, there, check::moved(to, table, &mut compared).await?)?;
    }
    copy::analyze(to).await?;
    mark.done = true;
    to.state_put(OWN, MARK, Some(&mark.json())).await?;
    is_done(from, &mark).await?;
    Ok(report)
}

/// Note in the old one that all of it is in the new one, which says so already.
async fn is_done(from: &SqliteArchive, mark: &Mark) -> Result<()> {
    from.state_put(OWN, MARK, Some(&mark.json())).await
}

/// An error of SQLite.
fn stored(error: sqlx::Error) -> ArchiveError {
    crate::sqlite::Failure(error).into()
}

/// An error of Postgres.
fn reached(error: sqlx::Error) -> ArchiveError {
    crate::postgres::Failure::from(error).into()
}

fn compare(table: &Table, there: Sum, here: Sum) -> Result<()> {
    if there == here {
        return Ok(());
    }
    Err(ArchiveError::Invalid(format!(
        "table {} is not what was moved: {} rows were there, {} are here{}; somebody else writes to one of the two. Begin again with an \
         empty database",
        table.name,
        there.rows,
        here.rows,
        if there.rows == here.rows { ", and they differ" } else { "" },
    )))
}

/// Mark both, or find the marks there.
async fn begin(from: &SqliteArchive, to: &PostgresArchive) -> Result<Mark> {
    let there = from.state_get(OWN, MARK).await?.as_ref().map(Mark::read).transpose()?;
    let here = to.state_get(OWN, MARK).await?.as_ref().map(Mark::read).transpose()?;
    let database = to.agree(DATABASE, rows::new_id(from).await?.as_bytes()).await?;
    let database = String::from_utf8_lossy(&database).into_owned();
    let mark = match (there, here) {
        (Some(there), _) if there.database != database => {
            let text = format!("{} is another database; {}", to.place(), there.away());
            return Err(ArchiveError::Invalid(text));
        }
        (Some(there), here) if there.done && !here.as_ref().is_some_and(|here| here.done) => {
            let text = format!("{} does not have the whole of it any more; {}", to.place(), there.away());
            return Err(ArchiveError::Invalid(text));
        }
        (Some(there), Some(here)) if there.id == here.id => return Ok(here),
        (_, Some(_)) => return Err(is_taken(to)),
        _ if rows::holds_something(to).await? => return Err(is_taken(to)),
        // Nobody came further than to mark the file.
        (Some(there), None) => there,
        (None, None) => {
            let id = rows::new_id(from).await?;
            Mark { id, database, place: to.place(), done: false, table: 0, after: None }
        }
    };
    rows::check_keys(from).await?;
    from.state_put(OWN, MARK, Some(&mark.json())).await?;
    // Of those who begin at once, from two files, one does.
    if to.agree(MARK, &mark.json()).await? != mark.json() {
        abandon(from).await?;
        return Err(is_taken(to));
    }
    Ok(mark)
}

fn is_taken(to: &PostgresArchive) -> ArchiveError {
    ArchiveError::Invalid(format!(
        "{} is not empty, and an archive is moved into a database that nobody has written to, not even a daemon without instances: name \
         another database in archive.url, or, if nothing in it is needed, drop this one and create it again, with no daemon on it",
        to.place()
    ))
}
