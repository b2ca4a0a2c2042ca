//! `steled plugins describe`: what a file is, asked of a process that is thrown away.

use crate::rig::{Deeds, holders, holders_of_copies, plugin, site};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path};
use stele_tests::daemon::{Site, wait_for};

/// Runs it: exit code, standard output, standard error.
async fn describe(site: &Site, file: &Path, more: &[&str]) -> Result<(i32, String, String)> {
    let file = file.display().to_string();
    let output = site.command(&[&["plugins", "describe", &file][..], more].concat())?.output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes);
    Ok((output.status.code().unwrap_or(-1), text(output.stdout)?, text(output.stderr)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_says_what_it_is_and_no_process_is_left() -> Result<()> {
    let file = plugin("deeds-described.so", &[])?;
    let refusing = Deeds::new("refusing", &file, "[instance.config]\nopen = \"refuse\"")?;
    let site = site("", &[&refusing])?;
    let (code, stdout, stderr) = describe(&site, &file, &[]).await?;
    ensure!(code == 0 && stderr.is_empty(), "{stderr}");
    for line in [
        "name            deeds",
        "version         1",
        "protocol        ABI 1.4, JSON",
        "summary         does as it is told",
        "operations      describe, health, http.handle",
        "listen          127.0.0.1:9 unless configured",
    ] {
        ensure!(stdout.lines().any(|found| found == line), "{line} is not in\n{stdout}");
    }
    let (code, stdout, _) = describe(&site, &file, &["--json"]).await?;
    let said: Value = serde_json::from_str(&stdout)?;
    ensure!(code == 0 && said["protocol"]["abi"] == 1 && said["protocol"]["minor"] == 4, "{said}");
    ensure!(
        said["description"]["operations"][2] == "http.handle" && said["settings"]["listen"] == "127.0.0.1:9",
        "{said}"
    );
    let sum = said["sha256"].as_str().unwrap_or_default();
    ensure!(sum.len() == 64 && said["error"].is_null(), "{said}");

    // What its library says is shown where the plugin does not open.
    let (code, stdout, stderr) = describe(&site, &file, &["--instance", "refusing"]).await?;
    ensure!(code == 1 && stdout.contains("name            deeds\n") && !stdout.contains("operations"), "{stdout}");
    ensure!(stderr.starts_with("error: it does not open with the configuration of instance refusing: "), "{stderr}");
    ensure!(stderr.contains("open: cannot be refuse"), "{stderr}");
    let (code, _, stderr) = describe(&site, &file, &["--instance", "nobody"]).await?;
    ensure!(code == 1 && stderr == "error: there is no instance \"nobody\"\n", "{stderr}");
    gone(&file).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_answers_has_its_time_and_no_more() -> Result<()> {
    let site = site("[plugins]\nstart_timeout_seconds = 1", &[])?;
    let file = plugin("deeds-spinning.so", &["SPINS_WHEN_LOADED"])?;
    // The sum it prints is that of what is described: a copy, since the file may be another one a moment later.
    let copied = wait_for("a copy", || async {
        let holders = (holders_of_copies(&file), holders(&file));
        if !holders.0.is_empty() && holders.1.is_empty() { Ok(()) } else { Err(format!("{holders:?}")) }
    });
    let (described, copied) = tokio::join!(describe(&site, &file, &[]), copied);
    copied?;
    let (code, stdout, stderr) = described?;
    ensure!((code, stdout.as_str()) == (1, ""), "{stdout}");
    ensure!(stderr.contains("the plugin was not loaded in time"), "{stderr}");
    gone(&file).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_told_with_what_is_wanted() -> Result<()> {
    let site = site("", &[])?;
    let (text, folder) = (site.dir.path().join("text.so"), site.dir.path().join("folder.so"));
    std::fs::write(&text, "no library")?;
    let library = plugin("no-plugin.so", &["stele_plugin_v1=stele_plugin_v0"])?;
    let open = site.dir.path().join("open.so");
    std::fs::copy(&library, &open)?;
    std::fs::set_permissions(&open, Permissions::from_mode(0o666))?;
    std::fs::create_dir(&folder)?;
    let arch = std::env::consts::ARCH;
    for (file, expected) in [
        (&text, format!("it is no ELF file (it begins with [6e, 6f, 20, 6c]), wanted is a shared library for {arch}")),
        (&library, "is a library but no plugin: it does not export `stele_plugin_v1`".to_owned()),
        (&open, "open.so may be written to by everybody (mode 0666), and is wanted to be by root".to_owned()),
        (&folder, "there is no plugin file".to_owned()),
    ] {
        let (code, stdout, stderr) = describe(&site, file, &[]).await?;
        ensure!((code, stdout.as_str()) == (1, "") && stderr.contains(&expected), "{expected} is not in {stderr}");
    }
    Ok(())
}

/// Waits until no process has the file loaded.
async fn gone(file: &Path) -> Result<()> {
    wait_for("end of its process", || async {
        let holders = [holders(file), holders_of_copies(file)].concat();
        if holders.is_empty() { Ok(()) } else { Err(format!("{holders:?}")) }
    })
    .await
}
