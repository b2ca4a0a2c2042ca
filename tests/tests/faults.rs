//! Everything an upstream can do wrong: nothing is lost, nothing comes twice, nothing stops for good, and each fault can be
//! read in the history of the jobs.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::BTreeSet;
use stele_tests::{
    corp::{CorpFolder, CorpSpec, Draft, KEY_VERSIONS, KeyPair, Story},
    daemon::{Daemon, Site, wait_for},
    report::Report,
    runs::Run,
    settings::Settings,
};

/// A site in front of this corp, with short pauses and deadlines.
fn site(folder: &CorpFolder) -> Result<Site> {
    Site::new(|dir| {
        let mut settings = Settings::of(folder, dir, "", "");
        settings.sections = "[jobs]\nretry_min_seconds = 1\nretry_max_seconds = 2\npage_timeout_seconds = 20\n".into();
        settings.instance = "rate_limit = 0".into();
        settings.config = "timeout_seconds = 1\npage_limit = 20".into();
        Ok(settings)
    })
}

/// The msgids of a conversation, ordered by id.
async fn conversation(site: &Site, staff: &str, peer: &str) -> Result<Vec<String>> {
    let params = [
        ("ext_staff_id", staff),
        ("receiver_id", peer),
        ("ext_corp_id", "corp123"),
        ("sort_field", "id"),
        ("sort_type", "asc"),
    ];
    let rows = site.client().all("session-msgs", &params).await?;
    Ok(rows.iter().filter_map(|row| Some(row["msgid"].as_str()?.to_owned())).collect())
}

/// What a fault shows in the history of the sync.
#[derive(Clone, Copy)]
enum Shows {
    /// Nothing: it is none to whoever reads carefully.
    Nothing,
    /// An attempt that was tried again, or a failed run; its text contains this.
    Trouble(&'static str),
}
use Shows::{Nothing, Trouble};

/// Rules of the stub, and what they show. Each is in force while new messages arrive.
const FAULTS: &[(&str, Shows)] = &[
    ("chat return 10001 times 2", Trouble("10001")),
    ("chat return 10002 times 1", Trouble("10002")),
    ("chat return 10003 times 1", Trouble("10003")),
    ("chat return 10001 times 9", Trouble("10001")),
    ("chat return 4711 times 1", Trouble("4711")),
    ("chat truncate times 1", Trouble("")),
    ("chat invalid times 1", Trouble("")),
    ("chat empty times 1", Trouble("")),
    // No list at all is an empty one; what it hid comes with the next run.
    ("chat body {\"errcode\":0,\"errmsg\":\"ok\"} times 1", Nothing),
    ("chat body {\"errcode\":0,\"chatdata\":\"none\"} times 1", Trouble("")),
    ("chat body [] times 1", Trouble("")),
    ("chat body {\"errcode\":45009,\"errmsg\":\"api freq out of limit\"} times 1", Trouble("45009")),
    ("chat body {\"errcode\":45033,\"errmsg\":\"concurrency\"} times 1", Trouble("45033")),
    (
        "chat body {\"errcode\":301042,\"errmsg\":\"not allow to access from your ip, from ip: 203.0.113.7\"} times 1",
        Trouble("203.0.113.7"),
    ),
    ("chat body {\"errcode\":301052,\"errmsg\":\"expired\"} times 1", Trouble("301052")),
    ("chat body {\"errcode\":-1,\"errmsg\":\"system busy\"} times 1", Trouble("-1")),
    ("chat duplicate", Nothing),
    ("chat shuffle", Nothing),
    ("chat overlap", Trouble("repeated-page")),
    ("chat delay 400 times 2", Nothing),
    ("stdout noise", Nothing),
    ("chat hang times 1", Trouble("")),
    ("decrypt hang times 1", Trouble("")),
];

#[tokio::test(flavor = "multi_thread")]
async fn upstream_faults_lose_nothing() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(600), upstream.path())?;
    let site = site(&folder)?;
    let _daemon = site.start().await?;
    let mut written = Vec::new();
    let mut report = Report::default();
    for (rule, shows) in FAULTS {
        folder.set_faults(&[rule])?;
        for index in 0..45 {
            let text = format!("在“{rule}”的时候写的第{index}条");
            written.push(folder.add(&Draft::text("staff123", "customer456", &text))?);
        }
        report.check(rule, fault(&site, &folder, &written, *shows)).await;
    }
    folder.set_faults(&[])?;
    report
        .check("a token that was taken back", async {
            folder.expire_tokens()?;
            written.push(folder.add(&Draft::text("staff123", "customer456", "令牌过期以后"))?);
            site.sync().await?;
            ensure!(
                conversation(&site, "staff123", "customer456").await? == written,
                "not everything arrived in order"
            );
            Ok(())
        })
        .await;
    report
        .check("a page that is too large", async {
            // WeCom answers 301058 until fewer are asked for; the stub does so three times.
            folder.set_faults(&["chat body {\"errcode\":301058,\"errmsg\":\"too large\"} times 3"])?;
            folder.record_calls()?;
            written.push(folder.add(&Draft::text("staff123", "customer456", "太大了"))?);
            site.sync().await?;
            let calls = folder.calls()?;
            let limits: Vec<&str> =
                calls.iter().filter_map(|call| call.split("limit=").nth(1)?.split(' ').next()).collect();
            let limits: Vec<u32> = limits.into_iter().map(str::parse).collect::<Result<_, _>>()?;
            ensure!(limits.iter().any(|limit| *limit < limits[0]), "the limit stays: {limits:?}");
            ensure!(
                conversation(&site, "staff123", "customer456").await? == written,
                "not everything arrived in order"
            );
            Ok(())
        })
        .await;
    report.finish(&site.log_tail());
    Ok(())
}

