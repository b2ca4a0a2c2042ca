//! The bench of OpenIM's message search: an archive of a million messages of a year, in groups and between two, some of which talk much
//! more than others; the real daemon indexes it, and is started anew. Then `/msg/search_msg` over HTTP, one request after the other:
//! how long each kind of search takes, and the memory of the daemon and the plugin at most. The client works on the same cores.
//! The archive is filled through its own way in, page by page, with messages as the plugin makes them.
//! Run a release build: `make searches`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stele_archive::{Commit, Pages, Stream};
use stele_openim::{ids, message::MsgData};
use stele_plugin_api::model::{Conversation, Message, Page, Person, PersonKind};
use stele_store::{Durability, Options, SqliteArchive};
use stele_tests::{
    corp::{TOPICS, sentence},
    daemon::{Daemon, Site, memory},
    openim::{Api, Openim, site},
};

#[derive(Parser)]
#[command(about = "Latency of OpenIM's message search")]
struct Arguments {
    /// Messages that are archived.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..))]
    messages: u32,
    /// Requests of each kind of search.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Seconds after which a kind of search is asked for no more.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

const INSTANCE: &str = "im";
/// Groups, those who talk between two, and people.
const GROUPS: u32 = 1_000;
const PAIRS: u32 = 10_000;
const PEOPLE: u32 = 3_000;
/// Members of a group.
const MEMBERS: u32 = 12;
/// Midnight of 2025-07-01, and the time from the first message to the last, in milliseconds.
const BEGIN: i64 = 1_751_328_000_000;
const YEAR: i64 = 365 * 86_400_000;
/// Messages of a commit.
const PAGE: u32 = 5_000;
/// Messages of an answer.
const SHOWN: u32 = 20;
/// Pages of the walk with a cursor.
const WALK: usize = 100;
/// What is looked for.
const KEYWORDS: [&str; 5] = ["报价", "合同", "会议", "预算", "仓库"];
/// `contentType` of texts and files.
const TEXT: i32 = 101;
const FILE: i32 = 105;
/// Between two looks at the index.
const LOOK: Duration = Duration::from_millis(50);
/// How long indexing may take.
const LIMIT: Duration = Duration::from_secs(1_800);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    let instance = Openim::new(INSTANCE, "")?;
    let site = site(std::slice::from_ref(&instance), "[log]\nlevel = \"warn\"")?;
    let begin = Instant::now();
    fill(&site, arguments.messages).await?;
    let filled = seconds(begin.elapsed());
    index(&site).await?;
    eprintln!("{} messages, filled in {filled} s, indexed after {} s", arguments.messages, seconds(begin.elapsed()));
    let daemon = site.start().await?;
    let mut figures = json!({
        "cores": std::thread::available_parallelism().map_or(1, usize::from), "messages": arguments.messages, "seconds_to_fill": filled,
    });
    let api = instance.api();
    for (name, query) in searches(arguments.messages / SHOWN / 2) {
        let times = ask(&api, &arguments, query).await.with_context(|| name.to_owned())?;
        tell(&mut figures, name, times)?;
    }
    tell(&mut figures, "a page of a walk with a cursor", walk(&api).await?)?;
    (figures["daemon_kib"], figures["plugin_kib"]) = most(&daemon)?;
    println!("{figures}");
    daemon.stop().await?;
    Ok(())
}

/// A search, with whatever changes from request to request.
type Search = Box<dyn Fn(&mut StdRng) -> Value>;

