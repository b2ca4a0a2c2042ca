//! The openim plugin in front of an OpenIM, on the real binary: what the upstream holds is in the archive, message by message,
//! whatever fails meanwhile. `openim_reading` has what is peculiar about it one by one.
//!
//! With `OPENIM_URL` the upstream is the real one there, instead of stand-ins of its versions; `OPENIM_SECRET` and `OPENIM_ADMIN` are
//! its secret and an admin of it. What needs a stand-in's switches is skipped then.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use stele_tests::{
    daemon::{Site, free_address, wait_for},
    places,
    settings::Settings,
    standin::{
        Reply, only_standins,
        openim::{Arrival, Ended, OpenimStandin, Say, Version, pair},
    },
};

const NAME: &str = "openim";
const SECRET: &str = "openIM123";
const HOOK_SECRET: &str = "a-secret-of-webhooks";
/// The admin of the tests, on a stand-in.
const TESTER: &str = "tester";
const PULL: &str = "/msg/pull_msg_by_seq";
const SEND: &str = "/msg/send_msg";

/// The upstreams to test with: a real one, or stand-ins.
fn upstreams() -> Vec<Option<Version>> {
    if env::var_os("OPENIM_URL").is_some() {
        return vec![None];
    }
    [Version::V380, Version::V383, Version::Head].map(Some).to_vec()
}

/// The same for tests that need a stand-in.
fn standins(what: &str) -> Vec<Option<Version>> {
    only_standins(upstreams(), what)
}

/// An upstream: a stand-in, or a real one.
struct Openim {
    standin: Option<OpenimStandin>,
    url: String,
    secret: String,
    admin: String,
    token: Mutex<String>,
    /// Tells what is of this run from what else a real server holds.
    tag: String,
    sent: AtomicUsize,
}

/// A message as the upstream has it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    seq: i64,
    id: String,
    content_type: i64,
    content: String,
}

impl Openim {
    async fn new(upstream: Option<Version>) -> Result<Self> {
        let of = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let tag = format!("t{:x}", chrono::Utc::now().timestamp_micros());
        let mut openim = Self {
            standin: None,
            url: of("OPENIM_URL", ""),
            secret: of("OPENIM_SECRET", SECRET),
            admin: of("OPENIM_ADMIN", "imAdmin"),
            token: Mutex::default(),
            tag,
            sent: AtomicUsize::new(0),
        };
        if let Some(version) = upstream {
            let standin = OpenimStandin::start(version).await?;
            standin.add_account(TESTER, "Tester", 2);
            (openim.url, openim.secret) = (standin.url(), SECRET.to_owned());
            *openim.token.lock().expect("a token") = standin.token(TESTER);
            openim.standin = Some(standin);
        }
        Ok(openim)
    }

    fn standin(&self) -> Result<&OpenimStandin> {
        self.standin.as_ref().context("a stand-in")
    }

    /// Somebody, or a group, of this run; with what separates people in ids.
    fn id(&self, name: &str) -> String {
        format!("{}_{name}", self.tag)
    }

    fn of_two(&self, one: &str, other: &str) -> String {
        format!("si_{}", pair(&self.id(one), &self.id(other)))
    }

    fn of_group(&self, group: &str) -> String {
        format!("sg_{}", self.id(group))
    }

