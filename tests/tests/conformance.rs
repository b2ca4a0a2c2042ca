//! The plugins keep the rules of the boundary, over both carriers and in both encodings.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
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
