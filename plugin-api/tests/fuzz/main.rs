//! The bodies of the fuzz targets (`fuzz/src`) on the stable toolchain, with golden frames that were mutated.
//!
//! `make test` tries the same inputs every time; with `STELE_FUZZ_SECONDS=60` others are tried for so long (`make fuzz`). What
//! fails is printed with the seed that finds it again: `STELE_FUZZ_SEED`.

#[path = "../../fuzz/src/lib.rs"]
mod bodies;
mod mutate;

use bodies::golden::golden;
use bytes::BytesMut;
use mutate::Mutator;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stele_plugin_api::frame::Frame;

/// Inputs each body is given by `make test`.
const INPUTS: u64 = 6_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

fn run(body: fn(&[u8])) {
    let frames: Vec<Frame> = golden(&folder()).into_iter().map(|(_, frame)| frame).collect();
    let mut all = BytesMut::new();
    for frame in &frames {
        let mut alone = BytesMut::new();
        frame.encode(&mut alone);
        body(&alone);
        all.unsplit(alone);
    }
    body(&all);

    let seconds = variable("STELE_FUZZ_SECONDS");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = variable("STELE_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(1, |_| now()));
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut mutator = Mutator::new(seed, &frames);
    let mut number = 0;
    while end.map_or(number < INPUTS, |end| Instant::now() < end) {
        let input = mutator.stream();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&input))) {
            eprintln!("input {number} of STELE_FUZZ_SEED={seed}: {input:02x?}");
            resume_unwind(panic);
        }
        number += 1;
    }
    println!("{number} inputs of STELE_FUZZ_SEED={seed}");
}

#[test]
fn streams_are_read_however_they_are_cut() {
    run(bodies::frames::check);
}

#[test]
fn what_can_be_read_can_be_written() {
    run(bodies::payloads::check);
}

#[test]
fn sessions_keep_to_what_was_agreed_and_end() {
    run(bodies::session::check);
}

#[test]
fn every_operation_is_looked_at() {
    let known: BTreeSet<String> =
        bodies::payloads::OPERATIONS.iter().map(|operation| format!("call.{}.bin", operation.name)).collect();
    let golden = golden(&folder());
    let calls = golden.iter().filter_map(|(name, _)| name.split_once('.').map(|(_, file)| file.to_owned()));
    assert_eq!(
        calls.filter(|file| file.starts_with("call.") && file.ends_with(".bin")).collect::<BTreeSet<_>>(),
        known
    );
}
