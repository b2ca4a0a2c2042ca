//! A gateway in front of a quick-im-core, on the real binary: what the stand-in holds is in the archive, message by message,
//! whatever fails meanwhile, and what is sent through the daemon is there once. `gateway_quirks` has the defects one by one.

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use stele_tests::{
    daemon::{Site, free_address, wait_for},
    live::{Call, Carrier, Listener},
    places,
    standin::{
        Reply,
        gateway::{GREETING, GatewayStandin, Sent, Version, token},
    },
};

const KEY: &str = "the key of this instance's tokens, not the upstream's";
const NAME: &str = "chat";
const ROOMS: [&str; 3] = ["11111111-2222-3333-4444-555555555555", "22222222-3333-4444-5555-666666666666", "support"];
const RANGE: &str = "/get_conversation_msg_by_range";
/// 2023-11-14T22:13:20Z
const BEGIN: i64 = 1_700_000_000_000_000;

/// A daemon with one gateway in front of a stand-in; jobs run on request.
struct Rig {
    standin: GatewayStandin,
    site: Site,
    listen: String,
    rng: StdRng,
    at: i64,
}

impl Rig {
    async fn new(version: Version, upstream: &str, page_limit: u32) -> Result<Self> {
        places::plugin("gateway")?;
        let standin = GatewayStandin::start(version).await?;
        for (kind, room) in (1..).zip(ROOMS) {
            standin.converse(room, kind, &["alice", "bob"]);
            standin.say(&Sent {
                conversation: room,
                from: "",
                kind: 0,
                content: GREETING,
                at: BEGIN + i64::from(kind),
            });
        }
        let (listen, url) = (free_address()?, standin.url());
        let sections = format!(
            "[[instance]]\nname = \"{NAME}\"\nplugin = \"gateway\"\nlisten = \"{listen}\"\nrate_limit = 0\n\
             [instance.sync]\ncron = \"0 0 3 29 2 *\"\npage_limit = {page_limit}\n\
             [instance.directory]\ncron = \"0 0 3 29 2 *\"\n\
             [instance.config]\njwt_keys = [\"{KEY}\"]\n\
             [instance.config.upstream]\nurl = \"{url}\"\nsessions = [\"alice\"]\n{upstream}\n"
        );
        let site = Site::of(sections)?;
        Ok(Self { standin, site, listen, rng: StdRng::seed_from_u64(7), at: BEGIN })
    }

    /// More messages in every room, some at once and some hours apart.
    fn say(&mut self, count: usize) {
        self.say_within(count, [10, 90_000, 3_000_000, 40_000_000_000]);
    }

    /// The same, at most so many microseconds apart, in turn.
    fn say_within(&mut self, count: usize, gaps: [i64; 4]) {
        for number in 0..count {
            self.at += self.rng.random_range(1..=gaps[number % gaps.len()]);
            let content = format!("第 {number} 条 <{}>", self.rng.random_range(0..1000));
            let (conversation, from) = (ROOMS[number % ROOMS.len()], ["alice", "bob"][number % 2]);
            self.standin.say(&Sent { conversation, from, kind: 1, content: &content, at: self.at });
        }
    }

