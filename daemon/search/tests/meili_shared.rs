//! An index that several daemons share: who builds it anew, and that nothing becomes of it meanwhile. On a real server where there is
//! one, else on the stand-in; what goes wrong, on the stand-in.

mod common;

use common::meili::Place;
use common::standin::{End, Fault, Index, Standin};
use common::{add, ids, request, tailer, until};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::{PersonId, Rev};
use stele_search::contract::{MemoryArchive, day_counts};
use stele_search::{
    IndexError, MeiliIndex, MeiliOptions, SearchIndex, SearchRequest, Searcher, TailError, Tailer, Watermark,
};
use tokio_util::sync::CancellationToken;

/// A daemon, as far as it has to do with search.
struct Daemon {
    archive: Arc<MemoryArchive>,
    index: Arc<dyn SearchIndex>,
    tailer: Arc<Tailer>,
}

impl Daemon {
    async fn start(archive: &Arc<MemoryArchive>, options: &MeiliOptions) -> Self {
        let index: Arc<dyn SearchIndex> = Arc::new(MeiliIndex::open(options.clone()).await.expect("the index opens"));
        let tailer = Arc::new(tailer(archive, &index));
        Self { archive: archive.clone(), index, tailer }
    }

    async fn found(&self, text: &str) -> (Vec<i64>, u64) {
        let page = Searcher::new(self.archive.clone(), self.index.clone()).search(&request(text)).await.unwrap();
        (ids(&page), page.total)
    }

    /// Fails unless the index has everything, once.
    async fn has_everything(&self) {
        let rows = self.archive.rows();
        until("the end of the archive", async || {
            self.index.watermark().await.is_ok_and(|watermark| watermark == Watermark::at(rows.last().unwrap()))
        })
        .await;
        let all: Vec<i64> = rows.iter().rev().map(|row| row.id.0).collect();
        assert_eq!(self.found("合同").await, (all, rows.len() as u64));
        assert_eq!(self.index.day_counts().await.unwrap(), (rows.last().unwrap().rev, day_counts(&rows)));
    }

    /// Its turn to feed the index, until the guard is dropped.
    fn feeds(&self) -> impl Drop {
        struct Turn(CancellationToken);
        impl Drop for Turn {
            fn drop(&mut self) {
                self.0.cancel();
            }
        }
        let (tailer, stop) = (self.tailer.clone(), CancellationToken::new());
        let until = stop.clone();
        tokio::spawn(async move { tailer.run(until).await });
        Turn(stop)
    }
}

/// Daemons on the stand-in, whose index has these texts.
async fn world<const N: usize>(texts: &[&str]) -> (Standin, Arc<MemoryArchive>, [Daemon; N]) {
    let standin = Standin::start().await;
    let archive: Arc<MemoryArchive> = Arc::default();
    add(&archive, texts);
    let daemons = daemons(&archive, &options(&standin)).await;
    (standin, archive, daemons)
}

fn options(standin: &Standin) -> MeiliOptions {
    MeiliOptions { url: standin.url.clone(), timeout: Duration::from_secs(2), ..MeiliOptions::default() }
}

/// Daemons on an archive, of which the first one has fed the index.
async fn daemons<const N: usize>(archive: &Arc<MemoryArchive>, options: &MeiliOptions) -> [Daemon; N] {
    let mut daemons = Vec::new();
    for _ in 0..N {
        daemons.push(Daemon::start(archive, options).await);
    }
    daemons[0].tailer.catch_up().await.unwrap();
    daemons.try_into().ok().expect("as many as were asked for")
}

fn asked(standin: &Standin, what: &str) -> usize {
    standin.server().requests.iter().filter(|request| request.starts_with(what)).count()
}

/// Does something until it waits for a task that does not end.
async fn until_stuck<T>(standin: &Standin, work: impl Future<Output = T>) {
    let before = standin.server().waited;
    tokio::select! {
        _ = work => panic!("it ended"),
        () = until("a task without an end", async || standin.server().waited > before) => {}
    }
}

