//! The engine that cannot be wrong: a list, scanned.

use crate::fold::fold;
use crate::index::{IndexPage, IndexQuery, Sort};
use crate::rank::{Rank, relevance};
use std::cmp::Reverse;
use stele_archive::{DayCount, FeedRow, Rev};

/// What a query must find among these rows.
pub fn expected(rows: &[FeedRow], query: &IndexQuery) -> IndexPage {
    let wanted: Vec<char> = query.phrase.chars().collect();
    let mut hits: Vec<Rank> = rows
        .iter()
        .filter(|row| query.admits(row.instance, row.conversation, row.sender, &row.kind, row.sent_at))
        .filter_map(|row| {
            let chars: Vec<char> = fold(&row.text).chars().collect();
            let occurrences = chars.windows(wanted.len()).filter(|window| *window == wanted).count() as u64;
            let score = if query.sort == Sort::Relevance { relevance(occurrences, chars.len() as u64) } else { 0 };
            (occurrences > 0).then_some(Rank { score, sent_at: row.sent_at, id: row.id })
        })
        .collect();
    hits.sort_by_key(|hit| Reverse((hit.score, hit.sent_at, hit.id)));
    IndexPage {
        total: hits.len() as u64,
        hits: hits.into_iter().skip(query.offset).take(query.limit).collect(),
        watermark: rows.last().map_or(Rev(0), |row| row.rev),
    }
}

/// Rows with a text per UTC day.
pub fn day_counts(rows: &[FeedRow]) -> Vec<DayCount> {
    let mut days = std::collections::BTreeMap::new();
    for row in rows.iter().filter(|row| !row.text.is_empty()) {
        *days.entry(row.sent_at.div_euclid(86_400_000_000)).or_insert(0) += 1;
    }
    days.into_iter().map(|(day, messages)| DayCount { day, messages }).collect()
}
