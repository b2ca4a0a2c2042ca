//! Messages a second into the archive, beside SQLite's own rate in the same run: the same messages written by the same
//! driver into one table with 11 columns and 3 indexes, in statements of hundreds of rows, one transaction per page, and
//! nothing else: nobody looked up, no list, no counter, no chain of hashes. `STELE_BENCH_MESSAGES` (default 300,000) says
//! how many, `STELE_BENCH_PAGE` which sizes of pages.

mod support;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use std::path::Path;
use std::time::Instant;
use stele_archive::model::{Message, Page};
use stele_archive::{Commit, InstanceId, Pages, Queries, Stream};
use stele_store::{Durability, Options, SqliteArchive};

/// Rows of a raw statement.
const ROWS: usize = 500;

/// How long something took: by the clock, and of the processor, over all threads.
#[derive(Clone, Copy)]
struct Cost {
    clock: f64,
    processor: f64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let count = number("STELE_BENCH_MESSAGES").unwrap_or(300_000);
    let sizes = number("STELE_BENCH_PAGE").map_or(vec![1_000, 10_000], |size| vec![size]);
    for durability in [Durability::Full, Durability::Normal] {
        for &size in &sizes {
            let folder = tempfile::tempdir().expect("a folder");
            let pages: Vec<Page> = (0..count / size)
                .map(|page| Page {
                    messages: (page * size..(page + 1) * size)
                        .map(|at| support::message(at, support::CONVERSATIONS))
                        .collect(),
                    ..Page::default()
                })
                .collect();
            let messages = pages.iter().map(|page| page.messages.len()).sum::<usize>() as f64;
            let raw = raw(&folder.path().join("raw.db"), &pages, durability).await;
            let stored = archive(&folder.path().join("archive.db"), &pages, durability).await;
            println!(
                "pages of {size:>6}, {durability:?}: {:>8.0} messages/s stored, {:>5.2} µs of processor each; \
                 raw {:>8.0} rows/s, {:>5.2} µs; ratio {:.2} by the clock, {:.2} by processor",
                messages / stored.clock,
                stored.processor / messages * 1e6,
                messages / raw.clock,
                raw.processor / messages * 1e6,
                raw.clock / stored.clock,
                raw.processor / stored.processor,
            );
        }
    }
}

/// Processor seconds of this process so far.
fn processor() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn timed(work: impl Future<Output = ()>) -> Cost {
    let (clock, before) = (Instant::now(), processor());
    work.await;
    Cost { clock: clock.elapsed().as_secs_f64(), processor: processor() - before }
}

async fn archive(path: &Path, pages: &[Page], durability: Durability) -> Cost {
    let options = Options { durability, ..Options::default() };
    let archive = SqliteArchive::open(path, &options).await.expect("opens");
    let instance = archive.instance("bench").await.expect("an instance");
    put(&archive, instance, &support::directory()).await;
    let cost = timed(async {
        for page in pages {
            put(&archive, instance, page).await;
        }
    })
    .await;
    let messages: u64 = pages.iter().map(|page| page.messages.len() as u64).sum();
    assert_eq!(archive.stats(None).await.expect("counters").messages, messages);
    archive.close().await.expect("closes");
    cost
}

async fn put(archive: &SqliteArchive, instance: InstanceId, page: &Page) {
    let commit = Commit { instance, partition: "corp", stream: Stream::Messages, from: None, page, now: 0 };
    archive.commit(commit).await.expect("stored");
}

async fn raw(path: &Path, pages: &[Page], durability: Durability) -> Cost {
    let options = Options::default();
    let synchronous = if durability == Durability::Full { "FULL" } else { "NORMAL" };
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(8192)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .pragma("synchronous", synchronous)
        .pragma("cache_size", format!("-{}", options.writer_cache_kib))
        .pragma("wal_autocheckpoint", options.checkpoint_pages.to_string())
        .pragma("journal_size_limit", "134217728")
        .disable_statement_logging()
        .connect()
        .await
        .expect("opens");
    for sql in [
        "CREATE TABLE raw (id INTEGER PRIMARY KEY, instance INTEGER, conversation INTEGER, seq INTEGER, \
         sender INTEGER, sent_at INTEGER, kind TEXT, native_id TEXT, client_id TEXT, text TEXT, body BLOB)",
        "CREATE UNIQUE INDEX raw_native ON raw (instance, native_id)",
        "CREATE INDEX raw_time ON raw (conversation, sent_at)",
        "CREATE INDEX raw_seq ON raw (conversation, seq)",
    ] {
        sqlx::query(sql).execute(&mut connection).await.expect("runs");
    }
    let cost = timed(async {
        let mut next = 1;
        for page in pages {
            let mut transaction = connection.begin().await.expect("begins");
            for messages in page.messages.chunks(ROWS) {
                insert(&mut transaction, messages, next).await;
                next += messages.len() as i64;
            }
            transaction.commit().await.expect("commits");
        }
    })
    .await;
    connection.close().await.expect("closes");
    cost
}

async fn insert(connection: &mut SqliteConnection, messages: &[Message], first: i64) {
    let rows = vec!["(?, 1, ?, ?, ?, ?, ?, ?, NULL, ?, ?)"; messages.len()].join(", ");
    let mut values = SqliteArguments::default();
    values.reserve(messages.len() * 9, 0);
    for (id, message) in (first..).zip(messages) {
        let number = |native: &str| native[6..].parse::<i64>().expect("a number");
        for integer in [id, number(&message.conversation), message.seq.unwrap_or(0), number(&message.sender)] {
            values.add(integer).expect("encodes");
        }
        values.add(message.sent_at).expect("encodes");
        for text in [&message.kind, &message.native_id, &message.text] {
            values.add(text.as_str()).expect("encodes");
        }
        values.add(&*message.body).expect("encodes");
    }
    let sql = AssertSqlSafe(format!("INSERT INTO raw VALUES {rows}"));
    sqlx::query_with(sql, values).execute(connection).await.expect("inserted");
}
