//! Measures the embedded engine: how fast it takes messages in, how much room they need, how long searches take.
//!
//! ```text
//! STELE_BENCH_MESSAGES=1000000 STELE_BENCH_FOLDER=/var/tmp cargo bench -p stele-search
//! ```
//!
//! The messages are generated: words of one to four characters, frequencies of words and sizes of conversations as
//! uneven as real ones (Zipf), some names, numbers, English and emoji. Queries are random pieces of random messages, so
//! frequent ones are asked for often. Times are those of the engine; reading the rows of a page is the archive's.

use std::path::Path;
use std::time::{Duration, Instant};
use stele_archive::{ConversationId, FeedRow, InstanceId, MessageId, PersonId, Rev};
use stele_search::fold::fold;
use stele_search::{EmbeddedIndex, EmbeddedOptions, IndexQuery, SearchIndex, Sort, Watermark};

/// Messages of a commit, as the tailer makes them.
const BATCH: usize = 100_000;
const WORDS: usize = 20_000;
const CONVERSATIONS: usize = 2_000;
/// Questions of each row of the table.
const QUERIES: usize = 2_000;
/// The same of those for a deep page.
const DEEP_QUERIES: usize = 200;
/// Rows of a page.
const PAGE: usize = 20;
/// Microseconds between two messages.
const PACE: i64 = 7_000_000;

/// SplitMix64: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Rank `r` of `count` comes about as often as `1 / r`.
    fn zipf(&mut self, count: usize) -> usize {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((count as f64).powf(uniform) as usize - 1).min(count - 1)
    }
}

struct Corpus {
    numbers: Numbers,
    words: Vec<String>,
    made: i64,
}

impl Corpus {
    fn new() -> Self {
        let mut numbers = Numbers(7);
        let words = (0..WORDS)
            .map(|rank| {
                let length = if rank < 100 { 1 } else { [2, 2, 2, 3, 4][numbers.below(5)] };
                let character = |numbers: &mut Numbers| char::from_u32(0x4e00 + numbers.zipf(6_000) as u32).unwrap();
                (0..length).map(|_| character(&mut numbers)).collect()
            })
            .collect();
        Self { numbers, words, made: 0 }
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        let numbers = &mut self.numbers;
        match numbers.below(33) {
            0 => text += &format!("@{} ", self.words[numbers.below(WORDS)]),
            1 => text += &format!("订单号{:012}", numbers.next() % 1_000_000_000_000),
            2 => text += "OK, see v2 ",
            3 => text += "👍🏽",
            _ => {}
        }
        for _ in 0..3 + numbers.below(18) {
            text += &self.words[numbers.zipf(WORDS)];
            if numbers.below(8) == 0 {
                text.push('，');
            }
        }
        text
    }

    fn row(&mut self) -> FeedRow {
        self.made += 1;
        let text = self.text();
        let conversation = self.numbers.zipf(CONVERSATIONS) as i64;
        FeedRow {
            rev: Rev(self.made),
            id: MessageId(self.made),
            instance: InstanceId(1 + conversation % 2),
            conversation: ConversationId(conversation),
            sender: Some(PersonId(conversation * 10 + self.numbers.below(10) as i64)),
            kind: "text".into(),
            sent_at: self.made * PACE + self.numbers.below(60_000_000) as i64,
            expires_at: None,
            text,
            labels: Vec::new(),
        }
    }
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the folder of the index").flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |meta| meta.len()),
        })
        .sum()
}

/// Processor seconds of this process so far, where the system tells: what counts on a machine that has other work too.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat.split(' ').skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    // Ticks are hundredths of a second on Linux, whatever the kernel's own.
    ticks.iter().sum::<f64>() / 100.0
}

fn main() {
    // `cargo test --benches` runs benches too: a small round shows that this one works.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let default = if measuring { 1_000_000 } else { 5_000 };
    let wanted = std::env::var("STELE_BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let parent = std::env::var_os("STELE_BENCH_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent).expect("a temporary folder");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(measure(wanted, folder.path()));
}

