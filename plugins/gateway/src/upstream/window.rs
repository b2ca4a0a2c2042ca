//! Which part of a conversation's history is asked for next.
//!
//! History is read by ranges of ids, in numbers ([`crate::msgid`]): windows of time that begin where the last one ended. They
//! grow while little comes, and shrink when more comes than is wanted, when the answer is too large, and when there is none:
//! a window that cannot be read is halved until what is in the way stands alone.
//!
//! After an upgrade of the original everything of before is unreadable, row by row (reference/gateway.md §9). So where nothing but
//! such rows is found, whole windows are leapt over: each is half as wide as all that before it together, until one can be read;
//! then the edge is looked for in the last one, by halves. That takes a number of requests that grows with the logarithm of the
//! time.
//!
//! What lies between rows of one leap may be readable, and no answer tells that nothing is. So what was leapt over is owed: when
//! a run has read everything new it looks through some of that, as thoroughly as there were no leaps, and the next run goes on
//! there. What is new never waits for it, a run takes a bounded number of requests, and what can be read is found in the end.
//!
//! The last window has no end. So it does not matter what the upstream's clock says; and a conversation that has been read to
//! its end costs one request a run. That begins some minutes before the newest message known, since the original stores
//! messages late (reference/gateway.md §12, 33).

use crate::msgid::{COUNTER_BITS, NUMBER_BITS, span};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::mem;
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
/// Windows given up with no message between them, after which is leapt.
const MAX_BARREN: u32 = 8;
/// Windows given up in a run, after which is leapt whatever is between them.
const MAX_GIVEN_UP: u32 = 64;
/// Windows a run reads, or fails to, of what was leapt over.
const MAX_SEARCHED: u32 = 64;

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
    /// Nothing can be read here: wider windows are tried until one can.
    Leaping,
    /// One can; what cannot be read ends in the window before it.
    Edging,
    /// Everything new was read; what was leapt over is looked through.
    Searching,
}

/// What is known of a part in which nothing can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Barren {
    /// Windows given up since a message was found.
    count: u32,
    /// Windows given up in this run.
    run: u32,
    /// Where the first of them begins.
    from: i64,
    /// Where the leaps begin.
    leapt: i64,
    /// Something from here on, before `next`, cannot be read. `next` itself when nothing was leapt over yet.
    low: i64,
}

impl Barren {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What was leapt over and not looked through yet. While it is, `next` and `width` have changed places with those of the position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Owed {
    /// Where its next window begins.
    next: i64,
    /// How wide it is.
    width: i64,
    /// Its end. What was read between two leaps is in it as well.
    to: i64,
    /// Windows left to this run.
    left: u32,
}

impl Owed {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
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
    /// Number of the time at which everything was read with this as the newest message; 0 before.
    #[serde(default, skip_serializing_if = "is_zero")]
    since: i64,
    #[serde(default, skip_serializing_if = "Barren::is_none")]
    barren: Barren,
    #[serde(default, skip_serializing_if = "Owed::is_none")]
    owed: Owed,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Position {
    /// Reads a cursor; none is the beginning, at this number. What is before it is owed no longer.
    pub fn read(cursor: Option<&Bytes>, start: i64) -> Result<Self, Error> {
        let Some(cursor) = cursor else {
            return Ok(Self {
                version: VERSION,
                mode: Mode::Reading,
                next: start,
                width: FIRST_WIDTH,
                newest: 0,
                floor: start,
                since: 0,
                barren: Barren::default(),
                owed: Owed::default(),
            });
        };
        let read = serde_json::from_slice(cursor).ok();
        let numbers = 0..=ALL;
        let is_sound = |position: &Self| {
            position.version == VERSION
                && position.width > 0
                && [position.next, position.width, position.newest, position.floor, position.since]
                    .into_iter()
                    .chain([position.barren.from, position.barren.leapt, position.barren.low])
                    .chain([position.owed.next, position.owed.width, position.owed.to])
                    .all(|number| numbers.contains(&number))
                && (position.owed.is_none() || position.owed.width > 0)
                && (position.mode != Mode::Searching || !position.owed.is_none())
        };
        let read = read.filter(is_sound);
        let mut position = read.ok_or_else(|| Error::invalid("the stored cursor is not one of the gateway plugin"))?;
        let searched = if position.mode == Mode::Searching { &mut position.next } else { &mut position.owed.next };
        if position.owed.to > 0 {
            *searched = start.max(*searched);
        }
        Ok(position)
    }

    /// For the daemon to store.
    pub fn write(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("numbers can be written"))
    }