    /// A request to the upstream itself. A token is asked for when there is none that is good.
    async fn call(&self, path: &str, body: &Value) -> Result<Value> {
        for _ in 0..3 {
            let token = self.token.lock().expect("a token").clone();
            let answer = self.post(path, &token, body).await?;
            if !(1501..=1507).contains(&answer["errCode"].as_i64().unwrap_or(-1)) && !token.is_empty() {
                ensure!(answer["errCode"] == 0, "{path}: {answer}");
                return Ok(answer["data"].clone());
            }
            let asked = json!({ "secret": self.secret, "userID": self.admin, "platformID": 10 });
            let mut given = self.post("/auth/get_admin_token", "", &asked).await?;
            if given["errCode"] != 0 {
                given = self.post("/auth/user_token", "", &asked).await?;
            }
            given["data"]["token"]
                .as_str()
                .with_context(|| given.to_string())?
                .clone_into(&mut self.token.lock().expect("a token"));
        }
        anyhow::bail!("no token is good for {path}")
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> Result<Value> {
        let request = stele_tests::client::http().post(format!("{}{path}", self.url)).json(body);
        let reply = request.header("operationID", "test").header("token", token).send().await?;
        let text = reply.text().await?;
        serde_json::from_str(&text).or_else(|_| Ok(json!({ "errCode": 404, "errMsg": text })))
    }

    async fn register(&self, people: &[&str]) -> Result<()> {
        let user = |name: &&str| json!({ "userID": self.id(name), "nickname": name, "faceURL": "" });
        let users: Vec<_> = people.iter().map(user).collect();
        self.call("/user/user_register", &json!({ "users": users, "secret": self.secret })).await.map(drop)
    }

    async fn make_group(&self, group: &str, members: &[&str]) -> Result<()> {
        let (owner, members) = members.split_first().context("an owner")?;
        let members: Vec<_> = members.iter().map(|member| self.id(member)).collect();
        let info = json!({ "groupID": self.id(group), "groupName": format!("{group} 群"), "groupType": 2 });
        let body = json!({ "ownerUserID": self.id(owner), "memberUserIDs": members, "groupInfo": info });
        self.call("/group/create_group", &body).await.map(drop)
    }

    /// Messages through the upstream's own API; waits until they can be read.
    async fn say(&self, from: &str, to: &str, count: usize) -> Result<()> {
        let is_group = to.starts_with("group");
        let conversation = if is_group { self.of_group(to) } else { self.of_two(from, to) };
        let before = self.rows(&conversation, from).await?.len();
        for _ in 0..count {
            let message = self.message(from, to, "");
            self.call(SEND, &message).await?;
        }
        wait_for("what was said", || async {
            match self.rows(&conversation, from).await {
                Ok(rows) if rows.len() >= before + count => Ok(()),
                seen => Err(format!("{:?} of {count}", seen.map(|rows| rows.len()))),
            }
        })
        .await
    }

    fn message(&self, from: &str, to: &str, what: &str) -> Value {
        let is_group = to.starts_with("group");
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let (recv, group) = if is_group { (String::new(), self.id(to)) } else { (self.id(to), String::new()) };
        json!({
            "sendID": self.id(from), "recvID": recv, "groupID": group, "senderNickname": from, "senderPlatformID": 5,
            "contentType": 101, "sessionType": if is_group { 3 } else { 1 },
            "content": { "content": format!("{what}第 {number} 条 of {}", self.tag) },
        })
    }

    /// Everything of a conversation, as somebody sees it.
    async fn rows(&self, conversation: &str, reader: &str) -> Result<Vec<Row>> {
        let asked = json!({ "userID": self.id(reader), "conversationIDs": [conversation], "returnPinned": false });
        let told = self.call("/msg/get_conversations_has_read_and_max_seq", &asked).await?;
        let last = told["seqs"][conversation]["maxSeq"].as_i64().unwrap_or_default();
        let mut rows = Vec::new();
        for begin in (1..=last).step_by(100) {
            let range = json!({ "conversationID": conversation, "begin": begin, "end": begin + 99, "num": 100 });
            let body = json!({ "userID": self.id(reader), "order": 0, "seqRanges": [range] });
            let pulled = self.call(PULL, &body).await?;
            for row in pulled["msgs"][conversation]["Msgs"].as_array().into_iter().flatten() {
                let content = STANDARD.decode(row["content"].as_str().unwrap_or_default())?;
                let row = Row {
                    seq: row["seq"].as_i64().context("a number")?,
                    id: row["serverMsgID"].as_str().unwrap_or_default().to_owned(),
                    content_type: row["contentType"].as_i64().unwrap_or_default(),
                    content: String::from_utf8(content)?,
                };
                rows.extend(Some(row).filter(|row| !row.id.is_empty()));
            }
        }
        rows.sort_by_key(|row| row.seq);
        Ok(rows)
    }

    async fn revoke(&self, conversation: &str, seq: i64, by: &str) -> Result<()> {
        let body = json!({ "conversationID": conversation, "seq": seq, "userID": self.id(by) });
        self.call("/msg/revoke_msg", &body).await.map(drop)
    }
}

/// An instance of the daemon in front of an upstream.
struct Instance {
    name: String,
    listen: String,
    openim: Openim,
}

impl Instance {
    async fn new(name: &str, upstream: Option<Version>) -> Result<Self> {
        let (listen, openim) = (free_address()?, Openim::new(upstream).await?);
        if let Some(standin) = &openim.standin {
            let hook = format!("http://{listen}/hook/{HOOK_SECRET}");
            standin.set(|switches| switches.webhook = Some(hook));
        }
        Ok(Self { name: name.to_owned(), listen, openim })
    }

