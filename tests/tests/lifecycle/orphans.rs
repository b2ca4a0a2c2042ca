//! No process of a plugin, and none it has started, outlives what it is for.

use crate::rig::{Deeds, holders, install, pid, plugin, site, viewed};
use anyhow::{Result, ensure};
use std::{fs, path::Path};
use stele_tests::daemon::{is_alive, wait_for};

/// Processes of this instance.
fn processes(instance: &str) -> Vec<u32> {
    let name = format!("stele:{instance}\0");
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(&name)))
        .collect()
}

async fn all_gone(what: &str, look: impl Fn() -> Vec<u32>) -> Result<()> {
    wait_for(what, || async {
        match look() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} are left")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn none_outlives_a_daemon_that_is_killed() -> Result<()> {
    let file = plugin("deeds-orphaned.so", &[])?;
    let loading = plugin("deeds-loading.so", &["SPINS_WHEN_LOADED"])?;
    let all = [
        Deeds::new("spinning", &file, "")?,
        Deeds::new("stuck", &file, "")?,
        Deeds::new("greeted", &file, "[instance.config]\nopen = \"fork and spin\"")?,
        Deeds::new("loading", &loading, "")?,
    ];
    let site = site("", &all.each_ref())?;
    // Not all of them come up.
    let daemon = site.spawn()?;
    pid(&site, "stuck").await?;
    pid(&site, "spinning").await?;
    all[0].ask("spin").await?;
    let forked: u32 = all[0].ask("fork").await?.parse()?;
    let hanging = tokio::spawn(async move { all[1].ask("hang").await });
    viewed(&site, "stuck", "call", |view| view["calls_in_flight"] == 1).await?;
    wait_for("all processes", || async {
        let (held, loaded) = (holders(&file), holders(&loading));
        // The one that was greeted has started another one.
        if (held.len(), loaded.len()) == (5, 1) { Ok(()) } else { Err(format!("{held:?} {loaded:?}")) }
    })
    .await?;
    daemon.kill().await?;
    all_gone("end of all", || [holders(&file), holders(&loading)].concat()).await?;
    ensure!(!is_alive(forked) && hanging.await?.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_left_of_a_daemon_that_is_killed_while_it_starts_one() -> Result<()> {
    let loading = plugin("deeds-started.so", &["SPINS_WHEN_LOADED"])?;
    let name = format!("orphan-{}", std::process::id());
    let site = site("", &[&Deeds::new(&name, &loading, "")?])?;
    for _ in 0..6 {
        let daemon = site.spawn()?;
        // It may have just been spawned, be about to ask for the signal of its parent's death, or have loaded the plugin.
        wait_for("a process", || async { if processes(&name).is_empty() { Err("none".into()) } else { Ok(()) } })
            .await?;
        daemon.kill().await?;
        all_gone("end of it", || processes(&name)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_has_started_ends_with_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = install(&plugin("deeds-forking.so", &[])?, folder.path())?;
    let hq = Deeds::new("hq", &file, "")?;
    let slow = Deeds::new("slow", &file, "[instance.config]\nopen = \"fork and spin\"")?;
    let site = site("[plugins]\nstart_timeout_seconds = 1", &[&hq, &slow])?;
    let daemon = site.start().await?;
    let ends =
        async |pid: u32| all_gone("end of what it started", || Vec::from_iter(is_alive(pid).then_some(pid))).await;

    let forked: u32 = hq.ask("fork").await?.parse()?;
    ensure!(is_alive(forked));
    drop(hq.ask("abort").await);
    ends(forked).await?;
    viewed(&site, "hq", "restart", |view| view["state"] == "running").await?;

    let forked: u32 = hq.ask("fork").await?.parse()?;
    site.run(&["plugins", "reload", "hq"]).await?;
    ends(forked).await?;

    let forked: u32 = hq.ask("fork").await?.parse()?;
    ensure!(daemon.stop().await?.success());
    ends(forked).await?;
    // Also of one that never came up: each of its attempts had started one.
    all_gone("end of all", || holders(Path::new(&hq.plugin))).await
}