/// The kinds of searches. `deep` is the number of a page in the middle of everything.
fn searches(deep: u32) -> Vec<(&'static str, Search)> {
    let groups = |rng: &mut StdRng| group(rng.random_range(0..GROUPS / 10));
    let days = |rng: &mut StdRng| {
        let day = chrono::DateTime::from_timestamp_millis(BEGIN + rng.random_range(0..YEAR)).expect("it is a time");
        day.format("%Y-%m-%d").to_string()
    };
    let people = |rng: &mut StdRng| person(rng.random_range(0..PEOPLE));
    let keywords = |rng: &mut StdRng| KEYWORDS[rng.random_range(0..KEYWORDS.len())];
    vec![
        (
            "a group and a day, as in the document",
            Box::new(move |rng| json!({ "recvID": groups(rng), "sessionType": 3, "sendTime": days(rng) })),
        ),
        ("a sender", Box::new(move |rng| json!({ "sendID": people(rng) }))),
        ("a sender and a contentType", Box::new(move |rng| json!({ "sendID": people(rng), "contentType": FILE }))),
        ("a day", Box::new(move |rng| json!({ "sendTime": days(rng) }))),
        ("everything", Box::new(|_| json!({}))),
        (
            "everything, a page in the middle",
            Box::new(move |_| json!({ "pagination": { "pageNumber": deep, "showNumber": SHOWN } })),
        ),
        (
            "a keyword of two characters in a group",
            Box::new(move |rng| json!({ "recvID": groups(rng), "keyword": keywords(rng) })),
        ),
        ("a keyword of two characters", Box::new(move |rng| json!({ "keyword": keywords(rng) }))),
    ]
}

/// Asks for one kind of search, one request after the other; returns how long each took.
async fn ask(api: &Api, arguments: &Arguments, query: Search) -> Result<Vec<Duration>> {
    let (mut rng, begin) = (StdRng::seed_from_u64(2), Instant::now());
    let (mut times, mut found) = (Vec::new(), 0);
    while times.len() < arguments.requests as usize && begin.elapsed() < Duration::from_secs(arguments.seconds) {
        let mut query = query(&mut rng);
        if query["pagination"].is_null() {
            query["pagination"] = json!({ "pageNumber": 1, "showNumber": SHOWN });
        }
        let begin = Instant::now();
        let page = api.search(&query).await?;
        times.push(begin.elapsed());
        found += page.chat_logs.len();
    }
    ensure!(found > 0, "nothing was found");
    Ok(times)
}

/// Walks through everything, from the first message on.
async fn walk(api: &Api) -> Result<Vec<Duration>> {
    let (mut times, mut cursor) = (Vec::new(), String::new());
    while times.len() < WALK {
        let query = json!({ "cursor": cursor, "pagination": { "showNumber": SHOWN } });
        let begin = Instant::now();
        let page = api.search(&query).await?;
        times.push(begin.elapsed());
        cursor = page.next_cursor.context("a cursor was asked for")?;
        if cursor.is_empty() {
            break;
        }
    }
    Ok(times)
}

/// Prints how long one kind of search took, and keeps it.
fn tell(figures: &mut Value, name: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort_unstable();
    let percentile = |share: f64| {
        let time = times.get((times.len().saturating_sub(1) as f64 * share) as usize).context("nothing was asked")?;
        anyhow::Ok((time.as_secs_f64() * 100_000.0).round() / 100.0)
    };
    let (p50, p99) = (percentile(0.5)?, percentile(0.99)?);
    eprintln!("{name}: {} requests, p50 {p50} ms, p99 {p99} ms", times.len());
    figures[name] = json!({ "requests": times.len(), "p50_ms": p50, "p99_ms": p99 });
    Ok(())
}

/// The most memory the daemon and its plugin ever had, in KiB.
fn most(daemon: &Daemon) -> Result<(Value, Value)> {
    let plugin = daemon.children().into_iter().map(|pid| memory(pid, "VmHWM")).sum::<Result<u64>>()?;
    Ok((memory(daemon.pid().context("it runs")?, "VmHWM")?.into(), plugin.into()))
}

/// Runs the daemon until everything is indexed.
async fn index(site: &Site) -> Result<()> {
    let (daemon, begin) = (site.start().await?, Instant::now());
    loop {
        let tailer = site.admin("/api/v1/index").await?["tailer"].take();
        if tailer["watermark"].as_u64() > Some(0) && tailer["watermark"] == tailer["last_rev"] {
            break;
        }
        ensure!(begin.elapsed() < LIMIT, "not indexed within {LIMIT:?}: {tailer}\n{}", site.log_tail());
        tokio::time::sleep(LOOK).await;
    }
    daemon.stop().await?;
    Ok(())
}

