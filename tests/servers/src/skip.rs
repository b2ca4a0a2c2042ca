//! Tests that cannot run on a machine say so, loudly, and are counted.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Reports that a test, or a part of one, did not run, and why. Written to the real stderr, past the capture of the test
/// harness, so that it is seen in a run that succeeds.
pub fn skip(what: &str, why: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    say(&format!("SKIPPED ({count} in this binary): {what}: {why}"));
}

/// Says something that must be seen in a run that succeeds, likewise.
pub fn say(what: &str) {
    // `eprintln!` would be captured.
    std::io::stderr().lock().write_all(format!("\n*** {what}\n").as_bytes()).ok();
}
