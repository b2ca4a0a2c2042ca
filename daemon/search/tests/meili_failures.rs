//! What a Meilisearch does when it does not do what it should, on the stand-in.

mod common;

use common::standin::{End, Fault, Standin};
use common::{PATIENCE, add, ids, message, request, tailer, until};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stele_archive::Rev;
use stele_search::contract::{MemoryArchive, day_counts};
use stele_search::{
    IndexError, MeiliIndex, MeiliOptions, SearchError, SearchIndex, SearchRequest, Searcher, TailError, Tailer,
    Watermark,
};

struct World {
    standin: Standin,
    archive: Arc<MemoryArchive>,
    index: Arc<dyn SearchIndex>,
    tailer: Tailer,
}

fn options(standin: &Standin) -> MeiliOptions {
    MeiliOptions { url: standin.url.clone(), timeout: Duration::from_millis(500), ..MeiliOptions::default() }
}

async fn open(standin: &Standin) -> Arc<dyn SearchIndex> {
    Arc::new(MeiliIndex::open(options(standin)).await.expect("the index opens"))
}

async fn world(texts: &[&str]) -> World {
    let standin = Standin::start().await;
    let archive: Arc<MemoryArchive> = Arc::default();
    add(&archive, texts);
    let index = open(&standin).await;
    index.verify().await.expect("it begins");
    let tailer = tailer(&archive, &index);
    World { standin, archive, index, tailer }
}

impl World {
    async fn found(&self, text: &str) -> Vec<i64> {
        ids(&Searcher::new(self.archive.clone(), self.index.clone()).search(&request(text)).await.unwrap())
    }

    fn asked(&self, what: &str) -> usize {
        self.standin.server().requests.iter().filter(|request| request.starts_with(what)).count()
    }

    fn end_with(&self, ends: impl IntoIterator<Item = End>) {
        self.standin.server().ends.extend(ends);
    }

    fn fail_with(&self, faults: impl IntoIterator<Item = Fault>) {
        self.standin.server().faults.extend(faults);
    }
}

/// Whether a request changes nothing.
fn reads(request: &str) -> bool {
    request.starts_with("GET") || request.ends_with("/documents/fetch")
}

fn is_unavailable(result: &Result<(), TailError>) -> bool {
    matches!(result, Err(TailError::Index(IndexError::Unavailable(_))))
}

