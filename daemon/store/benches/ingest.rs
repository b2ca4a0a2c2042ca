//! Messages a second into the archive, and the ratio to SQLite's own rate: `INSERT … SELECT` of the same messages from a
//! table in memory, with 11 columns, 3 indexes and one transaction per page. `STELE_BENCH_MESSAGES` (default 300,000)
//! says how many.

mod support;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use std::path::Path;
use std::time::Instant;
use stele_archive::model::Page;
use stele_archive::{Commit, InstanceId, Pages, Queries, Stream};
use stele_store::{Durability, Options, SqliteArchive};

/// Rows a statement loads into the table the raw rate is measured from.
const LOADED: usize = 500;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let count = std::env::var("STELE_BENCH_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(300_000_u64);
    for durability in [Durability::Full, Durability::Normal] {
        for size in [1_000, 10_000] {
            let folder = tempfile::tempdir().expect("a folder");
            let pages: Vec<Page> = (0..count / size)
                .map(|page| Page {
                    messages: (page * size..(page + 1) * size)
                        .map(|at| support::message(at, support::CONVERSATIONS))
                        .collect(),
                    ..Page::default()
                })
                .collect();
            let raw = raw(&folder.path().join("raw.db"), &pages, durability).await;
            let stored = archive(&folder.path().join("archive.db"), &pages, durability).await;
            println!(
                "pages of {size:>6}, {durability:?}: {stored:>9.0} messages/s stored; raw {raw:>9.0} rows/s; ratio {:.2}",
                stored / raw
            );
        }
    }
}

async fn archive(path: &Path, pages: &[Page], durability: Durability) -> f64 {
    let options = Options { durability, ..Options::default() };
    let archive = SqliteArchive::open(path, &options).await.expect("opens");
    let instance = archive.instance("bench").await.expect("an instance");
    put(&archive, instance, &support::directory()).await;
    let start = Instant::now();
    for page in pages {
        put(&archive, instance, page).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let messages: u64 = pages.iter().map(|page| page.messages.len() as u64).sum();
    assert_eq!(archive.stats(None).await.expect("counters").messages, messages);
    archive.close().await.expect("closes");
    messages as f64 / seconds
}

async fn put(archive: &SqliteArchive, instance: InstanceId, page: &Page) {
    let commit = Commit { instance, partition: "corp", stream: Stream::Messages, from: None, page, now: 0 };
    archive.commit(commit).await.expect("stored");
}

async fn raw(path: &Path, pages: &[Page], durability: Durability) -> f64 {
    let synchronous = if durability == Durability::Full { "FULL" } else { "NORMAL" };
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(8192)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .pragma("synchronous", synchronous)
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-32768")
        .pragma("wal_autocheckpoint", "2048")
        .disable_statement_logging()
        .connect()
        .await
        .expect("opens");
    let columns = "(id INTEGER PRIMARY KEY, instance INTEGER, conversation INTEGER, seq INTEGER, sender INTEGER, \
                   sent_at INTEGER, kind TEXT, native_id TEXT, client_id TEXT, text TEXT, body BLOB)";
    for sql in [
        format!("CREATE TABLE raw {columns}"),
        "CREATE UNIQUE INDEX raw_native ON raw (instance, native_id)".to_owned(),
        "CREATE INDEX raw_time ON raw (conversation, sent_at)".to_owned(),
        "CREATE INDEX raw_seq ON raw (conversation, seq)".to_owned(),
        format!("CREATE TEMP TABLE source {columns}"),
    ] {
        run(&mut connection, sql).await;
    }
    let mut next = 1_i64;
    for messages in pages.iter().flat_map(|page| page.messages.chunks(LOADED)) {
        let rows = vec!["(?, 1, ?, ?, ?, ?, ?, ?, NULL, ?, ?)"; messages.len()].join(", ");
        let mut insert = sqlx::query(AssertSqlSafe(format!("INSERT INTO temp.source VALUES {rows}")));
        for message in messages {
            let number = |native: &str| native[6..].parse::<i64>().expect("a number");
            insert = insert
                .bind(next)
                .bind(number(&message.conversation))
                .bind(message.seq)
                .bind(number(&message.sender))
                .bind(message.sent_at)
                .bind(message.kind.as_str())
                .bind(message.native_id.as_str())
                .bind(message.text.as_str())
                .bind(&*message.body);
            next += 1;
        }
        insert.execute(&mut connection).await.expect("loaded");
    }
    let start = Instant::now();
    let mut at = 0;
    for page in pages {
        let end = at + page.messages.len();
        let sql = "INSERT INTO main.raw SELECT * FROM temp.source WHERE id > ? AND id <= ?";
        sqlx::query(sql).bind(at as i64).bind(end as i64).execute(&mut connection).await.expect("inserted");
        at = end;
    }
    let seconds = start.elapsed().as_secs_f64();
    connection.close().await.expect("closes");
    at as f64 / seconds
}

async fn run(connection: &mut SqliteConnection, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.expect("runs");
}
