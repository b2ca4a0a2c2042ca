//! Message ids: 80 bits as text, in the documents' form (reference/gateway.md §8).
//!
//! | bits | what |
//! |---|---|
//! | 42 | milliseconds since 1970 (enough until 2109-05-15) |
//! | 12 | counter within the millisecond, from 1 |
//! | 4 | type of the conversation |
//! | 22 | low bits of FNV-1 (32 bits) of the conversation's id, bit 15 cleared |
//!
//! Written as 16 characters of an alphabet in ASCII order, with hyphens at fixed places: the order of texts is the order of
//! numbers. The lower 26 bits are the same in all ids of a conversation, so there the upper 54 bits, a message's **number**,
//! say everything: the archive orders by it.

use std::collections::HashMap;
use std::fmt;
use stele_plugin_api::model::Micros;

/// Values 0 to 31: no 0, 1, I, O.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Characters of an id.
const LENGTH: usize = 19;
/// Where its hyphens are.
const HYPHENS: [usize; 3] = [5, 10, 15];
/// Bits of a counter.
pub const COUNTER_BITS: u32 = 12;
/// Bits of a number: milliseconds and counter.
pub const NUMBER_BITS: u32 = 54;
/// Bits behind a number: conversation type and hash.
const TAIL_BITS: u32 = 26;
/// Bits of the hash.
const HASH_BITS: u32 = 22;
/// The lowest bit of the 13th character, which the original never sets.
const LOST_BIT: u32 = 1 << 15;

/// Greatest type of a conversation: it has four bits.
pub const MAX_TYPE: u8 = 15;

/// An id as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MsgId([u8; LENGTH]);

impl MsgId {
    fn of(bits: u128) -> Self {
        let mut text = [b'-'; LENGTH];
        let places = (0..LENGTH).rev().filter(|place| !HYPHENS.contains(place));
        for (character, place) in places.enumerate() {
            text[place] = ALPHABET[(bits >> (5 * character)) as usize & 31];
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number of an id; `None` for what is no id.
pub fn number(id: &str) -> Option<i64> {
    i64::try_from(bits(id)? >> TAIL_BITS).ok()
}

/// The type of the conversation an id was made for; `None` for what is no id.
pub fn kind(id: &str) -> Option<u8> {
    u8::try_from(bits(id)? >> HASH_BITS & u128::from(MAX_TYPE)).ok()
}

/// The number that all ids of this time are greater than.
pub fn number_at(at: Micros) -> i64 {
    at.div_euclid(1000).clamp(0, (1 << (NUMBER_BITS - COUNTER_BITS)) - 1) << COUNTER_BITS
}

/// When an id with this number was made.
pub fn time(number: i64) -> Micros {
    (number >> COUNTER_BITS) * 1000
}

/// The least and the greatest id with this number, of whatever conversation.
pub fn span(number: i64) -> (MsgId, MsgId) {
    let number = u128::from(number.cast_unsigned() & ((1 << NUMBER_BITS) - 1));
    (MsgId::of(number << TAIL_BITS), MsgId::of(number << TAIL_BITS | ((1 << TAIL_BITS) - 1)))
}

fn bits(id: &str) -> Option<u128> {
    let text: &[u8; LENGTH] = id.as_bytes().try_into().ok()?;
    let mut bits = 0u128;
    for (place, character) in text.iter().enumerate() {
        if HYPHENS.contains(&place) {
            (*character == b'-').then_some(())?;
        } else {
            let value = ALPHABET.iter().position(|known| known == character)?;
            bits = bits << 5 | value as u128;
        }
    }
    Some(bits)
}

/// The ids of one conversation.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    tail: u32,
}

impl Series {
    /// Of a conversation with this type, of which only the lowest four bits count.
    pub fn of(conversation: &str, kind: u8) -> Self {
        let hash = fnv1(conversation.as_bytes()) & ((1 << HASH_BITS) - 1) & !LOST_BIT;
        Self { tail: u32::from(kind & MAX_TYPE) << HASH_BITS | hash }
    }

    /// The id with this number, of which only the lowest 54 bits count.
    pub fn id(self, number: i64) -> MsgId {
        let number = u128::from(number.cast_unsigned() & ((1 << NUMBER_BITS) - 1));
        MsgId::of(number << TAIL_BITS | u128::from(self.tail))
    }

    /// The least number whose id is `bound` or comes after it; any text is a bound. `None` when there is none.
    pub fn from(self, bound: &str) -> Option<i64> {
        self.first(|id| id.0.as_slice() >= bound.as_bytes())
    }

    /// The greatest number whose id is `bound` or comes before it. `None` when there is none.
    pub fn upto(self, bound: &str) -> Option<i64> {
        match self.first(|id| id.0.as_slice() > bound.as_bytes()) {
            Some(beyond) => beyond.checked_sub(1).filter(|number| *number >= 0),
            None => Some((1 << NUMBER_BITS) - 1),
        }
    }

    /// The least number whose id is beyond what is looked for; all greater ones are, too.
    fn first(self, is_beyond: impl Fn(&MsgId) -> bool) -> Option<i64> {
        let (mut low, mut high) = (0i64, 1 << NUMBER_BITS);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_beyond(&self.id(middle)) { high = middle } else { low = middle + 1 }
        }
        (low < 1 << NUMBER_BITS).then_some(low)
    }
}

/// Conversations of which it is remembered that their ids are ahead of the clock.
const MAX_AHEAD: usize = 10_000;

/// Gives out numbers, each greater than all before of its conversation.
///
/// The newest message of a conversation may be ahead of the clock: of another daemon's, of an upstream's, or of this one's
/// before it was set back. That conversation goes on from there, however far it is; only the times in its ids suffer. The
/// others keep to the clock.
#[derive(Debug, Default)]
pub struct Numbers {
    last: i64,
    /// The last numbers of conversations that are ahead of `last`.
    ahead: HashMap<String, i64>,
}

impl Numbers {
    /// A number for a message that is sent now, greater than `above`. More than a millisecond holds go on in the next one.
    /// `None` when there is no greater one.
    pub fn next(&mut self, conversation: &str, now: Micros, above: i64) -> Option<i64> {
        self.last = self.last.max(number_at(now));
        let above = self.ahead.get(conversation).copied().unwrap_or_default().max(above);
        let number = self.last.max(above).checked_add(1)?;
        // Counters begin with 1.
        let number = if number.trailing_zeros() >= COUNTER_BITS { number + 1 } else { number };
        if number >= 1 << NUMBER_BITS {
            return None;
        }
        if above > self.last {
            self.go_ahead(conversation, number);
        } else {
            self.last = number;
            self.ahead.remove(conversation);
        }
        Some(number)
    }