#[tokio::test]
async fn the_one_message_that_is_refused_is_parked() {
    for bad in 0..9 {
        let mut texts = ["好的"; 9];
        texts[bad] = "坏的";
        let mut world = world(&texts).await;
        world.standin.server().refused = Some("坏".into());
        world.tailer.catch_up().await.unwrap();
        assert_eq!(world.index.watermark().await.unwrap(), Watermark::at(&world.archive.rows()[8]));
        let others: Vec<i64> = (1..=9).rev().filter(|id| *id != bad as i64 + 1).collect();
        // It is remembered across a restart, and nothing is built anew for it.
        for _ in 0..2 {
            assert_eq!(world.found("的").await, others);
            let health = world.index.health();
            assert_eq!((health.parked, health.documents, health.problem), (1, 8, None));
            assert_eq!(world.index.day_counts().await.unwrap(), (Rev(9), day_counts(&world.archive.rows())));
            assert!(world.tailer.reconcile().await.unwrap().agrees());
            world.index = open(&world.standin).await;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_server_is_no_fault_of_a_message() {
    let world = world(&["甲", "乙"]).await;
    for (code, kind) in [("no_space_left_on_device", "system"), ("io_error", "system")] {
        world.end_with([End::Failed(code, kind)]);
        assert!(is_unavailable(&world.tailer.catch_up().await));
        assert!(world.index.health().problem.is_some_and(|problem| problem.contains(code)));
    }
    // Everything fails as if it were the messages' fault: then nothing is parked either.
    world.end_with(vec![End::Failed("internal", "internal"); 3]);
    assert!(is_unavailable(&world.tailer.catch_up().await));
    world.standin.server().ends.clear();
    world.tailer.catch_up().await.unwrap();
    let health = world.index.health();
    assert_eq!((health.parked, health.problem, health.documents), (0, None, 2));
}

#[tokio::test]
async fn tasks_that_are_canceled_or_forgotten_are_sent_again() {
    let world = world(&["甲", "乙"]).await;
    world.end_with([End::Canceled, End::Canceled]);
    world.tailer.catch_up().await.unwrap();
    assert_eq!(world.found("乙").await, [2]);
    add(&world.archive, &["丙"]);
    world.end_with([End::Forgotten]);
    world.tailer.catch_up().await.unwrap();
    add(&world.archive, &["丁"]);
    world.end_with(vec![End::Canceled; 3]);
    assert!(is_unavailable(&world.tailer.catch_up().await));
    world.tailer.catch_up().await.unwrap();
    assert_eq!((world.index.watermark().await.unwrap().rev, world.index.health().documents), (Rev(4), 4));
}

#[tokio::test]
async fn a_newer_server_has_other_tasks() {
    let world = world(&["甲"]).await;
    world.standin.server().newer = true;
    world.tailer.catch_up().await.unwrap();
    world.tailer.reindex(|_| {}).await.unwrap();
    assert_eq!(world.found("甲").await, [1]);
}

#[tokio::test]
async fn a_task_that_takes_long_is_waited_for_and_not_sent_again() {
    let world = world(&["甲", "乙"]).await;
    let sent = |world: &World| {
        world.standin.server().requests.iter().filter(|request| *request == "POST /indexes/stele/documents").count()
    };
    let before = sent(&world);
    world.end_with([End::Stuck]);
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(100), world.tailer.catch_up()).await.is_err());
    }
    assert_eq!(sent(&world), before + 1);
    world.standin.go_on();
    world.tailer.catch_up().await.unwrap();
    assert_eq!(world.found("乙").await, [2]);
    assert_eq!(world.index.health().documents, 2);
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    let world = world(&["甲"]).await;
    world.tailer.catch_up().await.unwrap();
    for status in [408, 429, 502, 503, 504] {
        world.fail_with([Fault::Status(status, None), Fault::Status(status, None)]);
        assert_eq!(world.found("甲").await, [1], "{status}");
    }
    let began = Instant::now();
    world.fail_with([Fault::Status(503, Some(1))]);
    assert_eq!(world.found("甲").await, [1]);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_does_not_pass_is_told() {
    let world = world(&["甲"]).await;
    world.tailer.catch_up().await.unwrap();
    let searcher = Searcher::new(world.archive.clone(), world.index.clone());
    for fault in [Fault::Status(503, None), Fault::Silence, Fault::Garbage, Fault::Status(500, None)] {
        // More than one search meets: the watermark is looked at beside it.
        world.fail_with(vec![fault.clone(); 20]);
        let error = searcher.search(&request("甲")).await.unwrap_err();
        assert!(matches!(&error, SearchError::Unavailable { .. }), "{fault:?}: {error}");
        assert!(error.retry_after().is_some());
        // Within a conversation it is answered all the same.
        let inside = SearchRequest { conversation: Some(common::within(1, 1)), ..request("甲") };
        assert_eq!(searcher.search(&inside).await.unwrap().total, 1);
        world.standin.server().faults.clear();
        until("it is found again", async || searcher.search(&request("甲")).await.is_ok_and(|page| page.total == 1))
            .await;
        assert_eq!(world.index.health().problem, None);
    }
    // What a proxy says is no reason to build anything anew.
    assert_eq!(world.asked("DELETE"), 0);
}

/// A server that takes requests and does not answer is waited for once, not by everybody.
#[tokio::test]
async fn a_server_that_hangs_is_known_to() {
    let world = world(&["甲"]).await;
    world.tailer.catch_up().await.unwrap();
    let searcher = Searcher::new(world.archive.clone(), world.index.clone());
    world.fail_with(vec![Fault::Silence; 50]);
    assert!(matches!(searcher.search(&request("甲")).await.unwrap_err(), SearchError::Unavailable { .. }));
    let asked = world.asked("POST /multi-search");
    let inside = SearchRequest { conversation: Some(common::within(1, 1)), ..request("甲") };
    for _ in 0..20 {
        assert!(searcher.search(&request("甲")).await.unwrap_err().to_string().contains("does not answer"));
        assert_eq!(searcher.search(&inside).await.unwrap().total, 1);
    }
    assert_eq!(world.asked("POST /multi-search"), asked, "it was asked again by each");
    world.standin.server().faults.clear();
    until("it is found again", async || searcher.search(&request("甲")).await.is_ok_and(|page| page.total == 1)).await;
}

/// As when its volume is put back to what it was some time ago.
#[tokio::test]
async fn a_server_that_went_back_in_time_is_fed_again() {
    let world = world(&["合同一", "合同二", "合同三"]).await;
    world.tailer.catch_up().await.unwrap();
    let before = world.standin.server().indexes["stele"].documents.clone();
    add(&world.archive, &["合同四", "合同五", "合同六"]);
    world.tailer.catch_up().await.unwrap();
    assert_eq!(world.index.watermark().await.unwrap().rev, Rev(6));
    world.standin.server().indexes.get_mut("stele").unwrap().documents = before;
    until("it is seen", async || world.index.watermark().await.is_ok_and(|watermark| watermark.rev == Rev(3))).await;
    // No answer leaves out what the index has no more.
    assert_eq!(world.found("合同").await, [6, 5, 4, 3, 2, 1]);
    add(&world.archive, &["合同七"]);
    until("it is fed", async || world.tailer.catch_up().await.is_ok()).await;
    assert_eq!(world.found("合同").await, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(world.standin.server().indexes["stele"].documents.len(), 10, "seven and the signs");
    assert!(world.tailer.reconcile().await.unwrap().agrees());
}

/// What was read to come after rows that the index has no more is not taken in beyond the gap.
#[tokio::test]
async fn no_row_is_taken_in_beyond_a_gap() {
    let world = world(&["合同一", "合同二", "合同三", "合同四"]).await;
    let rows = world.archive.rows();
    world.index.apply(rows[..1].to_vec(), Watermark::at(&rows[0])).await.unwrap();
    let before = world.standin.server().indexes["stele"].documents.clone();
    world.index.apply(rows[1..3].to_vec(), Watermark::at(&rows[2])).await.unwrap();
    world.standin.server().indexes.get_mut("stele").unwrap().documents = before;
    let error = world.index.apply(rows[3..].to_vec(), Watermark::at(&rows[3])).await.unwrap_err();
    assert!(error.to_string().contains("went back from revision 3 to 1"), "{error}");
    world.tailer.catch_up().await.unwrap();
    assert_eq!(world.found("合同").await, [4, 3, 2, 1]);
}

#[tokio::test]
async fn an_index_of_another_archive_is_left_alone() {
    let world = world(&["甲"]).await;
    world.tailer.catch_up().await.unwrap();
    let theirs = MeiliOptions { archive: "another".into(), ..options(&world.standin) };
    let archive: Arc<MemoryArchive> = Arc::default();
    add(&archive, &["乙", "丙"]);
    // One without an id, as an earlier build made it, is taken for whoever's comes first.
    world.standin.change("watermark", &json!({"archive": "ours"}));
    let index: Arc<dyn SearchIndex> = Arc::new(MeiliIndex::open(theirs).await.unwrap());
    let tailer = tailer(&archive, &index);
    for refused in [tailer.catch_up().await, tailer.reindex(|_| {}).await.map(drop)] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("belongs to another archive"), "{error}");
    }
    assert!(index.health().problem.is_some_and(|problem| problem.contains("choose another name")));
    let ours = MeiliOptions { archive: "ours".into(), ..options(&world.standin) };
    let ours: Arc<dyn SearchIndex> = Arc::new(MeiliIndex::open(ours).await.unwrap());
    assert_eq!(ids(&Searcher::new(world.archive.clone(), ours).search(&request("甲")).await.unwrap()), [1]);
    assert_eq!(world.asked("DELETE"), 0);
}

