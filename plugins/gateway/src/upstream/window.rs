//! Which part of a conversation's history is asked for next.
//!
//! History is read by ranges of ids, in numbers ([`crate::msgid`]): windows of time that begin where the last one ended. They
//! grow while little comes, and shrink when more comes than is wanted, when the answer is too large, and when there is none:
//! a window that cannot be read is halved until what is in the way stands alone.
//!
//! The last window has no end. So it does not matter what the upstream's clock says; and a conversation that has been read to
//! its end costs one request a run. That begins some minutes before the newest message known, since the original stores
//! messages late (reference/gateway.md §12, 33).

use crate::msgid::{COUNTER_BITS, NUMBER_BITS, span};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stele_plugin_api::Error;

/// A bound that comes after every id.
const END: &str = "~";
/// Numbers of a millisecond.
pub const MILLISECOND: i64 = 1 << COUNTER_BITS;
/// Width of the first window: a day.
const FIRST_WIDTH: i64 = 86_400_000 * MILLISECOND;
/// All numbers there are.
const ALL: i64 = 1 << NUMBER_BITS;
/// Version of the encoding.
const VERSION: u32 = 1;

/// A range of numbers, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub from: i64,
    /// The last; `None` for whatever is there.
    pub to: Option<i64>,
}

impl Window {
    /// The bounds to ask for.
    pub fn bounds(self) -> (String, String) {
        let (first, _) = span(self.from);
        let last = self.to.map_or_else(|| END.to_owned(), |to| span(to).1.to_string());
        (first.to_string(), last)
    }

    /// Bounds between which there is nothing, to see whether history works at all.
    pub fn empty() -> (String, String) {
        (END.to_owned(), END.to_owned())
    }
}

/// How a conversation is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Window by window.
    Reading,
    /// The window without an end could not be read: the next one has an end.
    Wary,
    /// Everything was read; what came since is asked for at once.
    CaughtUp,
}

/// Where the reading of a conversation stands: its cursor, as JSON. Numbers are those of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    version: u32,
    mode: Mode,
    /// Where the next window begins.
    next: i64,
    /// How wide it is.
    width: i64,
    /// The newest message read; 0 before the first.
    newest: i64,
    /// Nothing before this is read again: the end of the last part that cannot be read.
    floor: i64,
}

impl Position {
    /// Reads a cursor; none is the beginning, at this number.
    pub fn read(cursor: Option<&Bytes>, start: i64) -> Result<Self, Error> {
        let Some(cursor) = cursor else {
            return Ok(Self {
                version: VERSION,
                mode: Mode::Reading,
                next: start,
                width: FIRST_WIDTH,
                newest: 0,
                floor: start,
            });
        };
        let read = serde_json::from_slice(cursor).ok();
        let numbers = 0..=ALL;
        let is_sound = |position: &Self| {
            position.version == VERSION
                && position.width > 0
                && [position.next, position.width, position.newest, position.floor]
                    .iter()
                    .all(|number| numbers.contains(number))
        };
        read.filter(is_sound).ok_or_else(|| Error::invalid("the stored cursor is not one of the gateway plugin"))
    }

