//! The connection that commits pages.

use super::commit::{Txn, write};
use super::error::{Failure, is_duplicate};
use super::head::Head;
use super::memory::{Learnt, Memory};
use super::pool::silent;
use super::transact::WRITE;
use super::{PostgresArchive, retry};
use crate::common::check::check;
use crate::common::keys;
use bytes::Bytes;
use sqlx::{Connection, PgConnection};
use stele_archive::{ArchiveError, Commit, Committed, Result};
use tokio::time::timeout;

/// What an attempt to commit found.
enum Attempt {
    /// It did this; the version of the archive then, and what is to be remembered.
    Written(Committed, i64, Learnt),
    /// An attempt before it was committed, of which nobody could say so.
    WasWritten(Committed),
}

/// The connection, and what is remembered of what it told. It is taken out by whoever commits and put back when it is known to be
/// at rest: whoever is dropped amid a commit takes it with them.
pub(super) struct Writer {
    connection: PgConnection,
    memory: Memory,
}

impl Writer {
    pub async fn close(self) -> Result<(), Failure> {
        Ok(self.connection.close().await?)
    }
}

impl PostgresArchive {
    /// Commit a page. One is committed at a time, in the order of arrival; those of other daemons come in between.
    pub(super) async fn store(&self, commit: &Commit<'_>) -> Result<Committed> {
        check(commit)?;
        let page = keys::storable(commit)?;
        let commit = &Commit { page: &page, ..commit.clone() };
        // Whether a stored cursor tells that the page is.
        let telling = commit.page.cursor.is_some() && commit.page.cursor != commit.from;
        let mut writer = self.0.writer.lock().await;
        let mut attempts = 1;
        let mut doubted = None;
        loop {
            let attempt = timeout(self.0.commit_timeout, self.attempt(&mut writer, commit, &mut doubted));
            let Ok(done) = attempt.await else {
                let limit = self.0.commit_timeout.as_secs();
                return Err(ArchiveError::Unavailable(format!("a page was not committed within {limit} s").into()));
            };
            match done {
                Err(Failure::InDoubt(_)) if telling && retry::is_worth(attempts) => {}
                Err(failure) if failure.may_be_repeated() && retry::is_worth(attempts) => {}
                done => return Ok(done?),
            }
            retry::pause(attempts).await;
            attempts += 1;
        }
    }

    /// `doubted`: what the page would come to, if it was stored before after all.
    async fn attempt(
        &self,
        slot: &mut Option<Writer>,
        commit: &Commit<'_>,
        doubted: &mut Option<Committed>,
    ) -> Result<Committed, Failure> {
        let mut writer = match slot.take() {
            Some(writer) => writer,
            None if self.0.pool.is_closed() => return Err(sqlx::Error::PoolClosed.into()),
            None => Writer { connection: self.0.connect().await?, memory: Memory::new() },
        };
        let memory = &mut writer.memory;
        // Answered at once by a server that is there.
        let limit = self.0.answer_timeout;
        let begun = timeout(limit, writer.connection.begin_with(WRITE)).await;
        let mut transaction = begun.unwrap_or_else(|_| Err(silent(limit)))?;
        let mut trusted = false;
        let written = async {
            // The transaction of an attempt before, if the server still had it, has ended then.
            let head = Head::take(&mut transaction).await?;
            if commit.page.cursor.is_some() {
                let (cursor, at) = stored_cursor(&mut transaction, commit).await?.unzip();
                // Nobody else moved it to there in the same microsecond.
                let is_ours = cursor == commit.page.cursor && at == Some(commit.now);
                if let Some(committed) = doubted.clone().filter(|_| is_ours) {
                    return Ok(Attempt::WasWritten(committed));
                }
                if cursor != commit.from {
                    return Err(ArchiveError::CursorMoved { partition: commit.partition.to_owned() }.into());
                }
            }
            memory.goes_on_from(head.version);
            trusted = memory.interned(commit.instance.0).novelty.expected();
            let mut txn = Txn::new(&mut transaction, memory, head, commit);
            let committed = write(&mut txn, commit, trusted).await?;
            Ok(Attempt::Written(committed, txn.head.version, txn.learnt))
        };
        let written = written.await;
        let done = match written {
            Ok(Attempt::Written(committed, version, learnt)) => {
                if let Err(failure) = transaction.commit().await.map_err(Failure::of_commit) {
                    *doubted = matches!(failure, Failure::InDoubt(_)).then_some(committed);
                    return Err(failure);
                }
                memory.learn(commit.instance.0, version, learnt);
                let known_by_native_id = committed.known > committed.repeated.len() as u64;
                memory.interned(commit.instance.0).novelty.note(known_by_native_id);
                Ok(committed)
            }
            Ok(Attempt::WasWritten(committed)) => {
                transaction.rollback().await?;
                Ok(committed)
            }
            Err(failure) => {
                transaction.rollback().await?;
                match failure {
                    Failure::Driver(error) if trusted && is_duplicate(&error) => {
                        // Something was known after all: the next attempt looks it up.
                        memory.interned(commit.instance.0).novelty.note(true);
                        Err(Failure::Rival(error))
                    }
                    failure => Err(failure),
                }
            }
        };
        *slot = Some(writer);
        done
    }
}

/// The cursor of the partition, and when it was moved.
async fn stored_cursor(connection: &mut PgConnection, commit: &Commit<'_>) -> Result<Option<(Bytes, i64)>, Failure> {
    let sql = "SELECT value, at FROM cursor WHERE instance = $1 AND stream = $2 AND partition = $3";
    let found: Option<(Vec<u8>, i64)> = sqlx::query_as(sql)
        .bind(commit.instance.0)
        .bind(commit.stream.as_str())
        .bind(super::text::written(commit.partition))
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|(value, at)| (Bytes::from(value), at)))
}
