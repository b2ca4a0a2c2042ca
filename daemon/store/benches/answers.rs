//! How long answers take, at ten thousand messages and at a hundred times as many (`STELE_BENCH_MESSAGES` sets the
//! larger number): the median and the 99th percentile of each kind of query, asked one after the other, of SQLite and, where
//! a server can be started, of Postgres, which holds the same and was vacuumed as its own daemon does now and then.

mod support;

use std::time::{Duration, Instant};
use stele_archive::model::{Message, Page};
use stele_archive::ops::{ConversationQuery, MessageOrder, MessageQuery};
use stele_archive::{Archive, Commit, InstanceId, MessageId, Rev, Stream};
use stele_servers::{Postgres, skip::skip};
use stele_store::{Durability, Options, PostgresArchive, PostgresOptions, PostgresUrl, SqliteArchive};
use support::{Random, conversation, message, person};

/// Answers measured per kind of query.
const ASKED: usize = 2_000;
/// Messages of a page while the archive is filled.
const PAGE: u64 = 10_000;
/// The conversation that holds every second message, and so many of a kind that was last seen on the first day.
const HALL: &str = "corp/hall";
const RARE: u64 = 7;
/// Conversations a machine writes in on one day.
const BUSY: u64 = 5_000;
const DAY: i64 = 86_400_000_000;
const INSTANCE: &str = "bench";

type Shape = Box<dyn Fn(MessageQuery, &mut Random) -> MessageQuery>;

/// What was measured, and how long each answer took.
type Measured = Vec<(&'static str, Vec<Duration>)>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let many = std::env::var("STELE_BENCH_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000_u64);
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let sqlite = SqliteArchive::open(&folder.path().join("archive.db"), &options).await.expect("opens");
    let mut archives: Vec<(&str, &dyn Archive)> = vec![("SQLite", &sqlite)];
    let server = Postgres::start(stele_servers::Durability::None);
    let postgres = match &server {
        Ok(server) => {
            let url = server.database().expect("a database");
            let options = PostgresOptions::new(PostgresUrl::new(&*url));
            Some((server, url, PostgresArchive::open(&options).await.expect("opens")))
        }
        Err(error) => {
            skip("the answers of Postgres", &format!("no server can be started: {error:#}"));
            None
        }
    };
    archives.extend(postgres.as_ref().map(|(.., archive)| ("Postgres", archive as &dyn Archive)));
    let mut stored = 0;
    for goal in [0, 10_000, many] {
        let pages = (stored..goal)
            .step_by(PAGE as usize)
            .map(|from| Page { messages: (from..from + PAGE).map(said).collect(), ..Page::default() });
        let first = (goal == 0).then(support::directory);
        let last = (goal > 0).then(|| busy(goal));
        for page in first.into_iter().chain(pages).chain(last) {
            for (_, archive) in &archives {
                put(*archive, &page).await;
            }
        }
        stored = goal;
        if goal == 0 {
            continue;
        }
        if let Some((server, url, _)) = &postgres {
            server.psql(url, "VACUUM ANALYZE").expect("is vacuumed");
        }
        println!("{stored} messages");
        let mut measured = Vec::new();
        for (_, archive) in &archives {
            let instance = archive.instance(INSTANCE).await.expect("an instance");
            measured.push(measure(*archive, instance, stored).await);
        }
        for row in 0..measured[0].len() {
            print!("  {:<26}", measured[0][row].0);
            for ((backend, _), measured) in archives.iter().zip(&mut measured) {
                report(backend, &mut measured[row].1);
            }
            println!();
        }
    }
    sqlite.close().await.expect("closes");
}

async fn put(archive: &dyn Archive, page: &Page) {
    let instance = archive.instance(INSTANCE).await.expect("an instance");
    let commit = Commit { instance, partition: "corp", stream: Stream::Messages, from: None, page, now: 0 };
    archive.commit(commit).await.expect("stored");
}

/// The message of this number, in the hall or elsewhere.
fn said(at: u64) -> Message {
    let message = message(at, support::CONVERSATIONS);
    if at.is_multiple_of(2) {
        return message;
    }
    let kind = if at < 2 * RARE { "note".to_owned() } else { message.kind };
    Message { conversation: HALL.to_owned(), kind, ..message }
}

/// The worst day of a person's list: a machine that wrote in thousands of conversations on the day of these messages.
fn busy(stored: u64) -> Page {
    let messages = (0..BUSY)
        .map(|at| Message {
            native_id: format!("busy/{stored}/{at}"),
            conversation: conversation(at),
            sender: person(support::PEOPLE),
            sent_at: (support::NEW_YEAR + stored as i64 * 500_000) / DAY * DAY + at as i64,
            ..message(at, support::CONVERSATIONS)
        })
        .collect();
    Page { messages, ..Page::default() }
}

