//! What a file must be to be a plugin, told the same way by both carriers.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use stele_host::{Carrier, FileRules, Instance, InstanceState};
use stele_plugin_api::Error;
use support::{PATIENCE, Remembering, compile, echo_c, spec, zoo};

async fn refusal(plugin: &Path, carrier: Carrier) -> Error {
    let instance = Instance::start(spec("loading", plugin, carrier), std::sync::Arc::new(Remembering::default()));
    let error = instance.ready(PATIENCE).await.expect_err("it is no plugin");
    assert_eq!(
        (instance.status().state, instance.status().restarts),
        (InstanceState::Failed, 0),
        "trying again cannot help"
    );
    error
}

async fn check(plugin: &Path, expected: &str) {
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let error = refusal(plugin, carrier).await;
        assert!(error.message.contains(expected), "{carrier:?}: {error} lacks {expected}");
    }
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    check(&folder.path().join("nothing.so"), "does not exist").await;
    check(folder.path(), "cannot be loaded").await;
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    check(&text, "cannot be loaded").await;
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
        ("open", "code -2"),
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
