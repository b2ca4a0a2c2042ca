//! The wukongim plugin in front of a WuKongIM, on the real binary: what the upstream holds is in the archive, message by message,
//! whatever fails meanwhile. `wukongim_quirks` has the quirks one by one.
//!
//! With `WUKONGIM_URL` the upstream is the real one there, instead of stand-ins of both versions; its manager is at
//! `WUKONGIM_MANAGER_URL`, its token `WUKONGIM_TOKEN`, or its user `WUKONGIM_USERNAME` and `WUKONGIM_PASSWORD`. What needs a
//! stand-in's switches is skipped then.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    env,
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use stele_tests::{
    daemon::{Site, free_address, wait_for},
    places,
    settings::Settings,
    standin::{
        Reply, only_standins,
        wukongim::{Version, WukongimStandin, pair},
    },
};

const NAME: &str = "im";
const HOOK_SECRET: &str = "a-secret-of-webhooks";
const SYNC: &str = "/channel/messagesync";
const MANAGED: &str = "/manager/messages";

/// Where a message goes: type, and what its sender calls the channel.
type Target = (u8, String);

/// The upstreams to test with: a real one, or stand-ins.
fn upstreams() -> Vec<Option<Version>> {
    if env::var_os("WUKONGIM_URL").is_some() { vec![None] } else { vec![Some(Version::V2), Some(Version::V3)] }
}

/// The same for tests that need a stand-in.
fn standins(what: &str) -> Vec<Option<Version>> {
    only_standins(upstreams(), what)
}

/// A daemon with one instance in front of an upstream; jobs run on request.
struct Rig {
    standin: Option<WukongimStandin>,
    version: Version,
    url: String,
    manager_url: String,
    token: String,
    site: Site,
    listen: String,
    /// Tells the channels of this run from others of a real server.
    tag: String,
    sent: AtomicUsize,
}

impl Rig {
    async fn new(upstream: Option<Version>, page_limit: u32) -> Result<Self> {
        places::plugin("wukongim")?;
        let of = |name: &str| env::var(name).unwrap_or_default();
        let (mut url, mut manager_url, mut section) = (of("WUKONGIM_URL"), of("WUKONGIM_MANAGER_URL"), String::new());
        let standin = match upstream {
            Some(version) => Some(WukongimStandin::start(version).await?),
            None => None,
        };
        if let Some(standin) = &standin {
            (url, manager_url) = (standin.url(), standin.manager_url());
        }
        let mut version = upstream;
        if version.is_none() {
            let status = stele_tests::client::http().get(format!("{url}/healthz")).send().await?.status();
            version = Some(if status == 200 { Version::V3 } else { Version::V2 });
            for (key, name) in [("token", "TOKEN"), ("username", "USERNAME"), ("password", "PASSWORD")] {
                let value = of(&format!("WUKONGIM_{name}"));
                if !value.is_empty() {
                    writeln!(section, "{key} = {}", json!(value))?;
                }
            }
        }
        if !manager_url.is_empty() {
            writeln!(section, "manager_url = \"{manager_url}\"")?;
        }
        let listen = free_address()?;
        let sections = format!(
            "[[instance]]\nname = \"{NAME}\"\nplugin = \"wukongim\"\nlisten = \"{listen}\"\nrate_limit = 0\n\
             [instance.sync]\ncron = \"0 0 3 29 2 *\"\npage_limit = {page_limit}\n\
             [instance.config]\npull_mode = \"upstream\"\n\
             [instance.config.upstream]\nurl = \"{url}\"\nhook_secret = \"{HOOK_SECRET}\"\ntimeout_seconds = 2\n{section}"
        );
        let site = Site::new(|_| Ok(Settings { sections, ..Settings::empty() }))?;
        if let Some(standin) = &standin {
            let hook = format!("http://{listen}/hook/{HOOK_SECRET}");
            standin.set(|switches| switches.webhook = Some(hook));
        }
        let tag = format!("t{:x}", chrono::Utc::now().timestamp_micros());
        let version = version.context("a version")?;
        let token = of("WUKONGIM_TOKEN");
        let mut rig = Self { standin, version, url, manager_url, token, site, listen, tag, sent: AtomicUsize::new(0) };
        if rig.standin.is_none() && rig.version == Version::V3 && rig.token.is_empty() {
            let account = json!({ "username": of("WUKONGIM_USERNAME"), "password": of("WUKONGIM_PASSWORD") });
            let session = rig.upstream("/manager/login", &account).await?;
            rig.token = session["access_token"].as_str().with_context(|| session.to_string())?.to_owned();
        }
        Ok(rig)
    }

