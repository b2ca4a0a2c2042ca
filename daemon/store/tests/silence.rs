//! A connection to the database that falls silent, neither answered nor ended, or ends amid a commit: whoever waits for it goes on with
//! another, and learns what became of the commit.

mod database;

use bytes::Bytes;
use database::proxy::{Lost, Proxy};
use database::{database, options};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stele_archive::model::{Message, Page};
use stele_archive::ops::MessageQuery;
use stele_archive::{ArchiveError, Commit, Feed, InstanceId, JobKey, JobTable, Pages, Queries, StateTable, Stream};
use stele_store::{PostgresArchive, PostgresOptions};

/// Longest wait for anything below.
const SOON: Duration = Duration::from_secs(20);

fn page(native: &str) -> Page {
    let message = Message {
        native_id: native.to_owned(),
        conversation: "c".to_owned(),
        sender: "a".to_owned(),
        kind: "text".to_owned(),
        ..Message::default()
    };
    Page { messages: vec![message], ..Page::default() }
}

async fn put(archive: &PostgresArchive, instance: InstanceId, native: &str) -> bool {
    let page = page(native);
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
    archive.commit(commit).await.is_ok()
}

/// To open an archive that waits for little.
fn impatient(url: &str) -> PostgresOptions {
    let (answer_timeout, call_timeout) = (Duration::from_secs(1), Duration::from_secs(3));
    PostgresOptions { answer_timeout, call_timeout, ..options(url) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_told_as_any_other() {
    let Some(url) = database() else { return };
    let proxy = Proxy::before(&url).await;
    let archive = PostgresArchive::open(&options(&proxy.url)).await.expect("opens");
    let instance = archive.instance("hq").await.expect("known");
    let mut from = None;
    for (round, lost) in (1..).zip([None, Some(Lost::Answer), None, Some(Lost::Commit), Some(Lost::Answer)]) {
        let cursor = Some(Bytes::from(format!("after {round}")));
        let page = Page { cursor: cursor.clone(), ..page(&format!("m{round}")) };
        let commit =
            Commit { instance, partition: "p", stream: Stream::Messages, from: from.clone(), page: &page, now: round };
        lost.into_iter().for_each(|lost| proxy.lose(lost));
        let done = archive.commit(commit.clone()).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(proxy.has_lost(), "round {round}");
        assert_eq!((done.stored.len(), done.known, done.stored[0].seq, done.last_rev.0), (1, 0, round, round));
        // Somebody else has moved it all the same, if it is moved from there again.
        let again = archive.commit(Commit { now: round + 100, ..commit }).await;
        assert!(matches!(again, Err(ArchiveError::CursorMoved { .. })), "{again:?}");
        from = cursor;
    }
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.messages, report.broken, report.uncovered), (5, 5, None, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_under_load_are_answered_again() {
    let Some(url) = database() else { return };
    let proxy = Proxy::before(&url).await;
    let archive = PostgresArchive::open(&impatient(&proxy.url)).await.expect("opens");
    let instance = archive.instance("hq").await.expect("known");
    assert!(put(&archive, instance, "m").await);
    let key = JobKey { instance: "hq".to_owned(), kind: "sync".to_owned(), partition: "p".to_owned() };
    archive.job_define(&key, "", "UTC", 1).await.expect("is defined");
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..12)
        .map(|caller| {
            let (archive, done, key) = (archive.clone(), done.clone(), key.clone());
            tokio::spawn(async move {
                let query = MessageQuery { conversation: "c".to_owned(), limit: 10, ..MessageQuery::default() };
                while !done.load(Ordering::Acquire) {
                    // What fails meanwhile is asked again.
                    match caller % 4 {
                        0 => _ = archive.messages(instance, &query).await,
                        1 => _ = archive.cursor(instance, "p", Stream::Messages).await,
                        2 => _ = archive.lease_acquire(&key, "somebody", 1, 1).await,
                        _ => _ = archive.state_put(instance, "k", Some(b"v")).await,
                    }
                }
            })
        })
        .collect();
    for round in 0..2 {
        // They are under way.
        for _ in 0..50 {
            archive.last_rev().await.expect("answers");
        }
        proxy.silence();
        let begun = Instant::now();
        let answered = async {
            let query = MessageQuery { conversation: "c".to_owned(), limit: 10, ..MessageQuery::default() };
            let mut in_a_row = 0;
            while in_a_row < 100 {
                in_a_row = if archive.messages(instance, &query).await.is_ok() { in_a_row + 1 } else { 0 };
            }
        };
        tokio::time::timeout(SOON, answered).await.unwrap_or_else(|_| panic!("nothing is answered, round {round}"));
        assert!(put(&archive, instance, &format!("m{round}")).await, "a page is committed");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
    done.store(true, Ordering::Release);
    for caller in callers {
        tokio::time::timeout(SOON, caller).await.expect("none waits without end").expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_given_up_leaves_no_silent_connection() {
    let Some(url) = database() else { return };
    let proxy = Proxy::before(&url).await;
    let archive = PostgresArchive::open(&impatient(&proxy.url)).await.expect("opens");
    let instance = archive.instance("hq").await.expect("known");
    for round in 0..2 {
        proxy.silence();
        // As many as there are connections, each given up before the daemon does.
        let calls = (0..4).map(|_| async {
            _ = tokio::time::timeout(Duration::from_millis(300), archive.last_rev()).await;
        });
        futures::future::join_all(calls).await;
        tokio::time::timeout(SOON, archive.last_rev()).await.expect("within a time").unwrap_or_else(|error| {
            panic!("round {round}: {error}");
        });
        assert!(archive.state_put(instance, "k", Some(b"v")).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_over_a_silent_connection_is_not_waited_for() {
    let Some(url) = database() else { return };
    let proxy = Proxy::before(&url).await;
    let archive = PostgresArchive::open(&impatient(&proxy.url)).await.expect("opens");
    archive.notify("channel", "word").await.expect("is said");
    proxy.silence();
    let said = tokio::time::timeout(SOON, archive.notify("channel", "word")).await.expect("within a time");
    // Over another connection, or it is not known whether it was.
    assert!(said.err().is_none_or(|error| error.is_transient()));
    let mut words = archive.notifications("channel").await.expect("listens");
    archive.notify("channel", "heard").await.expect("is said");
    let word = tokio::time::timeout(SOON, words.next()).await.expect("within a time").expect("is connected");
    assert_eq!(word.as_deref(), Some("heard"));
}
