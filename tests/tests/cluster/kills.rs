//! Daemons killed one after the other, under all that clients and the sync do meanwhile: nothing is lost, nothing doubled, and nobody
//! is refused anything but by the daemon that was just killed.
//!
//! `STELE_CLUSTER_DAEMONS` says how many there are, `STELE_CLUSTER_SECONDS` for how long they are killed: two minutes in `make endurance`.

use crate::rig::{Cluster, Member, fetched_again};
use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use stele_tests::{
    backing::Engine,
    client::{Client, http},
    corp::Story,
    daemon::{Site, wait_for},
    gateway::{Api, token},
};

/// From one kill to the next; the killed one starts again halfway.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);
/// The corp writes so many messages at once, and so often.
const WRITTEN_AT_ONCE: usize = 30;
const BETWEEN_WRITES: Duration = Duration::from_millis(500);
/// Pauses of a client that sends, and of one that reads.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));
/// Messages a client looks for that were accepted just before.
const LOOKED_FOR: usize = 30;
/// In every text that is sent, and in none of the corp.
const MARK: &str = "unheard-of";

/// Why an answer is not as it should be.
enum Fault {
    /// There is none, or an error in its place: that is what a killed daemon's clients get.
    Refused(String),
    /// It is not true.
    Wrong(String),
}

/// What is asked of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Send,
    History,
    Search,
    Corp,
}

const REQUESTS: [Request; 4] = [Request::Send, Request::History, Request::Search, Request::Corp];

/// What clients did, and what they were answered.
#[derive(Default)]
struct Tally {
    /// Ids and texts of messages that were accepted, in the order of the answers. No two have the same text.
    accepted: Vec<(String, String)>,
    answered: BTreeMap<Request, usize>,
    /// Requests that were cut off by a kill.
    cut_off: usize,
    faults: Vec<String>,
    /// The most messages of one conversation of the corp that any daemon has shown.
    shown: i64,
}

/// What all clients of all daemons share.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    /// Who is not there, or about to be killed.
    down: Mutex<BTreeSet<usize>>,
    tally: Mutex<Tally>,
}

impl Load {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("no panic")
    }

    fn is_down(&self, number: usize) -> bool {
        self.down.lock().expect("no panic").contains(&number)
    }
}

fn refused(answer: impl Debug) -> Fault {
    Fault::Refused(format!("{answer:?}"))
}

/// Of a message that is shown.
fn id_and_text(message: &Value) -> Option<(&str, &str)> {
    Some((message["MsgId"].as_str()?, message["Content"].as_str()?))
}

/// Texts of everything that was sent, as a daemon finds it, page by page.
async fn found(site: &Site) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    loop {
        let path = format!("/api/v1/archive/search?q={MARK}&limit=100&offset={}", texts.len());
        let page = site.admin(&path).await?;
        let rows = page["rows"].as_array().context("rows")?;
        texts.extend(rows.iter().filter_map(|row| row["text"].as_str()).map(str::to_owned));
        if rows.is_empty() {
            ensure!(page["total"] == texts.len(), "{} are found of {}", texts.len(), page["total"]);
            return Ok(texts);
        }
    }
}

/// Somebody who asks one daemon.
#[derive(Clone)]
struct Caller {
    load: Arc<Load>,
    number: usize,
    gateway: Api,
    conversation: String,
    corp: Client,
    http: reqwest::Client,
    search: String,
}

impl Caller {
    fn new(load: &Arc<Load>, number: usize, member: &Member, conversation: &str) -> Self {
        Self {
            load: Arc::clone(load),
            number,
            gateway: member.gateway.api(),
            conversation: conversation.to_owned(),
            corp: member.site.client(),
            http: http(),
            search: format!("http://{}/api/v1/archive/search?q={MARK}&limit=5", member.site.settings.admin),
        }
    }

    /// Asks the same again and again until all is over.
    async fn repeat(self, request: Request) {
        for count in 0.. {
            if self.load.over.load(Ordering::Relaxed) {
                return;
            }
            let was_down = self.load.is_down(self.number);
            let answer = match request {
                Request::Send => self.send(count).await,
                Request::History => self.history().await,
                Request::Search => self.search().await,
                Request::Corp => self.corp().await,
            };
            // Killed before, while, or right after it answered.
            let is_down = was_down || self.load.is_down(self.number);
            {
                let mut tally = self.load.tally();
                match answer {
                    Ok(()) => *tally.answered.entry(request).or_default() += 1,
                    Err(Fault::Refused(_)) if is_down => tally.cut_off += 1,
                    Err(Fault::Refused(why) | Fault::Wrong(why)) => {
                        tally.faults.push(format!("{request:?} at d{}: {why}", self.number));
                    }
                }
            }
            tokio::time::sleep(if request == Request::Send { PAUSES.0 } else { PAUSES.1 }).await;
        }
    }

