//! The order of hits, one for all engines and for messages that are not indexed yet.

use crate::index::Sort;
use stele_archive::MessageId;
use stele_archive::model::Micros;

/// Place of a hit in the order asked for: the greater comes first.
///
/// No two hits are equal, since ids are unique; so pages are cut the same way whatever the engine, its segments and its
/// threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// [`relevance`] when sorted by it, else 0.
    pub score: u64,
    /// When it was sent.
    pub sent_at: Micros,
    /// The message.
    pub id: MessageId,
}

/// Characters added to the length of a text before its density is taken, so that one word alone does not always win.
const SMOOTHING_CHARS: u64 = 10;

/// How relevant a text of `length` folded characters is in which a query occurs `occurrences` times.
///
/// For a single phrase BM25 is a growing function of `occurrences / (length + constant)`: its inverse document frequency
/// is the same for all hits, and its saturation does not change the order. So this is BM25's order, in whole numbers: it
/// does not depend on the other documents, hence is the same in every segment, in every engine and before indexing.
pub fn relevance(occurrences: u64, length: u64) -> u64 {
    (occurrences << 24) / (length + SMOOTHING_CHARS)
}

/// Keeps the first `window` of many hits and counts all. Costs O(1) per hit: it keeps up to twice the window and then
/// throws the worse half away.
#[derive(Debug)]
pub struct Top {
    window: usize,
    kept: Vec<Rank>,
    /// The worst hit of a full window: what is not greater is only counted.
    threshold: Option<Rank>,
    total: u64,
}

impl Top {
    /// Keep this many.
    pub fn new(window: usize) -> Self {
        Self { window, kept: Vec::new(), threshold: None, total: 0 }
    }

    /// Count a hit that [`Self::could_enter`] rejected.
    pub fn count(&mut self) {
        self.total += 1;
    }

    /// Whether a hit of this score and time could be among the first, whatever its id.
    pub fn could_enter(&self, score: u64, sent_at: Micros) -> bool {
        self.window > 0 && self.threshold.is_none_or(|worst| (score, sent_at) >= (worst.score, worst.sent_at))
    }

    /// Count a hit and keep it if it is among the first.
    pub fn push(&mut self, rank: Rank) {
        self.total += 1;
        if self.window == 0 || self.threshold.is_some_and(|worst| rank <= worst) {
            return;
        }
        self.kept.push(rank);
        if self.kept.len() >= 2 * self.window {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let (_, worst, _) = self.kept.select_nth_unstable_by(self.window - 1, |a, b| b.cmp(a));
        self.threshold = Some(*worst);
        self.kept.truncate(self.window);
    }

    /// The first ones in order, and the number of all.
    pub fn finish(mut self) -> (Vec<Rank>, u64) {
        self.kept.sort_unstable_by(|a, b| b.cmp(a));
        self.kept.truncate(self.window);
        (self.kept, self.total)
    }
}

/// The rank of a text in which the query occurs.
pub(crate) fn rank(sort: Sort, folded: &str, phrase: &str, sent_at: Micros, id: MessageId) -> Rank {
    let score = match sort {
        Sort::Newest => 0,
        Sort::Relevance => relevance(crate::fold::occurrences(folded, phrase), folded.chars().count() as u64),
    };
    Rank { score, sent_at, id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_what_sorting_would(keys in proptest::collection::vec((0u64..3, 0i64..20), 0..200), window in 0usize..40) {
            let mut all: Vec<Rank> = keys.iter().zip(0..)
                .map(|((score, sent_at), id)| Rank { score: *score, sent_at: *sent_at, id: MessageId(id) })
                .collect();
            let mut top = Top::new(window);
            for rank in &all {
                if top.could_enter(rank.score, rank.sent_at) { top.push(*rank) } else { top.count() }
            }
            let (first, total) = top.finish();
            all.sort_unstable_by(|a, b| b.cmp(a));
            prop_assert_eq!(total, all.len() as u64);
            all.truncate(window);
            prop_assert_eq!(first, all);
        }
    }

    #[test]
    fn more_often_in_less_text_is_more_relevant() {
        assert!(relevance(2, 20) > relevance(1, 20));
        assert!(relevance(1, 10) > relevance(1, 20));
        assert!(relevance(2, 4) > relevance(1, 1));
    }
}
