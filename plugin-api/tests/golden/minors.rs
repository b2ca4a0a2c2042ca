//! A minor that was once told to somebody stays what it was: what is new, an operation or a field of a payload, belongs to the next.
//!
//! `golden/SINCE` has every operation and every field with the minor that brought it.

use crate::evolution::SOURCES;
use crate::{minor_of, root, sums};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use stele_plugin_api::abi::ABI_MINOR;
use stele_plugin_api::ops::OPERATIONS;

/// The sum of each minor: of its lines in `golden/SINCE` and in `golden/SHA256SUMS`, in order. None is ever changed; who raises
/// [`ABI_MINOR`] adds one.
const RELEASED: &[&str] = &[
    "55595e74c690d5b19b2df7ef266c703ad760c5adf2b09c4594c0503aaa62a80e",
    "c5251e81df5aa0966fb7c7ad87446fb953249c4d66bca6af4e391a4ffc07e250",
    "9f0d0da6f3accbe9cbe6a2ee238f36ca0d70d254c0f93c7114df399ccdbb1ed4",
    "0e7a7f518761ce742dee06a7993ba796efee5ea0950309338bc91a40ee356998",
    "97ff410c4dac03192729ba29df6d3752a271c4a80c0a388a1277c92bb9a02fe9",
];

/// What there is, with the minor that brought it.
fn since() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root().join("SINCE")).expect("the list of what there is");
    let entry = |line: &str| {
        let (minor, name) = line.split_once(' ').expect("a minor and a name");
        (name.to_owned(), minor.parse().expect("a minor"))
    };
    let listed: Vec<(String, u32)> = text.lines().map(entry).collect();
    let since: BTreeMap<_, _> = listed.iter().cloned().collect();
    assert_eq!(since.len(), listed.len(), "something is listed twice");
    since
}

/// The fields of the payloads in a source, such as `Hello.name`.
fn fields(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut fields = Vec::new();
    for text in code.split("derive(").skip(1) {
        let mut lines = text.lines();
        let is_payload = lines.next().is_some_and(|derived| derived.contains("Deserialize"));
        let item = lines.find(|line| line.starts_with("pub ")).and_then(|line| line.strip_prefix("pub struct "));
        let Some(name) = item.and_then(|item| item.strip_suffix(" {")).filter(|_| is_payload) else { continue };
        let members = lines.take_while(|line| *line != "}").filter_map(|line| line.strip_prefix("    pub "));
        fields.extend(members.filter_map(|member| member.split_once(':')).map(|(field, _)| format!("{name}.{field}")));
    }
    fields
}

#[test]
fn what_is_new_raises_the_minor() {
    let since = since();
    let mut there: Vec<String> = SOURCES.iter().flat_map(|source| fields(source)).collect();
    there.extend(OPERATIONS.iter().map(|operation| operation.name.to_owned()));
    there.sort_unstable();
    let listed: Vec<String> = since.keys().cloned().collect();
    let new: Vec<_> = there.iter().filter(|name| !since.contains_key(*name)).collect();
    assert_eq!(new, Vec::<&String>::new(), "list them in golden/SINCE with ABI_MINOR, which they raise");
    assert_eq!(there, listed, "what was there once stays");
    for operation in OPERATIONS {
        let golden = minor_of(&format!("call.{}.json", operation.name));
        assert_eq!(golden, since[operation.name], "{} has golden frames of its minor", operation.name);
    }

    let sums = std::fs::read_to_string(sums()).expect("the sums of the golden files");
    for minor in 0..=ABI_MINOR {
        let listed =
            since.iter().filter(|(_, first)| **first == minor).map(|(name, first)| format!("{first} {name}\n"));
        let of_this = |line: &&str| line.contains(&format!("  v1.{minor}/"));
        let mut lines: Vec<String> =
            listed.chain(sums.lines().filter(of_this).map(|line| format!("{line}\n"))).collect();
        lines.sort_unstable();
        let found = hex::encode(Sha256::digest(lines.concat()));
        let released = RELEASED.get(minor as usize).copied();
        assert_eq!(
            Some(found.as_str()),
            released,
            "minor {minor} is not what it was: what is new belongs to another one"
        );
    }
    assert!(since.values().all(|minor| *minor <= ABI_MINOR) && RELEASED.len() == ABI_MINOR as usize + 1);
}
