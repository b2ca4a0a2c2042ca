//! The vendor's real library against a stand-in of WeCom's archive API: directly through the plugin's binding, and under
//! the daemon in its child process. What it cannot do without WeCom (decrypting, delivering a file) the stub library does
//! in the other suites.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{path::Path, path::PathBuf, sync::OnceLock, time::Duration};
use stele_plugin_api::Secret;
use stele_tests::{
    corp::{CorpFolder, CorpSpec},
    daemon::{Site, wait_for},
    fetch,
    report::Report,
    runs::Run,
    settings::Settings,
    skip::skip,
    standin::{ArchiveStandin, Envelope, Reply},
    vendor_relay,
};
use stele_wecom::vendor::{Chunk, Egress, Fault, Handle, Library, Vendor};

const SECRET: &str = "archive-secret-of-corp123";
const TOKEN: &str = "/cgi-bin/gettoken";
const CHAT: &str = "/cgi-bin/message/getchatdata";
const MEDIA: &str = "/cgi-bin/message/getchatmediadata";

/// The library, or `None` after saying that the test is skipped.
fn library() -> Option<&'static Path> {
    static FETCHED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FETCHED.get_or_init(|| fetch::vendor_library().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Some(path),
        Err(reason) => {
            skip("the vendor's real library", reason);
            None
        }
    }
}

/// Envelopes that look right from outside; what is in them nobody can decrypt.
fn envelopes(seqs: impl IntoIterator<Item = u64>) -> Vec<Envelope> {
    let envelope = |seq: u64| Envelope {
        seq,
        json: format!(
            r#"{{"seq":{seq},"msgid":"{seq}_1700000000000","publickey_ver":1,"encrypt_random_key":"QUJD","encrypt_chat_msg":"QUJDREVGR0hJSktMTU5P"}}"#
        ),
    };
    seqs.into_iter().map(envelope).collect()
}

/// A call of the binding on a thread of its own, since the library blocks.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    Ok(tokio::task::spawn_blocking(call).await?)
}

#[derive(Clone)]
struct Caller {
    library: Library,
    egress: Egress,
    secret: String,
}

impl Caller {
    fn new(path: &Path, proxy: &str) -> Result<Self> {
        let egress = Egress { proxy: proxy.into(), password: Secret::default(), timeout_seconds: 2 };
        Ok(Self { library: Library::load(path)?, egress, secret: SECRET.into() })
    }

    fn open(&self) -> Result<Box<dyn Handle>, Fault> {
        self.library.open("corp123", &Secret::new(self.secret.clone()))
    }

    /// A chat call on a fresh handle: the body, or the code.
    async fn chat(&self, after: u64, limit: u32) -> Result<Result<String, i32>> {
        let this = self.clone();
        let outcome = blocking(move || this.open()?.chat_data(after, limit, &this.egress)).await?;
        Ok(outcome.map(|body| String::from_utf8_lossy(&body).into_owned()).map_err(|fault| code(&fault)))
    }

    async fn media(&self, index: &str, id: &str) -> Result<Result<Chunk, i32>> {
        let (this, index, id) = (self.clone(), index.to_owned(), id.to_owned());
        Ok(blocking(move || this.open()?.media_chunk(&index, &id, &this.egress)).await?.map_err(|fault| code(&fault)))
    }
}

/// The library's code; 0 when the binding refused the call.
fn code(fault: &Fault) -> i32 {
    fault.code().map_or(0, |code| code.0)
}

