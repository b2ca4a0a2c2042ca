//! Archive and index compared.

use super::Tailer;
use crate::error::TailError;
use serde::Serialize;
use std::collections::BTreeMap;
use stele_archive::{DayCount, Rev};

/// Days named in a report of differences.
const MAX_DIFFERENCES: usize = 100;

/// Archive and index compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reconciliation {
    /// Messages up to this revision were counted.
    pub upto: Rev,
    /// Messages with a text in the archive.
    pub stored: u64,
    /// Messages in the index.
    pub indexed: u64,
    /// Days on which they differ (days since 1970-01-01, stored, indexed), at most 100 of them.
    pub differences: Vec<(i64, u64, u64)>,
}

impl Reconciliation {
    /// Whether archive and index agree.
    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }

    pub(super) fn compare(upto: Rev, stored: &[DayCount], indexed: &[DayCount]) -> Self {
        let mut days: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        stored.iter().for_each(|count| days.entry(count.day).or_default().0 += count.messages);
        indexed.iter().for_each(|count| days.entry(count.day).or_default().1 += count.messages);
        Self {
            upto,
            stored: stored.iter().map(|count| count.messages).sum(),
            indexed: indexed.iter().map(|count| count.messages).sum(),
            differences: days
                .into_iter()
                .filter(|(_, (stored, indexed))| stored != indexed)
                .map(|(day, (stored, indexed))| (day, stored, indexed))
                .take(MAX_DIFFERENCES)
                .collect(),
        }
    }
}

impl Tailer {
    /// Compares archive and index, day by day. When they differ the index is condemned: it is rebuilt soon.
    pub async fn reconcile(&self) -> Result<Reconciliation, TailError> {
        let (upto, indexed) = self.index.day_counts().await?;
        let stored = self.feed.day_counts(upto).await?;
        let result = Reconciliation::compare(upto, &stored, &indexed);
        metrics::gauge!("stele_search_days_differing").set(result.differences.len() as f64);
        if let Some((day, stored, indexed)) = result.differences.first() {
            let days = result.differences.len();
            tracing::error!(days, day, stored, indexed, "archive and search index differ");
            self.index.condemn("it does not have as many messages as the archive");
        }
        self.lock().reconciliation = Some(result.clone());
        Ok(result)
    }
}