    /// What has a number up to this has been told of: the newest message read so far, unless older ones are looked for.
    pub fn told(&self) -> i64 {
        if self.is_searching() { 0 } else { self.newest }
    }

    /// The window to read next, when ids are made with this number.
    pub fn window(&self, now: i64) -> Window {
        let from = self.next.min(ALL - 1);
        if self.mode == Mode::Edging {
            return Window { from: self.middle(), to: Some(self.next - 1) };
        }
        let mut end = whole(from, from.saturating_add(self.width)).min(ALL);
        if self.mode == Mode::Searching {
            end = end.min(self.owed.to).max(from + 1);
        }
        if self.mode == Mode::Leaping {
            // What is not yet is not passed.
            end = end.min(now.max(from + MILLISECOND)).min(ALL);
        }
        let is_open = match self.mode {
            Mode::CaughtUp => true,
            Mode::Reading => end > now,
            Mode::Wary | Mode::Leaping | Mode::Edging | Mode::Searching => false,
        };
        Window { from, to: (!is_open).then_some(end - 1) }
    }

    /// Everything in this window was read, `found` messages up to the number `newest`.
    pub fn passed(&mut self, window: Window, found: usize, newest: Option<i64>, limit: usize) {
        self.found(newest);
        if let Some(to) = window.to {
            self.next = to + 1;
            self.read_on();
            if found.saturating_mul(2) <= limit {
                self.width = self.width.saturating_mul(2).min(ALL);
            }
        }
    }

    /// Everything was read, the window without an end as the last. The next run begins `overlap` before the newest message,
    /// or before now where that comes from a clock that is ahead; and at it when that has been the newest for twice the overlap.
    /// This one goes on with what is owed.
    pub fn caught_up(&mut self, now: i64, overlap: i64) {
        self.mode = Mode::CaughtUp;
        self.barren = Barren::default();
        self.since = if self.since == 0 { now } else { self.since };
        if self.newest > 0 {
            let newest = self.newest.min(now);
            let is_settled = now - self.since > overlap.saturating_mul(2);
            self.next = (if is_settled { newest } else { newest - overlap }).max(self.floor);
        }
        if !self.owed.is_none() {
            self.swap();
            self.mode = Mode::Searching;
            self.owed.left = MAX_SEARCHED;
        }
    }

    /// Whether the run has nothing left to do.
    pub fn is_caught_up(&self) -> bool {
        self.mode == Mode::CaughtUp
    }

    /// Whether what was leapt over is being looked through.
    pub fn is_searching(&self) -> bool {
        self.mode == Mode::Searching
    }

    /// A window of what was leapt over was read, or was not. When it was the last, or the last of this run, the run ends.
    pub fn searched(&mut self) {
        self.owed.left = self.owed.left.saturating_sub(1);
        let is_done = self.next >= self.owed.to;
        if is_done || self.owed.left == 0 {
            self.end_search();
            self.owed = if is_done { Owed::default() } else { self.owed };
        }
    }

    /// The next run goes on, after what is new by then.
    pub fn end_search(&mut self) {
        self.swap();
        self.mode = Mode::CaughtUp;
    }

