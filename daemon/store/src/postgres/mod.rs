//! The archive in a Postgres database, which several daemons may have open.
//!
//! # One after the other
//!
//! Whoever gives numbers holds the one row of `head` until their transaction ends: commits of all daemons come one after the other,
//! and whoever sees a revision sees all before it. No sequence gives an order, no lock outlives its transaction, and nothing is
//! right only because a notification arrived.
//!
//! # Each to its instance
//!
//! Every key of what belongs to an instance begins with it and every statement names it, so that tables can be distributed or
//! partitioned by instance.
//!
//! Only PostgreSQL has been tried. Others that speak like it may lack what a snapshot sets for the planner (`SNAPSHOT`): CockroachDB
//! refuses some of it.
//!
//! # What is remembered is true
//!
//! Pages are committed over a connection of their own, and what they teach is remembered with it (`memory`): what another daemon's
//! commit may have changed is forgotten as soon as there was one, all of it with the connection.
//!
//! # Again
//!
//! A transaction that met a rival, or lost its connection before it was to be committed, left nothing and is done again, a few times
//! (`retry`). Was the connection lost while it was committed, nobody knows: only what cannot be done twice is done again. A page that
//! moves a cursor is such, and finds its own cursor if it was stored.

mod attachments;
mod commit;
mod conversations;
mod daemons;
mod error;
mod feed;
mod head;
mod history;
mod jobs;
mod ledger;
mod lists;
mod live;
mod media;
mod memberships;
mod memory;
mod messages;
mod notify;
mod once;
mod open;
mod pages;
mod parked;
mod participation;
mod people;
mod pool;
mod queries;
mod ranges;
mod retry;
mod revocations;
mod rows;
mod runs;
mod state;
mod tallies;
pub(crate) mod text;
mod transact;
mod writer;

pub use notify::Notifications;
pub use open::{PostgresOptions, PostgresUrl};

pub(crate) use error::Failure;
use pool::{Lent, Pool, silent};
pub(crate) use retry::again;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
pub(crate) use transact::commit;
use writer::Writer;

/// The archive in a Postgres database. A cheap handle.
#[derive(Clone)]
pub struct PostgresArchive(Arc<Inner>);

struct Inner {
    /// How a connection is made.
    connecting: PgConnectOptions,
    pool: Pool,
    /// What commits pages; none until the first one, and after a connection was lost.
    writer: tokio::sync::Mutex<Option<Writer>>,
    acquire_timeout: Duration,
    answer_timeout: Duration,
    call_timeout: Duration,
    commit_timeout: Duration,
}

impl Inner {
    /// A connection beside those of the pool.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let limit = self.acquire_timeout;
        timeout(limit, self.connecting.connect()).await.unwrap_or_else(|_| Err(silent(limit)))
    }
}

/// Begins a snapshot. Each statement is written for the one plan that walks its index, so the planner is to take that: what
/// it knows of how conversations are filled is old or an average, and a plan that is good for those sorts whole histories
/// elsewhere. So it also plans each statement only once for a connection. Nothing runs on that nobody waits for any more. All of it
/// ends with the transaction.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
    SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; \
    SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; SET LOCAL statement_timeout = '25s'";

impl PostgresArchive {
    /// Where the database is, in words fit for logs.
    pub fn place(&self) -> String {
        open::place(&self.0.connecting)
    }

    /// A snapshot to read from: all its statements see the same.
    async fn read(&self) -> Result<Lent, Failure> {
        self.begin_with(SNAPSHOT).await
    }

    /// The same for what reads tables whole, however long that takes.
    async fn read_whole(&self) -> Result<Lent, Failure> {
        let mut snapshot = self.read().await?;
        self.awaited(sqlx::raw_sql("SET LOCAL statement_timeout = 0").execute(&mut *snapshot)).await?;
        Ok(snapshot)
    }
}

impl fmt::Debug for PostgresArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresArchive").field(&self.place()).finish()
    }
}

#[cfg(test)]
mod plans;