    fn section(&self, page_limit: u32, grace_seconds: u32) -> String {
        let Openim { url, secret, admin, .. } = &self.openim;
        let Self { name, listen, .. } = self;
        let never = "0 0 3 29 2 *";
        format!(
            "[[instance]]\nname = \"{name}\"\nplugin = \"openim\"\nlisten = \"{listen}\"\nrate_limit = 0\n\
             [instance.sync]\ncron = \"{never}\"\npage_limit = {page_limit}\n[instance.directory]\ncron = \"{never}\"\n\
             [instance.config]\nsecret = {}\nadmins = [{}]\n[instance.config.upstream]\nurl = \"{url}\"\n\
             hook_secret = \"{HOOK_SECRET}\"\ntimeout_seconds = 2\ngrace_seconds = {grace_seconds}\n",
            json!(secret),
            json!(admin),
        )
    }

    /// No webhooks.
    fn deafen(&self) {
        if let Some(standin) = &self.openim.standin {
            standin.set(|switches| switches.webhook = None);
        }
    }

    /// A request to the instance, by its admin.
    async fn ask(&self, path: &str, token: &str, body: &Value) -> Result<Value> {
        let request = stele_tests::client::http().post(format!("http://{}{path}", self.listen)).json(body);
        let text = request.header("operationID", "test").header("token", token).send().await?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }

    async fn token(&self) -> Result<String> {
        let asked = json!({ "secret": self.openim.secret, "userID": self.openim.admin });
        let given = self.ask("/auth/get_admin_token", "", &asked).await?;
        Ok(given["data"]["token"].as_str().with_context(|| given.to_string())?.to_owned())
    }

    /// All that is archived, by conversation.
    async fn archived(&self) -> Result<BTreeMap<String, Vec<(Value, bool)>>> {
        let (token, mut cursor) = (self.token().await?, String::new());
        let mut archived = BTreeMap::<_, Vec<_>>::new();
        loop {
            let page = json!({ "pagination": { "pageNumber": 1, "showNumber": 500 }, "cursor": cursor });
            let answer = self.ask("/msg/search_msg", &token, &page).await?;
            ensure!(answer["errCode"] == 0, "{answer}");
            for found in answer["data"]["chatLogs"].as_array().context("a list")? {
                let (log, revoked) = (found["chatLog"].clone(), found["isRevoked"] == true);
                let id = |name: &str| log[name].as_str().unwrap_or_default().to_owned();
                let conversation = match log["sessionType"].as_i64() {
                    Some(3) => format!("sg_{}", id("groupID")),
                    Some(4) => format!("sn_{}", pair(&id("sendID"), &id("recvID"))),
                    _ => format!("si_{}", pair(&id("sendID"), &id("recvID"))),
                };
                archived.entry(conversation).or_default().push((log, revoked));
            }
            match answer["data"]["nextCursor"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut cursor),
                _ => break,
            }
        }
        archived.values_mut().for_each(|rows| rows.sort_by_key(|(log, _)| log["seq"].as_i64()));
        Ok(archived)
    }

    /// These conversations, each with somebody who sees all of it, are served as the upstream holds them, message by message:
    /// nothing is missing, nothing there twice, and what was taken back is marked and says what it said.
    async fn complete(&self, conversations: &[(String, &str)]) -> Result<()> {
        let archived = self.archived().await?;
        for (conversation, reader) in conversations {
            let expected = self.openim.rows(conversation, reader).await?;
            let found = archived.get(conversation).map(Vec::as_slice).unwrap_or_default();
            ensure!(found.len() == expected.len(), "{conversation}: {} of {}", found.len(), expected.len());
            for ((log, revoked), row) in found.iter().zip(&expected) {
                ensure!(log["seq"] == row.seq && log["serverMsgID"] == row.id, "{log} is not {row:?}");
                ensure!(*revoked == (row.content_type == 2101), "{log} is not {row:?}");
                let content = log["content"].as_str().unwrap_or_default();
                let is_original = !content.is_empty() && log["contentType"] != 2101;
                ensure!(if *revoked { is_original } else { content == row.content }, "{log} is not {row:?}");
            }
        }
        let total: usize = archived.values().map(Vec::len).sum();
        let expected = self.openim.standin.as_ref().map(|standin| standin.rows().values().map(Vec::len).sum::<usize>());
        // A real server has other conversations as well.
        ensure!(expected.is_none_or(|expected| expected == total), "{total} of {expected:?}");
        Ok(())
    }
}

