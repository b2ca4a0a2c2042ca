//! A page, stored: everything it says and its cursor, in one transaction.
//!
//! The work is done set by set: first who and what the page names gets its id, then the messages are written in rows of
//! hundreds, then what they move (lists, counters, totals) is moved once per conversation touched.

use super::SqliteArchive;
use super::error::Failure;
use super::memory::Memory;
use super::{
    attachments, conversations, ledger, memberships, messages, once, parked, participation, people, reached,
    revocations, tallies,
};
use crate::common::Counters;
use crate::common::check::check;
use crate::common::hash::Entry;
use crate::common::keys;
use crate::common::message::NewMessage;
use bytes::Bytes;
use sqlx::SqliteConnection;
use std::collections::HashSet;
use stele_archive::{ArchiveError, Commit, Committed, Result, Rev};

/// A commit while it is made.
pub(super) struct Txn<'t> {
    pub connection: &'t mut SqliteConnection,
    pub memory: &'t mut Memory,
    pub instance: i64,
    pub partition: &'t str,
    pub now: i64,
    /// What the page adds to the instance's counters.
    pub counters: Counters,
}

impl SqliteArchive {
    pub(super) async fn store(&self, commit: Commit<'_>) -> Result<Committed> {
        check(&commit)?;
        let page = keys::storable(&commit)?;
        let commit = Commit { page: &page, ..commit.clone() };
        let mut writer = self.writer().await?;
        let remembered = writer.memory.take();
        let mut transaction = writer.begin().await?;
        let mut known = match remembered {
            Some(known) => known,
            None => Memory::load(&mut transaction).await?,
        };
        if commit.page.cursor.is_some() && stored_cursor(&mut transaction, &commit).await? != commit.from {
            transaction.rollback().await.map_err(Failure)?;
            writer.memory = Some(known);
            return Err(ArchiveError::CursorMoved { partition: commit.partition.to_owned() });
        }
        let instance = commit.instance.0;
        let trusted = known.interned(instance).novelty.expected();
        let mut written = write(&mut Txn::new(&mut transaction, &mut known, &commit), &commit, trusted).await;
        if trusted && written.as_ref().is_err_and(Failure::is_duplicate) {
            // Something was known after all: nothing of this attempt stays, neither in the file nor in memory.
            transaction.rollback().await.map_err(Failure)?;
            transaction = writer.begin().await?;
            known = Memory::load(&mut transaction).await?;
            written = write(&mut Txn::new(&mut transaction, &mut known, &commit), &commit, false).await;
        }
        let (committed, exists) = written?;
        if !exists {
            return Err(ArchiveError::Invalid(format!("there is no instance {}", commit.instance)));
        }
        transaction.commit().await.map_err(Failure)?;
        let known_by_native_id = committed.known > committed.repeated.len() as u64;
        known.interned(instance).novelty.note(known_by_native_id);
        writer.memory = Some(known);
        Ok(committed)
    }
}

impl<'t> Txn<'t> {
    fn new(connection: &'t mut SqliteConnection, memory: &'t mut Memory, commit: &Commit<'t>) -> Self {
        let Commit { instance, partition, now, .. } = *commit;
        Self { connection, memory, instance: instance.0, partition, now, counters: Counters::default() }
    }
}

async fn stored_cursor(connection: &mut SqliteConnection, commit: &Commit<'_>) -> Result<Option<Bytes>> {
    let sql = "SELECT value FROM cursor WHERE instance = ? AND stream = ? AND partition = ?";
    let value: Option<Vec<u8>> = sqlx::query_scalar(sql)
        .bind(commit.instance.0)
        .bind(commit.stream.as_str())
        .bind(commit.partition)
        .fetch_optional(connection)
        .await
        .map_err(Failure)?;
    Ok(value.map(Bytes::from))
}