/// In the middle of an upgrade one after the other.
#[tokio::test]
async fn an_index_of_a_newer_version_is_left_alone() {
    let mut world = world(&["甲"]).await;
    world.tailer.catch_up().await.unwrap();
    for change in [json!({"format": u32::MAX}), json!({"archive": 7})] {
        world.standin.change("watermark", &change);
        world.index = open(&world.standin).await;
        let tailer = tailer(&world.archive, &world.index);
        for refused in [tailer.catch_up().await, tailer.reindex(|_| {}).await.map(drop)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("newer stele"), "{error}");
        }
    }
    assert_eq!(world.asked("DELETE"), 0);
}

#[tokio::test]
async fn a_key_that_cannot_rebuild_is_found_out_at_once() {
    let standin = Standin::start().await;
    standin.server().forbidden = Some("stele-new".into());
    let index = open(&standin).await;
    let error = index.verify().await.unwrap_err().to_string();
    assert!(error.contains("\"stele-new\"") && error.contains("rebuild"), "{error}");
    standin.server().forbidden = None;
    index.verify().await.unwrap();
}

#[tokio::test]
async fn what_would_have_to_be_compared_one_by_one_is_bounded() {
    let standin = Standin::start().await;
    let archive: Arc<MemoryArchive> = Arc::default();
    for n in 0..50_001 {
        archive.add(message("哈哈哈哈", n * 1_000_000));
    }
    let options = MeiliOptions { timeout: PATIENCE, ..options(&standin) };
    let index: Arc<dyn SearchIndex> = Arc::new(MeiliIndex::open(options).await.unwrap());
    Tailer::new(archive.clone(), index.clone(), MeiliIndex::tailer_options()).catch_up().await.unwrap();
    let searcher = Searcher::new(archive, index);
    // A triple is in a text or not, however many have it.
    assert_eq!(searcher.search(&request("哈哈哈")).await.unwrap().total, 50_001);
    let error = searcher.search(&request("哈哈哈哈")).await.unwrap_err();
    assert!(
        matches!(&error, SearchError::Invalid(text) if text.contains("50001 messages") && text.contains("narrow")),
        "{error}"
    );
    let narrow = SearchRequest { since: Some(50_000 * 1_000_000), ..request("哈哈哈哈") };
    assert_eq!(searcher.search(&narrow).await.unwrap().total, 1);
}