/// A daemon with one instance in front of an upstream; jobs run on request.
struct Rig {
    site: Site,
    one: Instance,
}

impl Rig {
    async fn new(upstream: Option<Version>, page_limit: u32) -> Result<Self> {
        places::plugin("openim")?;
        let one = Instance::new(NAME, upstream).await?;
        let sections = one.section(page_limit, 3600);
        Ok(Self { site: Site::new(|_| Ok(Settings { sections, ..Settings::empty() }))?, one })
    }

    /// Runs a job, and says what it had to tell.
    async fn run(&self, kind: &str) -> Result<Vec<String>> {
        self.site.notices_of(NAME, kind).await
    }

    /// Waits until these conversations are archived as they are there, without a sync.
    async fn arrived(&self, conversations: &[(String, &str)]) -> Result<()> {
        wait_for("what was told", || async {
            self.one.complete(conversations).await.map_err(|error| format!("{error:#}"))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_conversation_is_archived_run_by_run() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 50).await?;
        rig.one.deafen();
        let openim = &rig.one.openim;
        openim.register(&["alice", "bob", "u_1", "u"]).await?;
        openim.make_group("group1", &["alice", "bob", "u_1"]).await?;
        let mut all = vec![(openim.of_group("group1"), "alice")];
        for (from, to, count) in [("alice", "bob", 120), ("u_1", "u", 3), ("u", "bob", 41), ("bob", "group1", 130)] {
            openim.say(from, to, count).await?;
            if !to.starts_with("group") {
                all.push((openim.of_two(from, to), from));
            }
        }
        // Taken back before it is archived.
        openim.revoke(&openim.of_two("alice", "bob"), 7, "alice").await?;
        let daemon = rig.site.start().await?;
        rig.run("sync").await?;
        rig.one.complete(&all).await?;
        // What is new, conversations that were not there, and what is taken back after it was archived.
        openim.make_group("group2", &["u", "u_1"]).await?;
        all.extend([(openim.of_group("group2"), "u"), (openim.of_two("alice", "u"), "alice")]);
        for (from, to, seq) in [("alice", "bob", 8), ("u_1", "u", 1), ("u", "group2", 3), ("alice", "u", 2)] {
            openim.say(from, to, 4).await?;
            let conversation = if to.starts_with("group") { openim.of_group(to) } else { openim.of_two(from, to) };
            openim.revoke(&conversation, seq, from).await?;
            rig.run("sync").await?;
        }
        rig.one.complete(&all).await?;
        rig.run("sync").await?;
        rig.one.complete(&all).await?;
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_those_the_upstream_has_now() -> Result<()> {
    for upstream in standins("names that change") {
        let rig = Rig::new(upstream, 50).await?;
        rig.one.deafen();
        let openim = &rig.one.openim;
        openim.register(&["alice", "bob"]).await?;
        openim.make_group("group1", &["alice", "bob"]).await?;
        openim.say("alice", "bob", 1).await?;
        openim.say("alice", "group1", 1).await?;
        let daemon = rig.site.start().await?;
        rig.run("sync").await?;
        for (person, group) in [("bob", "group1 群"), ("Robert", "Operations")] {
            rig.run("directory").await?;
            let archived = rig.one.archived().await?;
            let logs =
                |conversation: &str| archived[conversation].last().map(|(log, _)| log.clone()).unwrap_or_default();
            let (single, many) = (logs(&openim.of_two("alice", "bob")), logs(&openim.of_group("group1")));
            ensure!(single["recvNickname"] == person, "{single}");
            ensure!(many["groupName"] == group && many["groupOwner"] == openim.id("alice"), "{many}");
            ensure!(many["groupMemberCount"] == 2 && many["groupType"] == 2, "{many}");
            openim.standin()?.add_user(&openim.id("bob"), "Robert");
            let (alice, bob) = (openim.id("alice"), openim.id("bob"));
            openim.standin()?.add_group(&openim.id("group1"), "Operations", &[&alice, &bob]);
        }
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_amid_the_first_sync_it_loses_and_doubles_nothing() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 10).await?;
        rig.one.deafen();
        let openim = &rig.one.openim;
        openim.register(&["alice", "bob", "u"]).await?;
        openim.make_group("group1", &["alice", "bob"]).await?;
        let all = [
            (openim.of_group("group1"), "alice"),
            (openim.of_two("alice", "bob"), "alice"),
            (openim.of_two("u", "bob"), "u"),
        ];
        for (from, to) in [("alice", "group1"), ("alice", "bob"), ("u", "bob")] {
            openim.say(from, to, 130).await?;
        }
        openim.revoke(&all[1].0, 77, "alice").await?;
        if let Some(standin) = &openim.standin {
            standin.script.push(PULL, Reply::Delay(Duration::from_millis(20)), u32::MAX);
        }
        let mut hits = 0;
        for kill in 0..4 {
            let daemon = rig.site.start().await?;
            rig.site.begin_run_of(NAME, "sync").await?;
            tokio::time::sleep(Duration::from_millis(25 * kill)).await;
            hits += usize::from(rig.site.is_running("sync").await.unwrap_or(false));
            daemon.kill().await?;
        }
        ensure!(hits > 0, "no kill hit a running sync");
        if let Some(standin) = &openim.standin {
            standin.script.clear();
            // Of the daemon, and of the test.
            ensure!(standin.tokens() <= 4, "{} tokens", standin.tokens());
        }
        let daemon = rig.site.start().await?;
        rig.run("sync").await?;
        rig.one.complete(&all).await?;
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
        Reply::Errcode(500),
        Reply::Errcode(1506),
    ];
    for upstream in standins("failures at every call") {
        let rig = Rig::new(upstream, 100).await?;
        rig.one.deafen();
        let openim = &rig.one.openim;
        openim.register(&["alice", "bob"]).await?;
        openim.make_group("group1", &["alice", "bob"]).await?;
        let all = [(openim.of_group("group1"), "alice"), (openim.of_two("alice", "bob"), "alice")];
        let daemon = rig.site.start().await?;
        for (round, failure) in failures.iter().enumerate() {
            openim.say("alice", "group1", 20).await?;
            openim.say("alice", "bob", 20).await?;
            openim.revoke(&all[1].0, 20 * round as i64 + 3, "alice").await?;
            for path in [
                "/auth/get_admin_token",
                "/group/get_groups",
                "/user/get_all_users_uid",
                "/msg/newest_seq",
                "/msg/get_conversations_has_read_and_max_seq",
                PULL,
                "/msg/search_msg",
            ] {
                openim.standin()?.script.push(path, failure.clone(), 1);
            }
            // What failed in this run the next one brings.
            rig.run("sync").await.with_context(|| format!("{failure:?}"))?;
            openim.standin()?.script.clear();
            rig.run("sync").await?;
            rig.one.complete(&all).await.with_context(|| format!("{failure:?}"))?;
        }
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_bring_messages_without_a_sync() -> Result<()> {
    for upstream in standins("webhooks") {
        let rig = Rig::new(upstream, 100).await?;
        let openim = &rig.one.openim;
        let standin = openim.standin()?;
        standin.set(|switches| (switches.before_hooks, switches.save_hooks) = (true, true));
        openim.register(&["alice", "bob"]).await?;
        let daemon = rig.site.start().await?;
        openim.make_group("group1", &["alice", "bob"]).await?;
        let all = [(openim.of_group("group1"), "alice"), (openim.of_two("alice", "bob"), "alice")];
        for _ in 0..3 {
            openim.say("alice", "bob", 7).await?;
            openim.say("bob", "group1", 7).await?;
            rig.arrived(&all).await?;
        }
        // The webhook comes before its message can be read.
        for arrival in [Arrival::Queued, Arrival::Unreadable] {
            standin.set(|switches| switches.arrival = arrival);
            standin.say(Say::to(&openim.id("alice"), &openim.id("bob"), "late"));
            wait_for("the webhook", || async {
                if standin.told().last().is_some_and(|told| told.status == 200) { Ok(()) } else { Err(String::new()) }
            })
            .await?;
            standin.set(|switches| switches.arrival = Arrival::AtOnce);
            standin.arrive();
            rig.arrived(&all).await?;
        }
        openim.revoke(&all[1].0, 3, "alice").await?;
        rig.arrived(&all).await?;
        // What is lost comes with the sync.
        standin.set(|switches| switches.lose_hooks = u32::MAX);
        openim.say("alice", "bob", 5).await?;
        openim.revoke(&all[0].0, 3, "bob").await?;
        rig.run("sync").await?;
        rig.one.complete(&all).await?;
        for told in standin.told() {
            ensure!(told.status == 200 && told.answer.contains("\"nextCode\":0"), "{told:?}");
        }
        // Unknown commands, and whoever does not know the secret.
        let unknown = standin.hook("callbackAfterSomethingNewCommand", &json!([1])).await?;
        ensure!(unknown.status == 200, "{unknown:?}");
        let stranger = format!("http://{}/hook/another-secret-of-hooks", rig.one.listen);
        standin.set(|switches| switches.webhook = Some(stranger));
        let refused = standin.hook("callbackAfterSendSingleMsgCommand", &json!({})).await?;
        ensure!(refused.status == 404, "{refused:?}");
        ensure!(!rig.site.log().contains(HOOK_SECRET), "no secret in the log");
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_through_the_daemon_is_there_once() -> Result<()> {
    for upstream in upstreams() {
        let rig = Rig::new(upstream, 100).await?;
        rig.one.deafen();
        let openim = &rig.one.openim;
        openim.register(&["alice", "bob"]).await?;
        openim.make_group("group1", &["alice", "bob"]).await?;
        let daemon = rig.site.start().await?;
        let token = rig.one.token().await?;
        let all = [(openim.of_group("group1"), "alice"), (openim.of_two("alice", "bob"), "alice")];
        for failure in [None, Some(Reply::Close), Some(Reply::Status(502)), None] {
            for to in ["bob", "group1"] {
                if let (Some(standin), Some(failure)) = (&openim.standin, failure.clone()) {
                    standin.script.push(SEND, failure, 1);
                }
                let sent = rig.one.ask(SEND, &token, &openim.message("alice", to, "relayed ")).await?;
                let is_known = failure.is_none() || openim.standin.is_none();
                ensure!(sent["errCode"] == if is_known { 0 } else { 500 }, "{failure:?}: {sent}");
            }
        }
        rig.run("sync").await?;
        rig.arrived(&all).await?;
        let rows = openim.rows(&all[1].0, "alice").await?;
        ensure!(rows.len() == 4, "each is sent once: {rows:?}");
        let back = json!({ "conversationID": all[1].0, "seq": 2, "userID": openim.id("alice") });
        let revoked = rig.one.ask("/msg/revoke_msg", &token, &back).await?;
        ensure!(revoked["errCode"] == 0, "{revoked}");
        rig.arrived(&all).await?;
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_and_are_renewed_and_kept_over_a_restart() -> Result<()> {
    for upstream in standins("tokens that end") {
        let rig = Rig::new(upstream, 20).await?;
        rig.one.deafen();
        let openim = &rig.one.openim;
        let standin = openim.standin()?;
        openim.register(&["alice", "bob"]).await?;
        let all = [(openim.of_two("alice", "bob"), "alice")];
        let mut before = standin.tokens();
        for (round, ended) in
            [None, Some(Ended::Expired), Some(Ended::Kicked), Some(Ended::Gone), None].into_iter().enumerate()
        {
            openim.say("alice", "bob", 30).await?;
            let daemon = rig.site.start().await?;
            if let Some(ended) = ended {
                standin.end_tokens(ended);
            }
            rig.run("sync").await?;
            rig.one.complete(&all).await?;
            ensure!(standin.tokens() <= before + 2, "{} tokens after {before}", standin.tokens());
            ensure!(round < 4 || standin.tokens() <= before, "a restart costs no token");
            before = standin.tokens();
            ensure!(daemon.stop().await?.success());
        }
        ensure!(!rig.site.log().contains(SECRET), "no secret in the log");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_have_each_its_own() -> Result<()> {
    for upstream in standins("two upstreams") {
        let one = Instance::new(NAME, upstream).await?;
        let other = Instance::new("other", Some(Version::Head)).await?;
        let sections = format!("{}{}", one.section(50, 3600), other.section(50, 3600));
        let rig = Rig { site: Site::new(|_| Ok(Settings { sections, ..Settings::empty() }))?, one };
        let daemon = rig.site.start().await?;
        for (instance, count) in [(&rig.one, 30), (&other, 40)] {
            instance.deafen();
            instance.openim.register(&["alice", "bob"]).await?;
            instance.openim.say("alice", "bob", count).await?;
        }
        rig.run("sync").await?;
        rig.site.notices_of("other", "sync").await?;
        for instance in [&rig.one, &other] {
            instance.complete(&[(instance.openim.of_two("alice", "bob"), "alice")]).await?;
        }
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}
