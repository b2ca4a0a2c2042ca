//! A plugin that goes past a limit is ended by name, and nobody else notices.

use crate::rig::{Deeds, logged, pid, plugin, site, viewed};
use anyhow::{Context, Result, ensure};
use std::fs;

/// A line of `/proc/PID/limits`: the soft and the hard limit.
fn kernel_limit(pid: u32, name: &str) -> Result<[String; 2]> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).with_context(|| limits.clone())?;
    let mut words = line.split_whitespace().map(str::to_owned);
    Ok([words.next().context("no soft limit")?, words.next().context("no hard limit")?])
}

fn nice(pid: u32) -> Result<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    Ok(fields.split(' ').nth(16).context("no nice")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_past_one_is_ended_by_name_and_others_notice_nothing() -> Result<()> {
    let file = plugin("deeds-limited.so", &[])?;
    let shown = file.display().to_string();
    let greedy = Deeds::new("greedy", &file, "[instance.limits]\nmemory_mib = 64")?;
    let hoarder = Deeds::new("hoarder", &file, "[instance.limits]\nopen_files = 64\nnice = 5")?;
    let busy = Deeds::new("busy", &file, "[instance.limits]\ncpu_percent = 50\ncpu_window_seconds = 1")?;
    let calm = Deeds::new("calm", &file, "")?;
    let site = site("", &[&greedy, &hoarder, &busy, &calm])?;
    let daemon = site.start().await?;
    let undisturbed = pid(&site, "calm").await?;

    let first = pid(&site, "greedy").await?;
    let wall = (2 * 64 + 1024) * (1_u64 << 20);
    ensure!(kernel_limit(first, "Max data size")? == [wall.to_string(), wall.to_string()]);
    // It may be over before it has answered.
    drop(greedy.ask("leak").await);
    let held = ["plugin has crashed", "instance=\"greedy\"", &shown, "its limit is 64 MiB (limits.memory_mib)"];
    logged(&site, &held).await?;

    let first = pid(&site, "hoarder").await?;
    ensure!(kernel_limit(first, "Max open files")? == ["64", "64"]);
    let usual = nice(daemon.pid().context("it runs")?)?;
    ensure!(nice(first)? == (usual + 5).min(19), "it gives way");
    let opened: u32 = hoarder.ask("files").await?.parse()?;
    ensure!((32..64).contains(&opened), "{opened}");
    let has = [
        "plugin has crashed",
        "instance=\"hoarder\"",
        &shown,
        "has all of the 64 files open it may (limits.open_files)",
    ];
    logged(&site, &has).await?;

    busy.ask("spin").await?;
    let took = ["plugin has crashed", "instance=\"busy\"", &shown, "its limit is 50 % (limits.cpu_percent)"];
    logged(&site, &took).await?;

    for instance in [&greedy, &hoarder, &busy] {
        let back = viewed(&site, &instance.name, "restart", |view| view["state"] == "running").await?;
        ensure!(back["restarts"] == 1, "{back}");
        instance.ask("echo").await?;
    }
    ensure!(pid(&site, "calm").await? == undisturbed, "who kept to its limits goes on");
    calm.ask("echo").await?;
    let crashes = site.log().lines().filter(|line| line.contains("plugin has crashed")).count();
    ensure!(crashes == 3, "one line each: {}", site.log_tail());
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_does_not_give_is_told_with_what_it_does() -> Result<()> {
    let file = plugin("deeds-unlimited.so", &[])?;
    let wants = Deeds::new("wants", &file, "[instance.limits]\nopen_files = 8192")?;
    let site = site("", &[&wants])?;
    let daemon = site.start_under("ulimit -n 4096").await?;
    let problem = viewed(&site, "wants", "refusal", |view| view["state"] == "failed").await?;
    let told = "limits.open_files is 8192, and the daemon itself may have 4096 open at most";
    ensure!(problem["problem"].as_str().is_some_and(|text| text.contains(told)), "{problem}");
    ensure!(daemon.stop().await?.success());
    Ok(())
}