#[tokio::test]
async fn a_daemon_starts_while_the_server_is_down() {
    let (key, address) = ("the-secret-key", stele_servers::free_address().unwrap());
    let options = MeiliOptions { url: format!("http://{address}"), key: Some(key.into()), ..MeiliOptions::default() };
    let index: Arc<dyn SearchIndex> = Arc::new(MeiliIndex::open(options.clone()).await.unwrap());
    let archive: Arc<MemoryArchive> = Arc::default();
    add(&archive, &["甲"]);
    let tailer = tailer(&archive, &index);
    assert!(is_unavailable(&tailer.catch_up().await));
    let problem = index.health().problem.expect("it is told");
    assert!(!format!("{problem}{options:?}").contains(key));

    let standin = Standin::start_at(&address).await;
    standin.server().key = Some("another key".into());
    let refused = tailer.catch_up().await.unwrap_err().to_string();
    assert!(refused.contains("API key") && !refused.contains(key), "{refused}");
    standin.server().key = Some(key.into());
    tailer.catch_up().await.unwrap();
    assert_eq!(ids(&Searcher::new(archive, index).search(&request("甲")).await.unwrap()), [1]);
}

#[tokio::test]
async fn an_index_that_is_deleted_is_filled_again() {
    let world = world(&["甲", "乙"]).await;
    world.tailer.catch_up().await.unwrap();
    add(&world.archive, &["丙"]);
    world.standin.server().indexes.clear();
    // Whatever is asked first, nothing is left out for long.
    let _ = world.index.search(&Default::default()).await;
    until("it is filled", async || world.tailer.catch_up().await.is_ok() && world.index.health().documents == 3).await;
    assert_eq!(world.index.watermark().await.unwrap().rev, Rev(3));
    assert_eq!(world.found("甲").await, [1]);
    assert!(world.tailer.reconcile().await.unwrap().agrees());
}

#[tokio::test]
async fn an_index_of_somebody_else_is_left_alone() {
    let standin = Standin::start().await;
    let theirs = common::standin::Index {
        settings: json!({"searchableAttributes": ["*"]}),
        documents: [("1".to_owned(), json!({"id": "1"}))].into(),
    };
    standin.server().indexes.insert("stele".into(), theirs);
    let index = open(&standin).await;
    assert!(index.watermark().await.unwrap_err().to_string().contains("belongs to somebody else"));
    assert!(index.health().problem.is_some());
    assert_eq!(standin.server().indexes["stele"].documents.len(), 1);
    assert!(index.verify().await.is_err() && index.rebuild().await.is_err());
    assert!(standin.server().requests.iter().all(|request| reads(request)));
}

#[tokio::test]
async fn settings_are_changed_only_where_they_differ() {
    let mut world = world(&["甲"]).await;
    world.tailer.catch_up().await.unwrap();
    world.standin.server().requests.clear();
    world.index = open(&world.standin).await;
    world.index.verify().await.unwrap();
    assert!(world.standin.server().requests.iter().all(|request| reads(request)));

    world.standin.server().indexes.get_mut("stele").unwrap().settings["rankingRules"] = json!(["words"]);
    world.index.verify().await.unwrap();
    assert_eq!(world.asked("PATCH /indexes/stele/settings"), 1);
    assert_eq!(world.standin.server().indexes["stele"].settings["rankingRules"], json!(["sort"]));
    assert_eq!(world.found("甲").await, [1]);
}

