//! Tells of a plugin that does not keep to the rules of the boundary.
//!
//! What it sends against them is dropped and counted by the session, and hurts at most the call it concerns: so nothing else
//! would be seen of it. Each kind is told once in a life of the plugin, since one that goes on and on must fill no log.

use std::sync::atomic::{AtomicU8, Ordering};
use stele_plugin_api::session::Counters;

/// A kind of frames that is dropped, and where it is counted.
struct Dropped {
    what: &'static str,
    count: fn(&Counters) -> u64,
}

const DROPPED: [Dropped; 4] = [
    Dropped {
        what: "frames that break a rule: items beyond its credit, a second hello, a number used twice",
        count: |counters| counters.violations,
    },
    Dropped { what: "frames that are too large", count: |counters| counters.oversized },
    Dropped { what: "frames of a kind that this version does not know", count: |counters| counters.unknown_kinds },
    Dropped { what: "frames for calls that are over: answered twice, or too late", count: |counters| counters.late },
];

/// What was told of one life of a plugin.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    /// A bit for each of [`DROPPED`].
    told: AtomicU8,
}

impl Manners {
    /// Looks at what was dropped so far, and tells what was not told before.
    pub(crate) fn look(&self, instance: &str, plugin: &str, counters: &Counters) {
        for (bit, Dropped { what, count }) in DROPPED.iter().enumerate() {
            let frames = count(counters);
            if frames > 0 && self.is_new(bit) {
                tracing::warn!(
                    instance,
                    plugin,
                    what,
                    frames,
                    "plugin sends what is dropped; more of it is only counted"
                );
            }
        }
    }

    fn is_new(&self, bit: usize) -> bool {
        self.told.fetch_or(1 << bit, Ordering::Relaxed) & (1 << bit) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once() {
        let manners = Manners::default();
        for bit in 0..DROPPED.len() {
            assert_eq!((manners.is_new(bit), manners.is_new(bit)), (true, false));
        }
    }

    #[test]
    fn every_count_has_its_words() {
        let counters = Counters { late: 1, unknown_kinds: 2, oversized: 3, violations: 4, expired: 5 };
        let mut counts: Vec<u64> = DROPPED.iter().map(|dropped| (dropped.count)(&counters)).collect();
        counts.sort_unstable();
        // What expired is our own doing, and told by whoever asked.
        assert_eq!(counts, [1, 2, 3, 4]);
    }
}
