//! The bench of live delivery: listeners over WebSocket in conversations of ten, messages at a steady rate; what the daemon's
//! memory is for it, and how long after the `SendTime` of a message its listeners have it. That is an upper bound of the time
//! from commit to socket: it begins before the commit and ends after the client's own work, on the same machine.
//! Run a release build: `make live`. Its figures are printed beside the goals, which are meant for the sizes it has by default.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use stele_tests::{
    daemon::{memory, wait_for},
    gateway::{Api, Gateway, site, token},
    live::{Call, Carrier, ws},
};
use tokio::{task::JoinSet, time::timeout};
use tokio_tungstenite::tungstenite::Message;

#[derive(Parser)]
#[command(about = "Memory and delay of live delivery")]
struct Arguments {
    /// Listeners.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Members of a conversation.
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Most KiB of the daemon at any moment, with ten thousand listeners: 300 MB.
const MEMORY_GOAL: u64 = 300_000_000 / 1024;
/// Milliseconds that 99 of 100 deliveries take at most, at a thousand messages a second.
const DELAY_GOAL: f64 = 50.0;

/// What is opened at the same time.
const AT_ONCE: usize = 64;
/// A listener that is not connected after this will not be.
const OPENING: Duration = Duration::from_secs(20);

/// What the listeners have seen.
#[derive(Default)]
struct Receipts {
    count: AtomicU64,
    /// Microseconds from `SendTime` to receipt.
    delays: Mutex<Vec<i64>>,
}

impl Receipts {
    fn add(&self, message: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_micros();
        // Parsing it all would be measured, too.
        let sent = message.split_once("\"SendTime\":").and_then(|(_, rest)| rest.split_once(','));
        if let Some(sent) = sent.and_then(|(number, _)| number.parse::<i64>().ok()) {
            self.delays.lock().unwrap_or_else(PoisonError::into_inner).push(now as i64 - sent);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    let Arguments { connections, members, rate, seconds } = arguments;
    ensure!(
        members > 0 && connections.is_multiple_of(members),
        "{connections} listeners in conversations of {members}"
    );
    let room = connections + 2048;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    ensure!(limit.maximum.is_none_or(|most| most > room as u64), "only {:?} open files are allowed", limit.maximum);

    let gateway = Gateway::new("gateway", "greeting = \"\"")?;
    let sections = format!("[http]\nmax_connections = {room}\n[live]\nmax_sessions = {room}\n[log]\nlevel = \"warn\"");
    let site = site(std::slice::from_ref(&gateway), &sections)?;
    let daemon = site.start().await?;
    let (pid, api) = (daemon.pid().context("it runs")?, gateway.api());
    let conversations = conversations(&api, connections, members).await?;
    let before = memory(pid, "VmRSS")?;

    let receipts = Arc::new(Receipts::default());
    let begin = Instant::now();
    let mut listeners = JoinSet::new();
    let mut opening = stream::iter((0..connections).map(|index| open(&gateway, index))).buffer_unordered(AT_ONCE);
    while let Some(opened) = timeout(OPENING, opening.next()).await.with_context(|| {
        format!("{} of {connections} listeners are connected, and nothing moves\n{}", listeners.len(), site.log_tail())
    })? {
        let mut socket = opened?;
        let receipts = Arc::clone(&receipts);
        listeners.spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Text(text) = message {
                    receipts.add(&text);
                }
            }
        });
    }
    drop(opening);
    let connecting = begin.elapsed();
    let after = memory(pid, "VmRSS")?;
    eprintln!("{connections} listeners in {connecting:?}");

    let messages = u64::from(rate) * u64::from(seconds);
    let sending = send(&api, &conversations, members, rate, messages).await?;
    let wanted = messages * members as u64;
    wait_for("delivery of everything", || async {
        let count = receipts.count.load(Ordering::Relaxed);
        if count == wanted { Ok(()) } else { Err(format!("{count} of {wanted}")) }
    })
    .await
    .with_context(|| site.log_tail())?;
    ensure!(
        listeners.len() == connections && listeners.try_join_next().is_none(),
        "a listener has lost its connection"
    );
    let mut delays = std::mem::take(&mut *receipts.delays.lock().unwrap_or_else(PoisonError::into_inner));
    delays.sort_unstable();
    let percentile = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let plugins = daemon.children().into_iter().map(|pid| memory(pid, "VmRSS")).sum::<Result<u64>>()?;
    let (peak, p99) = (memory(pid, "VmHWM")?, percentile(0.99));
    let per_connection = |kib: u64| (kib.saturating_sub(before) as f64 / connections as f64 * 10.0).round() / 10.0;
    let figures = json!({
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "connections": connections,
        "messages": messages,
        "deliveries": delays.len(),
        "messages_per_second": (messages as f64 / sending.as_secs_f64()).round(),
        "p50_ms": percentile(0.5),
        "p99_ms": p99,
        "p99_ms_goal": DELAY_GOAL,
        "max_ms": percentile(1.0),
        "daemon_kib_before": before,
        "daemon_kib_after": after,
        "daemon_kib_under_load": peak,
        "daemon_kib_goal": MEMORY_GOAL,
        "kib_per_connection": per_connection(after),
        "kib_per_connection_under_load": per_connection(peak),
        "plugin_kib": plugins,
    });
    for (name, figure, goal, unit) in
        [("memory under load", peak as f64, MEMORY_GOAL as f64, "KiB"), ("p99 of the delay", p99, DELAY_GOAL, "ms")]
    {
        let verdict = if figure <= goal { "met" } else { "MISSED" };
        eprintln!("{name}: {figure} {unit}, goal {goal} {unit}: {verdict}");
    }
    println!("{figures}");
    listeners.shutdown().await;
    daemon.stop().await?;
    Ok(())
}

fn person(index: usize) -> String {
    format!("person-{index}")
}

/// One for each so many people.
async fn conversations(api: &Api, people: usize, members: usize) -> Result<Vec<String>> {
    let making = (0..people / members).map(|index| async move {
        let sessions: Vec<_> = (index * members..(index + 1) * members).map(person).collect();
        api.create(0, &sessions.iter().map(String::as_str).collect::<Vec<_>>()).await
    });
    stream::iter(making).buffered(AT_ONCE).try_collect().await
}

async fn open(gateway: &Gateway, index: usize) -> Result<ws::Socket> {
    ws::connect(&Call::notify(&gateway.listen, Carrier::Ws, &token(&person(index), 1), None)).await
}

/// Sends at a steady rate, whatever the answers take; returns how long it was until the last answer.
async fn send(api: &Api, conversations: &[String], members: usize, rate: u32, messages: u64) -> Result<Duration> {
    let tokens: Vec<_> = (0..conversations.len()).map(|index| token(&person(index * members), 9)).collect();
    let begin = Instant::now();
    let mut answers = JoinSet::new();
    for number in 0..messages {
        tokio::time::sleep_until((begin + Duration::from_secs(1) * u32::try_from(number)? / rate).into()).await;
        let place = usize::try_from(number)? % conversations.len();
        let (api, token, conversation) = (api.clone(), tokens[place].clone(), conversations[place].clone());
        answers.spawn(async move { api.send(&token, &conversation, "今天的会议改到下午三点").await });
        while let Some(answer) = answers.try_join_next() {
            answer??;
        }
    }
    while let Some(answer) = answers.join_next().await {
        answer??;
    }
    Ok(begin.elapsed())
}
