//! `steled migrate` on the real binary: an archive in a file goes on in a Postgres.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_servers::{Durability, Postgres, skip::skip};
use stele_tests::{
    daemon::Site,
    openim::{Api, Openim, site},
};

/// The ids a search for everything finds, and how many there are.
async fn everything(api: &Api) -> Result<(Vec<String>, i32)> {
    let found = api.search(&json!({ "pagination": { "pageNumber": 1, "showNumber": 100 } })).await?;
    Ok((found.ids().into_iter().map(str::to_owned).collect(), found.chat_logs_num))
}

async fn send(api: &Api, number: usize) -> Result<()> {
    let message = json!({
        "sendID": "ann", "recvID": "bob", "senderPlatformID": 5, "content": { "content": format!("第{number}份合同") },
        "contentType": 101, "sessionType": 1,
    });
    api.send(&message).await.map(drop)
}

/// Runs a command that fails, and returns what it said.
async fn refused(site: &Site, arguments: &[&str]) -> Result<String> {
    let output = site.command(arguments)?.output().await?;
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_goes_on_where_it_was_moved_to() -> Result<()> {
    let postgres = match Postgres::start(Durability::None) {
        Ok(postgres) => postgres,
        Err(error) => {
            skip("steled migrate", &format!("{error:#}"));
            return Ok(());
        }
    };
    let instance = Openim::new("im", "")?;
    let mut site = site(std::slice::from_ref(&instance), "")?;
    let api = instance.api();
    let daemon = site.start().await?;
    for number in 0..30 {
        send(&api, number).await?;
    }
    let before = everything(&api).await?;
    let head = |text: &str| text.lines().find_map(|line| line.strip_prefix("head ").map(str::to_owned));
    ensure!(daemon.stop().await?.success());
    let proved = head(&site.run(&["verify"]).await?).context("a head")?;
    // Without a place to go.
    ensure!(refused(&site, &["migrate"]).await?.contains("archive.url"), "moved nowhere");
    let url = postgres.database()?;
    let sections = site.settings.sections.clone();
    site.settings.sections = format!("[archive]\nurl = {}\n{sections}", Value::from(url.as_str()));
    let told = site.run(&["migrate"]).await?;
    ensure!(told.starts_with("moved 30 messages in "), "{told}");
    ensure!(site.run(&["migrate"]).await?.contains("was moved before"), "moved twice");
    ensure!(head(&site.run(&["verify"]).await?) == Some(proved), "the chain is another");
    let daemon = site.start().await?;
    ensure!(everything(&api).await? == before, "other answers than before");
    send(&api, 30).await?;
    ensure!(everything(&api).await?.1 == 31);
    ensure!(daemon.stop().await?.success());
    // The old one does not go on by mistake.
    site.settings.sections = sections;
    let said = refused(&site, &["serve"]).await?;
    ensure!(said.contains("this archive was moved to Postgres") && said.contains("--abandon"), "{said}");
    site.run(&["migrate", "--abandon"]).await?;
    let daemon = site.start().await?;
    ensure!(everything(&api).await? == before);
    ensure!(daemon.stop().await?.success());
    let log = site.log();
    ensure!(!log.contains(&url), "the address of the database is in the log");
    Ok(())
}
