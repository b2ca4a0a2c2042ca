//! Contracts 003 and 004, endpoint by endpoint: the scenarios of `tests/scenarios/gateway` on the real binary.

use anyhow::{Result, ensure};
use std::path::PathBuf;
use stele_tests::{
    backing::Backing,
    gateway::{Gateway, site},
    report::Report,
    scenario,
};

fn folder() -> PathBuf {
    stele_tests::source_root().join("tests/scenarios/gateway")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_the_documents_say() -> Result<()> {
    let (suite, scenarios) = scenario::read(&folder())?;
    for backing in Backing::all() {
        let gateways = suite.configs().map(|(name, config)| Gateway::new(name, &config)).collect::<Result<Vec<_>>>()?;
        let site = site(&gateways, "")?.backed_by(backing)?;
        let daemon = site.start().await?;
        let addresses = gateways.iter().map(|gateway| (gateway.name.clone(), gateway.listen.clone())).collect();
        let mut report = Report::default();
        scenario::run_all(&suite, &scenarios, &addresses, &mut report).await?;
        report.finish(&format!("{backing}\n{}", site.log_tail()));
        ensure!(daemon.stop().await?.success());
    }
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
