//! Golden frames: what was once sent must be understood for ever.
//!
//! `golden/` holds a frame of every kind and of every operation, in the folder of the minor that brought it, in both
//! encodings: `.bin` is the frame as it crosses to a child process, with a MessagePack payload; `.json` shows the same frame
//! with its payload in JSON. The files are never edited. A new operation, or a new field worth a sample, gets files of its own:
//! `STELE_GOLDEN=write cargo test -p stele-plugin-api --test golden` writes those that are missing, and only those, into the folder of
//! the current minor, which has to be a new one (`minors.rs`).

mod any;
mod evolution;
mod guide;
mod minors;
mod samples;

use any::Any;
use bytes::{Bytes, BytesMut};
use samples::{Sample, samples};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use stele_plugin_api::Encoding;
use stele_plugin_api::abi::ABI_MINOR;
use stele_plugin_api::frame::{Decoded, Decoder, Frame};
use stele_plugin_api::ops::OPERATIONS;
use stele_plugin_api::typed::Parts;

/// The folder of a minor.
fn folder(minor: u32) -> PathBuf {
    root().join(format!("v1.{minor}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The sums of all golden files, as `sha256sum -c` reads them.
fn sums() -> PathBuf {
    root().join("SHA256SUMS")
}

/// The minor in which a file was written; the current one for a new file.
fn minor_of(file: &str) -> u32 {
    (0..=ABI_MINOR).find(|minor| folder(*minor).join(file).exists()).unwrap_or(ABI_MINOR)
}

/// A frame as the `.json` files show it.
#[derive(Serialize, Deserialize)]
struct Shown {
    kind: u32,
    id: u64,
    flags: u32,
    op: String,
    payload: Option<serde_json::Value>,
    body: String,
}

fn show(frame: &Frame) -> String {
    let payload = (!frame.payload.is_empty()).then(|| serde_json::from_slice(&frame.payload).expect("a JSON payload"));
    let body = String::from_utf8(frame.body.to_vec()).expect("sample bodies are text");
    let (kind, id, flags, op) = (frame.kind.into(), frame.id, frame.flags, frame.op.to_string());
    serde_json::to_string_pretty(&Shown { kind, id, flags, op, payload, body }).expect("writes") + "\n"
}

fn unshow(text: &str) -> Frame {
    let Shown { kind, id, flags, op, payload, body } = serde_json::from_str(text).expect("a golden frame");
    let payload = payload.map(|payload| Bytes::from(payload.to_string())).unwrap_or_default();
    Frame { kind: kind.into(), id, flags, op: op.into(), payload, body: body.into() }
}

fn wire(bytes: &[u8]) -> Frame {
    let mut input = BytesMut::from(bytes);
    let found = Decoder::new(u32::MAX).decode(&mut input).expect("a sound header");
    assert!(input.is_empty(), "bytes are left over");
    let Some(Decoded::Frame(frame)) = found else { panic!("not a whole frame") };
    frame
}

/// Golden frames of this sample: `(what, encoding, frame)`.
fn golden(sample: &Sample) -> Vec<(String, Encoding, Frame)> {
    let write = std::env::var_os("STELE_GOLDEN").is_some_and(|value| value == "write");
    [Encoding::MessagePack, Encoding::Json]
        .map(|encoding| {
            let file = format!("{}.{}", sample.name, if encoding == Encoding::Json { "json" } else { "bin" });
            let folder = folder(minor_of(&file));
            let path = folder.join(&file);
            if write && !path.exists() {
                let frame = (sample.frame)(encoding);
                let content = match encoding {
                    Encoding::Json => show(&frame).into_bytes(),
                    Encoding::MessagePack => {
                        let mut out = BytesMut::new();
                        frame.encode(&mut out);
                        out.to_vec()
                    }
                };
                std::fs::create_dir_all(&folder).expect("the folder can be made");
                std::fs::write(&path, &content).expect("the file can be written");
                let sums = std::fs::OpenOptions::new().append(true).open(sums());
                let line = format!("{}  v1.{}/{file}\n", hex::encode(Sha256::digest(&content)), minor_of(&file));
                sums.and_then(|mut sums| sums.write_all(line.as_bytes())).expect("its sum can be kept");
            }
            let content =
                std::fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}; see the head of this test"));
            let frame = match encoding {
                Encoding::Json => unshow(std::str::from_utf8(&content).expect("text")),
                Encoding::MessagePack => wire(&content),
            };
            (file, encoding, frame)
        })
        .to_vec()
}

#[test]
fn golden_frames_are_understood_and_still_written() {
    for sample in samples() {
        for (file, encoding, old) in golden(&sample) {
            let new = (sample.frame)(encoding);
            assert_eq!((old.kind, old.id, &old.op, &old.body), (new.kind, new.id, &new.op, &new.body), "{file}");
            assert_eq!(new.flags & old.flags, old.flags, "{file}");
            if old.payload.is_empty() {
                assert!(new.payload.is_empty(), "{file}");
                continue;
            }
            let read =
                |payload: &Bytes| encoding.decode::<Any>(payload).unwrap_or_else(|error| panic!("{file}: {error}"));
            let said = read(&old.payload);
            // What is written today says everything that was said then.
            assert!(read(&new.payload).contains(&said), "{file}: today's frame says less, or something else");
            // And what was written then loses nothing on its way through today's types.
            let parts = Parts { payload: old.payload.clone(), body: old.body.clone() };
            let again = (sample.again)(encoding, parts).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(
                read(&again.payload).contains(&said),
                "{file}: {:?} lost something of {said:?}",
                read(&again.payload)
            );
            assert_eq!(again.body, old.body, "{file}");
        }
    }
}

#[test]
fn every_operation_has_golden_frames() {
    let named: BTreeSet<String> = OPERATIONS.iter().map(|operation| operation.name.to_owned()).collect();
    let sampled: BTreeSet<String> =
        samples().iter().filter_map(|sample| sample.name.strip_prefix("call.").map(str::to_owned)).collect();
    assert_eq!(named, sampled);
}

#[test]
fn golden_files_are_never_edited() {
    let sums = std::fs::read_to_string(sums()).expect("the sums of the golden files");
    let kept: BTreeSet<(String, String)> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, file)| (file.to_owned(), sum.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for minor in 0..=ABI_MINOR {
        for entry in std::fs::read_dir(folder(minor)).expect("the golden folder") {
            let entry = entry.expect("an entry");
            let content = std::fs::read(entry.path()).expect("a golden file");
            let name = entry.file_name().into_string().expect("text");
            found.insert((format!("v1.{minor}/{name}"), hex::encode(Sha256::digest(&content))));
        }
    }
    let differing: Vec<_> = found.symmetric_difference(&kept).collect();
    assert!(differing.is_empty(), "these were edited, came or went: {differing:?}");
}

/// A golden file without a sample would never be looked at.
#[test]
fn every_golden_file_is_looked_at() {
    let expected: BTreeSet<String> =
        samples().iter().flat_map(|sample| ["bin", "json"].map(|kind| format!("{}.{kind}", sample.name))).collect();
    let mut found = BTreeSet::new();
    for minor in 0..=ABI_MINOR {
        for entry in std::fs::read_dir(folder(minor)).expect("the golden folder") {
            let file = entry.expect("an entry").file_name().into_string().expect("text");
            assert!(found.insert(file.clone()), "{file} is there twice");
        }
    }
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&String>::new());
}
