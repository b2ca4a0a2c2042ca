//! What a plugin's process prints goes into the daemon's log, line by line.
//!
//! A vendor's library prints what it likes, so both the length of a line and the rate of lines are bounded. The pipe is
//! always drained, whatever is kept of it: a full pipe would stop the plugin.

use crate::lines::{LineRate, harmless};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one line that are kept.
const MAX_LINE_BYTES: usize = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 8192;

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Logs what comes out of `source` until it ends.
pub(crate) async fn capture(mut source: impl AsyncRead + Unpin, stream: Stream, instance: String) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; READ_BYTES];
    // An error ends the capture as the end of the stream does: the process is gone either way.
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        lines.feed(&buffer[..count], Instant::now(), &mut |line| log(&instance, stream, line));
    }
    lines.finish(&mut |line| log(&instance, stream, line));
}

fn log(instance: &str, stream: Stream, line: Line<'_>) {
    match (line, stream) {
        (Line::Text(text), Stream::Stdout) => {
            tracing::info!(target: "stele::plugin", instance, stream = "stdout", "{text}")
        }
        (Line::Text(text), Stream::Stderr) => {
            tracing::warn!(target: "stele::plugin", instance, stream = "stderr", "{text}")
        }
        (Line::Suppressed(lines), _) => {
            tracing::warn!(target: "stele::plugin", instance, lines, "the plugin prints too much; lines left out");
        }
    }
}

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// A line, cut to its bound, control characters replaced.
    Text(&'a str),
    /// So many lines were over the rate.
    Suppressed(u64),
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
        self.report_suppressed(emit);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.partial.len();
        self.cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, now: Instant, emit: &mut dyn FnMut(Line<'_>)) {
        if self.partial.iter().all(u8::is_ascii_whitespace) {
            self.forget();
        } else if self.rate.pass(now) {
            self.report_suppressed(emit);
            self.emit_line(emit);
        } else {
            self.forget();
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

    fn report_suppressed(&mut self, emit: &mut dyn FnMut(Line<'_>)) {
        match self.rate.take_left_out() {
            0 => {}
            lines => emit(Line::Suppressed(lines)),
        }
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
                Line::Suppressed(count) => format!("<{count} left out>"),
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
        assert_eq!(found.len(), MAX_LINES_PER_WINDOW as usize + 1);
        assert_eq!(found.last().unwrap(), "<7 left out>");
    }
}
