//! Bounds of what a plugin says, be it printed or sent: length, characters, rate.
//!
//! What is logged is read by people and programs line by line, so that a control character could forge a line, and a plugin
//! that says too much could hide what others say.

use std::time::{Duration, Instant};

/// Lines per [`RATE_WINDOW`] that are kept.
pub(crate) const MAX_LINES_PER_WINDOW: u32 = 100;
/// Window of the rate bound.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(1);

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

/// Bounds the rate of lines: so many in a window of time, the others are counted.
#[derive(Debug, Default)]
pub struct LineRate {
    window: Option<Instant>,
    in_window: u32,
    left_out: u64,
}

impl LineRate {
    /// Whether a line may pass now.
    pub fn pass(&mut self, now: Instant) -> bool {
        if self.window.is_none_or(|start| now.duration_since(start) >= RATE_WINDOW) {
            self.window = Some(now);
            self.in_window = 0;
        }
        let passes = self.in_window < MAX_LINES_PER_WINDOW;
        if passes {
            self.in_window += 1;
        } else {
            self.left_out += 1;
        }
        passes
    }

    /// How many lines were left out since this was asked last.
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
        for window in 0..3 {
            let now = start + window * RATE_WINDOW;
            let passed = (0..MAX_LINES_PER_WINDOW + 7).filter(|_| rate.pass(now)).count();
            assert_eq!((passed, rate.take_left_out()), (MAX_LINES_PER_WINDOW as usize, 7));
        }
    }
}
