//! What a plugin's process prints goes into the daemon's log, line by line.
//!
//! A vendor's library prints what it likes, so both the length of a line and the rate of lines are bounded. The pipe is
//! drained whatever is kept of it: a full pipe would stop the plugin. Only who prints much more than anybody could read is made to
//! wait, since draining costs the daemon's time.

use crate::{
    lines::{LineRate, Passage, harmless},
    pace::Pace,
    spec::Names,
};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one line that are kept.
const MAX_LINE_BYTES: usize = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 8192;
/// Bytes of one stream that are drained in a second.
const MAX_BYTES_PER_SECOND: u64 = 4 << 20;

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Logs what comes out of `source` until it ends.
pub(crate) async fn capture(mut source: impl AsyncRead + Unpin, stream: Stream, names: Names) {
    let mut lines = Lines::default();
    let mut pace = Pace::new(MAX_BYTES_PER_SECOND);
    let mut buffer = vec![0; READ_BYTES];
    // An error ends the capture as the end of the stream does: the process is gone either way.
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        lines.feed(&buffer[..count], Instant::now(), &mut |line| log(&names, stream, line));
        pace.spend(count as u64).await;
    }
    lines.finish(&mut |line| log(&names, stream, line));
}

fn log(Names { instance, plugin }: &Names, stream: Stream, line: Line<'_>) {
    match (line, stream) {
        (Line::Text(text), Stream::Stdout) => {
            tracing::info!(target: "stele::plugin", instance, plugin, stream = "stdout", "{text}")
        }
        (Line::Text(text), Stream::Stderr) => {
            tracing::warn!(target: "stele::plugin", instance, plugin, stream = "stderr", "{text}")
        }
        (Line::TooMuch, _) => {
            tracing::warn!(target: "stele::plugin", instance, plugin, "the plugin prints too much; further lines are left out");
        }
        (Line::LeftOut(lines), _) => {
            tracing::info!(target: "stele::plugin", instance, plugin, lines, "lines the plugin printed were left out");
        }
    }
}

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// A line, cut to its bound, control characters replaced.
    Text(&'a str),
    /// Lines are over the rate, and left out from now on.
    TooMuch,
    /// So many were.
    LeftOut(u64),
}

/// Splits bytes into bounded lines at a bounded rate.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    /// More than is kept of it has come.
    cut: bool,
    rate: LineRate,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], now: Instant, emit: &mut dyn FnMut(Line<'_>)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.append(&bytes[..end]);
            self.end_line(now, emit);
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Line<'_>)) {
        if !self.partial.is_empty() {
            // The last words of a process are often its most useful: they pass whatever the rate.
            self.emit_line(emit);
        }
        report(self.rate.take_left_out(), emit);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.partial.len();
        self.cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, now: Instant, emit: &mut dyn FnMut(Line<'_>)) {
        if self.partial.iter().all(u8::is_ascii_whitespace) {
            self.forget();
            return;
        }
        match self.rate.pass(now, self.partial.len()) {
            Passage::Passes { left_out } => {
                report(left_out, emit);
                self.emit_line(emit);
            }
            Passage::Closes => {
                emit(Line::TooMuch);
                self.forget();
            }
            Passage::LeftOut => self.forget(),
        }
    }

    fn forget(&mut self) {
        self.partial.clear();
        self.cut = false;
    }

    fn emit_line(&mut self, emit: &mut dyn FnMut(Line<'_>)) {
        let text = String::from_utf8_lossy(&self.partial);
        // Replacing what is no UTF-8 makes a text longer: what is kept of the line was bounded before.
        let mut text = harmless(text.trim_end(), usize::MAX);
        if self.cut {
            text.push('…');
        }
        emit(Line::Text(&text));
        self.forget();
    }
}

/// Tells of lines that were left out, if any were.
fn report(left_out: u64, emit: &mut dyn FnMut(Line<'_>)) {
    if left_out > 0 {
        emit(Line::LeftOut(left_out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::MAX_LINES_PER_WINDOW;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let now = Instant::now();
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut emit = |line: Line<'_>| {
            found.push(match line {
                Line::Text(text) => text.to_owned(),
                Line::TooMuch => "<too much>".to_owned(),
                Line::LeftOut(count) => format!("<{count} left out>"),
            });
        };
        for chunk in chunks {
            lines.feed(chunk, now, &mut emit);
        }
        lines.finish(&mut emit);
        found
    }

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: &[&str]) {
        assert_eq!(lines_of(chunks), expected);
    }

    #[test]
    fn lines_are_split_wherever_the_reads_end() {
        check(&[b"one\ntwo\n"], &["one", "two"]);
        check(&[b"o", b"ne\r\nt", b"", b"wo"], &["one", "two"]);
        check(&[b"\n\n  \n"], &[]);
        check(&["产\n品".as_bytes()], &["产", "品"]);
    }

    #[test]
    fn hostile_bytes_become_harmless() {
        check(&[b"\x1b[31mred\x07\n"], &["\u{fffd}[31mred\u{fffd}"]);
        check(&[b"\xff\xfe\n"], &["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn a_line_is_cut_at_its_bound() {
        let long = vec![b'x'; 3 * MAX_LINE_BYTES];
        let expected = format!("{}…", "x".repeat(MAX_LINE_BYTES));
        check(&[&long, b"\nnext\n"], &[&expected, "next"]);
    }

    #[test]
    fn a_flood_is_counted_instead_of_kept() {
        let flood = b"noise\n".repeat(MAX_LINES_PER_WINDOW as usize + 7);
        let found = lines_of(&[&flood]);
        assert_eq!(found.len(), MAX_LINES_PER_WINDOW as usize + 2);
        assert_eq!(found[MAX_LINES_PER_WINDOW as usize..], ["<too much>", "<7 left out>"]);
    }
}