/// Write the page, looking up none of its messages if they are `trusted` to be new. Also says whether the instance
/// exists.
async fn write(txn: &mut Txn<'_>, commit: &Commit<'_>, trusted: bool) -> Result<(Committed, bool), Failure> {
    let page = commit.page;
    let mut fresh = messages::fresh(txn, &page.messages, trusted).await?;
    let repeated = once::leave_out(txn, &mut fresh, trusted).await?;
    let people = people::intern(txn, page, &fresh).await?;
    let renamed = people::describe(txn, &page.people, &people).await?;
    let mut conversations = conversations::intern(txn, &page.conversations, &fresh).await?;
    // Before the messages get revisions: who joins with the page hears them, who leaves with it does not.
    let moved = memberships::change(txn, &page.conversations, &conversations.ids, &people).await?;
    let reserved = parked::take(txn, &fresh).await?;

    let rows =
        messages::number(txn, &fresh, &people, &conversations.ids, &mut conversations.standing, &reserved).await?;
    let mut entry = Entry::new(commit, &txn.memory.hash, &rows);
    messages::insert(txn, &rows, entry.as_mut()).await?;
    messages::keep_order(txn, &rows, &conversations.standing).await?;
    let media = attachments::attach(txn, &rows).await?;
    txn.counters.messages += rows.len() as i64;

    let mut joined: HashSet<i64> = moved.into_iter().collect();
    participation::see(txn, &rows, &mut joined).await?;
    let mut renewed: HashSet<i64> = conversations.relisted.iter().copied().collect();
    renewed.extend(participation::pairs(txn, joined).await?);
    renewed.extend(participation::named_after(txn, &renamed).await?);
    if !rows.is_empty() {
        conversations::advance(txn, &conversations.standing).await?;
        tallies::count(txn, &rows).await?;
    }
    participation::refresh(txn, &conversations.standing, &renewed).await?;

    revocations::apply_waiting(txn, &rows).await?;
    let revoked = revocations::revoke(txn, &page.revocations).await?;
    let parked = parked::park(txn, &page.parked).await?;

    txn.counters.conversations += conversations.standing.values().filter(|standing| standing.is_first()).count() as i64;
    if let Some(entry) = entry {
        ledger::append(txn, entry).await?;
    }
    reached::note(txn, &page.reached).await?;
    set_cursor(txn, commit).await?;
    let exists = add_counters(txn).await?;

    let stored = rows.iter().map(NewMessage::told).collect();
    let known = (page.messages.len() - rows.len()) as u64;
    let last_rev = Rev(txn.memory.last_rev);
    Ok((Committed { stored, known, repeated, revoked, parked, media, last_rev }, exists))
}

async fn set_cursor(txn: &mut Txn<'_>, commit: &Commit<'_>) -> Result<(), Failure> {
    let Some(cursor) = &commit.page.cursor else { return Ok(()) };
    let sql = "INSERT INTO cursor (instance, stream, partition, value, at) VALUES (?, ?, ?, ?, ?) \
               ON CONFLICT (instance, stream, partition) DO UPDATE SET value = excluded.value, at = excluded.at";
    sqlx::query(sql)
        .bind(txn.instance)
        .bind(commit.stream.as_str())
        .bind(txn.partition)
        .bind(&**cursor)
        .bind(txn.now)
        .execute(&mut *txn.connection)
        .await?;
    Ok(())
}

async fn add_counters(txn: &mut Txn<'_>) -> Result<bool, Failure> {
    let sql = "UPDATE instance SET messages = messages + ?, conversations = conversations + ?, people = people + ?, \
               parked = parked + ?, media_pending = media_pending + ? WHERE id = ?";
    let counters = &txn.counters;
    let changed = sqlx::query(sql)
        .bind(counters.messages)
        .bind(counters.conversations)
        .bind(counters.people)
        .bind(counters.parked)
        .bind(counters.media_pending)
        .bind(txn.instance)
        .execute(&mut *txn.connection)
        .await?;
    Ok(changed.rows_affected() == 1)
}
