//! What one read of live delivery brings.

use stele_archive::{News, Portion, Rev, StoredMessage};

/// A revision, and the id of the message that is readable since then. There may be no message of that place.
pub(crate) type Place = (i64, Option<i64>);

/// The places that one read looked at, the ids among them, and between which revisions they are.
#[derive(Debug)]
pub(crate) struct Places {
    places: Vec<Place>,
    pub ids: Vec<i64>,
    /// Whether there are no others.
    is_whole: bool,
    after: Rev,
    upto: Rev,
}

impl Places {
    /// The first places between two revisions, found in ascending runs.
    pub fn new(mut places: Vec<Place>, (after, upto): (Rev, Rev), portion: Portion) -> Self {
        places.sort_unstable();
        places.truncate(portion.rows as usize);
        let ids = places.iter().filter_map(|(_, id)| *id).collect();
        Self { is_whole: places.len() < portion.rows as usize, places, ids, after, upto }
    }

    /// What is brought: the messages of the first ids, as many of them as there is room for.
    pub fn bring(&self, messages: Vec<StoredMessage>, fitting: usize) -> News {
        let reached = if fitting < self.ids.len() {
            // Up to the last one that is brought.
            let last = self.ids[..fitting].last().copied();
            self.places.iter().find(|(_, id)| *id == last).map(|(place, _)| Rev(*place))
        } else {
            self.places.last().map(|(place, _)| Rev(*place)).filter(|_| !self.is_whole)
        };
        let otherwise = if self.is_whole { self.upto } else { self.after };
        News { messages, upto: reached.unwrap_or(otherwise) }
    }
}