/// Fills the archive of a site whose daemon does not run.
async fn fill(site: &Site, messages: u32) -> Result<()> {
    std::fs::create_dir_all(&site.settings.data_dir)?;
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let archive = SqliteArchive::open(&site.settings.data_dir.join("archive.db"), &options).await?;
    let (instance, mut rng) = (archive.instance(INSTANCE).await?, StdRng::seed_from_u64(1));
    let known = Page {
        people: (0..PEOPLE).map(described).collect(),
        conversations: (0..GROUPS).map(room).collect(),
        ..Page::default()
    };
    let pages = (0..messages).step_by(PAGE as usize).map(|first| {
        let numbers = first..messages.min(first + PAGE);
        Page { messages: numbers.map(|number| message(number, messages, &mut rng)).collect(), ..Page::default() }
    });
    for page in [known].into_iter().chain(pages) {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
        let commit = Commit { instance, partition: "", stream: Stream::Messages, from: None, page: &page, now };
        archive.commit(commit).await?;
    }
    Ok(())
}

fn person(number: u32) -> String {
    format!("u_{number}")
}

fn group(number: u32) -> String {
    format!("group_{number:03}")
}

/// Who is in a group.
fn member(group: u32, number: u32) -> String {
    person((group * 7 + number * 13) % PEOPLE)
}

fn described(number: u32) -> Person {
    let name = Some(format!("{}的同事", person(number)));
    Person { native_id: person(number), kind: Some(PersonKind::User), name, ..Person::default() }
}

fn room(number: u32) -> Conversation {
    let attributes = json!({ "groupType": 2, "faceURL": "", "memberCount": MEMBERS });
    Conversation {
        title: Some(format!("{}讨论组", group(number))),
        owner: Some(member(number, 0)),
        members: Some((0..MEMBERS).map(|index| member(number, index)).collect()),
        attributes: Some(attributes.to_string()),
        ..ids::described(&ids::group(&group(number)))
    }
}

/// One of so many messages, which are spread over the year.
fn message(number: u32, messages: u32, rng: &mut StdRng) -> Message {
    // The cube, so that some talk much: a tenth of what is said in groups in the first of a thousand.
    let mut one_of = |count: u32| (f64::from(count) * rng.random::<f64>().powi(3)) as u32;
    let (room, pair) = (one_of(GROUPS), one_of(PAIRS));
    let is_group = rng.random_bool(0.6);
    let send_time = BEGIN + YEAR * i64::from(number) / i64::from(messages);
    let said = sentence(TOPICS[rng.random_range(0..TOPICS.len())], rng);
    let (content_type, content) = match rng.random_bool(0.05) {
        true => {
            (FILE, json!({ "fileName": format!("{said}.pdf"), "sourceUrl": "https://example.com/f", "fileSize": 4096 }))
        }
        false => (TEXT, json!({ "content": said })),
    };
    let (one, other) = (person(pair % PEOPLE), person((pair * 31 + 1) % PEOPLE));
    let (send_id, recv_id, group_id) = match (is_group, rng.random_bool(0.5)) {
        (true, _) => (member(room, rng.random_range(0..MEMBERS)), String::new(), group(room)),
        (false, true) => (one, other, String::new()),
        (false, false) => (other, one, String::new()),
    };
    let message = MsgData {
        sender_nickname: format!("{send_id}的同事"),
        send_id,
        recv_id,
        group_id,
        client_msg_id: format!("{:032x}", rng.random::<u128>()),
        server_msg_id: format!("{:032x}", rng.random::<u128>()),
        sender_platform_id: 5,
        session_type: if is_group { ids::GROUP } else { ids::SINGLE },
        msg_from: 100,
        content_type,
        content: content.to_string(),
        send_time,
        create_time: send_time,
        status: 2,
        options: json!({}),
        ..MsgData::default()
    };
    let conversation = message.conversation().expect("it is in a group or between two");
    message.message(&conversation, message.body())
}

/// With two digits.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}