    /// For the daemon to store.
    pub fn write(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("numbers can be written"))
    }

    /// The newest message read so far.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// The window to read next, when ids are made with this number.
    pub fn window(&self, now: i64) -> Window {
        let from = self.next.min(ALL - 1);
        let end = whole(from, from.saturating_add(self.width)).min(ALL);
        let is_open = match self.mode {
            Mode::CaughtUp => true,
            Mode::Reading => end > now,
            Mode::Wary => false,
        };
        Window { from, to: (!is_open).then_some(end - 1) }
    }

    /// Everything in this window was read, `found` messages up to the number `newest`.
    pub fn passed(&mut self, window: Window, found: usize, newest: Option<i64>, limit: usize) {
        self.newest = newest.unwrap_or_default().max(self.newest);
        if let Some(to) = window.to {
            self.next = to + 1;
            self.mode = Mode::Reading;
            if found.saturating_mul(2) <= limit {
                self.width = self.width.saturating_mul(2).min(ALL);
            }
        }
    }

    /// Everything was read, the window without an end as the last. The next run begins `overlap` before the newest message,
    /// or before now where the newest comes from a clock that is ahead.
    pub fn caught_up(&mut self, now: i64, overlap: i64) {
        self.mode = Mode::CaughtUp;
        if self.newest > 0 {
            self.next = (self.newest.min(now) - overlap).max(self.floor);
        }
    }

    /// Of the messages in this window only those up to this number were taken.
    pub fn cut(&mut self, window: Window, last: i64) {
        self.newest = self.newest.max(last);
        self.mode = Mode::Reading;
        self.next = last + 1;
        self.width = last - window.from + 1;
    }

    /// The window could not be read: a smaller one is next. `false` when it is no wider than `least` already.
    pub fn narrow(&mut self, window: Window, now: i64, least: i64) -> bool {
        let width = match window.to {
            None => {
                self.mode = Mode::Wary;
                // Where now is no bound the width is what is tried next, and grows with every attempt.
                if now <= window.from + MILLISECOND {
                    return true;
                }
                now - window.from
            }
            Some(to) => to + 1 - window.from,
        };
        if width <= least {
            return window.to.is_none();
        }
        self.width = whole(window.from, window.from + width / 2) - window.from;
        true
    }

    /// The window cannot be read, now or ever: reading goes on behind it.
    pub fn give_up(&mut self, window: Window) {
        if let Some(to) = window.to {
            self.next = to + 1;
            self.floor = to + 1;
            self.mode = Mode::Reading;
        }
    }
}

