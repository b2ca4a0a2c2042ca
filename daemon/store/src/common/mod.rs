//! What the backends do alike: nearly all of it without SQL.

pub(crate) mod check;
pub(crate) mod find;
pub(crate) mod fold;
pub(crate) mod hash;
pub(crate) mod history;
pub(crate) mod interned;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod message;
pub(crate) mod once;
pub(crate) mod packing;
pub(crate) mod portion;
pub(crate) mod recent;
pub(crate) mod rows;
pub(crate) mod source;
pub(crate) mod standing;
pub(crate) mod tallies;
pub(crate) mod told;

use std::collections::HashMap;

/// Microseconds of a UTC day.
pub(crate) const DAY: i64 = 86_400_000_000;

/// Ids by native id.
pub(crate) type Ids<'a> = HashMap<&'a str, i64>;

/// What a page adds to its instance's counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub messages: i64,
    pub conversations: i64,
    pub people: i64,
    pub parked: i64,
    pub media_pending: i64,
}
