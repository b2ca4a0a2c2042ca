//! `/ready` while the archive is away: a load balancer takes the daemon out, and back in.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_servers::{Durability, Postgres, skip::skip};
use stele_tests::{
    backing::Backing,
    daemon::{Site, wait_for},
    openim::{Openim, site},
};

/// Status and body of `/ready`.
async fn ready(site: &Site) -> Result<(u16, Value)> {
    let answer = stele_tests::client::http().get(format!("http://{}/ready", site.settings.admin)).send().await?;
    Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?)?))
}

async fn until(site: &Site, what: &str, is_so: impl Fn(u16, &Value) -> bool) -> Result<Value> {
    wait_for(what, || async {
        let (status, body) = ready(site).await.map_err(|error| error.to_string())?;
        if is_so(status, &body) { Ok(body) } else { Err(format!("{status} {body}")) }
    })
    .await
    .with_context(|| site.log_tail())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_archive_is_away_is_not_ready_until_it_is_back() -> Result<()> {
    // What was committed must be there after the crash, the tables first of all.
    let mut postgres = match Postgres::start(Durability::Full) {
        Ok(postgres) => postgres,
        Err(error) => {
            skip("a Postgres that is stopped", &format!("{error:#}"));
            return Ok(());
        }
    };
    let instance = Openim::new("im", "")?;
    let url = postgres.database()?;
    let sections = format!("[archive]\nurl = {}\n", Value::from(url.as_str()));
    let site = site(std::slice::from_ref(&instance), &sections)?.backed_by(Backing::default())?;
    let daemon = site.start().await?;
    until(&site, "readiness", |status, body| status == 200 && body["status"] == "ready").await?;
    for _ in 0..2 {
        postgres.stop();
        let told = until(&site, "503", |status, _| status == 503).await?;
        let findings = told["findings"].as_array().context("a list")?;
        let first = findings.first().and_then(Value::as_str).unwrap_or_default();
        ensure!(first.starts_with("the archive does not answer: "), "{told}");
        ensure!(told == json!({ "ready": false, "status": "degraded", "findings": findings }), "{told}");
        ensure!(!told.to_string().contains(&url), "the address of the database is told");
        postgres.go_on()?;
        let back = until(&site, "readiness", |status, body| status == 200 && body["status"] == "ready").await?;
        ensure!(back == json!({ "ready": true, "status": "ready", "findings": [] }), "{back}");
    }
    ensure!(daemon.stop().await?.success());
    Ok(())
}
