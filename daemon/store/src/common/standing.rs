//! How conversations stand.

use super::{DAY, Ids};
use std::collections::HashMap;

/// The conversations of a page.
pub(crate) struct Conversations<'a> {
    pub ids: Ids<'a>,
    /// Those that new messages go to.
    pub standing: HashMap<i64, Standing>,
    /// Those that lists show otherwise now: under another title, or as of another kind.
    pub relisted: Vec<i64>,
}

/// What a conversation is while the page's messages are added to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub messages: i64,
    pub last_seq: i64,
    pub last_at: i64,
    pub last_id: i64,
    /// Whether the order by number is not that by id.
    pub own_order: bool,
    /// The same, before the page.
    own_order_before: bool,
    /// The day of the latest message before the page.
    day_before: Option<i64>,
}

impl Standing {
    /// A new one.
    pub const NEW: Self = Self {
        messages: 0,
        last_seq: 0,
        last_at: i64::MIN,
        last_id: 0,
        own_order: false,
        own_order_before: false,
        day_before: None,
    };

    /// As it was stored: messages, and the number, time and id of the latest.
    pub fn stored([messages, last_seq, last_at, last_id]: [i64; 4], own_order: bool) -> Self {
        Self { messages, last_seq, last_at, last_id, own_order, ..Self::NEW }.settled()
    }

    /// One more message. Numbers it when the source did not. The `newest` has a greater id than all before.
    pub fn add(&mut self, (id, newest): (i64, bool), sent_at: i64, seq: Option<i64>) -> i64 {
        let seq = seq.unwrap_or(self.last_seq + 1);
        self.own_order |= self.messages > 0 && !(newest && seq > self.last_seq);
        self.messages += 1;
        self.last_seq = self.last_seq.max(seq);
        if self.last_id == 0 || (sent_at, id) > (self.last_at, self.last_id) {
            (self.last_at, self.last_id) = (sent_at, id);
        }
        seq
    }

    /// Whether the page brought a number out of order, the first of its conversation.
    pub fn is_first_astray(&self) -> bool {
        self.own_order && !self.own_order_before
    }

    /// How it stands when the next page comes.
    pub fn settled(self) -> Self {
        Self { day_before: self.day(), own_order_before: self.own_order, ..self }
    }

    /// The UTC day of the latest message.
    pub fn day(&self) -> Option<i64> {
        (self.last_id > 0).then(|| self.last_at.div_euclid(DAY))
    }

    /// Whether the page brought its first messages.
    pub fn is_first(&self) -> bool {
        self.day_before.is_none() && self.messages > 0
    }

    /// Whether the page brought a latest message of another day, or the first.
    pub fn another_day(&self) -> bool {
        self.day_before != self.day()
    }
}
