//! From rows to answers.

use std::collections::HashMap;
use stele_archive::{MediaState, StoredMessage};

/// How many messages of these lengths, the first ones, are loaded within so many bytes; the first one always is.
pub(crate) fn fitting(lengths: &[i64], bytes: usize) -> usize {
    let mut sum = 0;
    let fits = |length: &&i64| {
        sum += length.cast_unsigned();
        sum <= bytes as u64
    };
    lengths.iter().take_while(fits).count().max(1).min(lengths.len())
}

/// Messages in the order of their ids; unknown ones are left out. Most ids are asked for once: the message moves out. Asked for
/// again later, it is copied.
pub(crate) fn in_order(mut found: HashMap<i64, StoredMessage>, ids: &[i64]) -> Vec<StoredMessage> {
    let wanted = ids.iter().enumerate();
    wanted
        .filter_map(|(at, id)| match ids[at + 1..].contains(id) {
            true => found.get(id).cloned(),
            false => found.remove(id),
        })
        .collect()
}

/// How far a file has come, from its number in the tables.
pub(crate) fn media_state(number: i64) -> MediaState {
    match number {
        0 => MediaState::Pending,
        1 => MediaState::Stored,
        _ => MediaState::Parked,
    }
}
