//! Daemons of one archive whose data folders are not what they should be: copies, or places of files.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stele_servers::{Durability, Postgres, skip::skip};
use stele_tests::{
    backing::Backing,
    corp::{CorpFolder, CorpSpec, Draft},
    daemon::{Site, wait_for},
    settings::Settings,
};

/// Waits for a finding with these words.
async fn found(site: &Site, words: &str) -> Result<()> {
    wait_for("a finding", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        if ready["findings"].to_string().contains(words) { Ok(()) } else { Err(ready.to_string()) }
    })
    .await
    .with_context(|| site.log_tail())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_id_and_folders_of_files_that_are_not_shared_are_told() -> Result<()> {
    let postgres = match Postgres::start(Durability::None) {
        Ok(postgres) => postgres,
        Err(error) => {
            skip("a copied data folder", &format!("{error:#}"));
            return Ok(());
        }
    };
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    let file = folder.add_media("1.pdf", "pdf", b"%PDF-1.4\n")?;
    let body = json!({ "file": {
        "md5sum": file.md5, "filename": "1.pdf", "fileext": "pdf", "filesize": file.size, "sdkfileid": file.sdkfileid,
    }});
    folder.add(&Draft { msgtype: "file".into(), fields: body, ..Draft::text("staff123", "customer456", "") })?;
    let url = postgres.database()?;
    let site = || {
        Site::new(|dir| {
            let mut settings = Settings::of(&folder, dir, "", "");
            settings.sections = format!("[archive]\nurl = '{url}'\n");
            Ok(settings)
        })?
        .backed_by(Backing::default())
    };
    let (first, second) = (site()?, site()?);
    let one = first.start().await?;
    first.sync().await?;
    first.media_done().await?;

    // A kill and a start in the same folder are none, and take no time.
    one.kill().await?;
    let one = first.start().await?;
    ensure!(!first.log().contains("listening for whether it still is"), "{}", first.log_tail());
    // One that was begun as a copy.
    let id = |site: &Site| site.settings.data_dir.join("daemon.id");
    std::fs::create_dir(&second.settings.data_dir)?;
    std::fs::copy(id(&first), id(&second))?;
    let refused = second.command(&["serve"])?.output().await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success(), "two run under one id");
    ensure!(said.contains("another process runs as this daemon") && said.contains("daemon.id"), "{said}");
    found(&first, "another process runs as this daemon").await?;
    // One of its own, which has no folder of files with the other.
    std::fs::remove_file(id(&second))?;
    let two = second.start().await?;
    found(&first, "this one keeps files in a folder of its own").await?;
    found(&second, "this one keeps files in a folder of its own").await?;
    found(&second, "the store of files does not answer: it is not where this archive's files are").await?;
    ensure!(two.stop().await?.success() && one.stop().await?.success());
    Ok(())
}
