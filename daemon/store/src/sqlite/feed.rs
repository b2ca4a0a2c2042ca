//! Following the archive.
//!
//! A revision is the id of its message, except for messages that were recovered late; so the feed is two ranges, one of
//! the table and one of the small index of late messages, merged.

use super::SqliteArchive;
use super::error::Failure;
use crate::common::DAY;
use crate::common::rows::{day_counts, feed};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use std::collections::BTreeMap;
use stele_archive::{DayCount, Feed, FeedRow, Result, Rev};

/// Messages readable at once, by revision. Parameters: revision, limit.
pub(super) const PROMPT: &str = "SELECT m.id, m.id AS rev, m.instance, m.conversation, m.sender, w.word, m.sent_at, \
    m.text, m.expires_at, m.labels FROM message AS m CROSS JOIN word AS w ON w.id = m.kind WHERE m.id > ? AND m.late IS NULL \
    ORDER BY m.id LIMIT ?";
/// Recovered messages, by revision. Parameters: revision, limit.
pub(super) const LATE: &str = "SELECT m.id, m.late AS rev, m.instance, m.conversation, m.sender, w.word, m.sent_at, \
    m.text, m.expires_at, m.labels FROM message AS m INDEXED BY message_late CROSS JOIN word AS w ON w.id = m.kind WHERE m.late > ? \
    ORDER BY m.late LIMIT ?";

#[async_trait]
impl Feed for SqliteArchive {
    async fn feed(&self, after: Rev, limit: u32) -> Result<Vec<FeedRow>> {
        let mut snapshot = self.read().await?;
        let mut rows = Vec::new();
        for sql in [PROMPT, LATE] {
            let found = sqlx::query(sql).bind(after.0).bind(limit).fetch_all(&mut *snapshot).await.map_err(Failure)?;
            rows.extend(found.iter().map(feed));
        }
        // Two ascending runs.
        rows.sort_by_key(|row| row.rev);
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn last_rev(&self) -> Result<Rev> {
        let mut snapshot = self.read().await?;
        Ok(Rev(last_rev(&mut snapshot).await?))
    }

    async fn day_counts(&self, upto: Rev) -> Result<Vec<DayCount>> {
        let mut snapshot = self.read().await?;
        let counted: Vec<(i64, i64)> =
            sqlx::query_as("SELECT day, n FROM day_total").fetch_all(&mut *snapshot).await.map_err(Failure)?;
        let mut days: BTreeMap<i64, i64> = counted.into_iter().collect();
        // The counters know everything; what came after `upto` is taken off again.
        for sql in [
            "SELECT sent_at FROM message WHERE id > ? AND late IS NULL AND text <> ''",
            "SELECT sent_at FROM message INDEXED BY message_late WHERE late > ? AND text <> ''",
        ] {
            let later: Vec<i64> =
                sqlx::query_scalar(sql).bind(upto.0).fetch_all(&mut *snapshot).await.map_err(Failure)?;
            for sent_at in later {
                *days.entry(sent_at.div_euclid(DAY)).or_default() -= 1;
            }
        }
        Ok(day_counts(days))
    }
}

async fn last_rev(connection: &mut SqliteConnection) -> Result<i64, Failure> {
    let sql = "SELECT max(ifnull((SELECT max(id) FROM message), 0), \
               ifnull((SELECT max(late) FROM message INDEXED BY message_late WHERE late IS NOT NULL), 0))";
    Ok(sqlx::query_scalar(sql).fetch_one(connection).await?)
}
