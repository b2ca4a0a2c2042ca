//! The bench of sends: `/message/send` of WuKongIM's API over HTTP, each answered when it is committed, at both durabilities, into
//! channels of their own and into one; how many a second, and how long they take. The client works on the same cores.
//! Beside it, in the same run, what SQLite alone does: transactions of one row, one after the other. Sends that wait for the disk
//! together are committed together, so that they may be more. And what other servers of this API do, WuKongIM itself for instance,
//! where they are named with `--beside`.
//! Run a release build: `make sends`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor};
use std::time::{Duration, Instant};
use stele_tests::wukongim::{Api, Wukongim, encoded, site};
use tokio::task::JoinSet;

#[derive(Parser)]
#[command(about = "Throughput and latency of sends")]
struct Arguments {
    /// Connections that send at the same time, each waiting for its answers.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Seconds of each part.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Address (host and port) of another server of this API, on this machine, that is measured as well; may be repeated.
    #[arg(long)]
    beside: Vec<String>,
}

const DURABILITIES: [(&str, SqliteSynchronous); 2] =
    [("full", SqliteSynchronous::Full), ("normal", SqliteSynchronous::Normal)];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    let mut figures = json!({
        "cores": std::thread::available_parallelism().map_or(1, usize::from), "connections": arguments.connections,
    });
    for (name, synchronous) in DURABILITIES {
        let instance = Wukongim::new("im", "")?;
        let sections = format!("[archive]\ndurability = \"{name}\"\n[log]\nlevel = \"warn\"");
        let site = site(std::slice::from_ref(&instance), &sections)?;
        let alone = commits(site.dir.path().join("alone.db"), synchronous, arguments.seconds).await?;
        let daemon = site.start().await?;
        let distinct = send(&instance.api(), &arguments, |connection| format!("channel-{connection}")).await?;
        let one = send(&instance.api(), &arguments, |_| "everybody".to_owned()).await?;
        daemon.stop().await?;
        figures[name] =
            json!({ "distinct_channels": distinct, "one_channel": one, "sqlite_commits_per_second": alone });
        eprintln!("{name}: {}", figures[name]);
        for address in &arguments.beside {
            let other = Api::new(address);
            join(&other, arguments.connections).await?;
            let distinct = send(&other, &arguments, |connection| format!("channel-{connection}")).await?;
            let one = send(&other, &arguments, |_| "everybody".to_owned()).await?;
            let beside = json!({ "distinct_channels": distinct, "one_channel": one });
            eprintln!("{address} beside {name}: {beside}");
            figures[name][address] = beside;
        }
    }
    println!("{figures}");
    Ok(())
}

/// Every connection sends one message after the other to its channel.
async fn send(api: &Api, arguments: &Arguments, channel: impl Fn(u32) -> String) -> Result<Value> {
    let payload = json!({ "type": 1, "content": "今天的会议改到下午三点" }).to_string();
    let begin = Instant::now();
    let until = begin + Duration::from_secs(arguments.seconds);
    let mut sending = JoinSet::new();
    for connection in 0..arguments.connections {
        let message = json!({
            "header": { "red_dot": 1 }, "from_uid": format!("person-{connection}"), "channel_id": channel(connection),
            "channel_type": 2, "payload": encoded(payload.as_bytes()),
        });
        let api = api.clone();
        sending.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let begin = Instant::now();
                let reply = api.post("/message/send", &message).await?;
                // Elsewhere a refusal may be a 200 as well; what was accepted has an id.
                let accepted: Value = reply.read()?;
                let id = accepted.pointer("/data/message_id").unwrap_or(&accepted["message_id"]);
                ensure!(id.as_u64().is_some_and(|id| id > 0), "{accepted}");
                times.push(begin.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(sent) = sending.join_next().await {
        times.extend(sent??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let percentile = |share: f64| {
        let time = times.get(((times.len().saturating_sub(1)) as f64 * share) as usize).context("nothing was sent")?;
        anyhow::Ok((time.as_secs_f64() * 100_000.0).round() / 100.0)
    };
    Ok(json!({
        "messages": times.len(), "messages_per_second": (times.len() as f64 / seconds).round(),
        "p50_ms": percentile(0.5)?, "p99_ms": percentile(0.99)?,
    }))
}

/// Makes the senders subscribers of their channels, which WuKongIM asks for.
async fn join(api: &Api, connections: u32) -> Result<()> {
    let people: Vec<_> = (0..connections).map(|connection| format!("person-{connection}")).collect();
    let own = people.iter().enumerate().map(|(at, person)| (format!("channel-{at}"), vec![person.clone()]));
    for (channel, subscribers) in own.chain([("everybody".to_owned(), people.clone())]) {
        let group = json!({ "channel_id": channel, "channel_type": 2, "subscribers": subscribers });
        let reply = api.post("/channel", &group).await?;
        ensure!(reply.status == 200, "{reply:?}");
    }
    Ok(())
}

/// Transactions of one row a second.
async fn commits(file: std::path::PathBuf, synchronous: SqliteSynchronous, seconds: u64) -> Result<f64> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(synchronous);
    let mut connection: SqliteConnection = options.disable_statement_logging().connect().await?;
    connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body TEXT NOT NULL)").await?;
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < Duration::from_secs(seconds) {
        sqlx::query("INSERT INTO message (body) VALUES (?)").bind("x".repeat(300)).execute(&mut connection).await?;
        count += 1;
    }
    Ok((f64::from(count) / begin.elapsed().as_secs_f64()).round())
}
