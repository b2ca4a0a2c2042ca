//! The order of hits, one for all engines and for messages that are not indexed yet.

use crate::index::Sort;
use std::cmp::Ordering;
use std::ops::RangeInclusive;
use stele_archive::MessageId;
use stele_archive::model::Micros;
use stele_archive::ops::Place;

/// What the place of a hit in an order depends on. No two hits are equal, since ids are unique; so pages are cut the same way
/// whatever the engine, its segments and its threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// [`relevance`] when sorted by it, else 0.
    pub score: u64,
    /// When it was sent.
    pub sent_at: Micros,
    /// The message.
    pub id: MessageId,
}

impl From<Place> for Rank {
    fn from(place: Place) -> Self {
        Self { score: 0, sent_at: place.sent_at, id: MessageId(place.id) }
    }
}

impl Sort {
    /// The order: whichever is less comes first.
    pub fn compare(self, a: &Rank, b: &Rank) -> Ordering {
        let time = |rank: &Rank| (rank.sent_at, rank.id);
        match self {
            Self::Newest => time(b).cmp(&time(a)),
            Self::Oldest => time(a).cmp(&time(b)),
            Self::Relevance => (b.score, time(b)).cmp(&(a.score, time(a))),
        }
    }

    /// Spans of time in the order in which their first hits may come, relevance aside: whichever is less comes first.
    pub(crate) fn compare_spans(self, a: &RangeInclusive<Micros>, b: &RangeInclusive<Micros>) -> Ordering {
        match self {
            Self::Oldest => a.start().cmp(b.start()),
            Self::Newest | Self::Relevance => b.end().cmp(a.end()),
        }
    }
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

/// Counts many hits and keeps the first `window` of those beyond a place. Costs O(1) per hit: it keeps up to twice the window
/// and then throws the worse half away.
#[derive(Debug)]
pub struct Top {
    sort: Sort,
    beyond: Option<Rank>,
    window: usize,
    kept: Vec<Rank>,
    /// The last hit of a full window: only what comes before it is kept.
    threshold: Option<Rank>,
    total: u64,
}

impl Top {
    /// Keep this many in this order.
    pub fn new(sort: Sort, beyond: Option<Place>, window: usize) -> Self {
        Self { sort, beyond: beyond.map(Rank::from), window, kept: Vec::new(), threshold: None, total: 0 }
    }

    /// Count hits, whether or not they are among the first.
    pub fn count(&mut self, hits: u64) {
        self.total += hits;
    }

    /// Whether a hit of this score, sent in this span, could be among the first, whatever its id.
    pub fn could_keep(&self, score: u64, sent: RangeInclusive<Micros>) -> bool {
        let (earliest, latest) = sent.into_inner();
        let (first, last) = match self.sort {
            Sort::Oldest => ((earliest, i64::MIN), (latest, i64::MAX)),
            Sort::Newest | Sort::Relevance => ((latest, i64::MAX), (earliest, i64::MIN)),
        };
        let rank = |(sent_at, id)| Rank { score, sent_at, id: MessageId(id) };
        self.window > 0
            && self.beyond.is_none_or(|place| self.sort.compare(&place, &rank(last)).is_lt())
            && self.threshold.is_none_or(|worst| self.sort.compare(&rank(first), &worst).is_lt())
    }

    /// Keep a hit if it is among the first. It is not counted by this.
    pub fn keep(&mut self, hit: Rank) {
        let after = |place: Rank| self.sort.compare(&place, &hit).is_lt();
        let before = |worst: Rank| self.sort.compare(&hit, &worst).is_lt();
        if self.window == 0 || !self.beyond.is_none_or(after) || !self.threshold.is_none_or(before) {
            return;
        }
        self.kept.push(hit);
        if self.kept.len() >= self.window.saturating_mul(2) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let (_, worst, _) = self.kept.select_nth_unstable_by(self.window - 1, |a, b| self.sort.compare(a, b));
        self.threshold = Some(*worst);
        self.kept.truncate(self.window);
    }

    /// The first ones in order, and the number of all.
    pub fn finish(mut self) -> (Vec<Rank>, u64) {
        self.kept.sort_unstable_by(|a, b| self.sort.compare(a, b));
        self.kept.truncate(self.window);
        (self.kept, self.total)
    }
}

/// The rank of a text in which the query occurs.
pub(crate) fn rank(sort: Sort, folded: &str, phrase: &str, sent_at: Micros, id: MessageId) -> Rank {
    let score = match sort {
        Sort::Newest | Sort::Oldest => 0,
        Sort::Relevance => relevance(crate::fold::occurrences(folded, phrase), folded.chars().count() as u64),
    };
    Rank { score, sent_at, id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Reverse;

    proptest! {
        #[test]
        fn keeps_what_sorting_would(
            keys in proptest::collection::vec((0u64..3, 0i64..20), 0..200),
            window in 0usize..40,
            sort in prop::sample::select(&[Sort::Newest, Sort::Oldest, Sort::Relevance][..]),
            beyond in prop::option::of((-1i64..21, -1i64..201)),
        ) {
            let beyond = beyond.filter(|_| sort != Sort::Relevance).map(|(sent_at, id)| Place { sent_at, id });
            let mut all: Vec<Rank> = keys.iter().zip(0..)
                .map(|((score, sent_at), id)| {
                    Rank { score: if sort == Sort::Relevance { *score } else { 0 }, sent_at: *sent_at, id: MessageId(id) }
                })
                .collect();
            let mut top = Top::new(sort, beyond, window);
            for rank in &all {
                top.count(1);
                if top.could_keep(rank.score, rank.sent_at..=rank.sent_at) { top.keep(*rank) }
            }
            let (first, total) = top.finish();
            prop_assert_eq!(total, all.len() as u64);
            all.sort_by_key(|rank| (rank.sent_at, rank.id));
            match sort {
                Sort::Oldest => {}
                Sort::Newest => all.reverse(),
                Sort::Relevance => all.sort_by_key(|rank| Reverse((rank.score, rank.sent_at, rank.id))),
            }
            all.retain(|rank| beyond.is_none_or(|place| match sort {
                Sort::Oldest => (rank.sent_at, rank.id.0) > (place.sent_at, place.id),
                _ => (rank.sent_at, rank.id.0) < (place.sent_at, place.id),
            }));
            all.truncate(window);
            prop_assert_eq!(first, all);
        }
    }

    #[test]
    fn a_span_is_passed_over_only_when_nothing_in_it_could_be_kept() {
        let place = Place { sent_at: 10, id: 5 };
        for (sort, span, could) in [
            (Sort::Newest, 0..=9, true),
            (Sort::Newest, 10..=20, true),
            (Sort::Newest, 11..=20, false),
            (Sort::Oldest, 0..=9, false),
            (Sort::Oldest, 0..=10, true),
            (Sort::Oldest, 11..=20, true),
        ] {
            assert_eq!(Top::new(sort, Some(place), 1).could_keep(0, span.clone()), could, "{sort:?} {span:?}");
            assert!(!Top::new(sort, None, 0).could_keep(0, span));
        }
    }

    #[test]
    fn more_often_in_less_text_is_more_relevant() {
        assert!(relevance(2, 20) > relevance(1, 20));
        assert!(relevance(1, 10) > relevance(1, 20));
        assert!(relevance(2, 4) > relevance(1, 1));
    }
}
