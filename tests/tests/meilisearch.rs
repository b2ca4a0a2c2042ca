//! A Meilisearch behind the real daemon: what it does while it is down, when somebody meddles with its index, and while the index is
//! built anew. A real one that is started here; without a `meilisearch` on the path there is nothing to try this on.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Stdio;
use stele_servers::{
    Meili,
    skip::{say, skip},
};
use stele_tests::{
    backing::Backing,
    corp::{CorpFolder, CorpSpec, Draft},
    daemon::{Site, wait_for},
    settings::{Settings, quoted},
};
use tokio::io::AsyncReadExt;

const INDEX: &str = "stele-e2e";

/// What nothing else in the archive says: 合同编号.
const ASKED: &str = "/api/v1/archive/search?q=%E5%90%88%E5%90%8C%E7%BC%96%E5%8F%B7";

/// One that can be stopped; says which it is.
fn meilisearch() -> Result<Option<Meili>> {
    let none = || skip("a daemon on a real Meilisearch", "there is no `meilisearch` on the path that could be started");
    let Some(mut meili) = Meili::find()? else {
        none();
        return Ok(None);
    };
    if !meili.stop() {
        none();
        return Ok(None);
    }
    meili.start_again()?;
    say(&format!("a daemon on the real Meilisearch at {}", meili.url()));
    Ok(Some(meili))
}

fn site(folder: &CorpFolder, meili: &Meili, more: &str) -> Result<Site> {
    let (url, key) = (quoted(meili.url()), quoted(meili.key()));
    let search = format!(
        "[search]\nengine = \"meilisearch\"\nurl = {url}\nkey = {key}\nindex = \"{INDEX}\"\ntimeout_seconds = 5\n{more}"
    );
    let settings = |dir: &std::path::Path| Ok(Settings { sections: search, ..Settings::of(folder, dir, "", "") });
    Site::new(settings)?.backed_by(Backing::default())
}

/// Status, `retry-after` and body of an answer of the admin listener.
async fn answer(site: &Site, path: &str) -> Result<(u16, Option<String>, Value)> {
    let answer = stele_tests::client::http().get(format!("http://{}{path}", site.settings.admin)).send().await?;
    let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok((answer.status().as_u16(), after, serde_json::from_str(&answer.text().await?)?))
}

/// Waits until the index is fed up to the end, and nothing is said against it.
async fn settled(site: &Site) -> Result<()> {
    wait_for("the index to have caught up", || async {
        let index = site.admin("/api/v1/index").await.map_err(|error| error.to_string())?;
        let is_fed = index["tailer"]["behind"] == 0 && index["tailer"]["last_error"].is_null();
        let is_sound = index["health"]["problem"].is_null() && index["health"]["condemned"].is_null();
        if is_fed && is_sound { Ok(()) } else { Err(index.to_string()) }
    })
    .await
}

