//! The engine that cannot be wrong: a list, scanned.

use crate::fold::fold;
use crate::index::{IndexPage, IndexQuery, Sort};
use crate::rank::{Rank, relevance};
use stele_archive::ops::Place;
use stele_archive::{DayCount, FeedRow, Rev};

/// What a query must find among these rows.
pub fn expected(rows: &[FeedRow], query: &IndexQuery) -> IndexPage {
    let wanted: Vec<char> = query.phrase.chars().collect();
    let mut hits: Vec<Rank> = rows
        .iter()
        .filter(|row| query.admits(row))
        .filter_map(|row| {
            let chars: Vec<char> = fold(&row.text).chars().collect();
            let windows = (0..chars.len()).filter(|at| !wanted.is_empty() && chars[*at..].starts_with(&wanted));
            let occurrences = windows.count() as u64;
            let score = if query.sort == Sort::Relevance { relevance(occurrences, chars.len() as u64) } else { 0 };
            (occurrences > 0 || wanted.is_empty()).then_some(Rank { score, sent_at: row.sent_at, id: row.id })
        })
        .collect();
    let total = hits.len() as u64;
    hits.sort_by_key(|hit| (hit.score, hit.sent_at, hit.id));
    if query.sort != Sort::Oldest {
        hits.reverse();
    }
    if let Some(Place { sent_at, id }) = query.beyond {
        hits.retain(|hit| match query.sort {
            Sort::Oldest => (hit.sent_at, hit.id.0) > (sent_at, id),
            _ => (hit.sent_at, hit.id.0) < (sent_at, id),
        });
    }
    IndexPage {
        total,
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
