//! Message ids: 41 bits of milliseconds, 10 of the node, 12 of a counter (reference/wukongim.md §3).

use stele_plugin_api::model::Micros;

/// The millisecond they are counted from, since 1970.
const EPOCH: i64 = 1_288_834_974_657;
/// Greatest node.
pub const MAX_NODE: u16 = (1 << NODE_BITS) - 1;

const NODE_BITS: u32 = 10;
const STEP_BITS: u32 = 12;
const MAX_STEP: i64 = (1 << STEP_BITS) - 1;
/// In 2080.
const MAX_MILLIS: i64 = (1 << 41) - 1;

/// Gives ids, each greater than the one before, whatever the clock does.
#[derive(Debug)]
pub struct Ids {
    node: u16,
    /// Milliseconds and counter of the last one.
    last: Option<(i64, i64)>,
}

impl Ids {
    /// Ids of this node.
    pub fn new(node: u16) -> Self {
        Self { node: node.min(MAX_NODE), last: None }
    }

    /// The next id. Its milliseconds are those of the clock, unless as many ids were given as there are, or the clock went
    /// back: then they are ahead of it.
    pub fn next(&mut self, now: Micros) -> i64 {
        let now = (now.div_euclid(1000) - EPOCH).clamp(0, MAX_MILLIS);
        let (millis, step) = match self.last {
            Some((last, step)) if last >= now && step < MAX_STEP => (last, step + 1),
            Some((last, _)) if last >= now => ((last + 1).min(MAX_MILLIS), 0),
            _ => (now, 0),
        };
        self.last = Some((millis, step));
        millis << (NODE_BITS + STEP_BITS) | i64::from(self.node) << STEP_BITS | step
    }
}

/// When an id was given, to the millisecond.
pub fn given_at(id: i64) -> Micros {
    ((id >> (NODE_BITS + STEP_BITS)) + EPOCH) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2025-08-18T00:00:00Z
    const NOW: Micros = 1_755_475_200_000_000;

    #[test]
    fn ids_are_made_as_the_original_does() {
        assert_eq!(Ids::new(1).next(NOW), 1_957_230_963_717_050_368);
        assert_eq!(given_at(1_957_230_963_717_050_368), NOW);
        let id = Ids::new(MAX_NODE).next(NOW + 999);
        assert_eq!((given_at(id), id >> STEP_BITS & i64::from(MAX_NODE), id & MAX_STEP), (NOW, 1023, 0));
    }

    #[test]
    fn a_millisecond_that_is_used_up_is_followed_by_the_next() {
        let mut ids = Ids::new(0);
        let given: Vec<_> = (0..=4096).map(|_| ids.next(NOW)).collect();
        assert_eq!((given_at(given[4095]), given_at(given[4096])), (NOW, NOW + 1000));
        assert!(given.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn no_clock_makes_a_negative_id() {
        for now in [Micros::MIN, 0, EPOCH * 1000 - 1, Micros::MAX] {
            assert!(Ids::new(MAX_NODE).next(now) >= 0, "{now}");
        }
    }

    proptest! {
        #[test]
        fn ids_ascend_whatever_the_clock_does(node in 0..=MAX_NODE, clock in proptest::collection::vec(0..5_000_i64, 1..200)) {
            let mut ids = Ids::new(node);
            let given: Vec<_> = clock.iter().map(|at| ids.next(NOW + at)).collect();
            prop_assert!(given.is_sorted_by(|a, b| a < b));
            prop_assert!(given.iter().all(|id| id >> STEP_BITS & i64::from(MAX_NODE) == i64::from(node)));
            let first = NOW + clock[0];
            prop_assert_eq!(given_at(given[0]), first - first % 1000);
        }
    }
}
