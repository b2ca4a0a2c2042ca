//! Following an archive, and noticing when something is wrong, with each engine.

mod common;

use async_trait::async_trait;
use common::engine::{Engine, Home};
use common::{Moody, PATIENCE, add, ids, message, request, tailer, until};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use stele_archive::{DayCount, Feed, FeedRow, Rev};
use stele_search::contract::MemoryArchive;
use stele_search::{IndexError, ReindexProgress, SearchIndex, Searcher, TailError, Tailer, TailerOptions, Watermark};
use tokio_util::sync::CancellationToken;

struct World {
    archive: Arc<MemoryArchive>,
    moody: Arc<Moody>,
    index: Arc<dyn SearchIndex>,
    _home: Home,
}

impl World {
    fn tailer(&self, options: TailerOptions) -> Arc<Tailer> {
        Arc::new(Tailer::new(self.archive.clone(), self.index.clone(), options))
    }

    async fn found(&self, text: &str) -> Vec<i64> {
        ids(&Searcher::new(self.archive.clone(), self.index.clone()).search(&request(text)).await.unwrap())
    }

    async fn watermark(&self) -> Rev {
        self.moody.inner.watermark().await.unwrap().rev
    }
}

async fn world(engine: Engine, texts: &[&str]) -> World {
    let home = engine.home().await;
    let moody = Moody::new(home.open().await);
    let archive: Arc<MemoryArchive> = Arc::default();
    add(&archive, texts);
    World { archive, index: moody.clone(), moody, _home: home }
}

on_each_engine!(
    wakes_when_it_is_told,
    looks_by_itself_now_and_then,
    tells_how_far_it_is,
    traffic_is_not_followed_message_by_message,
    goes_on_after_failures,
    batches_are_bounded_and_complete,
    more_than_a_page_of_the_feed,
    another_archive_means_a_new_index,
    a_loss_is_noticed_and_made_good,
    building_anew_while_life_goes_on,
    one_rebuild_at_a_time
);

/// Runs a tailer while something is done.
async fn running(tailer: &Arc<Tailer>, work: impl Future<Output = ()>) {
    let shutdown = CancellationToken::new();
    let task = tokio::spawn({
        let (tailer, shutdown) = (tailer.clone(), shutdown.clone());
        async move { tailer.run(shutdown).await }
    });
    work.await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, task).await.expect("it stops when it is told").unwrap();
}

/// Nothing happens by itself within the time of a test.
fn quiet() -> TailerOptions {
    TailerOptions { poll: Duration::from_secs(3_600), linger: Duration::ZERO, ..TailerOptions::default() }
}

async fn wakes_when_it_is_told(engine: Engine) {
    let world = world(engine, &["a"]).await;
    let tailer = world.tailer(quiet());
    running(&tailer, async {
        until("the first round", async || world.watermark().await == Rev(1)).await;
        for n in 2..6 {
            add(&world.archive, &["a"]);
            tailer.wake();
            until("a round", async || world.watermark().await == Rev(n)).await;
        }
    })
    .await;
    add(&world.archive, &["a"]);
    tailer.wake();
    tokio::task::yield_now().await;
    assert_eq!(world.watermark().await, Rev(5), "it was told to stop");
}

async fn looks_by_itself_now_and_then(engine: Engine) {
    let world = world(engine, &["a"]).await;
    let tailer = world.tailer(TailerOptions { poll: Duration::from_millis(5), ..quiet() });
    running(&tailer, async {
        until("the first round", async || world.watermark().await == Rev(1)).await;
        add(&world.archive, &["b", "c"]);
        until("another one", async || world.watermark().await == Rev(3)).await;
    })
    .await;
}

