//! Which files are loaded as plugins.

use crate::rig::{
    Deeds, configured, holders, holders_of_copies, install, logged, pid, plugin, reload, site, view, viewed,
};
use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};
use stele_tests::{daemon::Site, skip::skip};

async fn is_refused(site: &Site, words: &[&str]) -> Result<()> {
    viewed(site, "hq", "refusal", |view| {
        let problem = view["problem"].as_str().unwrap_or_default();
        view["state"] == "failed" && words.iter().all(|word| problem.contains(word))
    })
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_could_replace_is_not_loaded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let top = folder.path().canonicalize()?;
    let file = install(&plugin("deeds-guarded.so", &[])?, &top.join("plugins"))?;
    let (open, guarded) = (Permissions::from_mode(0o666), Permissions::from_mode(0o644));
    fs::set_permissions(&file, open.clone())?;
    let mut hq = Deeds::new("hq", Path::new("deeds"), "")?;
    let dirs = format!("[plugins]\ndirs = [{:?}]", top.join("plugins").display().to_string());
    let mut site = site(&dirs, &[&hq])?;
    let daemon = site.start().await?;
    let shown = file.display().to_string();
    is_refused(&site, &[&shown, "may be written to by everybody (mode 0666), and is wanted to be by root"]).await?;

    // What was mended is loaded by the next reload.
    fs::set_permissions(&file, guarded)?;
    reload(&site, &daemon).await?;
    ensure!(hq.ask("echo").await? == "1");

    // The way counts as the file does: here a link in a folder where everybody may put another one.
    fs::create_dir(top.join("links"))?;
    symlink(&file, top.join("links/deeds.so"))?;
    fs::set_permissions(top.join("links"), Permissions::from_mode(0o777))?;
    hq.plugin = top.join("links/deeds.so").display().to_string();
    let before = pid(&site, "hq").await?;
    site.settings.sections = configured(&dirs, &[&hq]);
    reload(&site, &daemon).await?;
    logged(&site, &["the instance goes on as it was", "links may be written to by everybody (mode 0777)"]).await?;
    ensure!(pid(&site, "hq").await? == before && hq.ask("echo").await? == "1", "the one that works goes on");

    site.settings.sections = configured(&format!("{dirs}\nallow_writable = true"), &[&hq]);
    reload(&site, &daemon).await?;
    ensure!(pid(&site, "hq").await? != before && hq.ask("echo").await? == "1", "who says so has it loaded");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_elsewhere_is_not_loaded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let top = folder.path().canonicalize()?;
    let (inside, outside) = (top.join("plugins/deep"), top.join("data"));
    let built = plugin("deeds-placed.so", &[])?;
    let (inner, outer) = (install(&built, &inside)?, install(&built, &outside)?);
    // A link inside leads outside, and one that lies outside leads inside: it counts where the file is.
    symlink(&outer, inside.join("link.so"))?;
    symlink(&inner, outside.join("link.so"))?;
    let dirs = format!("[plugins]\ndirs = [{:?}, \"/nowhere\"]", top.join("plugins").display().to_string());
    let mut hq = Deeds::new("hq", &outer, "")?;
    let mut site = site(&dirs, &[&hq])?;
    let daemon = site.start().await?;
    let found = outer.display().to_string();
    let wanted = format!("and is wanted in {} or /nowhere", top.join("plugins").display());
    is_refused(&site, &[&found, &wanted]).await?;
    for (path, is_loaded) in
        [(inner, true), (inside.join("link.so"), false), (outside.join("link.so"), true), (outer, false)]
    {
        hq.plugin = path.display().to_string();
        site.settings.sections = configured(&dirs, &[&hq]);
        reload(&site, &daemon).await?;
        let goes_on = view(&site, "hq").await?["problem"].is_null();
        ensure!(goes_on && hq.ask("echo").await? == "1", "{path:?}");
        let refused = site.admin("/ready").await?["findings"].to_string().contains("and is wanted in ");
        ensure!(refused != is_loaded, "{path:?}");
    }
    // Who names a file has said which one.
    site.run(&["plugins", "describe", &found]).await?;

    // Without a word about it they lie where the program does.
    site.settings.sections = hq.toml();
    reload(&site, &daemon).await?;
    let usual = stele_tests::places::build_dir().canonicalize()?.display().to_string();
    let ready = site.admin("/ready").await?["findings"].to_string();
    ensure!(ready.contains(&format!("and is wanted in {usual} or {usual}/../lib/stele/plugins")), "{ready}");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_somebody_else_is_not_loaded() -> Result<()> {
    if !geteuid().is_root() {
        skip("a plugin of somebody else's", "only root may give a file away");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = install(&plugin("deeds-foreign.so", &[])?, folder.path())?;
    chown(&file, Some(54321), None)?;
    let site = site("", &[&Deeds::new("hq", &file, "")?])?;
    let daemon = site.start().await?;
    is_refused(&site, &["libstele_deeds.so belongs to user 54321, and is wanted to belong to root"]).await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_file_is_loaded_and_no_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (plugin("deeds-pinned.so", &[])?, plugin("deeds-other.so", &["VERSION=\"2\""])?);
    let sum = |file: &Path| Ok::<_, anyhow::Error>(hex::encode(Sha256::digest(fs::read(file)?)));
    let (pinned, other) = (sum(&first)?, sum(&second)?);
    let file = install(&first, folder.path())?;
    let hq = Deeds::new("hq", &file, &format!("sha256 = \"{}\"", pinned.to_uppercase()))?;
    let site = site("", &[&hq])?;
    let daemon = site.start().await?;
    ensure!(hq.ask("echo").await? == "1");
    let running = pid(&site, "hq").await?;
    let is_copy = holders_of_copies(&file).contains(&running) && !holders(&file).contains(&running);
    ensure!(is_copy, "it is a copy that is loaded");

    // Whoever writes to the file changes nothing of what runs, and is found at the next start: here that after a crash.
    fs::write(&file, fs::read(&second)?)?;
    ensure!(hq.ask("echo").await? == "1" && pid(&site, "hq").await? == running);
    let process = Pid::from_raw(i32::try_from(running)?).expect("a process has a number");
    kill_process(process, Signal::KILL)?;
    is_refused(&site, &[&format!("its SHA-256 is {other}, and sha256 wants {}", pinned.to_uppercase())]).await?;

    install(&first, folder.path())?;
    reload(&site, &daemon).await?;
    ensure!(hq.ask("echo").await? == "1", "the pinned one is back");
    install(&second, folder.path())?;
    reload(&site, &daemon).await?;
    logged(&site, &["the instance goes on as it was", &other]).await?;
    ensure!(hq.ask("echo").await? == "1", "the one that works goes on");
    ensure!(daemon.stop().await?.success());
    Ok(())
}