async fn measure(archive: &dyn Archive, instance: InstanceId, stored: u64) -> Measured {
    let mut measured = Measured::new();
    type ListShape = fn(ConversationQuery, &mut Random) -> ConversationQuery;
    let lists: [(&str, ListShape); 4] = [
        ("conversations", |query, _| query),
        ("conversations, page 3", |query, _| ConversationQuery { offset: 40, ..query }),
        ("conversations, of a kind", |query, _| ConversationQuery { kind: Some("group".into()), ..query }),
        ("conversations, by name", |query, random| ConversationQuery {
            name: Some((random.next() % 100).to_string()),
            ..query
        }),
    ];
    for (name, shape) in lists {
        let mut random = Random(7);
        let mut times = Vec::with_capacity(ASKED);
        for _ in 0..ASKED {
            let query =
                ConversationQuery { person: person(random.next() % support::PEOPLE), limit: 20, ..Default::default() };
            let query = shape(query, &mut random);
            let start = Instant::now();
            archive.conversations(instance, &query).await.expect("answers");
            times.push(start.elapsed());
        }
        measured.push((name, times));
    }
    let mut times = Vec::with_capacity(ASKED);
    for at in 0..ASKED {
        let offset = at as u64 % 5 * 20;
        let query = ConversationQuery { person: person(support::PEOPLE), offset, limit: 20, ..Default::default() };
        let start = Instant::now();
        archive.conversations(instance, &query).await.expect("answers");
        times.push(start.elapsed());
    }
    measured.push(("conversations, busy day", times));
    let newest = (support::NEW_YEAR + stored as i64 * 500_000) / DAY * DAY;
    let messages: Vec<(&str, Shape)> = vec![
        ("messages", Box::new(|query, _| query)),
        ("messages, page 50", Box::new(|query, _| MessageQuery { offset: 980, ..query })),
        ("messages, of a kind", Box::new(|query, _| MessageQuery { kinds: vec!["file".into()], ..query })),
        (
            "messages, after",
            Box::new(move |query, random| MessageQuery { after: Some((random.next() % stored) as i64), ..query }),
        ),
        (
            "messages, a day",
            Box::new(move |query, random| {
                let since = newest - (random.next() % 3) as i64 * DAY - DAY / 3;
                MessageQuery { since: Some(since), until: Some(since + DAY), kinds: vec!["text".into()], ..query }
            }),
        ),
    ];
    for (name, shape) in messages {
        let place = |random: &mut Random| conversation(random.skewed(support::CONVERSATIONS));
        measured.push((name, ask(archive, instance, place, shape).await));
    }
    // Every second message is in the hall.
    let hall = stored / 2 - 20;
    let deep: Vec<(&str, Shape)> = vec![
        ("hall", Box::new(|query, _| query)),
        ("hall, of a kind", Box::new(|query, _| MessageQuery { kinds: vec!["file".into()], ..query })),
        ("hall, of a rare kind", Box::new(|query, _| MessageQuery { kinds: vec!["note".into()], ..query })),
        (
            "hall, rare, by id",
            Box::new(|query, _| MessageQuery { kinds: vec!["note".into()], order: MessageOrder::Id, ..query }),
        ),
        ("hall, any page", Box::new(move |query, random| MessageQuery { offset: random.next() % hall, ..query })),
        (
            "hall, any page of a kind",
            Box::new(move |query, random| MessageQuery {
                kinds: vec!["file".into()],
                offset: random.next() % (hall / 8),
                ..query
            }),
        ),
    ];
    for (name, shape) in deep {
        measured.push((name, ask(archive, instance, |_| HALL.to_owned(), shape).await));
    }
    let (mut rows, mut feed) = (Vec::with_capacity(ASKED), Vec::with_capacity(ASKED));
    let mut random = Random(7);
    for _ in 0..ASKED {
        let ids: Vec<MessageId> = (0..20).map(|_| MessageId((random.next() % stored) as i64 + 1)).collect();
        let start = Instant::now();
        archive.messages_by_id(&ids).await.expect("answers");
        rows.push(start.elapsed());
        let start = Instant::now();
        archive.feed(Rev(ids[0].0), 20).await.expect("answers");
        feed.push(start.elapsed());
    }
    measured.extend([("rows of a search", rows), ("feed", feed)]);
    measured
}

/// How long each of many answers took.
async fn ask(
    archive: &dyn Archive,
    instance: InstanceId,
    place: impl Fn(&mut Random) -> String,
    shape: Shape,
) -> Vec<Duration> {
    let mut random = Random(7);
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let conversation = place(&mut random);
        let query = MessageQuery { conversation, limit: 20, descending: true, ..Default::default() };
        let query = shape(query, &mut random);
        let start = Instant::now();
        archive.messages(instance, &query).await.expect("answers");
        times.push(start.elapsed());
    }
    times
}

fn report(backend: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    print!("   {backend} p50 {:>7.3} ms   p99 {:>7.3} ms   worst {:>7.3} ms", at(0.5), at(0.99), at(1.0));
}
