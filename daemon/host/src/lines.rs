//! Bounds of what a plugin says, be it printed or sent: length, characters, rate.
//!
//! What is logged is read by people and programs line by line, so that a control character could forge a line, and a plugin
//! that says too much could hide what others say.

use std::time::{Duration, Instant};

/// Lines per [`RATE_WINDOW`] that are kept.
pub(crate) const MAX_LINES_PER_WINDOW: u32 = 1000;
/// Bytes of them; one line is always kept, however long.
const MAX_BYTES_PER_WINDOW: usize = 1 << 20;
/// Window of both bounds.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A text as it may be logged: at most about `max_bytes` of it, with `…` where it was cut, at a character; control
/// characters but the tab replaced.
pub fn harmless(text: &str, max_bytes: usize) -> String {
    let end = text.floor_char_boundary(max_bytes);
    let replaced = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut harmless: String = text[..end].chars().map(replaced).collect();
    if end < text.len() {
        harmless.push('…');
    }
    harmless
}

/// Bounds the rate of lines: so many in a window of time, the others are counted. A flood that goes on for days fills no disk, and
/// hides nobody else's lines.
#[derive(Debug, Default)]
pub struct LineRate {
    window: Option<Instant>,
    lines: u32,
    bytes: usize,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It passes; so many before it did not, which is to be said first unless there were none.
    Passes {
        /// Lines that were left out since the last one that passed.
        left_out: u64,
    },
    /// It is the first of this window that is left out: that is to be said, since it may be long until another one passes.
    Closes,
    /// It is left out, like others before it.
    LeftOut,
}

impl LineRate {
    /// What becomes of a line of so many bytes now.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Passage {
        if self.window.is_none_or(|start| now.duration_since(start) >= RATE_WINDOW) {
            (self.window, self.lines, self.bytes) = (Some(now), 0, 0);
        }
        let fits = self.lines < MAX_LINES_PER_WINDOW && self.bytes.saturating_add(bytes) <= MAX_BYTES_PER_WINDOW;
        if self.lines == 0 || (fits && self.left_out == 0) {
            self.lines += 1;
            self.bytes = self.bytes.saturating_add(bytes);
            return Passage::Passes { left_out: self.take_left_out() };
        }
        self.left_out += 1;
        if self.left_out == 1 { Passage::Closes } else { Passage::LeftOut }
    }

    /// How many lines were left out since this was asked, or said, last.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character_and_have_no_control_characters() {
        let check = |text: &str, max_bytes: usize, expected: &str| assert_eq!(harmless(text, max_bytes), expected);
        check("one\nINFO two\r\u{1b}[31m\u{85}\t!", 100, "one\u{fffd}INFO two\u{fffd}\u{fffd}[31m\u{fffd}\t!");
        check("产品介绍", 12, "产品介绍");
        check("产品介绍", 11, "产品介…");
        check("产品", 0, "…");
        check("", 0, "");
    }

    #[test]
    fn a_new_window_opens_the_gate_again() {
        let mut rate = LineRate::default();
        let start = Instant::now();
        let mut left_out = 0;
        for window in 0..3 {
            let now = start + window * RATE_WINDOW;
            let mut passages = (0..MAX_LINES_PER_WINDOW + 7).map(|_| rate.pass(now, 1));
            assert_eq!(passages.next(), Some(Passage::Passes { left_out }), "what was left out is said once");
            let passed = passages.by_ref().take_while(|passage| *passage != Passage::Closes).count();
            assert_eq!(passed + 1, MAX_LINES_PER_WINDOW as usize);
            assert!(passages.all(|passage| passage == Passage::LeftOut), "that the gate closes is said once");
            left_out = 7;
        }
        assert_eq!((rate.take_left_out(), rate.take_left_out()), (7, 0));
    }

    #[test]
    fn a_few_long_lines_are_as_good_as_many() {
        let mut rate = LineRate::default();
        let now = Instant::now();
        let passed = |passage| matches!(passage, Passage::Passes { left_out: 0 });
        assert!(passed(rate.pass(now, usize::MAX)), "the first one passes, however long");
        assert_eq!(rate.pass(now, 1), Passage::Closes);
        assert_eq!(
            rate.pass(now, 0),
            Passage::LeftOut,
            "a gate that is closed stays so, that lines are not told out of place"
        );
        let now = now + RATE_WINDOW;
        assert_eq!(rate.pass(now, MAX_BYTES_PER_WINDOW / 2), Passage::Passes { left_out: 2 });
        assert!(passed(rate.pass(now, MAX_BYTES_PER_WINDOW / 2)));
        assert_eq!(rate.pass(now, 1), Passage::Closes);
    }
}