    /// Of the messages in this window only those up to this number were taken.
    pub fn cut(&mut self, window: Window, last: i64) {
        self.found(Some(last));
        self.read_on();
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

    /// The window cannot be read, now or ever: reading goes on behind it, or what is behind it is leapt over.
    pub fn give_up(&mut self, window: Window) {
        let Some(to) = window.to else { return };
        self.next = to + 1;
        if self.mode == Mode::Searching {
            return;
        }
        self.floor = to + 1;
        self.mode = Mode::Reading;
        let barren = &mut self.barren;
        barren.from = if barren.count == 0 { window.from } else { barren.from };
        barren.count = barren.count.saturating_add(1);
        barren.run = barren.run.saturating_add(1);
        if barren.count >= MAX_BARREN || barren.run >= MAX_GIVEN_UP {
            (barren.leapt, barren.low) = (self.next, self.next);
            self.leap();
        }
    }

    /// Whether the next window is only tried: nothing in it is taken.
    pub fn is_trying(&self) -> bool {
        matches!(self.mode, Mode::Leaping | Mode::Edging)
    }

    /// The window was tried. Returns what is leapt over, and owed, when that is known.
    pub fn tried(&mut self, window: Window, now: i64, can_be_read: bool) -> Option<Window> {
        let end = window.to.map_or(ALL, |to| to + 1);
        match (self.mode, can_be_read) {
            (Mode::Leaping, false) => {
                (self.barren.low, self.next) = (window.from, end);
                if end < now {
                    self.leap();
                    return None;
                }
            }
            // Nothing was leapt over.
            (Mode::Leaping, true) if self.barren.low == self.next => {
                self.mode = Mode::Reading;
                return None;
            }
            (Mode::Edging, false) => self.barren.low = window.from,
            (Mode::Edging, true) => self.next = window.from,
            _ => {}
        }
        self.mode = Mode::Edging;
        if self.next - self.barren.low > MILLISECOND {
            return None;
        }
        self.mode = Mode::Reading;
        self.floor = self.next;
        if self.owed.is_none() {
            self.owed = Owed { next: self.barren.leapt, width: FIRST_WIDTH, ..Owed::default() };
        }
        self.owed.to = self.next;
        Some(Window { from: self.barren.leapt, to: Some(self.next - 1) })
    }

    /// The newest of the messages that were found, if any were.
    fn found(&mut self, newest: Option<i64>) {
        let Some(newest) = newest else { return };
        if newest > self.newest {
            (self.newest, self.since) = (newest, 0);
        }
        if self.barren.run < MAX_GIVEN_UP {
            self.barren = Barren { run: self.barren.run, ..Barren::default() };
        }
    }

    /// Reading goes on, here as there.
    fn read_on(&mut self) {
        if self.mode != Mode::Searching {
            self.mode = Mode::Reading;
        }
    }

    /// From what is new to what is owed, or back.
    fn swap(&mut self) {
        mem::swap(&mut self.next, &mut self.owed.next);
        mem::swap(&mut self.width, &mut self.owed.width);
    }

    /// What is tried next is half as wide as what cannot be read.
    fn leap(&mut self) {
        self.mode = Mode::Leaping;
        self.width = ((self.next - self.barren.from) / 2).max(MILLISECOND);
    }

    /// Between what cannot be read and what can.
    fn middle(&self) -> i64 {
        let low = self.barren.low;
        whole(low, low + (self.next - low) / 2).max(low + 1)
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
        let leaping = stored
            .replace("caught_up", "leaping")
            .replace(":5}", r#":5,"since":9,"barren":{"count":8,"run":9,"from":1,"leapt":3,"low":4}}"#);
        let position = Position::read(Some(&Bytes::from(leaping.clone())), START).unwrap();
        assert_eq!(position.write(), leaping);
        let searching = stored
            .replace("caught_up", "searching")
            .replace(":5}", r#":5,"owed":{"next":6,"width":8,"to":6963200000000001,"left":3}}"#);
        let read = |start| Position::read(Some(&Bytes::from(searching.clone())), start).unwrap();
        assert_eq!(read(START / 1000).write(), searching);
        assert!(read(START).window(START).from >= START, "what is before the start is not looked through");
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

    /// A made-up history, of which some numbers cannot be read: reads it as the first run does, and counts the requests.
    fn read_all(
        held: &[i64],
        unreadable: &[i64],
        limit: usize,
        most: usize,
        now: i64,
    ) -> (Vec<i64>, Vec<Window>, usize) {
        let mut position = Position::read(None, START).unwrap();
        read_more(&mut position, held, unreadable, limit, most, now)
    }

    /// The next run.
    fn read_more(
        position: &mut Position,
        held: &[i64],
        unreadable: &[i64],
        limit: usize,
        most: usize,
        now: i64,
    ) -> (Vec<i64>, Vec<Window>, usize) {
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
            if position.is_trying() {
                let can_be_read = inside.len() > most || range(unreadable).is_empty();
                given_up.extend(position.tried(window, now, can_be_read));
                continue;
            }
            let is_searching = position.is_searching();
            let is_large = inside.len() > most;
            if is_large || !range(unreadable).is_empty() {
                if !position.narrow(window, now, if is_large { 1 } else { MILLISECOND }) {
                    given_up.push(window);
                    position.give_up(window);
                }
            } else if inside.len() > limit {
                found.extend(&inside[..limit]);
                position.cut(window, inside[limit - 1]);
            } else {
                position.passed(window, inside.len(), inside.last().copied(), limit);
                found.extend(&inside);
                if window.to.is_none() {
                    position.caught_up(now, 600_000 * MILLISECOND);
                }
            }
            if is_searching {
                position.searched();
            }
            if position.is_caught_up() {
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

    #[test]
    fn what_has_been_the_newest_for_long_is_where_a_run_begins() {
        let overlap = 600_000 * MILLISECOND;
        let now = START + 86_400_000 * MILLISECOND;
        let mut position = Position::read(None, START).unwrap();
        let mut run = |now: i64, newest: i64| {
            position.passed(Window { from: START, to: None }, 1, Some(newest), 10);
            position.caught_up(now, overlap);
            position = Position::read(Some(&position.write()), START).unwrap();
            position.window(now).from
        };
        let old = now - 50 * overlap;
        assert_eq!(run(now, old), old - overlap, "its clock may be behind");
        assert_eq!(run(now + 2 * overlap, old), old - overlap);
        assert_eq!(run(now + 2 * overlap + 1, old), old);
        assert_eq!(run(now + 2 * overlap + 2, old + 7), old + 7 - overlap, "something came");
    }

    /// Rows of before an upgrade, 5 s apart but for the nights, then as many of after it.
    #[test]
    fn an_unreadable_past_takes_few_requests() {
        let row = |number: i64| START + (number * 5_000 + number / 500 * 43_200_000 + 77) * MILLISECOND + 1;
        for rows in [50, 5_000, 50_000] {
            let old: Vec<_> = (0..rows).map(row).collect();
            let new: Vec<_> = (rows..rows + 200).map(row).collect();
            // Nothing of after it yet: what comes is not passed.
            let (_, given_up, _) = read_all(&[], &old, 1000, 5000, row(rows));
            assert!(given_up.iter().all(|window| window.to.unwrap() < row(rows)));
            let (found, given_up, requests) = read_all(&new, &old, 1000, 5000, row(rows + 300));
            assert_eq!(found, new);
            assert!(requests < 1000, "{requests} for {rows}");
            let passed =
                |number: &i64| given_up.iter().any(|window| (window.from..=window.to.unwrap()).contains(number));
            assert!(old.iter().all(passed) && given_up.len() < 60, "{}", given_up.len());
        }
    }

    #[test]
    fn rows_between_scattered_ones_that_cannot_be_read_are_found_in_the_end() {
        let row = |number: i64| START + number * 600_000 * MILLISECOND + 1;
        for (scattered, most_runs) in [(60, 1), (200, 150)] {
            let numbers = 0..scattered * 2;
            let (old, held): (Vec<_>, Vec<_>) = numbers.partition(|number| number % 2 == 0);
            let old: Vec<_> = old.into_iter().map(row).collect();
            let held: Vec<_> = held.into_iter().chain(scattered * 2..scattered * 2 + 100).map(row).collect();
            let now = row(scattered * 2 + 1000);
            let mut position = Position::read(None, START).unwrap();
            let (mut found, _, requests) = read_more(&mut position, &held, &old, 1000, 5000, now);
            assert!(requests < 60 * 64, "{requests}");
            assert!(
                held[held.len() - 100..].iter().all(|new| found.contains(new)),
                "what is new comes in the same run"
            );
            let mut runs = 1;
            while !position.owed.is_none() {
                position = Position::read(Some(&position.write()), START).unwrap();
                let (more, given_up, requests) = read_more(&mut position, &held, &old, 1000, 5000, now);
                assert!(requests <= 1 + MAX_SEARCHED as usize, "{requests}");
                assert!(given_up.iter().all(|window| window.to.unwrap() - window.from < MILLISECOND));
                found.extend(more);
                runs += 1;
                assert!(runs <= most_runs, "{position:?}");
            }
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, held);
            let (_, given_up, requests) = read_more(&mut position, &held, &old, 1000, 5000, now);
            assert_eq!((given_up.len(), requests), (0, 1), "nothing is looked through again");
        }
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