fn names(standin: &Standin) -> Vec<String> {
    standin.server().indexes.keys().cloned().collect()
}

/// With a key that shows no tasks of swaps.
#[tokio::test]
async fn what_one_wishes_whoever_feeds_the_index_does_with_a_limited_key() {
    let place = Place::limited().await;
    let archive: Arc<MemoryArchive> = Arc::default();
    add(&archive, &["合同"; 20]);
    let [feeding, other, third] = daemons(&archive, &place.options).await;
    let _turn = feeding.feeds();
    let done = other.tailer.have_rebuilt(|progress| assert!(progress.asked)).await.unwrap();
    assert_eq!((done.rev, done.rows, done.asked), (Rev(20), 20, true));
    // Found to be wrong by two that do not feed it: built anew once, and nobody goes on saying so.
    other.index.condemn("a test");
    third.index.condemn("the same test");
    for daemon in [&other, &third, &feeding] {
        until("an end of the wish", async || daemon.index.health().condemned.is_none()).await;
    }
    add(&archive, &["合同"]);
    feeding.tailer.wake();
    for daemon in [&feeding, &other, &third] {
        daemon.has_everything().await;
    }
}

#[tokio::test]
async fn what_two_condemn_is_built_anew_once() {
    let (standin, _, [feeding, other, third]) = world(&["合同"; 20]).await;
    for daemon in [&other, &third] {
        until("a look", async || daemon.index.watermark().await.is_ok_and(|watermark| watermark.rev == Rev(20))).await;
        daemon.index.condemn("a test");
    }
    // Whoever only waits for its turn writes nothing else.
    other.tailer.stand_by().await;
    until("word of it", async || feeding.index.health().condemned.as_deref() == Some("a test")).await;
    assert_eq!(asked(&standin, "POST /swap-indexes"), 0);
    let _turn = feeding.feeds();
    for daemon in [&feeding, &other, &third] {
        until("an end of it", async || daemon.index.health().condemned.is_none()).await;
        daemon.has_everything().await;
    }
    assert_eq!(asked(&standin, "POST /swap-indexes"), 1);
    // Restored from a backup, before which one daemon saw hits that are no more: the index began anew since.
    feeding.index.clear("a test").await.unwrap();
    feeding.has_everything().await;
    third.has_everything().await;
    assert_eq!((third.index.health().condemned, asked(&standin, "POST /swap-indexes")), (None, 2));
}

#[tokio::test]
async fn two_that_build_at_once_leave_no_hole() {
    let (standin, archive, [one, other]) = world(&["合同"; 9]).await;
    let rows = archive.rows();
    let upto = |number: usize| Watermark::at(&rows[number - 1]);
    let ours = one.index.rebuild().await.unwrap();
    ours.apply(rows[..3].to_vec(), upto(3)).await.unwrap();
    let theirs = other.index.rebuild().await.unwrap();
    assert!(ours.apply(rows[3..6].to_vec(), upto(6)).await.is_err(), "it is another's by now");
    theirs.apply(rows[..6].to_vec(), upto(6)).await.unwrap();
    assert!(ours.finish().await.is_err());
    theirs.apply(rows[6..].to_vec(), upto(9)).await.unwrap();
    theirs.finish().await.unwrap();
    for daemon in [&one, &other] {
        daemon.has_everything().await;
    }
    assert_eq!(names(&standin), ["stele"]);
}

/// A batch of one that stood still comes into the index that another one builds, and no end of it is taken for that one's.
#[tokio::test]
async fn what_was_on_its_way_to_an_index_in_the_making_does_no_harm() {
    let (standin, archive, [one, other]) = world(&["合同"; 6]).await;
    let rows = archive.rows();
    let ours = one.index.rebuild().await.unwrap();
    standin.server().ends.push_back(End::Stuck);
    until_stuck(&standin, ours.apply(rows.clone(), Watermark::at(&rows[5]))).await;
    let theirs = other.index.rebuild().await.unwrap();
    theirs.apply(rows[..3].to_vec(), Watermark::at(&rows[2])).await.unwrap();
    standin.go_on();
    assert!(ours.finish().await.is_err());
    theirs.apply(rows[3..].to_vec(), Watermark::at(&rows[5])).await.unwrap();
    theirs.finish().await.unwrap();
    for daemon in [&one, &other] {
        daemon.has_everything().await;
    }
}

