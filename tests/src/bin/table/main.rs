//! The table of figures: how fast an archive is filled, moved to Postgres and indexed, and how long every endpoint that reads or sends
//! messages takes, on SQLite and Postgres, with the embedded index and Meilisearch.
//!
//! A crowd's messages, a quarter of them of each protocol, are archived in SQLite by syncs of the real daemon, and moved to a real
//! Postgres, installed as it is, by `steled migrate`. Then, for each combination, the index is made from nothing, the daemon is started
//! anew, and asked over HTTP, one request after the other, by a client on the same cores. In the end a sync brings more.
//! An archive that was filled is kept for the next run, in the folder `--folder`.
//! Run a release build: `make table`. Prints JSON, and tables in Markdown.

mod ask;
mod combination;
mod place;
mod report;
mod rows;

use anyhow::{Result, ensure};
use clap::Parser;
use combination::{Combination, Engine, Store};
use place::Place;
use report::{Report, Size};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use stele_servers::{Durability, Meili, Postgres};

#[derive(Parser)]
#[command(about = "How fast everything is, at several sizes, on each combination of store and index")]
struct Arguments {
    /// Sizes of the archive, in messages.
    #[arg(long, env = "STELE_TABLE_MESSAGES", value_delimiter = ',', default_value = "1000000")]
    messages: Vec<u64>,
    /// Stores that are measured.
    #[arg(long, env = "STELE_TABLE_STORES", value_delimiter = ',', default_value = "sqlite,postgres")]
    stores: Vec<Store>,
    /// Engines that are measured: Meilisearch where one is found.
    #[arg(long, env = "STELE_TABLE_ENGINES", value_delimiter = ',', default_value = "embedded,meilisearch")]
    engines: Vec<Engine>,
    /// Requests of each kind at most.
    #[arg(long, env = "STELE_TABLE_REQUESTS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Seconds after which a kind of request is asked no more.
    #[arg(long, env = "STELE_TABLE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds an index may take; what is not in it then is not waited for.
    #[arg(long, env = "STELE_TABLE_INDEX_SECONDS", default_value_t = 3_600)]
    index_seconds: u64,
    /// Messages that are synced into each archive in the end.
    #[arg(long, env = "STELE_TABLE_SYNCED", default_value_t = 100_000)]
    synced: u64,
    /// Where archives are filled and kept.
    #[arg(long, env = "STELE_TABLE_FOLDER", default_value = "target/table")]
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    ensure!(arguments.messages.iter().all(|messages| *messages >= 10_000), "fewer than 10,000 messages say nothing");
    let meili = if arguments.engines.contains(&Engine::Meilisearch) { Meili::find()? } else { None };
    if meili.is_none() && arguments.engines.contains(&Engine::Meilisearch) {
        eprintln!("without Meilisearch: there is no MEILI_URL, and no meilisearch on the path");
    }
    let mut report = Report::new(meili.as_ref()).await?;
    for messages in &arguments.messages {
        let size = measure(&arguments, *messages, meili.as_ref(), &mut report).await?;
        eprintln!("{}", serde_json::to_string(&size)?);
        report.sizes.push(size);
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    println!("\n{}", report.markdown());
    ensure!(report.failed() == 0, "{} kinds of requests failed", report.failed());
    Ok(())
}

/// Everything at one size. Meilisearch comes last, since it takes longest to fill.
async fn measure(arguments: &Arguments, messages: u64, meili: Option<&Meili>, report: &mut Report) -> Result<Size> {
    let place = Place::new(&arguments.folder, messages)?;
    let filled = place.filled().await?;
    let mut size = Size { messages, filled, migrated_per_second: None, combinations: Vec::new() };
    eprintln!("{messages} messages: {}", size.filled);
    let server =
        if arguments.stores.contains(&Store::Postgres) { Some(Postgres::start(Durability::Full)?) } else { None };
    let mut database = None;
    if let Some(server) = &server {
        let (url, begin) = (server.database()?, Instant::now());
        place.migrate(&url).await?;
        size.migrated_per_second = Some(messages as f64 / begin.elapsed().as_secs_f64());
        server.psql(&url, "VACUUM ANALYZE")?;
        report.postgres = Some(server.psql(&url, "SHOW server_version")?);
        eprintln!("migrated: {:?} messages/s", size.migrated_per_second);
        database = Some(url);
    }
    for engine in &arguments.engines {
        for store in &arguments.stores {
            let meili = match engine {
                Engine::Embedded => None,
                Engine::Meilisearch if meili.is_none() => continue,
                Engine::Meilisearch => meili,
            };
            let combination = Combination {
                store: *store,
                database: database.as_deref().filter(|_| *store == Store::Postgres),
                meili,
            };
            let limits = ask::Limits { requests: arguments.requests, time: Duration::from_secs(arguments.seconds) };
            let within = Duration::from_secs(arguments.index_seconds);
            let figures = combination.measure(&place, limits, within, arguments.synced).await?;
            eprintln!("{}", serde_json::to_string(&figures)?);
            size.combinations.push(figures);
        }
    }
    Ok(size)
}
