//! `steled migrate` on the real binary: an archive in a file goes on in a Postgres.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_servers::{Durability, Postgres, skip::skip};
use stele_tests::{
    backing::Backing,
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

fn postgres() -> Option<Postgres> {
    let started = Postgres::start(Durability::None);
    started.inspect_err(|error| skip("steled migrate", &format!("{error:#}"))).ok()
}

/// The same site with its archive in this database.
fn moved_to(sections: &str, url: &str) -> String {
    format!("[archive]\nurl = {}\n{sections}", Value::from(url))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_a_daemon_runs_on_is_not_moved() -> Result<()> {
    let Some(postgres) = postgres() else { return Ok(()) };
    let instance = Openim::new("im", "")?;
    let site = site(std::slice::from_ref(&instance), "")?.backed_by(Backing::default())?;
    let api = instance.api();
    let daemon = site.start().await?;
    send(&api, 0).await?;
    // Of another data folder, so that its lock says nothing.
    let mut other = Site::of(moved_to("", &postgres.database()?))?.backed_by(Backing::default())?;
    let file = site.settings.data_dir.join("archive.db");
    let linked = other.dir.path().join("linked.db");
    std::os::unix::fs::symlink(&file, &linked)?;
    for path in [&file, &linked] {
        let said = refused(&other, &["migrate", "--from", &path.to_string_lossy()]).await?;
        ensure!(said.contains("is in use by process"), "{said}");
    }
    // A daemon whose folder is elsewhere than its file.
    let behind = other.dir.path().join("behind");
    std::fs::create_dir(&behind)?;
    send(&api, 1).await?;
    ensure!(daemon.stop().await?.success());
    let away = behind.join("archive.db");
    std::fs::rename(&file, &away)?;
    std::os::unix::fs::symlink(&away, &file)?;
    let daemon = site.start().await?;
    let said = refused(&other, &["migrate", "--from", &away.to_string_lossy()]).await?;
    ensure!(said.contains("is in use by another process"), "{said}");
    send(&api, 2).await?;
    ensure!(daemon.stop().await?.success());
    let told = other.run(&["migrate", "--from", &away.to_string_lossy()]).await?;
    ensure!(told.starts_with("moved 3 messages in "), "{told}");
    // Into a second database it is not moved by mistake.
    other.settings.sections = moved_to("", &postgres.database()?);
    let said = refused(&other, &["migrate", "--from", &away.to_string_lossy()]).await?;
    ensure!(said.contains("was moved to stele_0 at ") && said.contains("--abandon"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_daemon_had_open_takes_no_archive() -> Result<()> {
    let Some(postgres) = postgres() else { return Ok(()) };
    let instance = Openim::new("im", "")?;
    let mut site = site(std::slice::from_ref(&instance), "")?.backed_by(Backing::default())?;
    let daemon = site.start().await?;
    send(&instance.api(), 0).await?;
    ensure!(daemon.stop().await?.success());
    let url = postgres.database()?;
    let other = Site::of(moved_to("", &url))?.backed_by(Backing::default())?;
    ensure!(other.start().await?.stop().await?.success());
    let sections = site.settings.sections.clone();
    site.settings.sections = moved_to(&sections, &url);
    let said = refused(&site, &["migrate"]).await?;
    ensure!(said.contains("is not empty") && said.contains("name another database"), "{said}");
    // Nothing of it was begun on either side.
    site.settings.sections = sections;
    ensure!(site.start().await?.stop().await?.success());
    ensure!(other.start().await?.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_goes_on_where_it_was_moved_to() -> Result<()> {
    let Some(postgres) = postgres() else { return Ok(()) };
    let instance = Openim::new("im", "")?;
    let mut site = site(std::slice::from_ref(&instance), "")?.backed_by(Backing::default())?;
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
    site.settings.sections = moved_to(&sections, &url);
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
    ensure!(said.contains("this archive was moved to stele_0 at 127.0.0.1:") && said.contains("--abandon"), "{said}");
    site.run(&["migrate", "--abandon"]).await?;
    let daemon = site.start().await?;
    ensure!(everything(&api).await? == before);
    ensure!(daemon.stop().await?.success());
    let log = site.log();
    ensure!(!log.contains(&url), "the address of the database is in the log");
    Ok(())
}
