//! The program of a running daemon is replaced, as an upgrade does.

use crate::rig::{Deeds, pid, plugin, site, viewed};
use anyhow::{Result, ensure};
use std::{fs, process::Stdio};
use stele_tests::{daemon::wait_for, places};

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_started_by_the_program_that_runs() -> Result<()> {
    let hq = Deeds::new("hq", &plugin("deeds-upgraded.so", &[])?, "")?;
    let site = site("", &[&hq])?;
    let program = site.dir.path().join("steled");
    fs::copy(places::program("steled")?, &program)?;
    let usual = site.command(&["serve"])?;
    let surroundings = usual.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut command = tokio::process::Command::new(&program);
    command.arg("serve").env_clear().envs(surroundings).current_dir(site.dir.path()).kill_on_drop(true);
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let before = pid(&site, "hq").await?;
    ensure!(fs::read_to_string(format!("/proc/{before}/comm"))? == "stele:hq\n");

    fs::remove_file(&program)?;
    fs::write(&program, "the next version, or half of it")?;
    drop(hq.ask("abort").await);
    viewed(&site, "hq", "restart", |view| view["state"] == "running" && view["restarts"] == 1).await?;
    site.run(&["plugins", "reload", "hq"]).await?;
    ensure!(hq.ask("echo").await? == "1");
    daemon.kill().await?;
    wait_for("end of the plugin", || async {
        if crate::rig::holders(hq.plugin.as_ref()).is_empty() { Ok(()) } else { Err("it lives".into()) }
    })
    .await
}
