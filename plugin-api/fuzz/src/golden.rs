//! The golden frames, as `plugin-api/tests/golden` keeps them.

use super::payloads::OPERATIONS;
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use std::{fs, path::Path};
use stele_plugin_api::frame::{Decoded, Decoder, Frame, Kind};

/// Every golden frame in `folder`, with a payload in MessagePack and in JSON, by its name. A reply has the number
/// [`super::payloads`] knows its type by.
pub fn golden(folder: &Path) -> Vec<(String, Frame)> {
    let mut found = Vec::new();
    for minor in fs::read_dir(folder).expect("the golden folder").flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(minor.path()).expect("the folder of a minor").flatten() {
            let name = file.file_name().into_string().expect("a name that is text");
            let content = fs::read(file.path()).expect("a golden file");
            let frame = if name.ends_with(".json") { of_json(&content) } else { of_wire(&content) };
            let numbers = match (frame.kind, name.strip_prefix("reply.").and_then(number)) {
                (Kind::Reply, Some(number)) => vec![number],
                // A part of some reply, alone: whichever reads it.
                (Kind::Reply, None) => (0..OPERATIONS.len() as u64).collect(),
                _ => vec![frame.id],
            };
            found.extend(numbers.into_iter().map(|id| (format!("{id}.{name}"), Frame { id, ..frame.clone() })));
        }
    }
    // The same order on every machine.
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

/// The place of an operation in the list, by the name of a file: `sync.pull.bin`.
fn number(file: &str) -> Option<u64> {
    let (op, _) = file.rsplit_once('.')?;
    OPERATIONS.iter().position(|operation| operation.name == op).map(|place| place as u64)
}

fn of_wire(content: &[u8]) -> Frame {
    match Decoder::new(u32::MAX).decode(&mut BytesMut::from(content)) {
        Ok(Some(Decoded::Frame(frame))) => frame,
        other => panic!("no golden frame: {other:?}"),
    }
}

fn of_json(content: &[u8]) -> Frame {
    let shown: Value = serde_json::from_slice(content).expect("a golden frame in JSON");
    let number = |key: &str| shown[key].as_u64().expect("a number");
    let text = |key: &str| shown[key].as_str().expect("a text").to_owned();
    let half = |key: &str| u32::try_from(number(key)).expect("a number of 32 bits");
    Frame {
        kind: Kind::from(half("kind")),
        id: number("id"),
        flags: half("flags"),
        op: text("op").into(),
        payload: if shown["payload"].is_null() { Bytes::new() } else { shown["payload"].to_string().into() },
        body: text("body").into(),
    }
}