/// One that feeds stands still for longer than its lease; meanwhile another one builds the index anew.
#[tokio::test]
async fn what_was_on_its_way_to_the_life_before_does_no_harm() {
    let (standin, archive, [one, other]) = world(&["合同"; 3]).await;
    add(&archive, &["合同"]);
    standin.server().ends.push_back(End::Stuck);
    until_stuck(&standin, one.tailer.catch_up()).await;
    other.tailer.reindex(|_| {}).await.unwrap();
    add(&archive, &["合同"]);
    other.tailer.catch_up().await.unwrap();
    other.has_everything().await;
    standin.go_on();
    other.has_everything().await;
    assert!(other.tailer.reconcile().await.unwrap().agrees());
    until("it goes on in the other life", async || one.tailer.catch_up().await.is_ok()).await;
    add(&archive, &["合同"]);
    one.tailer.catch_up().await.unwrap();
    for daemon in [&one, &other] {
        daemon.has_everything().await;
        assert_eq!(daemon.index.health().condemned, None);
    }
}

#[tokio::test]
async fn a_new_index_that_lacks_something_is_not_used() {
    let (standin, _, [daemon]) = world(&["合同"; 9]).await;
    let error = daemon.tailer.reindex(|_| {
        let mut server = standin.server();
        let documents = &mut server.indexes.get_mut("stele-new").unwrap().documents;
        let lost = documents.keys().find(|id| id.ends_with("-5")).cloned();
        lost.map(|id| documents.remove(&id));
    });
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("8 of the 9 messages"), "{error}");
    daemon.has_everything().await;
    daemon.tailer.reindex(|_| {}).await.unwrap();
    daemon.has_everything().await;
    assert_eq!(names(&standin), ["stele"]);
}

/// A swap that is done twice is none.
#[tokio::test]
async fn a_swap_whose_answer_is_lost_is_looked_for() {
    for limited in [false, true] {
        for (fault, swaps) in [(Fault::Lost(502), 1), (Fault::Lost(503), 1), (Fault::Status(503, None), 2)] {
            let (standin, _, [daemon, other]) = world(&["合同"; 3]).await;
            standin.server().limited = limited;
            standin.server().aimed = vec![("POST /swap-indexes", fault.clone())];
            daemon.tailer.reindex(|_| {}).await.unwrap();
            assert_eq!(asked(&standin, "POST /swap-indexes"), swaps, "{fault:?}");
            daemon.has_everything().await;
            other.has_everything().await;
            assert_eq!(names(&standin), ["stele"]);
        }
    }
}

#[tokio::test]
async fn what_has_the_name_of_the_index_beside_and_is_not_ours_is_left_alone() {
    let theirs = json!({"id": "watermark", "format": 1, "archive": "theirs"});
    for (documents, named) in
        [([("watermark".to_owned(), theirs)], "another archive"), ([("1".to_owned(), json!({"id": "1"}))], "somebody")]
    {
        let (standin, _, [daemon, other]) = world(&["合同"; 3]).await;
        let foreign = Index { settings: json!({"searchableAttributes": ["*"]}), documents: documents.into() };
        standin.server().indexes.insert("stele-new".into(), foreign);
        for refused in [other.tailer.have_rebuilt(|_| {}).await, daemon.tailer.reindex(|_| {}).await] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("\"stele-new\"") && error.contains(named), "{error}");
        }
        // Nothing happened to it for longer than to any leftover, in the eyes of the stand-in.
        daemon.index.settle().await.unwrap();
        assert!(names(&standin).contains(&"stele-new".to_owned()));
        assert_eq!(asked(&standin, "DELETE"), 0);
        // It is in the way of nothing else.
        daemon.has_everything().await;
    }
}

