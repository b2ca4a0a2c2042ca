//! Where pages ended, so that a walk over pages meets every message once although others arrive meanwhile.
//!
//! A page is a number of rows to pass over, and rows that arrive before it move all behind them. So whoever has read a page gets
//! the next one from where it ended, not from so many rows after the beginning. Asking for the first page begins anew. Nothing
//! depends on it being remembered: what is forgotten is counted from the beginning again.
//!
//! What arrives behind a walk it does not meet. So its last page, which is not full, tells how many it met: who reads until there are
//! as many would never come to an end otherwise.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::Place;

/// Walks that are remembered.
const MAX_WALKS: usize = 256;
/// Ends of pages of each: of the last ones.
const MAX_ENDS: usize = 64;
/// A walk is over when no page was asked for this long.
const PATIENCE: Micros = 10 * 60 * 1_000_000;

/// Who asks for what, all but the number of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question([u8; 32]);

impl Question {
    /// Told by these words, in this order.
    pub fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let sum = words
            .into_iter()
            .fold(Sha256::new(), |sum, word| sum.chain_update((word.len() as u64).to_le_bytes()).chain_update(word));
        Self(sum.finalize().into())
    }
}

/// Walks over pages.
#[derive(Default)]
pub struct Walks(Mutex<HashMap<Question, Walk>>);

struct Walk {
    used: Micros,
    ends: BTreeMap<u64, End>,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Place of its last message.
    pub place: Place,
    /// Messages the walk had met then.
    pub met: u64,
}

impl Walks {
    /// Where the nearest page before this one ended, and which one that was.
    pub fn before(&self, question: Question, page: u64, now: Micros) -> Option<(u64, End)> {
        let walks = self.lock();
        let walk = walks.get(&question).filter(|walk| walk.is_under_way(now))?;
        walk.ends.range(..page).next_back().map(|(page, end)| (*page, *end))
    }

    /// A page ended here. What was known of later ones is of a walk before this one.
    pub fn ended(&self, question: Question, page: u64, end: End, now: Micros) {
        let mut walks = self.lock();
        walks.retain(|_, walk| walk.is_under_way(now));
        if walks.len() >= MAX_WALKS && !walks.contains_key(&question) {
            let eldest = walks.iter().min_by_key(|(_, walk)| walk.used).map(|(question, _)| *question);
            eldest.and_then(|eldest| walks.remove(&eldest));
        }
        let walk = walks.entry(question).or_insert(Walk { used: now, ends: BTreeMap::new() });
        walk.used = now;
        walk.ends.split_off(&page);
        walk.ends.insert(page, end);
        if walk.ends.len() > MAX_ENDS {
            walk.ends.pop_first();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Walk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Walk {
    fn is_under_way(&self, now: Micros) -> bool {
        now.saturating_sub(self.used) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(id: i64) -> End {
        End { place: Place { sent_at: id, id }, met: id.unsigned_abs() }
    }

    #[test]
    fn the_nearest_page_before_is_told() {
        let (walks, question) = (Walks::default(), Question::of(["imAdmin", "x"]));
        assert_eq!(walks.before(question, 2, 0), None);
        for page in [1, 2, 5] {
            walks.ended(question, page, end(page as i64 * 10), 0);
        }
        let before = |page| walks.before(question, page, 1);
        assert_eq!(before(1), None);
        assert_eq!(before(3), Some((2, end(20))));
        assert_eq!(before(5), Some((2, end(20))));
        assert_eq!(before(9), Some((5, end(50))));
        assert_eq!(walks.before(Question::of(["imAdminx", ""]), 2, 1), None);
    }

    #[test]
    fn a_page_read_again_begins_anew_from_there() {
        let (walks, question) = (Walks::default(), Question::of(["x"]));
        for page in 1..=3 {
            walks.ended(question, page, end(page as i64), 0);
        }
        walks.ended(question, 1, end(7), 0);
        assert_eq!(walks.before(question, 4, 0), Some((1, end(7))));
    }

    #[test]
    fn so_much_is_remembered_and_for_so_long() {
        let (walks, question) = (Walks::default(), Question::of(["x"]));
        for page in 1..=200 {
            walks.ended(question, page, end(1), 0);
        }
        assert_eq!(walks.before(question, 137, 0), None);
        assert_eq!(walks.before(question, 138, PATIENCE - 1), Some((137, end(1))));
        assert_eq!(walks.before(question, 138, PATIENCE), None);
        for number in 0..MAX_WALKS {
            walks.ended(Question::of([&*number.to_string()]), 1, end(1), 1);
        }
        assert_eq!(walks.lock().len(), MAX_WALKS);
        assert_eq!(walks.before(question, 2, 1), None);
    }
}