#[tokio::test]
async fn an_index_of_another_version_begins_anew() {
    let mut world = world(&["甲", "乙"]).await;
    world.tailer.catch_up().await.unwrap();
    for (document, change) in [("watermark", json!({"format": 9})), ("life", json!({"life": 7}))] {
        world.standin.change(document, &change);
        world.index = open(&world.standin).await;
        assert!(matches!(world.index.watermark().await, Err(IndexError::Corrupt(_))));
        let tailer = tailer(&world.archive, &world.index);
        tailer.catch_up().await.unwrap();
        assert_eq!(world.found("乙").await, [2]);
        assert_eq!(world.index.health().documents, 2);
    }
}

#[tokio::test]
async fn a_swap_that_fails_leaves_everything_as_it_was() {
    let world = world(&["甲", "乙"]).await;
    world.tailer.catch_up().await.unwrap();
    let rebuild = world.index.rebuild().await.unwrap();
    world.standin.server().aimed = vec![("POST /swap-indexes", Fault::Status(500, None)); 3];
    assert!(rebuild.finish().await.is_err());
    assert_eq!(world.found("甲").await, [1]);
    world.tailer.reindex(|_| {}).await.unwrap();
    assert_eq!(world.found("甲").await, [1]);
    assert_eq!(world.standin.server().indexes.keys().collect::<Vec<_>>(), ["stele"]);
}

#[tokio::test]
async fn what_an_interrupted_rebuild_left_is_deleted() {
    let world = world(&["甲"]).await;
    // As after a crash between the swap and the end.
    world.standin.server().indexes.insert("stele-new".into(), common::standin::Index::default());
    let patient = MeiliOptions { leftover_age: Duration::from_secs(u32::MAX.into()), ..options(&world.standin) };
    MeiliIndex::open(patient).await.unwrap().settle().await.unwrap();
    assert!(world.standin.server().indexes.contains_key("stele-new"));
    world.index.settle().await.unwrap();
    assert!(!world.standin.server().indexes.contains_key("stele-new"));
}

#[tokio::test]
async fn two_feed_one_index() {
    let world = world(&["合同"; 40]).await;
    let other = open(&world.standin).await;
    let another = tailer(&world.archive, &other);
    let mut progress = other.progress();
    // Where one writes an older mark over the other's, the next round reads again from there.
    let both = async || {
        let (one, two) = tokio::join!(world.tailer.catch_up(), another.catch_up());
        one.and(two).is_ok()
    };
    until("all is taken in", both).await;
    for _ in 0..5 {
        add(&world.archive, &["合同", "合同"]);
        until("what is new is taken in", both).await;
    }
    for index in [&world.index, &other] {
        let searcher = Searcher::new(world.archive.clone(), index.clone());
        assert_eq!(searcher.search(&request("合同")).await.unwrap().total, 50);
        assert_eq!(index.watermark().await.unwrap().rev, Rev(50));
    }
    // One of them stands still and hears of the other all the same.
    add(&world.archive, &["合同"]);
    world.tailer.catch_up().await.unwrap();
    let seen = tokio::time::timeout(PATIENCE, progress.wait_for(|rev| *rev == Rev(51))).await.is_ok();
    assert!(seen, "the progress is not noticed");
    assert!(another.reconcile().await.unwrap().agrees());
}

#[tokio::test]
async fn an_index_that_another_daemon_begins_anew() {
    let world = world(&["合同一", "合同二"]).await;
    world.tailer.catch_up().await.unwrap();
    let other = open(&world.standin).await;
    other.clear("a test").await.unwrap();
    // What is known here is not true any more: the answer comes from what is there now.
    assert_eq!(world.found("合同").await, [2, 1]);
    assert_eq!(world.index.watermark().await.unwrap().rev, Rev(0));
    until("it is filled", async || world.tailer.catch_up().await.is_ok()).await;
    until("the other one sees it", async || other.watermark().await.unwrap().rev == Rev(2)).await;
    assert_eq!(world.found("合同").await, [2, 1]);
    assert!(world.tailer.reconcile().await.unwrap().agrees());
}
