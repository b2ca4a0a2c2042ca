//! Following the archive: a range of revisions per instance, merged. Which instances there are is read with them, so that
//! nothing is passed over that a new one brought.

use super::{PostgresArchive, retry};
use crate::common::DAY;
use crate::common::rows::{day_counts, feed};
use async_trait::async_trait;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use stele_archive::{DayCount, Feed, FeedRow, Result, Rev};

/// Messages by revision. Parameters: revision, limit.
pub(super) const FEED: &str = "SELECT m.id, m.rev, m.instance, m.conversation, m.sender, w.word, m.sent_at, m.text, \
    m.expires_at, m.labels FROM ( \
        SELECT i.id AS instance, r.rev FROM instance AS i CROSS JOIN LATERAL ( \
            SELECT rev FROM message WHERE instance = i.id AND rev > $1 ORDER BY rev LIMIT $2 \
        ) AS r ORDER BY r.rev LIMIT $2 \
    ) AS j CROSS JOIN LATERAL (SELECT * FROM message WHERE instance = j.instance AND rev = j.rev LIMIT 1) AS m \
    CROSS JOIN LATERAL (SELECT word FROM word WHERE id = m.kind LIMIT 1) AS w";

/// When the messages with a text were sent that came after a revision. Parameter: revision.
pub(super) const LATER: &str = "SELECT m.sent_at FROM instance AS i CROSS JOIN LATERAL ( \
    SELECT sent_at FROM message WHERE instance = i.id AND rev > $1 AND text <> '' OFFSET 0) AS m";

#[async_trait]
impl Feed for PostgresArchive {
    async fn feed(&self, after: Rev, limit: u32) -> Result<Vec<FeedRow>> {
        let found = self
            .repeat(|| async {
                let mut snapshot = self.read().await?;
                let feed = sqlx::query(FEED).bind(after.0).bind(i64::from(limit));
                Ok(feed.fetch_all(&mut *snapshot).await?)
            })
            .await?;
        let mut rows: Vec<FeedRow> = found.iter().map(feed).collect();
        rows.sort_unstable_by_key(|row| row.rev);
        Ok(rows)
    }

    async fn last_rev(&self) -> Result<Rev> {
        let last = self.repeat(|| async {
            Ok(sqlx::query_scalar("SELECT last_rev FROM head WHERE one = 1")
                .fetch_one(&mut *self.lend().await?)
                .await?)
        });
        Ok(Rev(last.await?))
    }

    async fn day_counts(&self, upto: Rev) -> Result<Vec<DayCount>> {
        // What came later may be everything: each row is waited for, not all of them.
        let days = retry::again(|| async {
            let mut snapshot = self.read_whole().await?;
            let counted = "SELECT d.day, d.n FROM instance AS i JOIN day_total AS d ON d.instance = i.id";
            let counted: Vec<(i64, i64)> = self.awaited(sqlx::query_as(counted).fetch_all(&mut *snapshot)).await?;
            let mut days: BTreeMap<i64, i64> = BTreeMap::new();
            for (day, messages) in counted {
                *days.entry(day).or_default() += messages;
            }
            // The counters know everything; what came after `upto` is taken off again.
            let mut later = sqlx::query_scalar::<_, i64>(LATER).bind(upto.0).fetch(&mut *snapshot);
            while let Some(sent_at) = self.awaited(later.try_next()).await? {
                *days.entry(sent_at.div_euclid(DAY)).or_default() -= 1;
            }
            Ok(days)
        })
        .await?;
        Ok(day_counts(days))
    }
}
