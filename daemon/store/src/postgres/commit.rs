//! A page, stored: everything it says and its cursor, in one transaction.
//!
//! The work is done set by set, each a statement over arrays: first who and what the page names gets its id, then the messages
//! are written, then what they move (lists, counters, totals) is moved once per conversation touched.

use super::error::Failure;
use super::head::Head;
use super::memory::{Learnt, Memory};
use super::text::written;
use super::{
    attachments, conversations, memberships, messages, once, parked, participation, people, revocations, tallies,
};
use crate::common::Counters;
use crate::common::hash::Entry;
use crate::common::message::NewMessage;
use sqlx::PgConnection;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use stele_archive::model::Reached;
use stele_archive::{ArchiveError, Commit, Committed, Rev};

/// A commit while it is made.
pub(super) struct Txn<'t> {
    pub connection: &'t mut PgConnection,
    pub memory: &'t mut Memory,
    pub head: Head,
    pub learnt: Learnt,
    pub instance: i64,
    pub partition: &'t str,
    pub now: i64,
    /// What the page adds to the instance's counters.
    pub counters: Counters,
    /// What it adds to the lengths of lists, by person and kind.
    pub listed: HashMap<(i64, i64), i64>,
}

impl<'t> Txn<'t> {
    pub fn new(connection: &'t mut PgConnection, memory: &'t mut Memory, head: Head, commit: &Commit<'t>) -> Self {
        let Commit { instance, partition, now, .. } = *commit;
        let (learnt, counters, listed) = Default::default();
        Self { connection, memory, head, learnt, instance: instance.0, partition, now, counters, listed }
    }
}

/// Write the page, looking up none of its messages if they are `trusted` to be new.
pub(super) async fn write(txn: &mut Txn<'_>, commit: &Commit<'_>, trusted: bool) -> Result<Committed, Failure> {
    let page = commit.page;
    // Who joins with the page hears its messages, who leaves with it does not.
    let before = txn.head.last_rev;
    let mut fresh = messages::fresh(txn, &page.messages, trusted).await?;
    let repeated = once::leave_out(txn, &mut fresh, trusted).await?;
    let people = people::intern(txn, page, &fresh).await?;
    let renamed = people::describe(txn, &page.people, &people).await?;
    let mut conversations = conversations::intern(txn, &page.conversations, &fresh).await?;
    let reserved = parked::take(txn, &fresh).await?;

    let rows =
        messages::number(txn, &fresh, &people, &conversations.ids, &mut conversations.standing, &reserved).await?;
    let mut entry = Entry::new(commit, &txn.head.hash, &rows);
    messages::insert(txn, &rows, entry.as_mut()).await?;
    messages::keep_order(txn, &rows, &conversations.standing).await?;
    let media = attachments::attach(txn, &rows).await?;
    txn.counters.messages += rows.len() as i64;

    conversations::advance(txn, &conversations.standing).await?;
    participation::advance(txn, &conversations.standing).await?;
    let mut joined: HashSet<i64> =
        memberships::change(txn, before, &page.conversations, &conversations.ids, &people).await?;
    participation::see(txn, &rows, &mut joined).await?;
    joined.extend(participation::named_after(txn, &renamed).await?);
    participation::rename(txn, &joined, &conversations.relisted).await?;
    tallies::count(txn, &rows).await?;

    revocations::apply_waiting(txn, &rows).await?;
    let revoked = revocations::revoke(txn, &page.revocations).await?;
    let parked = parked::park(txn, &page.parked).await?;

    txn.counters.conversations += conversations.standing.values().filter(|standing| standing.is_first()).count() as i64;
    if let Some(entry) = entry {
        append(txn, entry).await?;
    }
    reached(txn, &page.reached).await?;
    set_cursor(txn, commit).await?;
    tallies::list(txn).await?;
    add_counters(txn).await?;
    txn.head.version += 1;
    txn.head.put(txn.connection).await?;

    let stored = rows.iter().map(NewMessage::told).collect();
    let known = (page.messages.len() - rows.len()) as u64;
    Ok(Committed { stored, known, repeated, revoked, parked, media, last_rev: Rev(txn.head.last_rev) })
}

/// Add the page to the chain.
async fn append(txn: &mut Txn<'_>, entry: Entry<'_>) -> Result<(), Failure> {
    let (origin, hash) = entry.done();
    txn.head.hash = hash;
    let sql = "INSERT INTO ledger (instance, id, partition, stream, at, first_rev, last_rev, messages, hash) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sqlx::query(sql)
        .bind(origin.instance)
        .bind(super::head::next(&mut txn.head.next_page))
        .bind(written(origin.partition))
        .bind(origin.stream)
        .bind(origin.at)
        .bind(origin.first_rev)
        .bind(origin.last_rev)
        .bind(origin.messages)
        .bind(&hash[..])
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

/// Note up to which numbers partitions are archived, as the page says.
async fn reached(txn: &mut Txn<'_>, reached: &[Reached]) -> Result<(), Failure> {
    if reached.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO reached (instance, partition, seq) \
               SELECT $1, j.partition, max(j.seq) FROM unnest($2::text[], $3::bigint[]) AS j (partition, seq) GROUP BY j.partition \
               ON CONFLICT (instance, partition) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > reached.seq";
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(reached.iter().map(|reached| written(&reached.partition)).collect::<Vec<Cow<'_, str>>>())
        .bind(reached.iter().map(|reached| reached.seq).collect::<Vec<i64>>())
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

async fn set_cursor(txn: &mut Txn<'_>, commit: &Commit<'_>) -> Result<(), Failure> {
    let Some(cursor) = &commit.page.cursor else { return Ok(()) };
    let sql = "INSERT INTO cursor (instance, stream, partition, value, at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (instance, stream, partition) DO UPDATE SET value = excluded.value, at = excluded.at";
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(commit.stream.as_str())
        .bind(written(txn.partition))
        .bind(&**cursor)
        .bind(txn.now)
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

async fn add_counters(txn: &mut Txn<'_>) -> Result<(), Failure> {
    let sql = "UPDATE instance SET messages = messages + $2, conversations = conversations + $3, people = people + $4, \
               parked = parked + $5, media_pending = media_pending + $6 WHERE id = $1";
    let counters = &txn.counters;
    let changed = sqlx::query(sql)
        .bind(txn.instance)
        .bind(counters.messages)
        .bind(counters.conversations)
        .bind(counters.people)
        .bind(counters.parked)
        .bind(counters.media_pending)
        .execute(&mut *txn.connection)
        .await?;
    match changed.rows_affected() {
        0 => Err(ArchiveError::Invalid(format!("there is no instance {}", txn.instance)).into()),
        _ => Ok(()),
    }
}
