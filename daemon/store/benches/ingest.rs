//! Messages a second into the archive, beside SQLite's own rate in the same run: the same messages written by the same
//! driver into one table with 11 columns and 3 indexes, in statements of hundreds of rows, one transaction per page, and
//! nothing else: nobody looked up, no list, no counter, no chain of hashes. The same of Postgres, where a server can be started,
//! installed as it is: there the rows are written by both ways there are, statements over arrays, as the archive does, and `COPY`.
//! `STELE_BENCH_MESSAGES` (default 300,000) says how many, `STELE_BENCH_PAGE` which sizes of pages.

mod support;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};
use std::path::Path;
use std::time::Instant;
use stele_archive::model::{Message, Page};
use stele_archive::{Archive, Commit, InstanceId, Stream};
use stele_servers::{Postgres, skip::skip};
use stele_store::{Durability, Options, PostgresArchive, PostgresOptions, PostgresUrl, SqliteArchive};

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
    let server = match Postgres::start(stele_servers::Durability::Full) {
        Ok(server) => Some(server),
        Err(error) => {
            skip("Postgres", &format!("no server can be started: {error:#}"));
            None
        }
    };
    for &size in &sizes {
        let message = |at| support::message(at, support::CONVERSATIONS);
        let pages = (0..count / size).map(|page| (page * size..(page + 1) * size).map(message).collect());
        let pages: Vec<Page> = pages.map(|messages| Page { messages, ..Page::default() }).collect();
        let messages = pages.iter().map(|page| page.messages.len()).sum::<usize>() as f64;
        let tell = |what: &str, cost: Cost| {
            let (rate, processor) = (messages / cost.clock, cost.processor / messages * 1e6);
            println!("pages of {size:>6}, {what:<32} {rate:>8.0} messages/s, {processor:>5.2} µs of processor each");
        };
        for durability in [Durability::Full, Durability::Normal] {
            let folder = tempfile::tempdir().expect("a folder");
            tell(
                &format!("SQLite, {durability:?}, rows alone"),
                raw(&folder.path().join("raw.db"), &pages, durability).await,
            );
            let options = Options { durability, ..Options::default() };
            let archive = SqliteArchive::open(&folder.path().join("archive.db"), &options).await.expect("opens");
            tell(&format!("SQLite, {durability:?}, archived"), archived(&archive, &pages).await);
            archive.close().await.expect("closes");
        }
        let Some(server) = &server else { continue };
        for way in [Way::Arrays, Way::Copy] {
            let url = server.database().expect("a database");
            tell(&format!("Postgres, rows alone, {way:?}"), raw_postgres(&url, &pages, way).await);
        }
        let options = PostgresOptions::new(PostgresUrl::new(server.database().expect("a database")));
        let archive = PostgresArchive::open(&options).await.expect("opens");
        tell("Postgres, archived", archived(&archive, &pages).await);
        archive.close().await.expect("closes");
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

async fn archived(archive: &dyn Archive, pages: &[Page]) -> Cost {
    let instance = archive.instance("bench").await.expect("an instance");
    put(archive, instance, &support::directory()).await;
    let cost = timed(async {
        for page in pages {
            put(archive, instance, page).await;
        }
    })
    .await;
    let messages: u64 = pages.iter().map(|page| page.messages.len() as u64).sum();
    assert_eq!(archive.stats(None).await.expect("counters").messages, messages);
    cost
}

async fn put(archive: &dyn Archive, instance: InstanceId, page: &Page) {
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
    for sql in raw_tables("INTEGER", "BLOB") {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("runs");
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

fn number(native: &str) -> i64 {
    native[6..].parse().expect("a number")
}

/// The table the rows alone are written into, and its indexes.
fn raw_tables(number: &str, bytes: &str) -> [String; 4] {
    [
        format!(
            "CREATE TABLE raw (id {number} PRIMARY KEY, instance {number}, conversation {number}, seq {number}, \
             sender {number}, sent_at {number}, kind TEXT, native_id TEXT, client_id TEXT, text TEXT, body {bytes})"
        ),
        "CREATE UNIQUE INDEX raw_native ON raw (instance, native_id)".to_owned(),
        "CREATE INDEX raw_time ON raw (conversation, sent_at)".to_owned(),
        "CREATE INDEX raw_seq ON raw (conversation, seq)".to_owned(),
    ]
}

/// How rows are written into Postgres.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// `INSERT … SELECT … FROM unnest`, a statement for as many rows as the archive has in one.
    Arrays,
    /// `COPY … FROM STDIN (FORMAT binary)`, once for a page.
    Copy,
}

async fn raw_postgres(url: &str, pages: &[Page], way: Way) -> Cost {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    for sql in raw_tables("bigint", "bytea") {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("runs");
    }
    timed(async {
        let mut next = 1;
        for page in pages {
            let mut transaction = connection.begin().await.expect("begins");
            match way {
                Way::Copy => copy(&mut transaction, &page.messages, next).await,
                Way::Arrays => {
                    for (at, messages) in page.messages.chunks(ROWS).enumerate() {
                        unnest(&mut transaction, messages, next + (at * ROWS) as i64).await;
                    }
                }
            }
            next += page.messages.len() as i64;
            transaction.commit().await.expect("commits");
        }
    })
    .await
}

async fn unnest(connection: &mut PgConnection, messages: &[Message], first: i64) {
    let numbers = |of: fn(&Message) -> i64| messages.iter().map(of).collect::<Vec<_>>();
    let texts = |of: fn(&Message) -> &str| messages.iter().map(of).collect::<Vec<_>>();
    let sql = "INSERT INTO raw SELECT j.id, 1, j.conversation, j.seq, j.sender, j.sent_at, j.kind, j.native_id, NULL, j.text, j.body \
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], \
               $8::text[], $9::bytea[]) AS j (id, conversation, seq, sender, sent_at, kind, native_id, text, body)";
    let insert = sqlx::query(sql)
        .bind((first..first + messages.len() as i64).collect::<Vec<_>>())
        .bind(numbers(|message| number(&message.conversation)))
        .bind(numbers(|message| message.seq.unwrap_or(0)))
        .bind(numbers(|message| number(&message.sender)))
        .bind(numbers(|message| message.sent_at))
        .bind(texts(|message| &message.kind))
        .bind(texts(|message| &message.native_id))
        .bind(texts(|message| &message.text))
        .bind(messages.iter().map(|message| &*message.body).collect::<Vec<_>>());
    insert.execute(connection).await.expect("inserted");
}

async fn copy(connection: &mut PgConnection, messages: &[Message], first: i64) {
    // Signature, no flags, no extension.
    let mut rows = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let field = |rows: &mut Vec<u8>, bytes: &[u8]| {
        rows.extend((bytes.len() as i32).to_be_bytes());
        rows.extend(bytes);
    };
    for (id, message) in (first..).zip(messages) {
        rows.extend(11_i16.to_be_bytes());
        let seq = message.seq.unwrap_or(0);
        for number in [id, 1, number(&message.conversation), seq, number(&message.sender), message.sent_at] {
            field(&mut rows, &number.to_be_bytes());
        }
        field(&mut rows, message.kind.as_bytes());
        field(&mut rows, message.native_id.as_bytes());
        // No client id.
        rows.extend((-1_i32).to_be_bytes());
        field(&mut rows, message.text.as_bytes());
        field(&mut rows, &message.body);
    }
    rows.extend((-1_i16).to_be_bytes());
    let mut copy = connection.copy_in_raw("COPY raw FROM STDIN (FORMAT binary)").await.expect("begins");
    copy.send(rows).await.expect("is sent");
    copy.finish().await.expect("is stored");
}
