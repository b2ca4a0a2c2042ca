//! Contract 001, endpoint by endpoint: the scenarios of `tests/scenarios/wukongim` on the real binary.

use anyhow::{Result, ensure};
use std::path::PathBuf;
use stele_tests::{
    report::Report,
    scenario,
    wukongim::{Wukongim, site},
};

fn folder() -> PathBuf {
    stele_tests::source_root().join("tests/scenarios/wukongim")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_the_document_says() -> Result<()> {
    let (suite, scenarios) = scenario::read(&folder())?;
    let instances = suite.configs().map(|(name, config)| Wukongim::new(name, &config)).collect::<Result<Vec<_>>>()?;
    let site = site(&instances, "")?;
    let daemon = site.start().await?;
    let addresses = instances.iter().map(|instance| (instance.name.clone(), instance.listen.clone())).collect();
    let mut report = Report::default();
    scenario::run_all(&suite, &scenarios, &addresses, &mut report).await?;
    report.finish(&site.log_tail());
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// The document numbers eleven endpoints, and names two more among its basics.
#[test]
fn the_list_of_endpoints_is_that_of_the_document() -> Result<()> {
    let (suite, _) = scenario::read(&folder())?;
    let posts = suite.endpoints.iter().filter(|endpoint| endpoint.starts_with("POST /")).count();
    ensure!((posts, suite.endpoints.len()) == (9, 13), "{:?}", suite.endpoints);
    Ok(())
}