    fn go_ahead(&mut self, conversation: &str, number: i64) {
        if self.ahead.len() >= MAX_AHEAD {
            let last = self.last;
            self.ahead.retain(|_, number| *number > last);
        }
        if self.ahead.len() >= MAX_AHEAD {
            // So many that all may follow the foremost.
            self.last = self.ahead.drain().map(|(_, number)| number).fold(number, i64::max);
        } else {
            self.ahead.insert(conversation.to_owned(), number);
        }
    }
}

/// FNV-1, not 1a.
fn fnv1(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENTS: &str = "87ba7679-b682-47e7-8499-0385dda22b66";
    const ONES: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn ids_are_those_of_the_reference() {
        assert_eq!((fnv1(b"a"), fnv1(DOCUMENTS.as_bytes())), (0x050c_5d7e, 0xd99f_ef96));
        let check = |ms: i64, counter: i64, kind: u8, conversation: &str, expected: &str| {
            let stamp = ms << 12 | counter;
            assert_eq!(Series::of(conversation, kind).id(stamp).as_str(), expected);
            assert_eq!((number(expected), super::kind(expected)), (Some(stamp), Some(kind)), "{expected}");
        };
        check(1_697_986_744_068, 1, 0, DOCUMENTS, "EDCZL-SY32-243Y-VWQ");
        check(1_697_986_882_878, 1, 0, DOCUMENTS, "EDCZM-UUHJ-243Y-VWQ");
        check(1_698_119_710_632, 1, 0, DOCUMENTS, "EDDZB-9HC2-243Y-VWQ");
        check(1_700_000_000_000, 1, 1, ONES, "EDTZL-QJ22-247Q-S2K");
        check(1_700_000_000_000, 2, 1, ONES, "EDTZL-QJ22-267Q-S2K");
    }

    #[test]
    fn what_is_no_id_has_no_number() {
        for text in [
            "",
            "EDCZL-SY32-243Y-VW",
            "EDCZL-SY32-243Y-VWQ2",
            "edczl-sy32-243y-vwq",
            "EDCZL_SY32-243Y-VWQ",
            "EDCZ0-SY32-243Y-VWQ",
            "您您您您您您x",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn any_text_is_a_bound() {
        let series = Series::of(DOCUMENTS, 0);
        let known = number("EDCZL-SY32-243Y-VWQ").unwrap();
        let last = (1 << NUMBER_BITS) - 1;
        let check = |bound: &str, from: Option<i64>, upto: Option<i64>| {
            assert_eq!((series.from(bound), series.upto(bound)), (from, upto), "{bound}");
        };
        check("EDCZL-SY32-243Y-VWQ", Some(known), Some(known));
        check("EDCZL-SY32-243Y-VWP", Some(known), Some(known - 1));
        check("EDCZL-SY32-243Y-VWR", Some(known + 1), Some(known));
        check("EDCZL-SY32-243Y", Some(known), Some(known - 1));
        check("", Some(0), None);
        check("ZZZZZ-ZZZZ-ZZZZ-ZZZ", None, Some(last));
        check("您", None, Some(last));
        // A day in Beijing (reference/gateway.md §8).
        let day = (series.from("EDDP3-VA22-2222-222").unwrap(), series.upto("EDEBP-2ZZZ-ZZZZ-ZZZ").unwrap());
        let ms = (1_698_076_800_000i64, 1_698_163_199_999i64);
        assert_eq!(day, (ms.0 << 12, ms.1 << 12 | 0xfff));
    }

    #[test]
    fn numbers_grow_whatever_the_clock_does() {
        let mut numbers = Numbers::default();
        let mut next = |conversation: &str, now: Micros, above: i64| {
            numbers.next(conversation, now, above).map(|number| (number >> 12, number & 0xfff))
        };
        assert_eq!(next("a", 5_000_999, 0), Some((5000, 1)));
        assert_eq!(next("a", 5_000_999, 0), Some((5000, 2)));
        assert_eq!(next("a", 4_000_000, 0), Some((5000, 3)), "the clock stepped back");
        assert_eq!(next("a", 5_001_000, 0), Some((5001, 1)));
        for _ in 0..4094 {
            next("a", 5_001_000, 0);
        }
        assert_eq!(next("a", 5_001_000, 0), Some((5002, 1)), "a millisecond is full");
        let (soon, year) = (6000 << 12 | 7, 366 * 24 * 3_600_000);
        assert_eq!(next("a", 5_002_000, soon), Some((6000, 8)), "behind the newest of the conversation");
        assert_eq!(next("a", 5_002_000, soon), Some((6000, 9)), "which nobody may have heard of yet");
        assert_eq!(next("b", 5_002_000, 0), Some((5002, 2)), "others keep to the clock");
        assert_eq!(next("b", 5_002_000, year << 12), Some((year, 1)), "however far it is");
        assert_eq!(next("a", 7_000_000, soon), Some((7000, 1)), "the clock has come there");
        let end = (1 << NUMBER_BITS) - 1;
        assert_eq!(next("c", 7_000_000, end - 1), Some((end >> 12, 0xfff)));
        assert_eq!((next("c", 7_000_000, 0), next("d", 7_000_000, i64::MAX)), (None, None), "there is no greater one");
        assert_eq!(next("a", 7_000_000, 0), Some((7000, 2)));
    }

    #[test]
    fn only_so_many_conversations_are_remembered() {
        let mut numbers = Numbers::default();
        let ahead = |place: usize| (10 + i64::try_from(place).unwrap()) << COUNTER_BITS;
        for place in 0..=MAX_AHEAD {
            assert_eq!(numbers.next(&place.to_string(), 0, ahead(place)), Some(ahead(place) + 1));
            assert!(numbers.ahead.len() <= MAX_AHEAD);
        }
        assert!(numbers.next("5", 0, 0) > Some(ahead(5) + 1));
        assert!(numbers.next(&MAX_AHEAD.to_string(), 0, 0) > Some(ahead(MAX_AHEAD) + 1));
    }

    proptest! {
        #[test]
        fn order_of_texts_is_order_of_numbers(a in 0i64..1 << 54, b in 0i64..1 << 54, kind in 0u8..16, conversation in ".{0,40}") {
            let series = Series::of(&conversation, kind);
            let (text_a, text_b) = (series.id(a), series.id(b));
            prop_assert_eq!(text_a.as_str().cmp(text_b.as_str()), a.cmp(&b));
            prop_assert_eq!(number(text_a.as_str()), Some(a));
            let even = ALPHABET.iter().position(|known| *known == text_a.as_str().as_bytes()[14]).unwrap();
            prop_assert_eq!(even % 2, 0, "the 13th character");
        }

        #[test]
        fn bounds_take_what_they_should(bound in "([2-9A-HJ-NP-Z]{0,6}-?){0,4}|.{0,24}", a in 0i64..1 << 54, conversation in "[0-9a-f]{8}") {
            let series = Series::of(&conversation, 3);
            let check = |number: i64| {
                let text = series.id(number);
                let (from, upto) = (series.from(&bound), series.upto(&bound));
                prop_assert_eq!(text.as_str() >= bound.as_str(), from.is_some_and(|from| number >= from));
                prop_assert_eq!(text.as_str() <= bound.as_str(), upto.is_some_and(|upto| number <= upto));
                Ok(())
            };
            check(a)?;
            for near in [series.from(&bound), series.upto(&bound)].into_iter().flatten() {
                for number in [near - 1, near, near + 1] {
                    if (0..1 << 54).contains(&number) { check(number)?; }
                }
            }
        }

        #[test]
        fn numbers_always_grow(steps in proptest::collection::vec((0usize..3, 0i64..10_000_000, 0i64..10_000 << 12), 1..200)) {
            let mut numbers = Numbers::default();
            let mut last = [0; 3];
            for (conversation, now, above) in steps {
                let next = numbers.next(&conversation.to_string(), now, above).unwrap();
                prop_assert!(next > last[conversation] && next > above && next > number_at(now) && next & 0xfff != 0);
                last[conversation] = next;
            }
        }
    }
}
