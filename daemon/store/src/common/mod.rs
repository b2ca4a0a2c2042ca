//! What the backends compute alike, without SQL.

pub(crate) mod find;
pub(crate) mod history;
pub(crate) mod portion;
pub(crate) mod rows;
pub(crate) mod source;

/// Microseconds of a UTC day.
pub(crate) const DAY: i64 = 86_400_000_000;