    async fn send(&self, count: usize) -> Result<(), Fault> {
        let (sender, text) = (token("ann", self.number as u32 + 1), format!("{MARK} {}x{count}x", self.number));
        let reply = self.gateway.try_send(&sender, &self.conversation, &text).await.map_err(refused)?;
        let id = reply.json()["data"]["MsgID"].as_str().map(str::to_owned);
        self.load.tally().accepted.push((id.ok_or_else(|| refused(reply))?, text));
        Ok(())
    }

    /// Whether what was accepted before, by whomever, is in the history.
    async fn history(&self) -> Result<(), Fault> {
        let wanted: Vec<_> = self.load.tally().accepted.iter().rev().take(LOOKED_FOR).cloned().collect();
        let ids = || wanted.iter().map(|(id, _)| id);
        let Some((first, last)) = ids().min().zip(ids().max()) else { return Ok(()) };
        let body =
            json!({ "conversation_id": self.conversation, "start_msg_id": first, "end_msg_id": last, "desc": false });
        let path = "/get_conversation_msg_by_range";
        let reply = self.gateway.post(path, &token("bob", 1), &body).await.map_err(refused)?;
        let shown = reply.json()["data"]["Msg"].take();
        let shown = shown.as_array().ok_or_else(|| refused(&reply))?;
        let shown: BTreeMap<&str, &str> = shown.iter().filter_map(id_and_text).collect();
        match wanted.iter().find(|(id, text)| shown.get(id.as_str()) != Some(&text.as_str())) {
            Some(sent) => Err(Fault::Wrong(format!("{sent:?} is not among the {} that are shown", shown.len()))),
            None => Ok(()),
        }
    }

    /// Whether as many are found as were accepted before, by whomever.
    async fn search(&self) -> Result<(), Fault> {
        let accepted = self.load.tally().accepted.len() as u64;
        let response = self.http.get(&self.search).send().await.map_err(refused)?;
        let (status, text) = (response.status(), response.text().await.map_err(refused)?);
        let reply: Value = serde_json::from_str(&text).unwrap_or_default();
        match reply["total"].as_u64().filter(|_| status.is_success()) {
            None => Err(Fault::Refused(format!("{status} {text}"))),
            Some(found) if found < accepted => Err(Fault::Wrong(format!("{found} of {accepted} are found"))),
            Some(_) => Ok(()),
        }
    }

    /// Whether as many of a conversation of the corp are there as were shown before, by whichever daemon.
    async fn corp(&self) -> Result<(), Fault> {
        let params = [
            ("ext_staff_id", "staff123"),
            ("receiver_id", "customer456"),
            ("ext_corp_id", "corp123"),
            ("page", "1"),
            ("page_size", "20"),
        ];
        let before = self.load.tally().shown;
        let answer = self.corp.get("session-msgs", &params).await.map_err(refused)?;
        match answer.total() {
            _ if answer.status != 200 || answer.code() != 0 => Err(refused(answer)),
            total if total < before => Err(Fault::Wrong(format!("{total} are shown, and {before} were before"))),
            total => {
                let mut tally = self.load.tally();
                tally.shown = tally.shown.max(total);
                Ok(())
            }
        }
    }
}

/// Writes messages of the corp, and asks every daemon that is there for a sync, again and again for so long.
async fn write(cluster: &mut Cluster, lasts: Duration) -> Result<usize> {
    let (begun, mut written) = (Instant::now(), 0);
    while begun.elapsed() < lasts {
        written += cluster.folder.extend(&mut cluster.story, WRITTEN_AT_ONCE)?;
        for member in cluster.members.iter().filter(|member| member.daemon.is_some()) {
            // Refused while its plugin has not told its partitions yet.
            _ = member.site.request_run("sync").await;
        }
        tokio::time::sleep(BETWEEN_WRITES).await;
    }
    Ok(written)
}

