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
use bytes::Bytes;
use sqlx::SqliteConnection;
use std::collections::{HashMap, HashSet};
use stele_archive::model::{MAX_LABEL, MAX_LABELS};
use stele_archive::ops::AppendedMessage;
use stele_archive::{ArchiveError, Commit, Committed, Result, Rev};

/// Ids by native id.
pub(super) type Ids<'a> = HashMap<&'a str, i64>;

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

/// What a page adds to its instance's counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub messages: i64,
    pub conversations: i64,
    pub people: i64,
    pub parked: i64,
    pub media_pending: i64,
}

impl SqliteArchive {
    pub(super) async fn store(&self, commit: Commit<'_>) -> Result<Committed> {
        check(&commit)?;
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

/// What no attempt can make right is refused before anything is written.
fn check(commit: &Commit<'_>) -> Result<()> {
    let page = commit.page;
    let invalid = |text: String| Err(ArchiveError::Invalid(text));
    for message in &page.messages {
        if message.native_id.is_empty() {
            return invalid("a message has no native id".to_owned());
        }
        if message.conversation.is_empty() {
            return invalid(format!("message {:?} has no conversation", message.native_id));
        }
        if message.sent_at == i64::MIN || message.seq == Some(i64::MAX) {
            return invalid(format!("message {:?} has a time or number that is out of range", message.native_id));
        }
        if message.once && (message.sender.is_empty() || message.client_id.as_ref().is_none_or(String::is_empty)) {
            return invalid(format!(
                "message {:?} is to be stored once, and has no sender or no client id to tell it by",
                message.native_id
            ));
        }
        if message.labels.len() > MAX_LABELS {
            return invalid(format!("message {:?} has more than {MAX_LABELS} labels", message.native_id));
        }
        if message.labels.iter().any(|label| label.len() > MAX_LABEL) {
            return invalid(format!("message {:?} has a label of more than {MAX_LABEL} bytes", message.native_id));
        }
        if message.media.iter().any(|file| file.handle.is_empty()) {
            return invalid(format!("message {:?} has a file without a handle", message.native_id));
        }
    }
    if page.people.iter().any(|person| person.native_id.is_empty()) {
        return invalid("a person has no native id".to_owned());
    }
    if page.conversations.iter().any(|conversation| conversation.native_id.is_empty()) {
        return invalid("a conversation has no native id".to_owned());
    }
    if page.revocations.iter().any(|revocation| revocation.native_id.is_empty()) {
        return invalid("a revocation has no native id".to_owned());
    }
    if page.parked.iter().any(|parked| parked.native_id.is_empty()) {
        return invalid("a parked envelope has no native id".to_owned());
    }
    Ok(())
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
    let mut entry = ledger::Entry::new(txn, commit.stream, &rows);
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
        entry.append(txn).await?;
    }
    reached::note(txn, &page.reached).await?;
    set_cursor(txn, commit).await?;
    let exists = add_counters(txn).await?;

    let stored = rows
        .iter()
        .map(|row| AppendedMessage { id: row.id, native_id: row.message.native_id.clone(), seq: row.seq })
        .collect();
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