    fn standin(&self) -> Result<&WukongimStandin> {
        self.standin.as_ref().context("a stand-in")
    }

    /// No webhooks.
    fn deafen(&self) {
        if let Some(standin) = &self.standin {
            standin.set(|switches| switches.webhook = None);
        }
    }

    fn group(&self, name: &str) -> Target {
        (2, format!("{}-{name}", self.tag))
    }

    /// What `alice`, with this run's tag, and somebody say to each other.
    fn person(&self, name: &str) -> Target {
        (1, format!("{}-{name}", self.tag))
    }

    fn alice(&self) -> String {
        format!("{}-alice", self.tag)
    }

    /// A request to the upstream itself.
    async fn upstream(&self, path: &str, body: &Value) -> Result<Value> {
        let base = if path.starts_with("/manager") { &self.manager_url } else { &self.url };
        let http = stele_tests::client::http();
        let request = match body {
            Value::Null => http.get(format!("{base}{path}")),
            body => http.post(format!("{base}{path}")).json(body),
        };
        let text = request.header("token", &self.token).bearer_auth(&self.token).send().await?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }

    /// Has somebody send messages through the upstream's own API, and waits until they are stored.
    async fn say(&self, (kind, id): &Target, count: usize) -> Result<()> {
        let target = (*kind, id.clone());
        let before = self.rows(&target).await.map(|rows| rows.len()).unwrap_or_default();
        if self.standin.is_none() && *kind != 1 && before == 0 {
            // A real v3 takes messages for groups that are there, of their members.
            let group = json!({ "channel_id": id, "channel_type": kind, "subscribers": [self.alice()] });
            let answer = self.upstream("/channel", &group).await?;
            ensure!(answer["status"] == 200, "{answer}");
        }
        for _ in 0..count {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let text = format!("{{\"type\":1,\"content\":\"第 {number} 条\"}}");
            let message = json!({
                "from_uid": self.alice(), "channel_id": id, "channel_type": kind,
                "payload": base64_of(text.as_bytes()), "client_msg_no": format!("{}-{number}", self.tag),
            });
            let answer = self.upstream("/message/send", &message).await?;
            ensure!(answer["status"] == 200 || answer["reason"] == 1, "{answer}");
        }
        wait_for("what was sent", || async {
            match self.rows(&target).await {
                Ok(rows) if rows.len() == before + count => Ok(()),
                seen => Err(format!("{} of {count}", seen.map(|rows| rows.len()).unwrap_or_default())),
            }
        })
        .await
    }