async fn tells_how_far_it_is(engine: Engine) {
    let world = world(engine, &["a", "", "c"]).await;
    let tailer = tailer(&world.archive, &world.index);
    assert_eq!(tailer.status().watermark, Rev(0));
    tailer.catch_up().await.unwrap();
    let status = tailer.status();
    assert_eq!((status.watermark, status.last_rev, status.behind, status.taken_in), (Rev(3), Rev(3), 0, 3));
    assert!(status.rate > 0.0);

    add(&world.archive, &["d"; 30]);
    world.moody.stuck.store(true, SeqCst);
    assert!(tailer.catch_up().await.is_err());
    let status = tailer.status();
    assert_eq!((status.watermark, status.last_rev, status.behind), (Rev(3), Rev(33), 30));
    assert!(status.last_error.is_some_and(|error| error.contains("switched off")));

    world.moody.stuck.store(false, SeqCst);
    tailer.catch_up().await.unwrap();
    let status = tailer.status();
    assert_eq!((status.watermark, status.behind, status.taken_in, status.last_error), (Rev(33), 0, 33, None));
}

/// An archive in which something is committed whenever it is read: at first so much, then a message each time.
struct Busy(Arc<MemoryArchive>, AtomicUsize);

#[async_trait]
impl Feed for Busy {
    async fn feed(&self, after: Rev, limit: u32) -> stele_archive::Result<Vec<FeedRow>> {
        let rows = self.0.feed(after, limit).await;
        for _ in 0..self.1.swap(1, SeqCst) {
            self.0.add(message("b", 0));
        }
        rows
    }

    async fn last_rev(&self) -> stele_archive::Result<Rev> {
        self.0.last_rev().await
    }

    async fn day_counts(&self, upto: Rev) -> stele_archive::Result<Vec<DayCount>> {
        self.0.day_counts(upto).await
    }
}

async fn traffic_is_not_followed_message_by_message(engine: Engine) {
    for (meanwhile, taken_in) in [(1, 2..=2), (16_384, 16_386..=16_400)] {
        let world = world(engine, &["a", "a"]).await;
        let archive = Arc::new(Busy(world.archive.clone(), AtomicUsize::new(meanwhile)));
        let tailer = Tailer::new(archive, world.index.clone(), quiet());
        let round = tokio::time::timeout(PATIENCE, tailer.catch_up());
        round.await.expect("what comes meanwhile is for the next round, or soon taken in").unwrap();
        let reached = world.watermark().await;
        assert!(taken_in.contains(&reached.0) && reached < world.archive.last_rev().await.unwrap(), "{reached:?}");
    }
}

async fn goes_on_after_failures(engine: Engine) {
    let world = world(engine, &["a"]).await;
    world.moody.down.store(true, SeqCst);
    let tailer = world.tailer(quiet());
    running(&tailer, async {
        until("a failure", async || tailer.status().last_error.is_some()).await;
        world.moody.down.store(false, SeqCst);
        until("a success", async || world.watermark().await == Rev(1) && tailer.status().last_error.is_none()).await;
    })
    .await;
}

async fn batches_are_bounded_and_complete(engine: Engine) {
    for (batch_rows, batch_bytes) in
        [(1, usize::MAX), (3, usize::MAX), (usize::MAX, 1), (usize::MAX, usize::MAX), (0, 0)]
    {
        let world = world(engine, &["合同"; 9]).await;
        world.tailer(TailerOptions { batch_rows, batch_bytes, ..quiet() }).catch_up().await.unwrap();
        assert_eq!(world.watermark().await, Rev(9));
        assert_eq!(world.found("合同").await.len(), 9);
        assert_eq!(world.index.health().documents, 9);
    }
}

async fn more_than_a_page_of_the_feed(engine: Engine) {
    let world = world(engine, &[]).await;
    for n in 0..10_000 {
        world.archive.add(message(if n % 1_000 == 0 { "稀有" } else { "常见" }, n));
    }
    world.tailer(quiet()).catch_up().await.unwrap();
    assert_eq!(world.found("稀有").await, [9_001, 8_001, 7_001, 6_001, 5_001, 4_001, 3_001, 2_001, 1_001, 1]);
    assert_eq!(world.index.health().documents, 10_000);
}

