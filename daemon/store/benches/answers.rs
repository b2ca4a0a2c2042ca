//! How long answers take, at ten thousand messages and at a hundred times as many (`STELE_BENCH_MESSAGES` sets the
//! larger number): the median and the 99th percentile of each kind of query, asked one after the other.

mod support;

use std::time::{Duration, Instant};
use stele_archive::model::{Message, Page};
use stele_archive::ops::{ConversationQuery, MessageOrder, MessageQuery};
use stele_archive::{Commit, InstanceId, Pages, Queries, Stream};
use stele_store::{Durability, Options, SqliteArchive};
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

type Shape = Box<dyn Fn(MessageQuery, &mut Random) -> MessageQuery>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let many = std::env::var("STELE_BENCH_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000_u64);
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let archive = SqliteArchive::open(&folder.path().join("archive.db"), &options).await.expect("opens");
    let instance = archive.instance("bench").await.expect("an instance");
    put(&archive, instance, &support::directory()).await;
    let mut stored = 0;
    for goal in [10_000, many] {
        while stored < goal {
            let messages = (stored..stored + PAGE).map(said).collect();
            put(&archive, instance, &Page { messages, ..Page::default() }).await;
            stored += PAGE;
        }
        put(&archive, instance, &busy(stored)).await;
        println!("{stored} messages");
        measure(&archive, instance, stored).await;
    }
    archive.close().await.expect("closes");
}

async fn put(archive: &SqliteArchive, instance: InstanceId, page: &Page) {
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

async fn measure(archive: &SqliteArchive, instance: InstanceId, stored: u64) {
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
        report(name, times);
    }
    let mut times = Vec::with_capacity(ASKED);
    for at in 0..ASKED {
        let offset = at as u64 % 5 * 20;
        let query = ConversationQuery { person: person(support::PEOPLE), offset, limit: 20, ..Default::default() };
        let start = Instant::now();
        archive.conversations(instance, &query).await.expect("answers");
        times.push(start.elapsed());
    }
    report("conversations, busy day", times);
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
        report(name, ask(archive, instance, place, shape).await);
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
        report(name, ask(archive, instance, |_| HALL.to_owned(), shape).await);
    }
}

/// How long each of many answers took.
async fn ask(
    archive: &SqliteArchive,
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

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("  {name:<26} p50 {:>7.3} ms   p99 {:>7.3} ms   worst {:>7.3} ms", at(0.5), at(0.99), at(1.0));
}