/// The end of a window, where a millisecond begins if one does between.
fn whole(from: i64, end: i64) -> i64 {
    let whole = end & !(MILLISECOND - 1);
    if whole > from { whole } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_696_118_400_000 * MILLISECOND;

    #[test]
    fn encoding_is_frozen() {
        let stored = r#"{"version":1,"mode":"caught_up","next":6963200000000000,"width":4096,"newest":7,"floor":5}"#;
        let position = Position::read(Some(&Bytes::from_static(stored.as_bytes())), START).unwrap();
        assert_eq!(position.write(), stored);
        let begin = Position::read(None, START).unwrap();
        assert_eq!(Position::read(Some(&begin.write()), 0), Ok(begin));
        for wrong in
            ["", "{}", &stored.replace(":1,", ":2,"), &stored.replace("4096", "0"), &stored.replace(":7", ":-7")]
        {
            Position::read(Some(&Bytes::from(wrong.to_owned())), START).expect_err(wrong);
        }
    }

    #[test]
    fn bounds_are_those_of_the_reference() {
        // The day in Beijing (reference/gateway.md §8).
        let window = Window { from: 1_698_076_800_000 << 12, to: Some((1_698_163_200_000 << 12) - 1) };
        assert_eq!(window.bounds(), ("EDDP3-VA22-2222-222".to_owned(), "EDEBP-2ZZZ-ZZZZ-ZZZ".to_owned()));
        assert_eq!(Window { to: None, ..window }.bounds().1, END);
    }

    /// A made-up history, of which some numbers cannot be read: reads it whole as a run does, and counts the requests.
    fn read_all(
        held: &[i64],
        unreadable: &[i64],
        limit: usize,
        most: usize,
        now: i64,
    ) -> (Vec<i64>, Vec<Window>, usize) {
        let mut position = Position::read(None, START).unwrap();
        let (mut found, mut given_up) = (Vec::new(), Vec::new());
        for requests in 1.. {
            assert!(requests < 20_000, "it does not end: {position:?}");
            let window = position.window(now);
            let range = |numbers: &[i64]| {
                let inside = numbers
                    .iter()
                    .filter(|number| **number >= window.from && window.to.is_none_or(|to| **number <= to));
                inside.copied().collect::<Vec<_>>()
            };
            let inside = range(held);
            let is_large = inside.len() > most;
            if is_large || !range(unreadable).is_empty() {
                if !position.narrow(window, now, if is_large { 1 } else { MILLISECOND }) {
                    given_up.push(window);
                    position.give_up(window);
                }
                continue;
            }
            if inside.len() > limit {
                found.extend(&inside[..limit]);
                position.cut(window, inside[limit - 1]);
                continue;
            }
            position.passed(window, inside.len(), inside.last().copied(), limit);
            found.extend(&inside);
            if window.to.is_none() {
                position.caught_up(now, 600_000 * MILLISECOND);
                return (found, given_up, requests);
            }
        }
        unreachable!("it ends")
    }

    #[test]
    fn an_empty_history_takes_few_requests() {
        let now = START + 3 * 365 * 86_400_000 * MILLISECOND;
        let (found, given_up, requests) = read_all(&[], &[], 1000, 5000, now);
        assert_eq!((found.len(), given_up.len()), (0, 0));
        assert!(requests <= 12, "{requests}");
    }

    #[test]
    fn what_cannot_be_read_is_passed_millisecond_by_millisecond() {
        let now = START + 86_400_000 * MILLISECOND;
        let (old, new) = (START + 5_000 * MILLISECOND + 3, START + 6_000 * MILLISECOND + 1);
        let ahead = now + 9_000_000 * MILLISECOND;
        let held: Vec<i64> = [new, now + 7].to_vec();
        let (found, given_up, requests) = read_all(&held, &[old, old + 1, old + MILLISECOND, ahead], 1000, 5000, now);
        assert_eq!(found, held);
        let widths: Vec<_> = given_up.iter().map(|window| window.to.unwrap() - window.from + 1).collect();
        assert_eq!(widths, [MILLISECOND; 3]);
        assert_eq!(given_up[0].from, START + 5_000 * MILLISECOND);
        assert!(requests < 300, "{requests}");
    }

    #[test]
    fn a_run_begins_before_the_newest() {
        let overlap = 600_000 * MILLISECOND;
        let now = START + 86_400_000 * MILLISECOND;
        let next = |newest: i64, floor: i64| {
            let mut position = Position { floor, ..Position::read(None, START).unwrap() };
            position.passed(position.window(now), 1, Some(newest), 10);
            position.caught_up(now, overlap);
            assert_eq!(position.window(now).to, None);
            position.window(now).from
        };
        assert_eq!(next(now - 5, START), now - 5 - overlap);
        assert_eq!(next(now + overlap, START), now - overlap, "a clock that is ahead");
        assert_eq!(next(START + 1, START), START);
        assert_eq!(next(now - 5, now - 10), now - 10, "what cannot be read is not tried again");
        let mut silent = Position::read(None, START).unwrap();
        silent.caught_up(now, overlap);
        assert_eq!(silent.window(now).from, START, "nothing was said yet, whatever the clock");
    }

    proptest! {
        #[test]
        fn everything_that_can_be_read_is(
            times in proptest::collection::vec((0i64..200_000_000, 1i64..4), 0..60),
            broken in proptest::collection::vec(0i64..250_000_000, 0..4),
            limit in 1usize..20, most in 1usize..30,
        ) {
            let now = START + 100_000_000 * MILLISECOND;
            let mut held: Vec<i64> = times.iter().map(|(ms, counter)| START + ms * MILLISECOND + counter).collect();
            held.sort_unstable();
            held.dedup();
            let unreadable: Vec<i64> = broken.iter().map(|ms| START + ms * MILLISECOND + 2).collect();
            let (found, given_up, _) = read_all(&held, &unreadable, limit, most, now);
            let passed = |number: &i64| given_up.iter().any(|window| (window.from..=window.to.unwrap()).contains(number));
            let expected: Vec<i64> = held.iter().copied().filter(|number| !passed(number)).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(given_up.iter().all(|window| window.to.unwrap() - window.from < MILLISECOND));
            prop_assert!(unreadable.iter().all(passed));
        }
    }
}
