//! What a file must be to be a plugin, told the same way by both carriers.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stele_host::{Carrier, FileRules, Instance, InstanceState, RestartPolicy};
use stele_plugin_api::Error;
use support::{PATIENCE, Remembering, compile, echo_c, eventually, spec, zoo};

/// Attempts at what may pass by.
const ATTEMPTS: u32 = 3;

async fn refusal(plugin: &Path, carrier: Carrier, restarts: u64) -> Error {
    let mut spec = spec("loading", plugin, carrier);
    spec.limits.restart.max_failures = ATTEMPTS;
    let instance = Instance::start(spec, std::sync::Arc::new(Remembering::default()));
    let error = instance.ready(PATIENCE).await.expect_err("it is no plugin");
    assert_eq!((instance.status().state, instance.status().restarts), (InstanceState::Failed, restarts), "{error}");
    error
}

async fn check_attempts(plugin: &Path, expected: &str, restarts: u64) {
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let error = refusal(plugin, carrier, restarts).await;
        assert!(error.message.contains(expected), "{carrier:?}: {error} lacks {expected}");
    }
}

/// Of what trying again cannot help.
async fn check(plugin: &Path, expected: &str) {
    check_attempts(plugin, expected, 0).await;
}

/// Of what may be otherwise in a moment.
async fn check_passing(plugin: &Path, expected: &str) {
    check_attempts(plugin, expected, u64::from(ATTEMPTS) - 1).await;
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), "it is no file, wanted is a shared library for ").await;
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    check(&text, "it is no ELF file (it begins with [6e, 6f, 20, 6c]), wanted is a shared library for ").await;
}

#[tokio::test]
async fn what_may_be_otherwise_in_a_moment_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    check_passing(&folder.path().join("nothing.so"), "does not exist").await;
    // As a file is that is just being copied.
    let (whole, file) = (std::fs::read(echo_c()).unwrap(), folder.path().join("half.so"));
    for length in [0, 19, 64, 200, 4096] {
        std::fs::write(&file, &whole[..length]).unwrap();
        check_passing(&file, &format!("it has only {length} bytes, as if it were being written")).await;
    }
    // One that does not open now may do so later.
    let plugin = folder.path().join("zoo-open.so");
    std::fs::copy(zoo(), &plugin).unwrap();
    check_passing(&plugin, "code -2").await;

    for carrier in [Carrier::Child, Carrier::InProcess] {
        std::fs::write(&file, &whole[..64]).unwrap();
        let mut spec = spec("installing", &file, carrier);
        spec.limits.restart = RestartPolicy {
            first_delay: Duration::from_millis(10),
            max_failures: u32::MAX,
            ..RestartPolicy::default()
        };
        let instance = Instance::start(spec, std::sync::Arc::new(Remembering::default()));
        eventually("it is tried again", || instance.status().restarts > 1).await;
        std::fs::write(&file, &whole).unwrap();
        assert_eq!(instance.ready(PATIENCE).await.unwrap().name, "echo-c");
        instance.stop(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_wrong_descriptor_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, expected) in [
        ("null", "no descriptor"),
        ("magic", "0x12345678"),
        ("abi", "ABI 2"),
        ("size", "16 bytes"),
        ("name", "no usable name"),
        ("post", "no usable post function"),
    ] {
        let plugin = folder.path().join(format!("zoo-{wrong}.so"));
        std::fs::copy(zoo(), &plugin).unwrap();
        check(&plugin, expected).await;
    }
}

#[tokio::test]
async fn a_library_without_the_symbol_is_no_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("other.c");
    std::fs::write(&source, "int something_else(void) { return 1; }\n").unwrap();
    let library = compile(&source, "other.so", &["-fvisibility=default"]);
    check(&library, "does not export `stele_plugin_v1`").await;
}

#[test]
fn a_plugin_exports_its_one_symbol_only() {
    let plugin = echo_c();
    let descriptor = stele_host::load(plugin, &FileRules::default()).unwrap();
    assert_eq!((descriptor.name(), descriptor.is_json()), ("echo-c", true));
    // Nothing but the entry point may be found by name.
    let Ok(output) = std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(plugin).output() else {
        // Past the capture of the test harness.
        _ = writeln!(std::io::stderr(), "*** SKIPPED: no nm: exported symbols are not tested");
        return;
    };
    let symbols = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["stele_plugin_v1"], "{}", PathBuf::from(plugin).display());
}