    /// Everything the upstream holds of a channel: number, id, sender and payload.
    async fn rows(&self, (kind, id): &Target) -> Result<Vec<(u64, String, Value)>> {
        if let Some(standin) = &self.standin {
            let stored = if *kind == 1 { pair(&self.alice(), id) } else { id.clone() };
            let rows = standin.channels().remove(&(*kind, stored)).unwrap_or_default();
            let payload = |row: &stele_tests::standin::wukongim::Row| json!(base64_of(&row.payload));
            return Ok(rows.iter().map(|row| (row.seq, row.id.to_string(), payload(row))).collect());
        }
        if self.version == Version::V2 {
            return rows(&self.upstream(SYNC, &self.question((*kind, id))).await?["messages"]);
        }
        let stored = if *kind == 1 { pair(&self.alice(), id) } else { id.clone() };
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("{MANAGED}?channel_id={stored}&channel_type={kind}&limit=200&cursor={cursor}");
            let page = self.upstream(&path, &Value::Null).await?;
            found.extend(rows(&page["items"])?);
            match page["next_cursor"].as_str().filter(|next| !next.is_empty()) {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        found.sort_by_key(|(seq, ..)| *seq);
        Ok(found)
    }

    fn question(&self, (kind, id): (u8, &String)) -> Value {
        json!({
            "login_uid": self.alice(), "channel_id": id, "channel_type": kind, "start_message_seq": 1,
            "end_message_seq": 0, "limit": 10_000, "pull_mode": 1,
        })
    }

    /// A request to the instance.
    async fn ask(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let reply = stele_tests::client::http().post(format!("http://{}{path}", self.listen)).json(body).send().await?;
        let (status, text) = (reply.status().as_u16(), reply.text().await?);
        Ok((status, serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))?))
    }

    /// Runs the sync, and says what it had to tell.
    async fn sync(&self) -> Result<Vec<String>> {
        self.site.notices_of(NAME, "sync").await
    }

    /// These channels are served as the upstream holds them, message by message, and nothing is there twice.
    async fn complete(&self, targets: &[Target]) -> Result<()> {
        let mut total = 0;
        for (kind, id) in targets {
            let expected = self.rows(&(*kind, id.clone())).await?;
            total += expected.len() as u64;
            let (_, answer) = self.ask(SYNC, &self.question((*kind, id))).await?;
            let found = rows(&answer["messages"]).with_context(|| format!("{id}: {answer}"))?;
            let numbers: BTreeSet<_> = found.iter().map(|(seq, ..)| seq).collect();
            ensure!(numbers.len() == found.len(), "{id}: a number is there twice");
            ensure!(found == expected, "{id}: {} of {}", found.len(), expected.len());
        }
        let stored = self.site.stat("messages").await?;
        // A real server has other channels as well.
        ensure!(stored == total || self.standin.is_none(), "{stored} stored, {total} there");
        Ok(())
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

fn rows(list: &Value) -> Result<Vec<(u64, String, Value)>> {
    let row = |row: &Value| {
        let id = row["message_idstr"].as_str().or(row["message_id"].as_str()).context("an id")?.to_owned();
        Ok((row["message_seq"].as_u64().context("a number")?, id, row["payload"].clone()))
    };
    list.as_array().context("no list of messages")?.iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_is_archived_run_by_run() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 50).await?;
        rig.deafen();
        let mut targets: Vec<_> = (0..5).map(|number| rig.group(&format!("g{number}"))).collect();
        targets.push(rig.person("bob"));
        for (number, target) in targets.iter().enumerate() {
            rig.say(target, 3 + 40 * number).await?;
        }
        let daemon = rig.site.start().await?;
        rig.sync().await?;
        rig.complete(&targets).await?;
        // What is new, and a channel that was not there; a run that finds nothing.
        targets.extend([rig.group("new"), rig.person("张三")]);
        for target in &targets {
            rig.say(target, 4).await?;
            rig.sync().await?;
        }
        rig.complete(&targets).await?;
        rig.sync().await?;
        rig.complete(&targets).await?;
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

/// v2 has a channel for each direction then, each with its own numbers from 1 on. Whoever goes on behind the last number gets all.
#[tokio::test(flavor = "multi_thread")]
async fn two_whose_sums_are_equal_have_one_conversation() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 100).await?;
        rig.deafen();
        if rig.version != Version::V2 {
            continue;
        }
        let people = ["plumless", "buckeroo"].map(|name| format!("{}-{name}", rig.tag));
        let question = |place: usize, start: u64, limit: u64| {
            json!({
                "login_uid": people[place], "channel_id": people[1 - place], "channel_type": 1,
                "start_message_seq": start, "end_message_seq": 0, "limit": limit, "pull_mode": 1,
            })
        };
        let message = |place: usize, number: usize| {
            json!({
                "from_uid": people[place], "channel_id": people[1 - place], "channel_type": 1,
                "payload": base64_of(b"hi"), "client_msg_no": format!("{}-equal-{place}-{number}", rig.tag),
            })
        };
        let mut said = [0; 2];
        let mut say = async |place: usize, count: usize| -> Result<()> {
            for _ in 0..count {
                let answer = rig.upstream("/message/send", &message(place, said[place])).await?;
                ensure!(answer["status"] == 200, "{answer}");
                said[place] += 1;
            }
            wait_for("what was sent", || async {
                let answer = rig.upstream(SYNC, &question(place, 1, 100)).await.map_err(|error| error.to_string())?;
                let found = rows(&answer["messages"]).map_err(|error| error.to_string())?;
                if found.len() == said[place] { Ok(()) } else { Err(answer.to_string()) }
            })
            .await
        };
        // Ids in the order of their numbers, from there on.
        let walk = async |place: usize, mut start: u64| -> Result<Vec<String>> {
            let mut walked = Vec::new();
            loop {
                let (_, page) = rig.ask(SYNC, &question(place, start, 2)).await?;
                let found = rows(&page["messages"])?;
                let numbers = found.iter().map(|(seq, ..)| *seq);
                ensure!(numbers.eq(start..start + found.len() as u64), "{page} from {start} on");
                start += found.len() as u64;
                walked.extend(found.into_iter().map(|(_, id, _)| id));
                if page["more"] == 0 {
                    return Ok(walked);
                }
            }
        };
        say(0, 5).await?;
        say(1, 3).await?;
        let daemon = rig.site.start().await?;
        rig.sync().await?;
        let first = walk(0, 1).await?;
        ensure!(first.iter().collect::<BTreeSet<_>>().len() == 8, "{first:?}");
        ensure!(walk(1, 1).await? == first, "both see the same");
        // Numbers that the other direction has already.
        say(1, 2).await?;
        rig.sync().await?;
        let more = walk(0, 9).await?;
        ensure!(more.len() == 2 && !more.iter().any(|id| first.contains(id)), "{more:?}");
        for (place, seq) in [(1, 11), (0, 12)] {
            let (_, sent) = rig.ask("/message/send", &message(place, 100)).await?;
            ensure!(sent["message_seq"] == seq, "{sent}");
            let (_, again) = rig.ask("/message/send", &message(place, 100)).await?;
            ensure!(again == sent, "{again}");
        }
        rig.sync().await?;
        let all = walk(0, 1).await?;
        ensure!(all.len() == 12 && all.starts_with(&[first, more].concat()), "{all:?}");
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_amid_a_sync_it_loses_and_doubles_nothing() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 10).await?;
        rig.deafen();
        if let Some(standin) = &rig.standin {
            for path in [SYNC, MANAGED] {
                standin.script.push(path, Reply::Delay(Duration::from_millis(15)), u32::MAX);
            }
        }
        let targets: Vec<_> = (0..4).map(|number| rig.group(&format!("g{number}"))).collect();
        let mut hits = 0;
        for kill in 0..8 {
            for target in &targets {
                rig.say(target, 30).await?;
            }
            let daemon = rig.site.start().await?;
            rig.site.begin_run_of(NAME, "sync").await?;
            tokio::time::sleep(Duration::from_millis(12 * kill)).await;
            hits += usize::from(rig.site.is_running("sync").await.unwrap_or(false));
            daemon.kill().await?;
        }
        ensure!(hits > 0, "no kill hit a running sync");
        if let Some(standin) = &rig.standin {
            standin.script.clear();
        }
        let daemon = rig.site.start().await?;
        rig.sync().await?;
        rig.complete(&targets).await?;
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_every_call_pass() -> Result<()> {
    let failures = [
        Reply::Status(500),
        Reply::Close,
        Reply::Truncated,
        Reply::Body("<html>".into()),
        Reply::Body("x".repeat(17 << 20)),
        Reply::Errcode(503),
        Reply::Delay(Duration::from_millis(2300)),
    ];
    for upstream in standins("failures at every call") {
        let rig = Rig::new(upstream, 100).await?;
        rig.deafen();
        let paths: &[&str] = match rig.version {
            Version::V2 => &["/healthz", "/health", "/cluster/simpleNodes", "/cluster/nodes/1/channels", SYNC],
            Version::V3 => &["/healthz", "/manager/channel-runtime-meta", MANAGED],
        };
        let mut targets = vec![rig.group("first")];
        let daemon = rig.site.start().await?;
        for failure in failures.clone() {
            targets.push(rig.group(&format!("g{}", targets.len())));
            for target in &targets {
                rig.say(target, 20).await?;
            }
            for path in paths {
                rig.standin()?.script.push(path, failure.clone(), 1);
            }
            // What failed in this run the next one brings.
            rig.sync().await.with_context(|| format!("{failure:?}"))?;
            rig.standin()?.script.clear();
            rig.sync().await?;
            rig.complete(&targets).await.with_context(|| format!("{failure:?}"))?;
        }
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_bring_messages_without_a_sync() -> Result<()> {
    for upstream in standins("webhooks") {
        let rig = Rig::new(upstream, 100).await?;
        let daemon = rig.site.start().await?;
        let targets = [rig.group("g"), rig.person("bob")];
        let arrived = async |targets: &[Target]| {
            wait_for("what the webhooks named", || async {
                rig.complete(targets).await.map_err(|error| error.to_string())
            })
            .await
        };
        for _ in 0..3 {
            for target in &targets {
                rig.say(target, 7).await?;
            }
            arrived(&targets).await?;
        }
        // Repeated ones change nothing, lost ones come with the sync.
        rig.standin()?.set(|switches| switches.repeat_notifies = true);
        rig.say(&targets[0], 5).await?;
        arrived(&targets).await?;
        rig.standin()?.set(|switches| switches.lose_notifies = u32::MAX);
        // In a channel of their own: a repeated call may still be on its way, and what it names is read whole.
        let lost = rig.group("lost");
        rig.say(&lost, 5).await?;
        rig.complete(&targets).await.context("nobody told of the others")?;
        rig.sync().await?;
        let [group, person] = targets.clone();
        rig.complete(&[group, person, lost]).await?;
        // As many as a server tells of at once, each as large as it takes.
        let told = json!({ "channel_id": targets[0].1, "channel_type": 2, "payload": "A".repeat((32 << 10) / 3 * 4) });
        let hook = format!("http://{}/hook/{HOOK_SECRET}?event=msg.notify", rig.listen);
        let reply = stele_tests::client::http().post(hook).json(&vec![told; 100]).send().await?;
        ensure!(reply.status() == 200, "{reply:?}");
        ensure!(!rig.site.log().contains(HOOK_SECRET), "no secret in the log");
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_through_the_daemon_is_there_once() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 100).await?;
        rig.deafen();
        let targets = [rig.group("g"), rig.person("bob")];
        for target in &targets {
            rig.say(target, 5).await?;
        }
        let daemon = rig.site.start().await?;
        rig.sync().await?;
        for (number, failure) in [None, Some(Reply::Close), Some(Reply::Status(502)), None].into_iter().enumerate() {
            for (kind, id) in &targets {
                if let (Some(standin), Some(failure)) = (&rig.standin, failure.clone()) {
                    standin.script.push("/message/send", failure, 1);
                }
                let message = json!({
                    "from_uid": rig.alice(), "channel_id": id, "channel_type": kind, "payload": base64_of(b"hello"),
                    "client_msg_no": format!("{}-relayed-{number}", rig.tag),
                });
                let (status, sent) = rig.ask("/message/send", &message).await?;
                ensure!(status == 200 && sent["message_seq"] == 6 + number, "{failure:?}: {sent}");
                let (_, again) = rig.ask("/message/send", &message).await?;
                ensure!(again == sent, "{again}");
            }
            rig.complete(&targets).await.context("it is here before any sync")?;
        }
        rig.sync().await?;
        rig.complete(&targets).await?;
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}