async fn measure(wanted: usize, folder: &Path) {
    let index = EmbeddedIndex::open(folder, EmbeddedOptions::default()).expect("the index opens");
    let mut corpus = Corpus::new();
    let mut samples: Vec<FeedRow> = Vec::new();
    let (mut taken, mut chars, mut worst) = (Duration::ZERO, 0, Duration::ZERO);
    let mut busy = 0.0;
    let mut made = 0;
    while made < wanted {
        let batch: Vec<FeedRow> = (0..BATCH.min(wanted - made)).map(|_| corpus.row()).collect();
        made += batch.len();
        chars += batch.iter().map(|row| row.text.chars().count()).sum::<usize>();
        samples.extend(batch.iter().step_by(1 + wanted / QUERIES).cloned());
        let upto = Watermark::at(batch.last().expect("not empty"));
        let (began, before) = (Instant::now(), processor());
        index.apply(batch, upto).await.expect("taken in");
        taken += began.elapsed();
        busy += processor() - before;
        worst = worst.max(began.elapsed());
    }
    println!(
        "{wanted} messages of {:.1} characters: {:.0} messages/s, {:.0} a processor second, slowest commit {:.2} s",
        chars as f64 / wanted as f64,
        wanted as f64 / taken.as_secs_f64(),
        wanted as f64 / busy,
        worst.as_secs_f64()
    );

    let mut settled = (u64::MAX, Instant::now());
    while settled.1.elapsed() < Duration::from_secs(3) {
        index.settle().await.expect("settled");
        let now = size(folder);
        if now != settled.0 {
            settled = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let segments = index.health().segments;
    println!("{:.0} bytes a message in {segments} segments, merges done", settled.0 as f64 / wanted as f64);
    let began = Instant::now();
    index.verify().await.expect("sound");
    println!("checksums compared in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    let began = Instant::now();
    index.day_counts().await.expect("counted");
    println!("counted per day in {:.0} ms\n", began.elapsed().as_secs_f64() * 1e3);

    println!(
        "{:40} {:>9} {:>9} {:>9} {:>12}",
        "page of 20 and exact total", "p50 ms", "p99 ms", "max ms", "hits (mean)"
    );
    for (scope, length) in [("everything", 0), ("instance", 0), ("everything", 1), ("everything", 2)] {
        deep(&index, &samples, &mut corpus.numbers, scope, length).await;
    }
    for sort in [Sort::Newest, Sort::Relevance] {
        for scope in ["conversation", "instance", "instance, last third", "everything"] {
            for length in [0, 1, 2, 4] {
                row(&index, &samples, &mut corpus.numbers, wanted, sort, scope, length).await;
            }
        }
    }
}

/// The page in the middle of everything that is found.
async fn deep(index: &EmbeddedIndex, samples: &[FeedRow], numbers: &mut Numbers, scope: &str, length: usize) {
    let mut times = Vec::with_capacity(DEEP_QUERIES);
    let mut hits = 0;
    for _ in 0..DEEP_QUERIES {
        let sample = &samples[numbers.below(samples.len())];
        let mut query = IndexQuery { sort: Sort::Oldest, ..IndexQuery::default() };
        query.phrase = fold(&sample.text).chars().take(length).collect();
        if scope == "instance" {
            query.instances = vec![sample.instance];
        }
        query.offset = index.search(&query).await.expect("answered").total as usize / 2;
        query.limit = PAGE;
        let began = Instant::now();
        hits += index.search(&query).await.expect("answered").total;
        times.push(began.elapsed());
    }
    show(&format!("{length} in {scope}, from the middle"), times, hits);
}

async fn row(
    index: &EmbeddedIndex,
    samples: &[FeedRow],
    numbers: &mut Numbers,
    messages: usize,
    sort: Sort,
    scope: &str,
    length: usize,
) {
    let mut times = Vec::with_capacity(QUERIES);
    let mut hits = 0;
    while times.len() < QUERIES {
        let sample = &samples[numbers.below(samples.len())];
        let text: Vec<char> = fold(&sample.text).chars().collect();
        if text.len() < length {
            continue;
        }
        let from = numbers.below(text.len() - length + 1);
        let mut query = IndexQuery { sort, limit: PAGE, ..IndexQuery::default() };
        query.phrase = text[from..from + length].iter().collect();
        match scope {
            "conversation" => query.conversation = Some(sample.conversation),
            "instance" => query.instances = vec![sample.instance],
            "everything" => {}
            _ => {
                query.instances = vec![sample.instance];
                query.since = Some(messages as i64 * 2 / 3 * PACE);
            }
        }
        let began = Instant::now();
        let page = index.search(&query).await.expect("answered");
        times.push(began.elapsed());
        hits += page.total;
    }
    let order = if sort == Sort::Newest { "newest" } else { "relevance" };
    show(&format!("{length} in {scope}, {order}"), times, hits);
}

fn show(name: &str, mut times: Vec<Duration>, hits: u64) {
    times.sort_unstable();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{name:40} {:>9.2} {:>9.2} {:>9.2} {:>12.0}",
        ms(times.len() / 2),
        ms(times.len() * 99 / 100),
        ms(times.len()),
        hits as f64 / times.len() as f64
    );
}
