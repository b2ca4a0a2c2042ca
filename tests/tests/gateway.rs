//! Contracts 003 and 004, endpoint by endpoint: the scenarios of `tests/scenarios/gateway` on the real binary.

use anyhow::{Result, ensure};
use std::{collections::BTreeSet, path::PathBuf};
use stele_tests::{
    gateway::{Gateway, site},
    report::Report,
    scenario::{self, Runner},
};

fn folder() -> PathBuf {
    stele_tests::source_root().join("tests/scenarios/gateway")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_the_documents_say() -> Result<()> {
    let (suite, scenarios) = scenario::read(&folder())?;
    let mut gateways = Vec::new();
    for (name, profile) in &suite.profiles {
        let config = [suite.config.join("\n"), profile.config.join("\n")].join("\n");
        gateways.push(Gateway::new(name, &config)?);
    }
    let site = site(&gateways, "")?;
    let daemon = site.start().await?;
    let mut report = Report::default();
    for gateway in &gateways {
        let (profile, mut runner) = (&gateway.name, Runner::new(&suite, &gateway.name, &gateway.listen)?);
        for (name, scenario) in &scenarios {
            if scenario.profiles.as_ref().unwrap_or(&suite.default_profiles).contains(profile) {
                report.check(&format!("{name} ({profile})"), runner.run(name, scenario)).await;
            }
        }
        if suite.default_profiles.contains(profile) {
            let listed = suite.endpoints.union(&suite.aliases).cloned().collect();
            report.add(&format!("endpoints ({profile})"), same(&runner.covered, &listed));
        }
    }
    report.finish(&site.log_tail());
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// What the documents list is what was answered as documented.
fn same(covered: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<()> {
    let untold: Vec<_> = covered.difference(listed).collect();
    let unproved: Vec<_> = listed.difference(covered).collect();
    ensure!(untold.is_empty() && unproved.is_empty(), "not listed: {untold:?}; not shown: {unproved:?}");
    Ok(())
}

/// Contracts 003 and 004 list 18 endpoints for POST, two of them at paths with a hyphen and a blank, and `/notify`, which
/// is counted once for each carrier here.
#[test]
fn the_list_of_endpoints_is_that_of_the_documents() -> Result<()> {
    let (suite, _) = scenario::read(&folder())?;
    let posts = suite.endpoints.iter().filter(|endpoint| endpoint.starts_with("POST /")).count();
    let inner = suite.endpoints.iter().filter(|endpoint| endpoint.contains(" /inner/")).count();
    let odd = suite.endpoints.iter().filter(|endpoint| endpoint.contains(" /- ")).count();
    let notify = suite.endpoints.iter().filter(|endpoint| endpoint.starts_with("GET /notify")).count();
    ensure!((posts, inner, odd, notify, suite.endpoints.len()) == (18, 5, 2, 3, 21), "{:?}", suite.endpoints);
    Ok(())
}
