//! The conformance kit over both carriers and in both encodings, on plugins in Rust and in C.

mod support;

use std::path::Path;
use stele_host::{Carrier, assert_conforms, subject};
use stele_plugin_api::Encoding;
use stele_plugin_api::conformance::{Outcome, Run, run, run_each};
use stele_plugin_api::ops::MediaRequest;
use support::{echo_c, host_program, misbehave, zoo};

/// Where it offers files, of one in twenty pieces.
async fn check(plugin: &Path, encodings: &[Encoding]) {
    let media = MediaRequest { handle: "20/64".into(), ..MediaRequest::default() };
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let subject = subject(plugin, carrier, &host_program()).with_media(media.clone());
        for Run { encoding, report } in run_each(&subject).await {
            assert!(report.passed(), "{carrier}, {encoding:?}:\n{report}");
            let skipped: Vec<_> =
                report.checks.iter().filter(|check| check.outcome == Outcome::Skip).map(|check| check.name).collect();
            let expected: &[&str] = match carrier {
                _ if !encodings.contains(&encoding.expect("it opens")) => &["every_check"],
                // Releases can only be counted where memory is shared.
                Carrier::Child => &["buffers_are_released_once"],
                Carrier::InProcess => &[],
            };
            assert_eq!(skipped, expected, "{carrier}, {encoding:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_in_c_conforms() {
    check(echo_c(), &[Encoding::Json]).await;
    // It knows no MessagePack, and is never spoken to in it.
    let other = subject(echo_c(), Carrier::InProcess, &host_program()).speaking(Encoding::MessagePack);
    let report = run(&other).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Skip), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_the_sdk_conforms() {
    check(&misbehave(), &[Encoding::MessagePack, Encoding::Json]).await;
}

#[test]
fn a_plugin_conforms_in_one_line() {
    assert_conforms(misbehave(), host_program(), serde_json::json!({}));
}

#[test]
#[should_panic(expected = "child, JSON: ")]
fn a_plugin_without_manners_does_not() {
    assert_conforms(zoo(), host_program(), serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_plugin_fails_with_the_reason() {
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let report = run(&subject(Path::new("/nowhere/plugin.so"), carrier, &host_program())).await;
        assert!(!report.passed());
        assert!(report.to_string().contains("does not exist"), "{report}");
    }
}
