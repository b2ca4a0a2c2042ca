//! What an operator who makes mistakes is told, by the real program with the real plugin.

use anyhow::{Result, ensure};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use std::{fs, process::Output};
use stele_servers::{Nats, free_address, skip::skip};
use stele_tests::{
    backing::Backing,
    corp::{CorpFolder, CorpSpec, Draft},
    daemon::{Site, wait_for},
    places,
    settings::Settings,
};

/// `steled check` on a configuration with this part for the wecom plugin, which begins in line 9.
fn check(part: &str) -> Result<(i32, String, String)> {
    check_with(part, &[])
}

/// The same with variables.
fn check_with(part: &str, variables: &[(&str, &str)]) -> Result<(i32, String, String)> {
    steled(&["check"], part, variables)
}

/// Any command on such a configuration.
fn steled(arguments: &[&str], part: &str, variables: &[(&str, &str)]) -> Result<(i32, String, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("steled.toml");
    let head =
        "data_dir = \"data\"\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n[[instance]]\nname = \"hq\"\nplugin = \"wecom\"\n";
    fs::write(&file, format!("{head}{part}"))?;
    places::plugin("wecom")?;
    let mut command = std::process::Command::new(places::program("steled")?);
    command.args(["--config", "steled.toml"]).args(arguments).current_dir(folder.path()).env_clear();
    command.envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output()?;
    ensure!(!folder.path().join("data").exists(), "a check leaves nothing behind");
    Ok((status.code().unwrap_or(-1), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

#[test]
fn check_asks_the_plugin_and_names_the_line_of_each_mistake() -> Result<()> {
    let (code, stdout, stderr) = check(concat!(
        "[instance.config]\n",
        "libary = \"/opt/wecom/lib.so\"\n",
        "page_limit = \"hunter2\"\n",
        "[[instance.config.corp]]\n",
        "id = \"corp123\"\n",
        "[[instance.config.corp]]\n",
        "name = \"no id\"\n",
    ))?;
    ensure!((code, stdout.as_str()) == (78, ""), "{code} {stdout}");
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    ensure!(lines.len() == 5 && lines[0] == "4 errors in the configuration", "{stderr}");
    ensure!(lines[1] == "steled.toml:9:1: instance[0].config.api_keys: at least one key is needed", "{stderr}");
    ensure!(lines[2].starts_with("steled.toml:10:1: instance[0].config.libary: unknown key, "), "{stderr}");
    ensure!(lines[3] == "steled.toml:11:1: instance[0].config.page_limit: expected u32", "{stderr}");
    ensure!(lines[4].starts_with("steled.toml:14:1: instance[0].config.corp[1]: missing field `id`"), "{stderr}");

    let (code, _, stderr) = check(concat!(
        "[instance.config]\n",
        "api_keys = []\n",
        "time_zone = \"Asia/Shangai\"\n",
        "corp = [{ id = \"corp123\" }, { id = \"corp123\" }]\n",
    ))?;
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    ensure!(code == 78 && lines.len() == 4, "{code} {stderr}");
    ensure!(lines[1] == "steled.toml:10:1: instance[0].config.api_keys: at least one key is needed", "{stderr}");
    ensure!(lines[2].contains("steled.toml:11:1: instance[0].config.time_zone: `Asia/Shangai` is not"), "{stderr}");
    ensure!(lines[3].contains(":12:") && lines[3].contains("corp[1].id: `corp123` is there twice"), "{stderr}");
    Ok(())
}

#[test]
fn check_tells_a_mistake_once() -> Result<()> {
    let (code, _, stderr) = check("config = 5\n")?;
    ensure!(code == 78 && stderr.starts_with("1 error in the configuration\n"), "{stderr}");
    Ok(())
}

#[test]
fn check_tells_every_mistake_at_once() -> Result<()> {
    let (code, _, stderr) = check_with(
        concat!(
            "[instance.sync]\n",
            "jitter_secons = 5\n",
            "[instance.config]\n",
            "libary = \"/opt/wecom/lib.so\"\n",
            "time_zone = \"Mars/X\"\n",
            "timeout_seconds = \"10\"\n",
            "go_spellings = 1\n",
            "api_keys = [{ key = { file = \"gone\" }, corps = [\"nobody\"] }]\n",
            "[[instance.config.corp]]\n",
            "id = \"corp123\"\n",
            "archive_secret = 5\n",
            "[jobs]\n",
            "concurrncy = 2\n",
        ),
        &[("STELE_INSTANCE__HQ__CONFIG__PAGE_LIMIT", "1_001"), ("STELE_INSTANCE__HQ__CONFIG__PROXI", "x")],
    )?;
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    let expected = [
        "11 errors in the configuration",
        "steled.toml:10:1: instance[0].sync.jitter_secons: unknown key; did you mean",
        "steled.toml:12:1: instance[0].config.libary: unknown key, ",
        "steled.toml:13:1: instance[0].config.time_zone: `Mars/X` is not an IANA time zone",
        "steled.toml:14:1: instance[0].config.timeout_seconds: expected u32",
        "steled.toml:15:1: instance[0].config.go_spellings: expected a boolean",
        "steled.toml:16:21: instance[0].config.api_keys[0].key: file gone cannot be read: ",
        "steled.toml:16:40: instance[0].config.api_keys[0].corps: there is no corp `nobody`",
        "steled.toml:19:1: instance[0].config.corp[0].archive_secret: expected a string",
        "steled.toml:21:1: jobs.concurrncy: unknown key; did you mean \"concurrency\"?",
        "variable STELE_INSTANCE__HQ__CONFIG__PAGE_LIMIT: instance[0].config.page_limit: must be 1 to 1000",
        "variable STELE_INSTANCE__HQ__CONFIG__PROXI: instance[0].config.proxi: unknown key, ",
    ];
    ensure!(code == 78 && lines.len() == expected.len(), "{code} {stderr}");
    for (line, expected) in lines.iter().zip(expected) {
        ensure!(line.starts_with(expected), "{expected:?} is not how this begins: {line}\n{stderr}");
    }
    Ok(())
}

#[test]
fn check_names_instances_that_would_be_served_at_the_same_place() -> Result<()> {
    let archive = "[instance.config]\napi_keys = [{ key = \"k\" }]\ncorp = [{ id = \"corp123\" }]\n";
    let im = |name: &str, more: &str| format!("[[instance]]\nname = \"{name}\"\nplugin = \"wukongim\"\n{more}");
    let taken = |owner: &str| {
        format!("127.0.0.1:5001, where wukongim is served unless said otherwise, is taken by instance \"{owner}\"")
    };
    let (code, _, stderr) = check(&[archive, &im("one", ""), &im("two", "")].concat())?;
    ensure!(code == 78 && stderr.contains(&format!(": instance[2].listen: {}", taken("one"))), "{code} {stderr}");
    let written = im("two", "listen = \"127.0.0.1:5001\"\n");
    let (code, _, stderr) = check(&[archive, &im("one", ""), &written].concat())?;
    ensure!(code == 78 && stderr.contains(&format!(": instance[1].listen: {}", taken("two"))), "{code} {stderr}");
    for apart in ["prefix = \"/two\"\n", "listen = \"127.0.0.1:5002\"\n", "enabled = false\n"] {
        let (code, stdout, stderr) = check(&[archive, &im("one", ""), &im("two", apart)].concat())?;
        ensure!(code == 0, "{apart}: {stdout}{stderr}");
    }
    Ok(())
}

#[test]
fn a_variable_says_a_password_of_digits_and_a_number_alike() -> Result<()> {
    let part = "[instance.config]\napi_keys = [{ key = \"k\" }]\ncorp = [{ id = \"corp123\" }]\n";
    let variables = [
        ("STELE_INSTANCE__HQ__CONFIG__PROXY_PASSWORD", "12345678"),
        ("STELE_INSTANCE__HQ__CONFIG__PROXY", "true"),
        ("STELE_INSTANCE__HQ__CONFIG__PAGE_LIMIT", "500"),
        ("STELE_INSTANCE__HQ__CONFIG__GO_SPELLINGS", "false"),
    ];
    for arguments in [&["check"][..], &["plugins", "check", "wecom", "--instance", "hq"]] {
        let (code, stdout, stderr) = steled(arguments, part, &variables)?;
        ensure!(code == 0, "{arguments:?}: {stdout}{stderr}");
    }
    Ok(())
}

#[test]
fn check_warns_of_what_keeps_a_right_configuration_from_working() -> Result<()> {
    let (code, stdout, stderr) = check(concat!(
        "[instance.config]\n",
        "library = \"/nowhere/libWeWorkFinanceSdk_C.so\"\n",
        "api_keys = [{ key = \"hunter2\" }]\n",
        "[[instance.config.corp]]\n",
        "id = \"corp123\"\n",
        "private_keys = [{ version = 1, pem = \"no key\" }]\n",
    ))?;
    ensure!((code, stdout.as_str()) == (0, "steled.toml: ok, 1 instance\n"), "{code} {stdout} {stderr}");
    for warning in [
        "warning: instance hq: the vendor library cannot be used: /nowhere/libWeWorkFinanceSdk_C.so",
        "warning: instance hq: corp corp123: archive_secret is not set",
        "warning: instance hq: corp corp123: private key of version 1: it holds no PEM private key",
        "warning: instance hq: corp corp123: app_secret is not set",
    ] {
        ensure!(stderr.contains(warning), "{warning:?} is not in {stderr}");
    }
    ensure!(!stderr.contains("hunter2"), "{stderr}");
    Ok(())
}

/// Waits until the daemon's log has this.
async fn logged(site: &Site, words: &str) -> Result<()> {
    wait_for(words, || async { if site.log().contains(words) { Ok(()) } else { Err(site.log_tail()) } }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_the_plugin_refuses_changes_nothing() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let mut site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    let daemon = site.start().await?;
    let plugins = daemon.children();

    site.settings.config = "time_zone = \"Nowhere\"".into();
    fs::write(site.config_file(), site.settings.toml())?;
    daemon.reload()?;
    logged(&site, "keeping the configuration in use: a plugin refuses the new one").await?;
    ensure!(site.log().contains("`Nowhere` is not an IANA time zone"), "{}", site.log_tail());
    // The one that was asked about the new configuration goes, the one that works stays.
    wait_for("the plugins of before", || async {
        let children = daemon.children();
        if children == plugins { Ok(()) } else { Err(format!("{children:?} instead of {plugins:?}")) }
    })
    .await?;

    site.settings.config = "time_zone = \"Asia/Shanghai\"".into();
    fs::write(site.config_file(), site.settings.toml())?;
    daemon.reload()?;
    logged(&site, "configuration read again").await?;
    ensure!(daemon.children() != plugins, "the plugin has the new configuration");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_the_plugin_refuses_says_why() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let mut site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    site.settings.config = "time_zone = \"Nowhere\"".into();
    let daemon = site.start().await?;
    let reason = "time_zone: `Nowhere` is not an IANA time zone";
    let ready = site.admin("/ready").await?;
    ensure!(ready["findings"][0].as_str().is_some_and(|finding| finding.contains(reason)), "{ready}");
    let instances = site.admin("/api/v1/instances").await?;
    ensure!(instances.to_string().contains(reason), "{instances}");
    ensure!(daemon.stop().await?.success());
    let output = site.command(&["sync", "wecom"])?.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains(reason), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_what_the_plugin_lacks() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let mut site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    let daemon = site.start().await?;
    ensure!(site.admin("/ready").await?["status"] == "ready", "{}", site.log_tail());
    ensure!(daemon.stop().await?.success());
    site.settings.library = "/nowhere/lib.so".into();
    let daemon = site.start().await?;
    let ready = site.admin("/ready").await?;
    ensure!(ready["ready"] == true && ready["status"] == "degraded", "it still serves what it has: {ready}");
    let finding = ready["findings"][0].as_str().unwrap_or_default();
    ensure!(finding.starts_with("instance wecom: the vendor library cannot be used: /nowhere/lib.so"), "{ready}");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_is_told() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?.backed_by(Backing::default())?;
    // A write beyond the limit shall fail as on a full disk, instead of ending the process.
    let daemon = site.start_under("trap '' XFSZ").await?;
    site.run(&["sync", "wecom"]).await?;
    daemon.limit_files(Some(0))?;
    for kind in ["sync", "media"] {
        let output = site.command(&["sync", "wecom", "--kind", kind])?.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains(&format!("error: wecom {kind}")), "{kind}: {said}");
        ensure!(said.contains("no run of it ended: archive unavailable: "), "{kind}: {said}");
    }
    let ready = site.admin("/ready").await?;
    ensure!(ready["ready"] == true && ready["status"] == "degraded", "it still serves what it has: {ready}");
    let found = ready["findings"].to_string();
    ensure!(found.contains("job wecom sync ") && found.contains("job wecom media: failed"), "{ready}");

    daemon.limit_files(None)?;
    for kind in ["sync", "media"] {
        site.run(&["sync", "wecom", "--kind", kind]).await?;
    }
    let ready = site.admin("/ready").await?;
    ensure!(ready["status"] == "ready", "{ready}");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_leave_the_daemon_its_files() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    // Where the hard limit is low, too, fewer connections are accepted.
    let daemon = site.start_under("ulimit -Sn 64; ulimit -Hn 512").await?;
    let found = site.log().contains("the limit of open files");
    ensure!(found, "{}", site.log_tail());
    let mut idle = Vec::new();
    // More than are accepted, and no more than the kernel's queue holds.
    for _ in 0..200 {
        idle.push(tokio::net::TcpStream::connect(&site.settings.listen).await?);
    }
    site.run(&["sync", "wecom"]).await?;
    ensure!(site.admin("/ready").await?["status"] == "ready");
    ensure!(!site.log().contains("cannot accept"), "{}", site.log_tail());
    drop(idle);
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// `make` in the project's folder.
fn make(arguments: &[String]) -> Result<Output> {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Ok(std::process::Command::new("make").arg("-C").arg(top).args(arguments).output()?)
}

#[test]
fn make_install_needs_no_compiler_and_keeps_a_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let built = folder.path().join("built");
    let installed = folder.path().join("installed");
    let install = [
        "install".to_owned(),
        "CARGO=/nowhere/cargo".to_owned(),
        format!("RELEASE={}", built.display()),
        format!("DESTDIR={}", installed.display()),
    ];
    let output = make(&install)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("run 'make build' first"), "{said}");

    fs::create_dir(&built)?;
    fs::copy(places::program("steled")?, built.join("steled"))?;
    for plugin in ["wecom", "gateway", "wukongim", "openim"] {
        fs::copy(places::plugin(plugin)?, built.join(format!("libstele_{plugin}.so")))?;
    }
    ensure!(make(&install)?.status.success());
    let config = installed.join("etc/stele/steled.toml");
    let unit = fs::read_to_string(installed.join("usr/lib/systemd/system/steled.service"))?;
    ensure!(unit.contains("ExecStart=/usr/local/bin/steled serve"), "{unit}");
    // The installed program finds the installed plugin, and takes the installed configuration.
    let mut command = std::process::Command::new(installed.join("usr/local/bin/steled"));
    let output = command.args(["plugins", "--config"]).arg(&config).env_clear().output()?;
    let listed = String::from_utf8(output.stdout)?;
    for plugin in ["wecom ", "gateway ", "wukongim ", "openim "] {
        ensure!(listed.lines().any(|line| line.starts_with(plugin)), "{listed}");
    }

    fs::write(&config, "data_dir = \"mine\"\n")?;
    ensure!(make(&install)?.status.success());
    ensure!(fs::read_to_string(&config)? == "data_dir = \"mine\"\n", "an operator's configuration is theirs");
    Ok(())
}

#[test]
fn make_alone_builds_and_ends() -> Result<()> {
    let said = String::from_utf8(make(&["-n".to_owned()])?.stdout)?;
    ensure!(said.contains("build --release") && !said.contains("steled demo"), "{said}");
    Ok(())
}

/// Who has to find something in the archive sees where it stands, without reading the whole text.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_over_the_archive_shows_the_place() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(10), upstream.path())?;
    let long = format!("{}合同编号ABC在此{}", "前".repeat(300), "后".repeat(300));
    let msgid = folder.add(&Draft::text("staff123", "customer456", &long))?;
    folder.add(&Draft::text("staff123", "customer456", "与合同无关"))?;
    let site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    let _daemon = site.start().await?;
    site.sync().await?;
    let reply = site.admin("/api/v1/archive/search?q=%E7%BC%96%E5%8F%B7abc").await?;
    ensure!(reply["total"] == 1 && reply["rows"][0]["text"] == long.as_str(), "{reply}");
    ensure!(reply["rows"][0]["native_id"].as_str().is_some_and(|id| id.contains(&msgid)), "{reply}");
    let snippet = &reply["rows"][0]["snippet"];
    let piece = snippet["text"].as_str().unwrap_or_default();
    let range = |end: usize| usize::try_from(snippet["highlights"][0][end].as_u64().unwrap_or_default());
    ensure!(piece.get(range(0)?..range(1)?) == Some("编号ABC"), "{snippet}");
    ensure!(piece.chars().count() <= 122 && piece.starts_with('…') && piece.ends_with('…'), "{snippet}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_refuses_the_daemon_is_told_without_what_it_was_shown() -> Result<()> {
    let nats = match Nats::start_with(&free_address()?, "authorization { token: the-right-one }") {
        Ok(nats) => nats,
        Err(error) => {
            skip("a bus that refuses the daemon", &format!("{error:#}"));
            return Ok(());
        }
    };
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let site = Site::new(|dir| {
        let sections = format!("[cluster]\nnats = [\"{}\"]\nnats_token = \"another-one\"\n", nats.url());
        Ok(Settings { sections, ..Settings::of(&folder, dir, "", "") })
    })?;
    let daemon = site.start().await?;
    let findings = wait_for("a finding", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        let found = ready["findings"].to_string();
        if found.contains("authorization violation") { Ok(found) } else { Err(found) }
    })
    .await?;
    ensure!(findings.contains("NATS cannot be used: "), "{findings}");
    ensure!(site.sync().await?.stored == 5, "it works without");
    let log = site.log();
    let told = log.lines().filter(|line| line.contains("noticed late") && line.contains("authorization violation"));
    ensure!(told.count() == 1, "told once: {log}");
    ensure!(!log.contains("another-one") && !findings.contains("another-one"), "{findings}\n{log}");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_proves_that_nothing_was_changed() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::generate(&CorpSpec::recent(120), upstream.path())?;
    let site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?.backed_by(Backing::default())?;
    let daemon = site.start().await?;
    site.sync().await?;
    let verify = async |arguments: &[&str]| -> Result<(bool, String)> {
        let Output { status, stdout, stderr } = site.command(&[&["verify"], arguments].concat())?.output().await?;
        Ok((status.success(), String::from_utf8(stdout)? + &String::from_utf8(stderr)?))
    };
    // Beside the daemon.
    let (proved, told) = verify(&[]).await?;
    ensure!(proved && told.contains(" 120 messages: all as they were written"), "{told}");
    let head = told.lines().find_map(|line| line.strip_prefix("head ")).unwrap_or_default().to_owned();
    folder.add(&Draft::text("staff123", "customer456", "后来的一条"))?;
    site.sync().await?;
    let (proved, told) = verify(&["--kept", &head]).await?;
    ensure!(proved && told.contains(" 121 messages") && !told.contains(&head), "{told}");
    let (proved, told) = verify(&["--kept", &"0".repeat(64)]).await?;
    ensure!(!proved && told.contains("no page leads to the head that was kept"), "{told}");
    ensure!(daemon.stop().await?.success());

    let file = site.settings.data_dir.join("archive.db");
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await?;
    sqlx::query("UPDATE message SET body = x'7b7d' WHERE id = (SELECT max(id) FROM message)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let (proved, told) = verify(&[]).await?;
    ensure!(!proved && told.contains("does not match its hash"), "{told}");
    Ok(())
}
