//! The boundary stays light: every plugin carries what this crate depends on.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// Every crate that is compiled for this one, however deep, whichever of its features are wanted.
const CRATES: [&str; 23] = [
    "autocfg",
    "bytes",
    "equivalent",
    "foldhash",
    "hashbrown",
    "indexmap",
    "itoa",
    "memchr",
    "num-traits",
    "pin-project-lite",
    "proc-macro2",
    "quote",
    "rmp",
    "rmp-serde",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "syn",
    "tokio",
    "unicode-ident",
    "zeroize",
    "zmij",
];

/// What of tokio: no sockets, no files, no processes, no signals, no macros.
const TOKIO: [&str; 4] = ["rt", "rt-multi-thread", "sync", "time"];

#[test]
fn nothing_heavier_comes_in() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", env!("CARGO_PKG_NAME"), "--all-features", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p} [{f}]", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "cargo tree failed");
    let tree = String::from_utf8(output.stdout).expect("text");
    let name = |line: &'_ str| line.split(' ').next().unwrap_or_default().to_owned();
    let found: BTreeSet<String> = tree.lines().skip(1).map(name).filter(|name| !name.is_empty()).collect();
    assert_eq!(found, CRATES.map(str::to_owned).into());
    let tokio = tree.lines().find(|line| line.starts_with("tokio ")).and_then(|line| line.split(['[', ']']).nth(1));
    assert_eq!(tokio, Some(TOKIO.join(",").as_str()));
}