#[tokio::test]
async fn whoever_asked_is_told_why_it_cannot_be_done() {
    let (standin, _, [feeding, other]) = world(&["合同"; 3]).await;
    let asking = tokio::spawn({
        let tailer = other.tailer.clone();
        async move { tailer.have_rebuilt(|_| {}).await }
    });
    until("the wish", async || feeding.index.health().condemned.is_some()).await;
    // What begins the index beside.
    standin.server().ends.push_back(End::Failed("no_space_left_on_device", "system"));
    let turn = feeding.feeds();
    let told = asking.await.unwrap();
    assert!(
        matches!(&told, Err(TailError::Index(IndexError::Unavailable(why))) if why.to_string().contains("no_space")),
        "{told:?}"
    );
    // It is not tried again, unless somebody asks again.
    until("an end of the wish", async || feeding.index.health().condemned.is_none()).await;
    assert_eq!(asked(&standin, "POST /swap-indexes"), 0);
    other.tailer.have_rebuilt(|_| {}).await.unwrap();
    drop(turn);
    other.has_everything().await;
}

/// Whoever fed it dies amid a rebuild that somebody else asked for.
#[tokio::test]
async fn a_wish_outlives_whoever_was_at_it() {
    let (standin, archive, [one, other, asking]) = world(&["合同"; 30]).await;
    let asked_for = tokio::spawn(async move { (asking.tailer.have_rebuilt(|_| {}).await, asking) });
    until("the wish", async || one.index.health().condemned.is_some()).await;
    let turn = one.feeds();
    until("a beginning", async || names(&standin).contains(&"stele-new".to_owned())).await;
    drop(turn);
    add(&archive, &["合同"]);
    let _turn = other.feeds();
    let (done, asking) = asked_for.await.unwrap();
    assert!(done.is_ok(), "{done:?}");
    for daemon in [&one, &other, &asking] {
        daemon.has_everything().await;
    }
}

/// The server makes an index again for what comes to none.
#[tokio::test]
async fn an_index_that_vanishes_under_a_batch_is_filled_again_at_once() {
    let (standin, archive, [daemon, other]) = world(&["合同"; 9]).await;
    add(&archive, &["合同"]);
    standin.server().vanishing = Some("stele".into());
    until("it is filled", async || daemon.tailer.catch_up().await.is_ok()).await;
    assert_eq!(daemon.index.watermark().await.unwrap().rev, Rev(10));
    for daemon in [&daemon, &other] {
        daemon.has_everything().await;
    }
}

#[tokio::test]
async fn settings_that_take_long_are_not_sent_again() {
    let (standin, _, [daemon]) = world(&["合同"]).await;
    {
        let mut server = standin.server();
        server.indexes.get_mut("stele").unwrap().settings["rankingRules"] = json!(["words"]);
        server.stalled = Some("settingsUpdate");
        server.requests.clear();
    }
    for _ in 0..3 {
        until_stuck(&standin, daemon.index.verify()).await;
    }
    standin.go_on();
    daemon.index.verify().await.unwrap();
    assert_eq!(asked(&standin, "PATCH"), 1);
    daemon.has_everything().await;
}

/// A search that takes too long fails, and no other does.
#[tokio::test]
async fn a_search_without_an_end_is_one_of_many() {
    let (standin, archive, [daemon]) = world(&["合同", "合同"]).await;
    standin.server().endless = Some("u = '777'".into());
    let searcher = Arc::new(Searcher::new(archive.clone(), daemon.index.clone()));
    let slow = tokio::spawn({
        let (searcher, sender) = (searcher.clone(), Some(PersonId(777)));
        async move { searcher.search(&SearchRequest { sender, ..request("合同") }).await }
    });
    while !slow.is_finished() {
        assert_eq!(searcher.search(&request("合同")).await.unwrap().total, 2);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(slow.await.unwrap().is_err());
    for _ in 0..20 {
        assert_eq!(searcher.search(&request("合同")).await.unwrap().total, 2);
    }
}