async fn another_archive_means_a_new_index(engine: Engine) {
    let world = world(engine, &["合同一", "合同二", "合同三"]).await;
    let tailer = tailer(&world.archive, &world.index);
    tailer.catch_up().await.unwrap();
    // Restored from an older backup, and not as far yet.
    world.archive.truncate(Rev(1));
    tailer.catch_up().await.unwrap();
    assert_eq!(world.watermark().await, Rev(1));
    assert_eq!(world.found("合同").await, [1]);
    // Restored, and further already.
    world.archive.truncate(Rev(0));
    add(&world.archive, &["别的", "合同四", "合同五", "合同六"]);
    tailer.catch_up().await.unwrap();
    assert_eq!(world.watermark().await, Rev(4));
    assert_eq!(world.found("合同").await, [4, 3, 2]);
    assert_eq!(world.index.health().documents, 4);
}

async fn a_loss_is_noticed_and_made_good(engine: Engine) {
    let world = world(engine, &["合同一", "合同二", "合同三"]).await;
    let rows = world.archive.rows();
    // An index that swallowed a message without saying so.
    let lossy: Vec<FeedRow> = rows.iter().filter(|row| row.rev != Rev(2)).cloned().collect();
    world.index.apply(lossy, Watermark::at(&rows[2])).await.unwrap();
    assert_eq!(world.found("合同").await, [3, 1]);

    let tailer = world.tailer(quiet());
    let reconciliation = tailer.reconcile().await.unwrap();
    assert!(!reconciliation.agrees());
    assert_eq!((reconciliation.stored, reconciliation.indexed, reconciliation.upto), (3, 2, Rev(3)));
    assert_eq!(reconciliation.differences, [(0, 3, 2)]);
    assert_eq!(tailer.status().reconciliation, Some(reconciliation));

    // Running, it rebuilds by itself.
    running(&tailer, async {
        until("the rebuild", async || world.index.health().condemned.is_none()).await;
    })
    .await;
    assert_eq!(world.found("合同").await, [3, 2, 1]);
    assert!(tailer.reconcile().await.unwrap().agrees());
}

async fn building_anew_while_life_goes_on(engine: Engine) {
    let world = world(engine, &["合同"; 50]).await;
    let tailer = tailer(&world.archive, &world.index);
    tailer.catch_up().await.unwrap();
    let reports: Mutex<Vec<ReindexProgress>> = Mutex::default();
    let done = tailer
        .reindex(|progress| {
            reports.lock().unwrap().push(progress);
            // Messages come in while it works.
            if progress.rows < 60 {
                add(&world.archive, &["合同"]);
            }
        })
        .await
        .unwrap();
    let total = world.archive.rows().len() as i64;
    assert!(total > 50);
    assert_eq!((done.rev, done.rows), (Rev(total), total as u64));
    let reports = reports.into_inner().unwrap();
    assert!(reports.windows(2).all(|pair| pair[0].rev < pair[1].rev && pair[0].rows < pair[1].rows), "{reports:?}");
    assert!(reports.iter().all(|report| report.rev <= report.last_rev));
    assert_eq!(world.watermark().await, Rev(total));
    assert_eq!(world.found("合同").await, (1..=total).rev().collect::<Vec<_>>()[..100.min(total as usize)]);
    assert!(tailer.reconcile().await.unwrap().agrees());
}

async fn one_rebuild_at_a_time(engine: Engine) {
    let world = world(engine, &["合同"; 5]).await;
    let tailer = tailer(&world.archive, &world.index);
    let running = world.index.rebuild().await.unwrap();
    let error = tailer.reindex(|_| {}).await.unwrap_err();
    assert!(matches!(error, TailError::Index(IndexError::Rebuilding)), "{error}");
    drop(running);
    tailer.reindex(|_| {}).await.unwrap();
    assert_eq!(world.found("合同").await, [5, 4, 3, 2, 1]);
}