/// Runs the sync under a fault, then without it; everything has to be there.
async fn fault(site: &Site, folder: &CorpFolder, written: &[String], shows: Shows) -> Result<()> {
    let before = site.runs("sync").await?.first().map_or(0, |run| run.id);
    site.run_job("sync").await?;
    folder.set_faults(&[])?;
    wait_for("the messages", || async {
        let look = async {
            let count = site.stat("messages").await?;
            if count < written.len() as u64 {
                site.run_job("sync").await?;
            }
            anyhow::Ok(count)
        };
        match look.await {
            Ok(count) if count >= written.len() as u64 => Ok(()),
            seen => Err(format!("{seen:?} of {}", written.len())),
        }
    })
    .await?;
    let found = conversation(site, "staff123", "customer456").await?;
    ensure!(found == written, "{} messages, {} written; in order: {}", found.len(), written.len(), found.is_sorted());
    ensure!(site.stat("parked").await? == 0, "nothing waits for a key");
    let runs: Vec<Run> = site.runs("sync").await?.into_iter().filter(|run| run.id > before).collect();
    let told: Vec<String> = runs.iter().map(Run::complaints).filter(|text| !text.is_empty()).collect();
    match shows {
        Trouble(word) => {
            ensure!(told.iter().any(|text| text.contains(word)), "the history does not tell {word:?}: {runs:?}")
        }
        Nothing => ensure!(told.is_empty(), "the history complains: {told:?}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_parks_and_a_late_one_recovers_in_place() -> Result<()> {
    let spec = CorpSpec::recent(400);
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&spec, upstream.path())?;
    let entries: Vec<_> = Story::new(&spec).collect();
    let old = entries.iter().filter(|entry| entry.key_version == KEY_VERSIONS[0]).count() as u64;
    let mut site = site(&folder)?;
    let keys = site.settings.corps[0].private_keys.clone();
    let mut report = Report::default();

    // The key of version 1 is not configured.
    site.settings.corps[0].private_keys = keys[1..].to_vec();
    let daemon = site.start().await?;
    let run = site.sync().await?;
    report.add("the first run", parked(&run, old, entries.len() as u64 - old));
    report
        .check("the first run's words", async {
            ensure!(run.complaints().contains("no private key of version 1"), "the history does not say why: {run:?}");
            Ok(())
        })
        .await;
    daemon.stop().await?;

    // Then one of another pair is configured under that version: no better.
    let other = upstream.path().join("other.pem");
    std::fs::write(&other, KeyPair::generate(KEY_VERSIONS[0])?.pkcs8_pem())?;
    site.settings.corps[0].private_keys = vec![(KEY_VERSIONS[0], other), keys[1].clone()];
    let daemon = site.start().await?;
    let run = site.run_job("recover").await?;
    report.add("with a wrong key", parked(&run, old, 0));
    report
        .check("with a wrong key", async {
            ensure!(site.stat("parked").await? == old, "{} parked", site.stat("parked").await?);
            Ok(())
        })
        .await;
    daemon.stop().await?;

    // Then the right one.
    site.settings.corps[0].private_keys = keys;
    let daemon = site.start().await?;
    wait_for("recovery", || async {
        match site.stat("parked").await {
            Ok(0) => Ok(()),
            seen => Err(format!("{seen:?} parked")),
        }
    })
    .await?;
    report
        .check("everything is there", async {
            let count = site.stat("messages").await?;
            ensure!(count == entries.len() as u64, "{count} of {}", entries.len());
            Ok(())
        })
        .await;
    report.check("in place", in_place(&site, &entries)).await;
    report.finish(&site.log_tail());
    drop(daemon);
    Ok(())
}

fn parked(run: &Run, parked: u64, stored: u64) -> Result<()> {
    ensure!(run.outcome == "succeeded", "{run:?}");
    ensure!(run.parked == parked && run.stored == stored, "parked {parked} and stored {stored} expected: {run:?}");
    Ok(())
}

/// Messages that were parked stand where they would have stood, and are found.
async fn in_place(site: &Site, entries: &[stele_tests::corp::Entry]) -> Result<()> {
    let people = ["staff123", "customer456"];
    let pair = |entry: &&stele_tests::corp::Entry| {
        entry.room.is_empty()
            && entry.to.iter().chain([&entry.from]).all(|id| people.contains(&id.as_str()))
            && !entry.to.is_empty()
    };
    let expected: Vec<_> = entries.iter().filter(pair).map(|entry| entry.msgid.clone()).collect();
    let found = conversation(site, "staff123", "customer456").await?;
    ensure!(found == expected, "found {found:?}\nexpected {expected:?}");
    for entry in entries.iter().filter(pair).filter(|entry| entry.key_version == KEY_VERSIONS[0]) {
        for text in &entry.find {
            let keyword: String = text.chars().take(12).collect();
            let params = [
                ("keyword", keyword.as_str()),
                ("ext_staff_id", "staff123"),
                ("ext_peer_id", "customer456"),
                ("ext_corp_id", "corp123"),
            ];
            let rows = site.client().all("search", &params).await?;
            ensure!(
                rows.iter().any(|row| row["msgid"] == entry.msgid.as_str()),
                "{keyword:?} does not find {}",
                entry.msgid
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_envelopes_stop_nothing() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    let mut written = Vec::new();
    let mut add = |folder: &mut CorpFolder, text: &str| -> Result<()> {
        written.push(folder.add(&Draft::text("staff123", "customer456", text))?);
        Ok(())
    };
    add(&mut folder, "第一条")?;
    // Envelopes whose parts are broken in every way, under numbers of their own.
    let wrapped = folder.keys()[1].wrap("a key that fits nothing, as long as it may be")?;
    let good = folder.keys()[1].wrap(&"k".repeat(88))?;
    let broken = [
        (wrapped.as_str(), "QUJDREVGR0hJSktMTU5PUFFSU1RVVg=="),
        (good.as_str(), "short"),
        (good.as_str(), ""),
        ("not base64!", "QUJDREVGR0hJSktMTU5PUFFSU1RVVg=="),
        ("", "QUJDREVGR0hJSktMTU5PUFFSU1RVVg=="),
        ("QUJD", "QUJDREVGR0hJSktMTU5PUFFSU1RVVg=="),
    ];
    let malformed = [
        json!({ "seq": 1, "msgid": "odd_key", "publickey_ver": 2, "encrypt_random_key": null, "encrypt_chat_msg": "" }),
        json!({ "seq": 1, "msgid": "odd_version", "publickey_ver": "2", "encrypt_random_key": good, "encrypt_chat_msg": "" }),
        json!({ "seq": 1, "msgid": null }),
    ];
    let parked = (broken.len() + malformed.len()) as u64;
    for line in &malformed {
        folder.add_line_as_next(line)?;
        add(&mut folder, "坏的之后")?;
    }
    for (index, (key, message)) in broken.iter().enumerate() {
        // Numbers between those of good messages: the folder counts on from its own last one.
        let line = json!({
            "seq": 1, "msgid": format!("broken{index}_external"), "publickey_ver": 2, "encrypt_random_key": key,
            "encrypt_chat_msg": message,
        });
        folder.add_line_as_next(&line)?;
        add(&mut folder, &format!("第{index}条坏的之后"))?;
    }
    // Plaintext that is no JSON, or JSON of another shape.
    let odd: [(&str, &[u8]); 4] = [
        ("odd0", b"no json at all"),
        ("odd1", b"[1,2,3]"),
        ("odd2", b"{}"),
        ("odd3", b"{\"msgid\":\"odd3\",\"msgtype\":7}"),
    ];
    for (msgid, plaintext) in odd {
        folder.add_raw(msgid, 2, plaintext)?;
    }
    add(&mut folder, "最后一条")?;
    let site = site(&folder)?;
    let _daemon = site.start().await?;
    let run = site.sync().await?;
    let kept = site.stat("messages").await? + site.stat("parked").await?;
    ensure!(kept == written.len() as u64 + parked + odd.len() as u64, "{kept} kept: {run:?}");
    ensure!(site.stat("parked").await? >= parked, "{} parked", site.stat("parked").await?);
    let found = conversation(&site, "staff123", "customer456").await?;
    ensure!(found == written, "found {found:?}\nexpected {written:?}");
    ensure!(site.sync().await?.stored == 0, "a second run brings nothing new");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_inside_the_library_costs_one_restart() -> Result<()> {
    for death in ["abort", "segv"] {
        let spec = CorpSpec::recent(200);
        let upstream = tempfile::tempdir()?;
        let folder = CorpFolder::generate(&spec, upstream.path())?;
        folder.set_faults(&[&format!("decrypt {death} match 产品介绍 times 1")])?;
        let site = site(&folder)?;
        let _daemon = site.start().await?;
        site.run_job("sync").await?;
        wait_for("all messages", || async {
            match site.stat("messages").await {
                Ok(200) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
        .with_context(|| site.log_tail())?;
        let instances = site.admin("/api/v1/instances").await?;
        ensure!(instances["instances"][0]["restarts"] == 1, "{death}: {instances}");
        ensure!(instances["instances"][0]["state"] == "running", "{death}: {instances}");
        ensure!(site.stat("parked").await? == 0, "{death}: something was parked");
        let told = site.runs("sync").await?.iter().map(Run::complaints).collect::<String>();
        ensure!(!told.is_empty(), "{death}: the history does not tell of it");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_the_library_always_dies_of_is_parked_alone() -> Result<()> {
    parked_alone("decrypt abort match 致命", "SIGABRT").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_the_library_always_hangs_on_is_parked_alone() -> Result<()> {
    parked_alone("decrypt hang match 致命", "has not returned for 10 s").await
}

/// One message is fatal to the library: everything else is archived, and the history says what happened.
async fn parked_alone(fault: &str, words: &str) -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    let mut written = Vec::new();
    let mut deadly = String::new();
    for index in 0..70 {
        let text = if index == 33 { "致命的一条".to_owned() } else { format!("第{index}条") };
        let msgid = folder.add(&Draft::text("staff123", "customer456", &text))?;
        if index == 33 { deadly = msgid } else { written.push(msgid) }
    }
    folder.set_faults(&[fault])?;
    let site = site(&folder)?;
    let _daemon = site.start().await?;
    wait_for("all but one", || async {
        let seen = async { Ok::<_, anyhow::Error>((site.stat("messages").await?, site.stat("parked").await?)) };
        match seen.await {
            Ok((69, 1)) => Ok(()),
            seen => {
                let _ = site.run_job("sync").await;
                Err(format!("{seen:?}"))
            }
        }
    })
    .await
    .with_context(|| site.log_tail())?;
    // One death told of the page, the next of the envelope; then it is known.
    let restarts = async || Ok::<_, anyhow::Error>(site.admin("/api/v1/instances").await?["instances"][0].clone());
    let instance = restarts().await?;
    ensure!(instance["restarts"] == 2 && instance["state"] == "running", "{instance}");
    let told = site.runs("sync").await?.iter().map(Run::complaints).collect::<String>();
    ensure!(told.contains(words), "the history does not tell of it: {told}");
    // What is parked is tried again now and then, but not what kills.
    let run = site.run_job("recover").await?;
    ensure!(run.outcome == "succeeded", "{run:?}");
    folder.add(&Draft::text("staff123", "customer456", "之后")).map(|msgid| written.push(msgid))?;
    site.sync().await?;
    let instance = restarts().await?;
    ensure!(instance["restarts"] == 2 && site.stat("parked").await? == 1, "{instance}");
    let found = conversation(&site, "staff123", "customer456").await?;
    ensure!(found == written && !found.contains(&deadly), "found {found:?}\nexpected {written:?}");
    let reason = site.log();
    ensure!(reason.contains("vendor library crashed"), "nobody says why it is parked: {}", site.log_tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_never_return_cost_a_few_threads_and_a_restart() -> Result<()> {
    /// Threads beyond those at rest: calls given up, calls under way, and threads between two calls.
    const MORE: usize = 4 + 5 + 4;
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    folder.set_faults(&["media hang"])?;
    for index in 0..8 {
        let fileid = format!("{index}.pdf");
        let file = folder.add_media(&fileid, "pdf", &[b'a' + index; 1000])?;
        let body = json!({ "file": {
            "md5sum": file.md5, "filename": fileid, "fileext": "pdf", "filesize": file.size, "sdkfileid": file.sdkfileid,
        }});
        let draft = Draft { msgtype: "file".into(), fields: body, ..Draft::text("staff123", "customer456", "") };
        folder.add(&draft)?;
    }
    let site = site(&folder)?;
    let daemon = site.start().await?;
    ensure!(site.sync().await?.stored == 8, "files hold no message up");
    let at_rest = threads(&daemon);
    folder.set_faults(&["media hang", "chat hang"])?;
    let most = std::sync::atomic::AtomicUsize::new(0);
    wait_for("a restart", || async {
        most.fetch_max(threads(&daemon), std::sync::atomic::Ordering::Relaxed);
        let instance =
            site.admin("/api/v1/instances").await.map_err(|error| error.to_string())?["instances"][0].clone();
        if instance["restarts"] == 1 && instance["state"] == "running" { Ok(()) } else { Err(instance.to_string()) }
    })
    .await
    .with_context(|| site.log_tail())?;
    let most = most.into_inner();
    ensure!(most <= at_rest + MORE, "{most} threads, {at_rest} at rest");
    ensure!(site.log().contains("has not returned from 4 calls for 7 s; its process ends"), "{}", site.log_tail());
    folder.set_faults(&[])?;
    site.media_done().await?;
    ensure!(site.media("stored").await? == 8, "{} files", site.media("stored").await?);
    Ok(())
}

/// Threads of the plugin.
fn threads(daemon: &Daemon) -> usize {
    daemon.children().iter().filter_map(|pid| Some(std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_stop_nothing() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    let content = |fill: u8, size: usize| [b"%PDF-1.4\n".to_vec(), vec![fill; size]].concat();
    let files = ["good", "expired", "corrupt", "cut", "slow", "wrongsum", "nosum", "undecodable"];
    let mut msgids = Vec::new();
    for (index, name) in files.iter().enumerate() {
        let fileid = format!("{name}.pdf");
        let file = folder.add_media(&fileid, "pdf", &content(b'a' + u8::try_from(index)?, 700_000))?;
        let md5 = match *name {
            "wrongsum" => "0123456789abcdef0123456789abcdef".to_owned(),
            "nosum" => String::new(),
            _ => file.md5.clone(),
        };
        let id = if *name == "undecodable" { "!!!".to_owned() } else { file.sdkfileid.clone() };
        let body = json!({ "file": {
            "md5sum": md5, "filename": fileid, "fileext": "pdf", "filesize": file.size, "sdkfileid": id,
        }});
        let draft = Draft { msgtype: "file".into(), fields: body, ..Draft::text("staff123", "customer456", "") };
        msgids.push(folder.add(&draft)?);
    }
    folder.set_faults(&[
        "media return 10010 match expired",
        "media corrupt match corrupt times 1",
        "media truncate match cut times 1",
        "media return 10001 match slow times 3",
    ])?;
    let site = site(&folder)?;
    let _daemon = site.start().await?;
    let run = site.sync().await?;
    ensure!(run.stored == files.len() as u64, "messages do not wait for files: {run:?}");
    site.media_done().await?;
    let params = [("ext_staff_id", "staff123"), ("receiver_id", "customer456"), ("ext_corp_id", "corp123")];
    let rows = site.client().all("session-msgs", &params).await?;
    let mut report = Report::default();
    for (name, msgid) in files.iter().zip(&msgids) {
        report
            .check(name, async {
                let row = rows.iter().find(|row| row["msgid"] == msgid.as_str()).context("the message is missing")?;
                let link = row["chat_msg_content"]["file_url"].as_str().context("a link, or nothing")?;
                if ["expired", "undecodable"].contains(name) {
                    ensure!(link.is_empty(), "there is no file: {row}");
                    return Ok(());
                }
                let bytes = stele_tests::client::http().get(link).send().await?.error_for_status()?.bytes().await?;
                let truth = std::fs::read(folder.media_path(&format!("{name}.pdf")))?;
                ensure!(bytes == truth, "{} bytes instead of {}", bytes.len(), truth.len());
                Ok(())
            })
            .await;
    }
    report
        .check("figures", async {
            let (stored, parked) = (site.media("stored").await?, site.media("parked").await?);
            ensure!(stored == 6 && parked == 2, "{stored} stored, {parked} parked");
            let runs = site.runs("media").await?;
            ensure!(runs.iter().map(|run| run.parked).sum::<u64>() == 2, "parked files in the history: {runs:?}");
            let told: String = runs.iter().map(Run::complaints).collect();
            for words in ["differs from the announced", "10010", "10005"] {
                ensure!(told.contains(words), "the history does not tell {words:?}: {runs:?}");
            }
            Ok(())
        })
        .await;
    report.finish(&site.log_tail());
    let ids: BTreeSet<_> = msgids.iter().collect();
    assert_eq!(ids.len(), files.len());
    Ok(())
}