async fn total(site: &Site, path: &str) -> Result<u64> {
    site.admin(path).await?["total"].as_u64().context("an answer has a total")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_it_is_told_and_heals_by_itself() -> Result<()> {
    let Some(mut meili) = meilisearch()? else { return Ok(()) };
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::generate(&CorpSpec::recent(200), upstream.path())?;
    folder.add(&Draft::text("staff123", "customer456", "合同编号一"))?;
    let site = site(&folder, &meili, "")?;
    let daemon = site.start().await?;
    site.sync().await?;
    settled(&site).await?;
    ensure!(total(&site, ASKED).await? == 1);
    let conversation = site.admin(ASKED).await?["rows"][0]["conversation"].as_str().unwrap_or_default().to_owned();
    let inside = format!("{ASKED}&instance=wecom&conversation={}", stele_tests::client::quote_plus(&conversation));

    ensure!(meili.stop());
    // What comes meanwhile is stored, and found where a conversation is named.
    folder.add(&Draft::text("staff123", "customer456", "合同编号二"))?;
    site.sync().await?;
    let (status, after, body) = answer(&site, ASKED).await?;
    ensure!(status == 503 && after.is_some_and(|after| after.parse().is_ok_and(|seconds: u64| seconds > 0)), "{body}");
    let (status, _, body) = answer(&site, &inside).await?;
    ensure!(status == 200 && body["total"] == 2, "{status} {body}");
    let params = [("keyword", "合同编号"), ("ext_staff_id", "staff123"), ("ext_peer_id", "customer456")];
    let found = site.client().get("search", &[&params[..], &[("ext_corp_id", "corp123")]].concat()).await?;
    ensure!(found.total() == 2, "{}", found.text);
    wait_for("readiness to tell", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        let is_told = ready["status"] == "degraded" && ready["findings"].to_string().contains("search");
        if is_told { Ok(()) } else { Err(ready.to_string()) }
    })
    .await?;
    // A daemon that starts now starts.
    ensure!(daemon.stop().await?.success());
    let daemon = site.start().await?;
    ensure!(answer(&site, &inside).await?.2["total"] == 2);

    meili.start_again()?;
    settled(&site).await?;
    ensure!(total(&site, ASKED).await? == 2);
    wait_for("readiness", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        if ready["status"] == "ready" { Ok(()) } else { Err(ready.to_string()) }
    })
    .await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_removed_behind_its_back_are_missed() -> Result<()> {
    let Some(meili) = meilisearch()? else { return Ok(()) };
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::generate(&CorpSpec::recent(200), upstream.path())?;
    folder.add(&Draft::text("staff123", "customer456", "合同编号"))?;
    let site = site(&folder, &meili, "")?;
    let daemon = site.start().await?;
    site.sync().await?;
    settled(&site).await?;
    let found = site.admin(ASKED).await?["rows"][0].clone();
    ensure!(daemon.stop().await?.success());

    let http = stele_tests::client::http();
    let documents = format!("{}/indexes/{INDEX}/documents", meili.url());
    let life = http.get(format!("{documents}/life")).bearer_auth(meili.key()).send().await?.text().await?;
    let life: Value = serde_json::from_str(&life)?;
    let document = format!("{documents}/{}-{}", life["life"].as_str().context("it is in a life")?, found["id"]);
    let deleted = http.delete(&document).bearer_auth(meili.key()).send().await?;
    ensure!(deleted.status() == 202, "{}", deleted.text().await?);
    wait_for("the document's end", || async {
        match http.get(&document).bearer_auth(meili.key()).send().await {
            Ok(answer) if answer.status() == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    // Archive and index are compared after a start; what differs is built anew.
    let daemon = site.start().await?;
    wait_for("the message to be found again", || async {
        let found = site.admin(ASKED).await.map_err(|error| error.to_string())?;
        if found["total"] == 1 { Ok(()) } else { Err(found.to_string()) }
    })
    .await?;
    ensure!(site.log().contains("archive and search index differ"), "{}", site.log_tail());
    settled(&site).await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_anew_with_a_bar_and_after_an_interruption() -> Result<()> {
    let Some(meili) = meilisearch()? else { return Ok(()) };
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::generate(&CorpSpec::recent(600), upstream.path())?;
    folder.add(&Draft::text("staff123", "customer456", "合同编号"))?;
    // So few in a commit that it takes a while.
    let site = site(&folder, &meili, "commit_messages = 50\n")?;
    let daemon = site.start().await?;
    site.sync().await?;
    settled(&site).await?;
    ensure!(daemon.stop().await?.success());

    // In a terminal of its own, as an operator sees it; killed when the bar has moved.
    let reindex = site.command(&["reindex"])?;
    let mut terminal = tokio::process::Command::new("script");
    let program = reindex.as_std().get_program().to_owned();
    terminal
        .args(["--quiet", "--flush", "--command"])
        .arg(format!("stty cols 100 rows 24; exec {} reindex", program.display()));
    terminal.arg("/dev/null").env_clear();
    terminal.envs(reindex.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).current_dir(site.dir.path());
    let mut running = terminal.env("TERM", "xterm").spawn().context("there is a `script`")?;
    let mut shown = String::new();
    let mut screen = running.stdout.take().context("it has a screen")?;
    let has_moved = |shown: &str| {
        let messages = shown.split(" messages").filter_map(|before| before.rsplit(' ').next()?.parse::<u64>().ok());
        messages.filter(|messages| *messages > 0).count() > 0
    };
    let mut piece = [0; 4096];
    while !has_moved(&shown) {
        let read = tokio::time::timeout(stele_tests::daemon::PATIENCE, screen.read(&mut piece)).await??;
        ensure!(read > 0, "it ended: {shown}");
        shown += &String::from_utf8_lossy(&piece[..read]);
    }
    ensure!(shown.contains('%') && shown.contains('█'), "{shown}");
    running.kill().await?;

    // The index in use was not touched, and the second attempt ends.
    wait_for("the folder to be free", || async {
        let output = site.command(&["reindex"]).map_err(|error| error.to_string())?.output().await;
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains("indexed 601 messages") { Ok(()) } else { Err(format!("{output:?}")) }
    })
    .await?;
    let daemon = site.start().await?;
    ensure!(total(&site, ASKED).await? == 1);
    // Beside the daemon, too, which answers meanwhile.
    let mut rebuilt = site.command(&["reindex"])?;
    let (rebuilt, found) = tokio::join!(rebuilt.output(), total(&site, ASKED));
    let said = String::from_utf8_lossy(&rebuilt?.stdout).into_owned();
    ensure!(said.contains("indexed 601 messages") && found? == 1, "{said}");
    settled(&site).await?;
    wait_for("an end of what is not needed", || async {
        let indexes = stele_tests::client::http().get(format!("{}/indexes", meili.url())).bearer_auth(meili.key());
        let indexes = indexes.send().await.map_err(|error| error.to_string())?;
        let indexes = indexes.text().await.map_err(|error| error.to_string())?;
        if indexes.contains("\"total\":1}") { Ok(()) } else { Err(indexes) }
    })
    .await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}
