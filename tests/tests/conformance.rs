//! The plugins keep the rules of the boundary, over both carriers and in both encodings; and `steled plugins check` says so of any.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::process::Command;
use stele_host::{Carrier, subject};
use stele_plugin_api::Encoding;
use stele_plugin_api::conformance::{Outcome, run};
use stele_tests::{places, vendor_stub};

/// The wecom plugin has the vendor's library in its own process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wecom_plugin_conforms() -> Result<()> {
    let config = json!({
        "library": vendor_stub(),
        "api_keys": [{ "key": "your_secret_key" }],
        "corp": [{ "id": "corp123", "archive_secret": "s3cr3t" }],
    });
    conforms("wecom", config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_plugin_conforms() -> Result<()> {
    conforms("gateway", json!({ "jwt_keys": ["a key of at least 32 bytes, this one"] })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wukongim_plugin_conforms() -> Result<()> {
    conforms("wukongim", json!({})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_openim_plugin_conforms() -> Result<()> {
    conforms("openim", json!({ "secret": "openIM123" })).await
}

async fn conforms(plugin: &str, config: Value) -> Result<()> {
    // Releases can only be counted where memory is shared.
    let carriers = [(Carrier::Child, &["buffers_are_released_once"][..]), (Carrier::InProcess, &[])];
    for (carrier, expected) in carriers {
        let subject = subject(&places::plugin(plugin)?, carrier, &places::program("steled")?);
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            let report = run(&subject.clone().with_config(config.clone()).speaking(encoding)).await;
            ensure!(report.passed(), "{carrier:?}, {encoding:?}:\n{report}");
            let skipped = report.checks.iter().filter(|check| check.outcome == Outcome::Skip).map(|check| check.name);
            ensure!(skipped.eq(expected.iter().copied()), "{carrier:?}, {encoding:?}:\n{report}");
        }
    }
    Ok(())
}

/// What `steled plugins check` says of the animal of the zoo whose file is named so; it must fail.
fn told_of(animal: &str, more: &[&str]) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(format!("zoo-{animal}.so"));
    std::fs::copy(stele_tests::zoo(), &file)?;
    let mut check = Command::new(places::program("steled")?);
    // Variables of the tests would be settings.
    let output = check.env_clear().args(["plugins", "check"]).arg(&file).args(more).output()?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    Ok(said.lines().map(str::to_owned).collect())
}

#[test]
fn a_plugin_that_takes_its_process_down_is_told() -> Result<()> {
    let said = told_of("crash", &[])?;
    let child = "was not loaded: the plugin's process was ended by signal 11 (SIGSEGV); nothing else is tried";
    let in_process = "FAIL in-process: the plugin ended the process that had loaded it (signal: 11 (SIGSEGV)";
    ensure!(said.iter().any(|line| line.ends_with(child)), "{said:?}");
    ensure!(said.iter().any(|line| line.starts_with(in_process)), "{said:?}");
    Ok(())
}

#[test]
fn a_plugin_that_hangs_is_checked_to_an_end() -> Result<()> {
    let said = told_of("stuck", &["--timeout", "1", "--encoding", "json"])?;
    for carrier in ["child", "in-process"] {
        let begin = said.iter().position(|line| *line == format!("{carrier}, JSON: 0 of 3 checks passed"));
        let checks = begin.map_or(&[][..], |begin| &said[begin + 1..]);
        ensure!(
            checks.len() >= 3 && checks[..3].iter().all(|line| line.contains("was not open within 1s")),
            "{said:?}"
        );
    }
    // One carrier is asked for.
    let said = told_of("null", &["--carrier", "in-process"])?;
    ensure!(said.len() == 2 && said[0] == "in-process, its own encoding: 0 of 1 checks passed", "{said:?}");
    ensure!(said[1].contains("the library returned no descriptor, but null"), "{said:?}");
    Ok(())
}
