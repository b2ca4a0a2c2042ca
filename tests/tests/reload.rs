//! A reload, seen by those who call: none is refused, and no request fails.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use stele_tests::{
    client::{Style, sign, signed_path},
    corp::{CorpFolder, CorpSpec},
    daemon::{Daemon, PATIENCE, Site, wait_for},
    places,
    settings::{API_KEY, Settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a new configuration is told apart by.
const ZONES: [&str; 4] = ["Asia/Shanghai", "UTC", "Europe/Berlin", "America/Lima"];

/// Asks over connections of its own, one after the other, until it is told to stop; how many were answered well.
async fn ask(address: String, stop: Arc<AtomicBool>, asked: Arc<AtomicUsize>) -> Result<()> {
    let path = signed_path(
        "sessions",
        &[("ext_staff_id", "staff123"), ("session_type", "external"), ("ext_corp_id", "corp123")],
        API_KEY,
        Style::Raw,
    );
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    while !stop.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(&address).await.context("a connection was refused")?;
        stream.write_all(request.as_bytes()).await?;
        answered(&mut stream, "200").await?;
        asked.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn answered(stream: &mut TcpStream, status: &str) -> Result<()> {
    let mut text = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.context("no answer")??;
    let text = String::from_utf8_lossy(&text);
    ensure!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    Ok(())
}

/// A request whose end has not come yet.
async fn begin(site: &Site) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(&site.settings.listen).await?;
    let head =
        "POST /api/v1/chat-msg/sync HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{{", body().len()).as_bytes()).await?;
    Ok(stream)
}

async fn finish(mut stream: TcpStream) -> Result<()> {
    stream.write_all(&body().as_bytes()[1..]).await?;
    answered(&mut stream, "200").await
}

fn body() -> String {
    let signature = sign(&[("ext_corp_id", "corp123")], API_KEY, Style::Raw);
    format!(r#"{{"ext_corp_id":"corp123","signature":"{signature}"}}"#)
}

/// Reads the configuration again, and waits until that is done.
async fn reload(site: &Site, daemon: &Daemon) -> Result<()> {
    let count = || site.log().matches("configuration read again").count();
    let before = count();
    fs::write(site.config_file(), site.settings.toml())?;
    daemon.reload()?;
    wait_for("reload", || async { if count() > before { Ok(()) } else { Err(site.log_tail()) } }).await
}

async fn logged_since(site: &Site, start: usize, words: &str) -> Result<()> {
    wait_for(words, || async { if site.log()[start..].contains(words) { Ok(()) } else { Err(site.log_tail()) } }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_and_nothing_fails() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(200), upstream.path())?;
    let mut site = Site::new(|dir| {
        let plugins = dir.join("plugins");
        fs::create_dir(&plugins)?;
        fs::copy(places::plugin("wecom")?, plugins.join("libstele_wecom.so"))?;
        let mut settings = Settings::of(&folder, dir, "", "");
        settings.sections = format!("[plugins]\ndirs = [{:?}]\n", plugins.display().to_string());
        settings.instance = "rate_limit = 0".into();
        // A run every second: some go on while the plugin is replaced.
        settings.sync_cron = Some("* * * * * *".into());
        Ok(settings)
    })?;
    let daemon = site.start().await?;
    site.sync().await?;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> =
        (0..3).map(|_| tokio::spawn(ask(site.settings.listen.clone(), stop.clone(), asked.clone()))).collect();

    for zone in ZONES {
        let (held, plugins, before) = (begin(&site).await?, daemon.children(), asked.load(Ordering::Relaxed));
        site.settings.config = format!("time_zone = \"{zone}\"");
        reload(&site, &daemon).await?;
        ensure!(daemon.children() != plugins, "the plugin has the new configuration");
        wait_for("answers of the new plugin", || async {
            if asked.load(Ordering::Relaxed) > before + 10 || callers.iter().any(|caller| caller.is_finished()) {
                Ok(())
            } else {
                Err("too few".into())
            }
        })
        .await?;
        finish(held).await.context("a request that was half sent before the reload")?;
    }

    // What only a start takes is told at every reload until there is one.
    site.settings.sections.push_str("[jobs]\nconcurrency = 3\n");
    for _ in 0..2 {
        let log = site.log().len();
        reload(&site, &daemon).await?;
        logged_since(&site, log, "changes of these sections need a restart").await?;
    }

    // A new file of the plugin is a change, too; the same one is none.
    let log = site.log().len();
    reload(&site, &daemon).await?;
    ensure!(!site.log()[log..].contains("plugin is replaced"), "{}", site.log_tail());
    let file = site.dir.path().join("plugins/libstele_wecom.so");
    let draft = file.with_extension("draft");
    fs::copy(&file, &draft)?;
    fs::rename(&draft, &file)?;
    let held = begin(&site).await?;
    reload(&site, &daemon).await?;
    ensure!(site.log()[log..].contains("plugin is replaced"), "{}", site.log_tail());
    finish(held).await?;

    // One that does not start costs nothing, and is told.
    fs::write(&draft, "no plugin")?;
    fs::rename(&draft, &file)?;
    let plugins = daemon.children();
    reload(&site, &daemon).await?;
    ensure!(plugins.iter().any(|pid| daemon.children().contains(pid)), "the old one goes on");
    let ready = site.admin("/ready").await?;
    let finding = ready["findings"][0].as_str().unwrap_or_default();
    ensure!(ready["status"] == "degraded" && finding.contains("it goes on as before the reload"), "{ready}");

    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    site.settings.sync_cron = None;
    fs::copy(places::plugin("wecom")?, &draft)?;
    fs::rename(&draft, &file)?;
    reload(&site, &daemon).await?;
    site.sync().await?;
    ensure!(site.stat("messages").await? + site.stat("parked").await? == 200);
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// One request, over a connection of its own.
async fn ask_once(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.context("a connection was refused")?;
    stream.write_all(b"GET /api/v1/chat-msg/sessions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    answered(&mut stream, "200").await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_served_as_configured_is_served_as_before() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(5), upstream.path())?;
    let mut site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    let daemon = site.start().await?;
    let before = site.settings.listen.clone();
    ask_once(&before).await?;

    site.settings.instance = "tls = { cert = \"/nowhere/cert.pem\", key = \"/nowhere/key.pem\" }".into();
    reload(&site, &daemon).await?;
    ask_once(&before).await?;
    still_served(&site, "/nowhere/cert.pem", &before).await?;

    // Another one, while the one of before is still not served: the place is handed on.
    let occupied = std::net::TcpListener::bind("127.0.0.1:0")?;
    site.settings.instance.clear();
    site.settings.listen = occupied.local_addr()?.to_string();
    reload(&site, &daemon).await?;
    ask_once(&before).await?;
    still_served(&site, "cannot be bound", &before).await?;
    site.sync().await?;

    drop(occupied);
    let now = site.settings.listen.clone();
    wait_for("answers at the new address", || async { ask_once(&now).await.map_err(|error| error.to_string()) })
        .await?;
    wait_for("the end of the old address", || async {
        match ask_once(&before).await {
            Ok(()) => Err("it answers".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await?;
    wait_for("readiness", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        if ready["status"] == "ready" { Ok(()) } else { Err(ready.to_string()) }
    })
    .await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}

async fn still_served(site: &Site, problem: &str, address: &str) -> Result<()> {
    let findings = site.admin("/ready").await?["findings"].to_string();
    let served = format!("it is still served at {address}");
    ensure!(findings.contains(problem) && findings.contains(&served), "{findings}");
    Ok(())
}
