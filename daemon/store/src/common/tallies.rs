//! Numbers of messages that are counted as they come.

use super::DAY;
use super::message::NewMessage;
use std::collections::BTreeMap;

/// Numbers of messages by conversation, day and kind.
pub(crate) type Tally = BTreeMap<(i64, i64, i64), i64>;

/// What new messages add to the counters.
#[derive(Default)]
pub(crate) struct Tallies {
    /// By the day they were sent.
    pub sent: Tally,
    /// Those that expire, by the day they do.
    pub expiring: Tally,
    /// Those with a text, by the day they were sent.
    pub days: BTreeMap<i64, i64>,
}

impl Tallies {
    /// Count them.
    pub fn of(rows: &[NewMessage<'_>]) -> Self {
        let mut tallies = Self::default();
        for row in rows {
            let day = row.message.sent_at.div_euclid(DAY);
            *tallies.sent.entry((row.conversation, day, row.kind)).or_default() += 1;
            if let Some(expires_at) = row.message.expires_at {
                *tallies.expiring.entry((row.conversation, expires_at.div_euclid(DAY), row.kind)).or_default() += 1;
            }
            if !row.message.text.is_empty() {
                *tallies.days.entry(day).or_default() += 1;
            }
        }
        tallies
    }
}
