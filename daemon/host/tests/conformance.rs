//! The conformance kit over both carriers, against plugins in Rust and in C.

mod support;

use std::path::Path;
use stele_host::{Carrier, conformance};
use stele_plugin_api::conformance::{Outcome, Report};
use support::{echo_c, host_program, misbehave, rude};

async fn report(plugin: &Path, carrier: Carrier) -> Report {
    conformance(plugin, carrier, serde_json::json!({}), Vec::new(), &host_program()).await
}

async fn check(plugin: &Path) {
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let report = report(plugin, carrier).await;
        assert!(report.passed(), "{carrier:?}:\n{report}");
        let skipped: Vec<_> =
            report.checks.iter().filter(|check| check.outcome == Outcome::Skip).map(|check| check.name).collect();
        // Releases can only be counted where memory is shared.
        let expected: &[&str] = if carrier == Carrier::Child { &["buffers_are_released_once"] } else { &[] };
        assert_eq!(skipped, expected, "{carrier:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_in_c_conforms() {
    let plugin = echo_c();
    check(plugin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_the_sdk_conforms() {
    check(&misbehave()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_without_manners_does_not() {
    let plugin = rude();
    let report = report(plugin, Carrier::Child).await;
    assert!(!report.passed(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_plugin_fails_with_the_reason() {
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let report = report(Path::new("/nowhere/plugin.so"), carrier).await;
        assert!(!report.passed());
        assert!(report.to_string().contains("does not exist"), "{report}");
    }
}