/// A file id as WeCom makes them: base64 of a protobuf of three texts.
fn file_id() -> String {
    let mut bytes = Vec::new();
    for (field, text) in [(1u8, "file-0123456789"), (2, "auth-0123456789"), (3, "0123456789abcdef0123456789abcdef")] {
        bytes.extend([field << 3 | 2, u8::try_from(text.len()).expect("short")]);
        bytes.extend(text.as_bytes());
    }
    STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binding_drives_it() -> Result<()> {
    let Some(path) = library() else { return Ok(()) };
    let standin = ArchiveStandin::start(SECRET, envelopes([3, 4, 7, 8, 20, 21, 1 << 40]), None).await?;
    let caller = Caller::new(path, &standin.proxy())?;
    let mut report = Report::default();
    report.check("seq and limit", seq_and_limit(&caller, &standin)).await;
    report.check("codes of chat calls", chat_codes(&caller, &standin)).await;
    report.check("codes of media calls", media_codes(&caller, &standin)).await;
    report.check("decryption", decryption(&caller)).await;
    report.check("tokens", tokens(&caller, &standin)).await;
    report.check("proxy with credentials", proxy_credentials(path)).await;
    report.check("many handles at once", in_parallel(&caller)).await;
    report.finish("");
    Ok(())
}

fn seqs(body: &str) -> Result<Vec<u64>> {
    let reply: serde_json::Value = serde_json::from_str(body)?;
    Ok(reply["chatdata"].as_array().context("chatdata")?.iter().filter_map(|row| row["seq"].as_u64()).collect())
}

async fn seq_and_limit(caller: &Caller, standin: &ArchiveStandin) -> Result<()> {
    for (after, limit, expected) in [
        (0, 1000, vec![3, 4, 7, 8, 20, 21, 1 << 40]),
        (3, 1000, vec![4, 7, 8, 20, 21, 1 << 40]),
        (5, 2, vec![7, 8]),
        (21, 1, vec![1 << 40]),
        (1 << 40, 1000, vec![]),
        (u64::MAX, 1000, vec![]),
    ] {
        let body = caller.chat(after, limit).await?.map_err(|code| anyhow::anyhow!("code {code}"))?;
        ensure!(seqs(&body)? == expected, "after {after}: {body}");
        let seen = standin.seen_at(CHAT).pop().context("the call was seen")?;
        ensure!(seen.body["seq"].as_u64() == Some(after) && seen.body["limit"] == limit, "on the wire: {}", seen.body);
        ensure!(seen.target == "qyapi.weixin.qq.com:443", "asked for {}", seen.target);
    }
    let before = standin.seen().len();
    for limit in [0, 1001, u32::MAX] {
        ensure!(caller.chat(0, limit).await? == Err(0), "a limit of {limit} is refused by the binding");
    }
    ensure!(standin.seen().len() == before, "nothing was asked for these limits");
    Ok(())
}

async fn chat_codes(caller: &Caller, standin: &ArchiveStandin) -> Result<()> {
    // What the library makes of it: a code, or a body handed through.
    let table = [
        (TOKEN, Reply::Errcode(40_013), Err(10_001)),
        (TOKEN, Reply::Errcode(45_009), Err(10_001)),
        (TOKEN, Reply::Body("no json".into()), Err(10_001)),
        (TOKEN, Reply::Body(r#"{"errcode":0,"access_token":""}"#.into()), Err(10_001)),
        (TOKEN, Reply::Status(500), Err(10_001)),
        (TOKEN, Reply::Close, Err(10_001)),
        ("CONNECT", Reply::Close, Err(10_001)),
        (CHAT, Reply::Status(500), Err(10_001)),
        (CHAT, Reply::Status(502), Err(10_001)),
        (CHAT, Reply::Close, Err(10_001)),
        (CHAT, Reply::Silence, Err(10_001)),
        (CHAT, Reply::Errcode(301_042), Ok(r#"{"errcode":301042,"errmsg":"refused 301042"}"#)),
        (CHAT, Reply::Errcode(45_009), Ok(r#"{"errcode":45009,"errmsg":"refused 45009"}"#)),
        (CHAT, Reply::Body("no json".into()), Ok("no json")),
        (CHAT, Reply::Body(String::new()), Ok("")),
    ];
    for (path, reply, expected) in table {
        standin.script.push(path, reply.clone(), 1);
        let found = caller.chat(0, 10).await?;
        let found = found.as_ref().map(String::as_str).map_err(|code| *code);
        ensure!(found == expected, "{path} {reply:?}: {found:?} instead of {expected:?}");
        standin.script.clear();
    }
    let truncated = caller_after(caller, standin, Reply::Truncated).await?;
    ensure!(serde_json::from_str::<serde_json::Value>(&truncated).is_err(), "{truncated}");
    let wrong = Caller { secret: "another secret".into(), ..caller.clone() };
    ensure!(wrong.chat(0, 10).await? == Err(10_001), "a wrong secret");
    let mut refused = caller.clone();
    refused.egress.proxy = format!("http://{}", stele_tests::daemon::free_address()?);
    ensure!(refused.chat(0, 10).await? == Err(10_001), "a proxy that refuses");
    let empty = Caller { secret: String::new(), ..caller.clone() };
    ensure!(empty.open().err().map(|fault| code(&fault)) == Some(10_000), "an empty secret");
    let mut plain = caller.clone();
    plain.egress.proxy = plain.egress.proxy.replace("http://", "");
    ensure!(plain.chat(0, 10).await?.is_ok(), "a proxy without a scheme");
    Ok(())
}

async fn caller_after(caller: &Caller, standin: &ArchiveStandin, reply: Reply) -> Result<String> {
    standin.script.push(CHAT, reply, 1);
    caller.chat(0, 10).await?.map_err(|code| anyhow::anyhow!("code {code}"))
}

async fn media_codes(caller: &Caller, standin: &ArchiveStandin) -> Result<()> {
    let id = file_id();
    let table = [
        (Reply::Errcode(301_048), 10_010),
        (Reply::Errcode(301_042), 10_009),
        (Reply::Errcode(40_014), 10_002),
        (Reply::Errcode(42_001), 10_002),
        (Reply::Errcode(45_009), 10_002),
        (Reply::Errcode(301_052), 10_002),
        (Reply::Body("these bytes are not encrypted as they should be".into()), 10_003),
        (Reply::Status(500), 10_001),
        (Reply::Close, 10_001),
    ];
    for (reply, expected) in table {
        standin.script.push(MEDIA, reply.clone(), 1);
        let found = caller.media("", &id).await?.map(|chunk| chunk.bytes.len());
        ensure!(found == Err(expected), "{reply:?}: {found:?} instead of {expected}");
        standin.script.clear();
    }
    let first = standin.seen_at(MEDIA).pop().context("the call was seen")?;
    ensure!(first.range.as_deref() == Some("bytes=0-524287"), "range {:?}", first.range);
    ensure!(first.body["fileid"] == "file-0123456789" && first.body["authkey"] == "auth-0123456789", "{}", first.body);
    let resumed = caller.media("Range:bytes=524288-1048575", &id).await?.map(|chunk| chunk.bytes.len());
    ensure!(resumed == Err(10_010), "a rebuilt index: {resumed:?}");
    let seen = standin.seen_at(MEDIA).pop().context("the call was seen")?;
    ensure!(seen.range.as_deref() == Some("bytes=524288-1048575"), "range {:?}", seen.range);
    ensure!(caller.media("", "").await?.map(|_| ()) == Err(10_000), "an empty file id");
    ensure!(caller.media("", "!!!").await?.map(|_| ()) == Err(10_005), "a file id that is none");
    let odd = caller.media("Range:bytes=0-14", &id).await?.map(|_| ());
    ensure!(odd == Err(10_000), "an index that is no multiple of 16: {odd:?}");
    Ok(())
}

async fn decryption(caller: &Caller) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..200 {
        let message: Vec<u8> = (0..rng.random_range(24..400)).map(|_| rng.random()).collect();
        let (library, message) = (caller.library, STANDARD.encode(message));
        let fault = blocking(move || library.decrypt(&[b'k'; 88], &message)).await?.err().context("nothing to find")?;
        ensure!([10_008, 10_005].contains(&code(&fault)), "{fault}");
    }
    // These would end the process: the binding does not hand them over.
    for short in ["", "a", "QUJDREVGR0hJ"] {
        let outcome = caller.library.decrypt(&[b'k'; 88], short);
        ensure!(matches!(outcome, Err(Fault::Refused(_))), "{short:?}: {outcome:?}");
    }
    Ok(())
}

async fn tokens(caller: &Caller, standin: &ArchiveStandin) -> Result<()> {
    let fetched = standin.seen_at(TOKEN).len();
    let this = caller.clone();
    let mut handle = caller.open()?;
    let (mut handle, body) = blocking(move || {
        let body = handle.chat_data(0, 10, &this.egress).and_then(|_| handle.chat_data(0, 10, &this.egress));
        (handle, body)
    })
    .await?;
    ensure!(body.is_ok() && standin.seen_at(TOKEN).len() == fetched + 1, "one token for both calls");
    standin.expire_tokens();
    let this = caller.clone();
    let body = blocking(move || handle.chat_data(0, 10, &this.egress)).await??;
    ensure!(
        String::from_utf8_lossy(&body).contains("42001"),
        "the old token goes on: {}",
        String::from_utf8_lossy(&body)
    );
    ensure!(caller.chat(0, 10).await?.is_ok_and(|body| seqs(&body).is_ok()), "a new handle gets a new token");
    ensure!(standin.seen_at(TOKEN).len() == fetched + 2, "one more token");
    Ok(())
}

async fn proxy_credentials(path: &Path) -> Result<()> {
    let standin = ArchiveStandin::start(SECRET, envelopes([1]), Some("stele:geheim")).await?;
    let mut caller = Caller::new(path, &standin.proxy())?;
    ensure!(caller.chat(0, 10).await? == Err(10_001), "without credentials");
    caller.egress.password = Secret::new("stele:geheim");
    let body = caller.chat(0, 10).await?.map_err(|code| anyhow::anyhow!("code {code}"))?;
    ensure!(seqs(&body)? == [1], "{body}");
    let seen = standin.seen_at(CHAT).pop().context("the call was seen")?;
    ensure!(seen.proxy_authorization.is_some_and(|value| value.starts_with("Basic ")), "as Basic credentials");
    Ok(())
}

async fn in_parallel(caller: &Caller) -> Result<()> {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let caller = caller.clone();
        calls.spawn(async move { caller.chat(0, 1000).await });
    }
    while let Some(body) = calls.join_next().await {
        let body = body??.map_err(|code| anyhow::anyhow!("code {code}"))?;
        ensure!(seqs(&body)?.len() == 7, "{body}");
    }
    Ok(())
}

/// A daemon over the real library, or over the relay to it. Its corp's keys are real, so that envelopes get as far as the
/// library's decryption.
struct Real {
    site: Site,
    folder: CorpFolder,
    standin: ArchiveStandin,
    _dir: tempfile::TempDir,
}

async fn real(library: &Path, credentials: Option<&str>) -> Result<Real> {
    let dir = tempfile::tempdir()?;
    let folder = CorpFolder::empty(&CorpSpec::recent(64), dir.path())?;
    let standin = ArchiveStandin::start(SECRET, Vec::new(), credentials).await?;
    let site = Site::new(|path| {
        let mut settings = Settings::of(&folder, path, "", "");
        settings.library = library.to_owned();
        settings.proxy = standin.proxy();
        settings.sections = "[jobs]\nretry_min_seconds = 1\nretry_max_seconds = 2\n".into();
        settings.config = "timeout_seconds = 2\npage_limit = 25".into();
        if let Some(credentials) = credentials {
            settings.config.push_str(&format!("\nproxy_password = \"{credentials}\""));
        }
        Ok(settings)
    })?;
    Ok(Real { site, folder, standin, _dir: dir })
}

impl Real {
    /// Adds envelopes whose random key opens and whose message does not.
    fn push(&self, seqs: impl IntoIterator<Item = u64>, message: &str) -> Result<()> {
        let wrapped = self.folder.keys()[0].wrap(&"k".repeat(88))?;
        for seq in seqs {
            let json = format!(
                r#"{{"seq":{seq},"msgid":"{seq}_1700000000000","publickey_ver":1,"encrypt_random_key":"{wrapped}","encrypt_chat_msg":"{message}"}}"#
            );
            self.standin.push(Envelope { seq, json });
        }
        Ok(())
    }

    async fn parked(&self, expected: u64) -> Result<()> {
        wait_for("the envelopes", || async {
            match self.site.stat("parked").await {
                Ok(count) if count == expected => Ok(()),
                seen => Err(format!("{seen:?} of {expected} parked")),
            }
        })
        .await
        .with_context(|| self.site.log_tail())
    }
}

const GARBAGE: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_drives_it_in_a_child() -> Result<()> {
    let Some(path) = library() else { return Ok(()) };
    let real = real(path, Some("stele:geheim")).await?;
    real.push(1..=60, GARBAGE)?;
    let daemon = real.site.start().await?;
    let run = real.site.sync().await?;
    ensure!(run.parked == 60, "what cannot be decrypted is kept: {run:?}");
    let asked: Vec<_> = real.standin.seen_at(CHAT).iter().filter_map(|seen| seen.body["seq"].as_u64()).collect();
    ensure!(asked == [0, 25, 50, 60] || asked == [0, 25, 50], "seq is the last one seen: {asked:?}");
    ensure!(real.standin.seen_at(CHAT).iter().all(|seen| seen.body["limit"] == 25), "limit");
    ensure!(real.standin.seen().iter().all(|seen| seen.proxy_authorization.is_some()), "through the proxy");
    ensure!(real.standin.seen_at(TOKEN).len() == 1, "one token for all pages");

    // The token is taken back: the handle is made anew, once, and nothing is lost.
    real.standin.expire_tokens();
    real.push(61..=70, GARBAGE)?;
    real.site.sync().await?;
    real.parked(70).await?;
    ensure!(real.standin.seen_at(TOKEN).len() == 2, "one new token");

    // Trouble of every kind, told in the history.
    let table = [
        (TOKEN, Reply::Errcode(40_001), "10001"),
        (CHAT, Reply::Errcode(45_009), "45009"),
        (CHAT, Reply::Body("no json".into()), ""),
        (CHAT, Reply::Status(502), "10001"),
        (CHAT, Reply::Truncated, ""),
        (CHAT, Reply::Close, "10001"),
        (CHAT, Reply::Delay(Duration::from_secs(5)), "10001"),
    ];
    for (next, (path, reply, word)) in (71..).zip(table) {
        if path == TOKEN {
            real.standin.expire_tokens();
        }
        real.push([next], GARBAGE)?;
        real.standin.script.push(path, reply.clone(), 1);
        let before = real.site.runs("sync").await?.first().map_or(0, |run| run.id);
        if real.site.run_job("sync").await?.outcome != "succeeded" {
            real.site.sync().await?;
        }
        real.parked(next).await?;
        let runs: Vec<_> = real.site.runs("sync").await?.into_iter().filter(|run| run.id > before).collect();
        let told: String = runs.iter().map(Run::complaints).collect();
        ensure!(!told.is_empty() && told.contains(word), "{path} {reply:?} is not told: {runs:?}");
    }
    ensure!(!real.site.log().contains(SECRET), "the secret is in the log");
    ensure!(!real.site.log().contains("geheim"), "the proxy's password is in the log");
    let status = daemon.stop().await?;
    ensure!(status.success(), "the daemon ended with {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_abort_costs_one_restart_and_no_message() -> Result<()> {
    let Some(path) = library() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let relay = dir.path().join("librelay.so");
    std::fs::copy(vendor_relay(), &relay)?;
    std::os::unix::fs::symlink(path, dir.path().join("libreal.so"))?;
    let real = real(&relay, None).await?;
    real.push(1..=30, GARBAGE)?;
    // The relay cuts the first such message short, and the real library ends the process.
    real.push([31], &format!("QUJPUlQh{GARBAGE}"))?;
    real.push(32..=60, GARBAGE)?;
    let daemon = real.site.start().await?;
    real.site.run_job("sync").await?;
    real.parked(60).await?;
    ensure!(dir.path().join("aborted").exists(), "the library did not abort");
    let instances = real.site.admin("/api/v1/instances").await?;
    ensure!(instances["instances"][0]["restarts"] == 1, "{instances}");
    ensure!(instances["instances"][0]["state"] == "running", "{instances}");
    ensure!(
        real.site.log().to_lowercase().contains("sigabrt") || real.site.log().contains("signal 6"),
        "{}",
        real.site.log_tail()
    );
    drop(daemon);
    Ok(())
}
