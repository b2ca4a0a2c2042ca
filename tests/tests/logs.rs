//! No secret and no word of a message in anything the daemon writes: logs, errors, commands, its own API.

use anyhow::{Result, ensure};
use std::fs;
use stele_tests::{
    corp::{CorpFolder, CorpSpec, Draft},
    daemon::Site,
    report::Report,
    settings::Settings,
    standin::{DirectoryStandin, Reply},
};

/// Secrets that are looked for in everything afterwards. None is part of another.
const API_KEY: &str = "marker-api-key-1f0c";
const ARCHIVE_SECRET: &str = "marker-archive-secret-2e1d";
const APP_SECRET: &str = "marker-app-secret-3d2e";
const PROXY_PASSWORD: &str = "marker-user:marker-proxy-password-4c3f";
const ADMIN_KEY: &str = "marker-admin-key-5b40";
const LINK_KEY: &str = "marker-link-key-6a51";
/// What people write is nobody's business but theirs.
const WORDS: &str = "只有收件人才该看到的话";

/// Everything that must not be found, with its name.
fn secrets(folder: &CorpFolder) -> Result<Vec<(String, String)>> {
    let mut secrets: Vec<(String, String)> = [
        ("the API key", API_KEY),
        ("the archive secret", ARCHIVE_SECRET),
        ("the app secret", APP_SECRET),
        ("the proxy password", "marker-proxy-password-4c3f"),
        ("the admin key", ADMIN_KEY),
        ("the link key", LINK_KEY),
        ("a message", WORDS),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .to_vec();
    // A line out of the middle of each private key.
    for version in stele_tests::corp::KEY_VERSIONS {
        let pem = fs::read_to_string(folder.key_file(version))?;
        secrets.push((format!("private key {version}"), pem.lines().nth(10).unwrap_or_default().to_owned()));
    }
    Ok(secrets)
}

fn clean(what: &str, text: &str, secrets: &[(String, String)]) -> Result<()> {
    for (name, secret) in secrets {
        ensure!(!secret.is_empty(), "{name} is empty: the search would prove nothing");
        if let Some(line) = text.lines().find(|line| line.contains(secret.as_str())) {
            anyhow::bail!("{name} is in {what}: {line}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_the_daemon() -> Result<()> {
    for format in ["text", "json"] {
        let spec =
            CorpSpec { archive_secret: ARCHIVE_SECRET.into(), app_secret: APP_SECRET.into(), ..CorpSpec::recent(120) };
        let upstream = tempfile::tempdir()?;
        let mut folder = CorpFolder::generate(&spec, upstream.path())?;
        folder.add(&Draft::text("staff123", "customer456", WORDS))?;
        let directory = DirectoryStandin::start(vec![folder.directory.clone()]).await?;
        let mut site = Site::new(|dir| {
            let mut settings = Settings::of(&folder, dir, "", "");
            settings.api_keys = format!(r#"[{{ key = "{API_KEY}" }}]"#);
            settings.api_base = Some(directory.api_base());
            settings.config = format!("proxy_password = \"{PROXY_PASSWORD}\"\ntimeout_seconds = 1");
            settings.sections = format!(
                "[log]\nlevel = \"trace\"\nformat = \"{format}\"\n[media]\nlink_key = \"{LINK_KEY}\"\n\
                 [jobs]\nretry_min_seconds = 1\nretry_max_seconds = 1\n"
            );
            Ok(settings)
        })?;
        let secrets = secrets(&folder)?;
        let mut report = Report::default();
        let mut written = Vec::new();

        // A life with all kinds of trouble.
        let daemon = site.start().await?;
        let client = site.client_with(API_KEY);
        folder.set_faults(&[
            "token body {\"errcode\":40001,\"errmsg\":\"invalid credential\"} times 2",
            "stdout noise",
        ])?;
        site.run_job("sync").await?;
        folder.set_faults(&[
            "chat invalid times 1",
            "decrypt return 10008 match 产品介绍",
            "media return 10001 times 3",
        ])?;
        site.run_job("sync").await?;
        for reply in
            [Reply::Errcode(40_001), Reply::Errcode(42_001), Reply::Status(502), Reply::Truncated, Reply::Close]
        {
            directory.script.push("/cgi-bin/user/get", reply.clone(), 1);
            directory.script.push("/cgi-bin/gettoken", reply, 1);
            site.run_job("directory").await?;
        }
        folder.set_faults(&["decrypt abort times 1"])?;
        folder.add(&Draft::text("customer456", "staff123", WORDS))?;
        site.run_job("sync").await?;
        let (staff, corp) = (("ext_staff_id", "staff123"), ("ext_corp_id", "corp123"));
        for (endpoint, params) in [
            ("sessions", &[staff, ("session_type", "external"), corp][..]),
            ("session-msgs", &[staff, ("receiver_id", "customer456"), corp]),
            ("search", &[("keyword", WORDS), staff, ("ext_peer_id", "customer456"), corp]),
            ("search", &[("keyword", WORDS), staff, corp]),
        ] {
            client.get(endpoint, params).await?;
            written.push(("a refusal", site.client_with("wrong").get(endpoint, params).await?.text));
            written.push(("a refusal", client.get(endpoint, &[params, &[("page", "x")]].concat()).await?.text));
        }
        for path in ["/ready", "/api/v1/jobs", "/api/v1/instances", "/api/v1/plugins", "/api/v1/archive/stats"] {
            written.push(("the daemon's own API", site.admin(path).await?.to_string()));
        }
        let metrics = format!("http://{}/metrics", site.settings.admin);
        written.push(("the metrics", stele_tests::client::http().get(metrics).send().await?.text().await?));
        daemon.stop().await?;

        // Commands, on a good and on a bad configuration.
        let mut commands = Vec::new();
        commands.push(site.command(&["check"])?.output().await?);
        commands.push(site.command(&["plugins"])?.output().await?);
        site.settings
            .sections
            .push_str(&format!("[admin]\napi_keys = [\"{ADMIN_KEY}\"]\nno_such_key = \"{ADMIN_KEY}\"\n"));
        site.settings.config.push_str(&format!("\ntime_zone = \"Nowhere\"\ncalls_per_minute = \"{APP_SECRET}\""));
        commands.push(site.command(&["check"])?.output().await?);
        commands.push(site.command(&["serve"])?.output().await?);
        for output in commands {
            written.push(("a command's output", String::from_utf8_lossy(&output.stdout).into_owned()));
            written.push(("a command's errors", String::from_utf8_lossy(&output.stderr).into_owned()));
        }

        let log = site.log();
        report.add(
            "the log says something",
            if log.lines().count() > 20 { Ok(()) } else { Err(anyhow::anyhow!("{log}")) },
        );
        report.add("the log", clean("the log", &log, &secrets));
        for (what, text) in &written {
            report.add(what, clean(what, text, &secrets));
        }
        report.finish("");
    }
    Ok(())
}