/// Who runs the sync, if anybody.
async fn who_syncs(cluster: &Cluster) -> Option<usize> {
    let member = cluster.members.iter().find(|member| member.daemon.is_some())?;
    let jobs = member.site.admin("/api/v1/jobs?instance=wecom&limit=1").await.ok()?;
    let mut jobs = jobs["jobs"].as_array()?.iter();
    let owner = jobs.find(|job| job["key"]["kind"] == "sync")?["lease"][0].as_str()?;
    owner.strip_prefix('d')?.split_once('-')?.0.parse().ok()
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn lose_and_double_nothing(engine: Engine, with_nats: bool) -> Result<()> {
    let daemons = from_environment("STELE_CLUSTER_DAEMONS", 3) as usize;
    let lasts = Duration::from_secs(from_environment("STELE_CLUSTER_SECONDS", 8));
    let writes = lasts.as_millis() / BETWEEN_WRITES.as_millis() + 100;
    let most = writes as usize * WRITTEN_AT_ONCE;
    let Some(mut cluster) = Cluster::start(engine, daemons, with_nats, most).await? else { return Ok(()) };
    // People who are asked for are known then.
    let mut written = cluster.folder.extend(&mut cluster.story, 2 * Story::PARADE)?;
    cluster.site(0).sync().await?;
    // Slow enough that a sync goes on most of the time.
    cluster.folder.set_faults(&["chat delay 200"])?;
    let conversation = cluster.members[0].gateway.api().create(2, &["ann", "bob"]).await?;
    let load = Arc::new(Load::default());
    let mut callers = Vec::new();
    for (number, member) in cluster.members.iter().enumerate() {
        let caller = Caller::new(&load, number, member, &conversation);
        callers.extend(REQUESTS.map(|request| tokio::spawn(caller.clone().repeat(request))));
    }
    let mut rng = StdRng::seed_from_u64(7);
    let (begun, mut kills, mut syncs_hit) = (Instant::now(), 0, 0);
    while begun.elapsed() < lasts {
        written += write(&mut cluster, BETWEEN_KILLS / 2).await?;
        let syncs = who_syncs(&cluster).await;
        // Every other time the one that has the most to leave undone.
        let number = syncs.filter(|_| kills % 2 == 0).unwrap_or_else(|| rng.random_range(0..daemons));
        syncs_hit += usize::from(syncs == Some(number));
        load.down.lock().expect("no panic").insert(number);
        cluster.members[number].kill().await?;
        kills += 1;
        written += write(&mut cluster, BETWEEN_KILLS / 2).await?;
        cluster.members[number].start().await?;
        load.down.lock().expect("no panic").remove(&number);
    }
    load.over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await?;
    }
    let lasted = begun.elapsed();
    cluster.folder.set_faults(&[])?;
    let Tally { accepted, answered, cut_off, faults, .. } = std::mem::take(&mut *load.tally());
    ensure!(
        faults.is_empty(),
        "{} answers were not as they should be, e.g. {:#?}",
        faults.len(),
        &faults[..faults.len().min(5)]
    );
    let mut sent = 0;
    for member in &cluster.members {
        let history = member.gateway.api().history(&token("bob", 1), &conversation).await?;
        let all: BTreeMap<&str, &str> = history.iter().filter_map(id_and_text).collect();
        ensure!(all.len() == history.len(), "a message is there twice");
        let sends: Vec<&str> = all.values().copied().filter(|text| text.starts_with(MARK)).collect();
        let texts: BTreeSet<&str> = sends.iter().copied().collect();
        ensure!(texts.len() == sends.len(), "{} sends are there twice", sends.len() - texts.len());
        let lost: Vec<_> = accepted.iter().filter(|(id, text)| all.get(id.as_str()) != Some(&text.as_str())).collect();
        ensure!(
            lost.is_empty(),
            "{} of {} accepted messages are not there: {:?}",
            lost.len(),
            accepted.len(),
            lost.first()
        );
        // What was cut off may have been stored, and is found then.
        let found = found(&member.site).await?;
        let found_texts: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        ensure!(
            found.len() == sends.len() && found_texts == texts,
            "{} are found of {}: {:?}",
            found.len(),
            sends.len(),
            texts.symmetric_difference(&found_texts).next()
        );
        sent = history.len() as u64;
    }
    let site = cluster.site(0);
    wait_for("the rest of the sync", || async {
        let stored = site.stat("messages").await.map_err(|error| error.to_string())?;
        if stored == sent + written as u64 {
            return Ok(());
        }
        _ = site.request_run("sync").await;
        Err(format!("{stored} of {sent} that were sent and {written} that the corp has"))
    })
    .await?;
    wait_for("end of every sync", || async {
        match site.is_running("sync").await {
            Ok(false) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    let (pages, runs) = (cluster.pages()?, site.runs("sync").await?);
    let known: u64 = runs.iter().map(|run| run.known).sum();
    ensure!(known == 0, "{known} messages were stored before");
    let again = fetched_again(&pages, &runs)?;
    let cut_short = runs.iter().filter(|run| run.outcome != "succeeded").count();
    println!(
        "{kills} kills of {daemons} daemons in {lasted:?}, {syncs_hit} of who had the sync, {engine:?}, {} NATS: {} sends accepted and {sent} stored; \
         {written} messages fetched in {} pages and {} runs, {cut_short} of which were cut off, {again} pages again; \
         answered {answered:?}, cut off {cut_off}",
        if with_nats { "with" } else { "without" },
        accepted.len(),
        pages.len(),
        runs.len(),
    );
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_killed_again_and_again_lose_and_double_nothing_with_nats() -> Result<()> {
    lose_and_double_nothing(Engine::Embedded, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_killed_again_and_again_lose_and_double_nothing_without_nats() -> Result<()> {
    lose_and_double_nothing(Engine::Embedded, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_killed_again_and_again_lose_and_double_nothing_with_one_meilisearch() -> Result<()> {
    lose_and_double_nothing(Engine::Meilisearch, true).await
}
