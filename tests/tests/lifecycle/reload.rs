//! `steled plugins reload`: a plugin is replaced and nobody notices, or it is not replaced and somebody is told why.

use crate::rig::{Deeds, configured, install, logged, pid, plugin, reload, site, viewed};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use stele_tests::{
    daemon::{Site, wait_for},
    gateway::{Gateway, token},
};
use tokio::task::JoinHandle;

/// `steled plugins reload NAME`: exit code, standard output, standard error.
async fn reload_by_hand(site: &Site, name: &str) -> Result<(i32, String, String)> {
    let output = site.command(&["plugins", "reload", name])?.output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes);
    Ok((output.status.code().unwrap_or(-1), text(output.stdout)?, text(output.stderr)?))
}

/// Does something over and over until it fails, or until it is told to stop; how often it was done.
fn over_and_over<F>(
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
    work: impl Fn() -> F + Send + 'static,
) -> JoinHandle<Result<()>>
where
    F: Future<Output = Result<()>> + Send,
{
    let (stop, done) = (stop.clone(), done.clone());
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            work().await?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_plugins_are_replaced() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let versions = [plugin("deeds-first.so", &[])?, plugin("deeds-second.so", &["VERSION=\"2\""])?];
    let file = install(&versions[0], folder.path())?;
    let (one, two) = (Arc::new(Deeds::new("one", &file, "")?), Arc::new(Deeds::new("two", &file, "")?));
    let chat = Gateway::new("chat", "")?;
    let site = Site::of(format!("{}\n{}", configured("", &[&one, &two]), chat.toml()))?;
    let daemon = site.start().await?;
    let (alice, api) = (token("alice", 1), chat.api());
    let room = api.create(1, &["alice", "bob"]).await?;

    let (stop, asked, sent) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
    let mut callers = Vec::new();
    for deed in ["echo", "slow", "slow"] {
        for instance in [&one, &two] {
            let instance = instance.clone();
            callers.push(over_and_over(&stop, &asked, move || {
                let instance = instance.clone();
                async move { instance.ask(deed).await.map(drop) }
            }));
        }
    }
    for _ in 0..3 {
        let (api, alice, room) = (api.clone(), alice.clone(), room.clone());
        callers.push(over_and_over(&stop, &sent, move || {
            let (api, alice, room) = (api.clone(), alice.clone(), room.clone());
            async move { api.send(&alice, &room, "hello").await.map(drop) }
        }));
    }

    for round in 1..=4_usize {
        let (before, version) = ((asked.load(Ordering::Relaxed), sent.load(Ordering::Relaxed)), round % 2);
        let processes = [pid(&site, "one").await?, pid(&site, "two").await?, pid(&site, "chat").await?];
        install(&versions[version], folder.path())?;
        if round == 3 {
            // By the signal, which finds the file changed.
            reload(&site, &daemon).await?;
        } else {
            // All instances of a plugin, by its name.
            let (code, stdout, stderr) = reload_by_hand(&site, "deeds").await?;
            ensure!(code == 0 && stdout.lines().count() == 2, "{stdout}{stderr}");
            ensure!(stdout.contains(&format!("one: started anew, version {}, process ", version + 1)), "{stdout}");
        }
        let (code, _, stderr) = reload_by_hand(&site, "chat").await?;
        ensure!(code == 0, "{stderr}");
        for (name, before) in ["one", "two", "chat"].into_iter().zip(processes) {
            ensure!(pid(&site, name).await? != before, "{name} has a new process");
        }
        ensure!(one.ask("echo").await? == (version + 1).to_string());
        wait_for("requests after it", || async {
            let now = (asked.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
            let over = callers.iter().any(JoinHandle::is_finished) || (now.0 > before.0 + 20 && now.1 > before.1 + 5);
            if over { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await?;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await?.context("a request failed during a reload")?;
    }
    // The first message of a conversation is that it was made.
    let stored =
        api.history(&alice, &room).await?.iter().filter(|message| message["Content"] == "hello").count() as u64;
    ensure!(stored == sent.load(Ordering::Relaxed), "{stored} of {sent:?} messages are there");
    ensure!(!site.log().contains("plugin has crashed"), "{}", site.log_tail());
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_the_file_as_it_is_now_is_loaded_beside_the_one_before() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let versions = [plugin("deeds-inside.so", &[])?, plugin("deeds-inside-2.so", &["VERSION=\"2\""])?];
    let file = install(&versions[0], folder.path())?;
    let hq = Deeds::new("hq", &file, "carrier = \"in-process\"")?;
    let site = site("", &[&hq])?;
    let daemon = site.start().await?;
    ensure!(hq.ask("echo").await? == "1");
    install(&versions[1], folder.path())?;
    let (code, stdout, stderr) = reload_by_hand(&site, "hq").await?;
    ensure!(code == 0 && stdout.starts_with("hq: started anew, version 2, process "), "{stdout}{stderr}");
    ensure!(hq.ask("echo").await? == "2");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_prove_itself_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (well, sick) = (plugin("deeds-well.so", &[])?, plugin("deeds-sick.so", &["SICK", "VERSION=\"2\""])?);
    let file = install(&well, folder.path())?;
    let hq = Deeds::new("hq", &file, "")?;
    let ill = Deeds::new("ill", &sick, "")?;
    let site = site("[plugins]\nstart_timeout_seconds = 3", &[&hq, &ill])?;
    let (code, _, stderr) = reload_by_hand(&site, "hq").await?;
    ensure!(code == 1 && stderr.starts_with("error: no daemon runs on the data folder "), "{stderr}");
    let daemon = site.start().await?;
    let before = pid(&site, "hq").await?;

    let text = folder.path().join("text");
    std::fs::write(&text, "no plugin")?;
    for (broken, why) in [
        (text, "it is no ELF file"),
        (plugin("deeds-aborting.so", &["ABORTS"])?, "signal 6 (SIGABRT)"),
        (plugin("deeds-undescribed.so", &["UNDESCRIBED"])?, "it does not know what it is"),
        (plugin("deeds-mute.so", &["MUTE"])?, "deadline"),
        (sick.clone(), "the new one is not well, and the old one is: it has a cold"),
    ] {
        install(&broken, folder.path())?;
        let (code, stdout, stderr) = reload_by_hand(&site, "hq").await?;
        ensure!((code, stdout.as_str()) == (1, ""), "{why}: {stdout}");
        ensure!(stderr.starts_with("error: hq: it goes on as it was: ") && stderr.contains(why), "{why}: {stderr}");
        ensure!(hq.ask("echo").await? == "1" && pid(&site, "hq").await? == before, "{why}: the old one goes on");
        let ready = site.admin("/ready").await?;
        ensure!(ready["status"] == "degraded" && ready["findings"].to_string().contains(why), "{why}: {ready}");
    }
    // Where the old one is not well either, the new one may be the cure.
    let before = pid(&site, "ill").await?;
    let (code, _, stderr) = reload_by_hand(&site, "ill").await?;
    ensure!(code == 0 && pid(&site, "ill").await? != before, "{stderr}");

    install(&well, folder.path())?;
    let (code, stdout, stderr) = reload_by_hand(&site, "hq").await?;
    ensure!(code == 0 && stdout.starts_with("hq: started anew, version 1, process "), "{stdout}{stderr}");
    ensure!(!site.admin("/ready").await?["findings"].to_string().contains("instance hq"));
    let (code, _, stderr) = reload_by_hand(&site, "hp").await?;
    ensure!(
        code == 1 && stderr.starts_with("error: there is no instance or plugin \"hp\"; there are: hq ("),
        "{stderr}"
    );
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_stops_and_a_reload_is_the_way_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = install(&plugin("deeds-crashing.so", &["ABORTS"])?, folder.path())?;
    let (hq, calm) = (Deeds::new("hq", &file, "")?, Deeds::new("calm", &plugin("deeds-calm.so", &[])?, "")?);
    let site = site("[plugins]\nstart_timeout_seconds = 1", &[&hq, &calm])?;
    let daemon = site.start().await?;
    let undisturbed = pid(&site, "calm").await?;
    let shown = file.display().to_string();
    logged(&site, &["plugin fails too often; it stays down until a reload", "instance=\"hq\"", &shown]).await?;
    let down = viewed(&site, "hq", "end of the attempts", |view| view["state"] == "failed").await?;
    ensure!(down["restarts"] == 7 && down["problem"].to_string().contains("signal 6 (SIGABRT)"), "{down}");
    ensure!(pid(&site, "calm").await? == undisturbed && calm.ask("echo").await? == "1");

    install(Path::new(&calm.plugin), folder.path())?;
    let (code, stdout, stderr) = reload_by_hand(&site, "hq").await?;
    ensure!(code == 0 && stdout.starts_with("hq: started anew, version 1, process "), "{stdout}{stderr}");
    ensure!(hq.ask("echo").await? == "1");
    ensure!(site.admin("/ready").await?["status"] == "ready");
    ensure!(daemon.stop().await?.success());
    Ok(())
}