    /// Runs this job for every conversation, and says what the runs had to tell.
    async fn run(&self, kind: &str) -> Result<Vec<String>> {
        let jobs = async || -> Result<usize> {
            let reply = self.site.admin("/api/v1/jobs?limit=1").await?;
            let jobs = reply["jobs"].as_array().context("jobs")?;
            Ok(jobs.iter().filter(|job| job["key"]["kind"] == kind).count())
        };
        wait_for("definition of the jobs", || async {
            match jobs().await {
                Ok(count) if count == ROOMS.len() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        let before = self.site.runs(kind).await?.first().map_or(0, |run| run.id);
        self.site.request_run_of(NAME, kind).await?;
        self.site.ended_after(kind, before).await?;
        let runs = self.site.runs(kind).await?;
        let ours: Vec<_> = runs.into_iter().filter(|run| run.id > before).collect();
        let failed = ours.iter().find(|run| run.outcome != "succeeded");
        ensure!(failed.is_none(), "{failed:?}\n{}", self.site.log_tail());
        Ok(ours.into_iter().flat_map(|run| run.notices).collect())
    }

    async fn ask(&self, session: &str, path: &str, body: Value) -> Result<Value> {
        let expires = chrono::Utc::now().timestamp() + 3600;
        let request = stele_tests::client::http().post(format!("http://{}{path}", self.listen));
        let text = request.bearer_auth(token::mint(KEY, session, 1, expires)).json(&body).send().await?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }

    /// Every room is served as the stand-in holds it, message by message, and the archive has nothing else.
    async fn complete(&self) -> Result<()> {
        let mut total = 0;
        for room in ROOMS {
            let rows = self.standin.rows(room);
            total += rows.len() as u64;
            let body = json!({ "conversation_id": room, "end_msg_id": "~" });
            let reply = self.ask("alice", RANGE, body).await?;
            let found = reply["data"]["Msg"].as_array().with_context(|| format!("{room}: {reply}"))?;
            let by_id: BTreeMap<_, _> = found.iter().filter_map(|row| Some((row["MsgId"].as_str()?, row))).collect();
            ensure!(
                found.len() == rows.len() && by_id.len() == rows.len(),
                "{room}: {} of {}",
                found.len(),
                rows.len()
            );
            for (row, _) in &rows {
                let shown = by_id.get(row.id.as_str()).with_context(|| format!("{} is missing", row.id))?;
                let same =
                    shown["Content"] == row.content && shown["FromSession"] == row.from && shown["Type"] == row.kind;
                let time = shown["SendTime"].as_i64().unwrap_or_default();
                // What was sent through the daemon has the time of its id.
                ensure!(same && (time - row.at).abs() <= 3000, "{shown} is not {row:?}");
                let flagged = shown.get("Unverified") == Some(&json!(["Type", "FromSession", "Content"]));
                ensure!(flagged == (row.content == GREETING), "{shown}");
            }
        }
        let stored = self.site.stat("messages").await?;
        ensure!(stored == total, "{stored} stored, {total} there");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_archived_and_what_is_sent_is_there_once() -> Result<()> {
    for version in [Version::Src, Version::SrcOld] {
        let key = format!("key = \"{}\"", token::FIXED_KEY);
        let mut rig = Rig::new(version, &key, 100).await?;
        rig.say(900);
        let daemon = rig.site.start().await?;
        let notices = rig.run("sync").await?;
        ensure!(notices.iter().any(|notice| notice.starts_with("unverified: ")), "{notices:?}");
        rig.run("directory").await?;
        rig.complete().await.with_context(|| format!("{version:?}"))?;
        let detail = rig.ask("alice", "/get_conversation_detail", json!({ "conversation_id": ROOMS[1] })).await?;
        ensure!(detail["data"]["ConversationType"] == 2, "{detail}");

        let message = json!({ "conversation_id": ROOMS[0], "type": 1, "content": "through the daemon" });
        let sent = rig.ask("bob", "/send_msg", message.clone()).await?;
        ensure!(sent["data"]["MsgID"].is_string(), "{sent}");
        rig.complete().await.context("it is here before any sync")?;
        rig.standin.script.push("/send_msg", Reply::Close, 1);
        let unknown = rig.ask("bob", "/send_msg", message.clone()).await?;
        ensure!(unknown["code"] == 10_002 && rig.standin.calls("/send_msg") == 2, "{unknown}");
        ensure!(rig.ask("mallory", "/send_msg", message).await?["code"] == 10_003, "no member there");
        rig.run("sync").await?;
        rig.complete().await.context("what nobody knew of came with the sync")?;
        // Whoever sends the text of the automatic message hides nothing that was sent before.
        let last =
            rig.standin.say(&Sent { conversation: ROOMS[2], from: "bob", kind: 1, content: "x", at: rig.at + 5000 });
        rig.standin.say(&Sent { conversation: ROOMS[2], from: "bob", kind: 1, content: GREETING, at: rig.at + 9000 });
        rig.run("sync").await?;
        let answer = rig.ask("alice", "/get_lastone_msgid", json!({ "conversation_id": ROOMS[2] })).await?;
        ensure!(answer["data"]["MsgId"] == last.as_str(), "{answer}");
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_relayed_is_heard_in_the_order_of_ids() -> Result<()> {
    let rig = Rig::new(Version::Src, &format!("key = \"{}\"", token::FIXED_KEY), 100).await?;
    let daemon = rig.site.start().await?;
    rig.run("directory").await?;
    rig.run("sync").await?;
    let token = token::mint(KEY, "alice", 2, chrono::Utc::now().timestamp() + 3600);
    let listener = Listener::open(Carrier::Ws, &Call::notify(&rig.listen, Carrier::Ws, &token, None)).await?;
    // Their answers come in any order, and some not at all.
    for round in 0..4 {
        for delay in [600, 0, 300, 900, 10, 450] {
            rig.standin.script.push("/send_msg", Reply::Delay(Duration::from_millis(delay)), 1);
        }
        rig.standin.script.push("/send_msg", Reply::Errcode(10_002), 1);
        let sends = (0..28).map(|number| {
            let message = json!({ "conversation_id": ROOMS[0], "type": 1, "content": format!("{round} {number}") });
            rig.ask(["alice", "bob"][number % 2], "/send_msg", message)
        });
        let sent = futures::future::try_join_all(sends).await?;
        let failed = sent.iter().filter(|sent| sent["code"] != 0).count();
        ensure!(failed == 1, "{sent:?}");
    }
    let ids = listener.hears(4 * 27).await?.ids();
    ensure!(ids.is_sorted() && ids.len() == 4 * 27, "{ids:?}");
    rig.complete().await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_amid_a_sync_it_loses_and_doubles_nothing() -> Result<()> {
    let key = format!("key = \"{}\"", token::FIXED_KEY);
    let mut rig = Rig::new(Version::Src, &key, 10).await?;
    rig.standin.script.push(RANGE, Reply::Delay(Duration::from_millis(10)), u32::MAX);
    rig.say(300);
    let mut hits = 0;
    for kill in 0..10 {
        rig.at = chrono::Utc::now().timestamp_micros();
        rig.say_within(30, [10, 100, 1000, 10_000]);
        let daemon = rig.site.start().await?;
        // One kill after a start, however far that has come, and the next after the beginning of a run.
        if kill % 2 == 1 {
            rig.site.begin_run_of(NAME, "sync").await?;
        }
        tokio::time::sleep(Duration::from_millis(10 * kill)).await;
        hits += usize::from(rig.site.is_running("sync").await.unwrap_or(false));
        daemon.kill().await?;
    }
    ensure!(hits > 0, "only {hits} kills hit a running sync");
    rig.standin.script.clear();
    let daemon = rig.site.start().await?;
    rig.run("sync").await?;
    rig.complete().await?;
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_every_call_pass() -> Result<()> {
    let paths = [RANGE, "/get_conversation_detail", "/inner/get_token"];
    let failures = [
        Reply::Status(500),
        Reply::Close,
        Reply::Truncated,
        Reply::Body("<html>".into()),
        Reply::Body("x".repeat(17 << 20)),
        Reply::Delay(Duration::from_millis(2300)),
        Reply::Errcode(10_002),
        Reply::Errcode(10_101),
    ];
    let mut rig = Rig::new(Version::Src, "use_inner_token = true\ntimeout_seconds = 2", 1000).await?;
    // Also when it is asked for the first time which conversations there are.
    rig.standin.script.push("/get_joined_conversation", Reply::Status(502), 1);
    let daemon = rig.site.start().await?;
    rig.run("sync").await?;
    for failure in failures {
        rig.say(60);
        for path in paths {
            rig.standin.script.push(path, failure.clone(), 1);
        }
        rig.run("sync").await.with_context(|| format!("{failure:?}"))?;
        rig.run("directory").await.with_context(|| format!("{failure:?}"))?;
        rig.standin.script.clear();
        rig.complete().await.with_context(|| format!("{failure:?}"))?;
    }
    // Tokens it does not take: told where people look.
    rig.standin.set(|switches| (switches.key, switches.inner) = ("another".into(), false));
    ensure!(rig.run("sync").await.is_err(), "nothing can be read");
    wait_for("a finding", || async {
        let reply = rig.site.admin("/ready").await.map_err(|error| error.to_string())?;
        if reply.to_string().contains("not on its allowlist") { Ok(()) } else { Err(reply.to_string()) }
    })
    .await?;
    let secret = token::FIXED_KEY;
    ensure!(!rig.site.log().contains(secret) && !rig.site.log().contains("eyJ"), "no token in the log");
    ensure!(daemon.stop().await?.success());
    Ok(())
}
