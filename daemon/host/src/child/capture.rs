//! What a plugin's process prints goes into the daemon's log, line by line.
//!
//! A vendor's library prints what it likes, so both the length of a line and the rate of lines are bounded. The pipe is
//! always drained, whatever is kept of it: a full pipe would stop the plugin.

use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one line that are kept.
const MAX_LINE_BYTES: usize = 4096;
/// Lines per [`RATE_WINDOW`] and stream that are kept.
const MAX_LINES_PER_WINDOW: u32 = 100;
/// Window of the rate bound.
const RATE_WINDOW: Duration = Duration::from_secs(1);
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
    cut: bool,
    window: Option<Instant>,
    in_window: u32,
    suppressed: u64,
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
        if self.window.is_none_or(|start| now.duration_since(start) >= RATE_WINDOW) {
            self.window = Some(now);
            self.in_window = 0;
            self.report_suppressed(emit);
        }
        if self.partial.iter().all(u8::is_ascii_whitespace) {
            self.partial.clear();
            self.cut = false;
        } else if self.in_window < MAX_LINES_PER_WINDOW {
            self.in_window += 1;
            self.emit_line(emit);
        } else {
            self.suppressed += 1;
            self.partial.clear();
            self.cut = false;
        }
    }

    fn emit_line(&mut self, emit: &mut dyn FnMut(Line<'_>)) {
        let text = String::from_utf8_lossy(&self.partial);
        let mut text: String =
            text.trim_end().chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        if self.cut {
            text.push('…');
        }
        emit(Line::Text(&text));
        self.partial.clear();
        self.cut = false;
    }

    fn report_suppressed(&mut self, emit: &mut dyn FnMut(Line<'_>)) {
        if self.suppressed > 0 {
            emit(Line::Suppressed(std::mem::take(&mut self.suppressed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_new_window_opens_the_gate_again() {
        let mut lines = Lines::default();
        let start = Instant::now();
        let mut found = 0;
        for second in 0..3 {
            let flood = b"noise\n".repeat(MAX_LINES_PER_WINDOW as usize + 1);
            lines.feed(&flood, start + second * RATE_WINDOW, &mut |line| {
                found += u32::from(matches!(line, Line::Text(_)));
            });
        }
        assert_eq!(found, 3 * MAX_LINES_PER_WINDOW);
    }
}
