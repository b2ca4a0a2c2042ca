//! Files of messages: fetched once, checked, parked, tried again.

use crate::{Bench, MD5_OF_GOOD, Script, message};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use stele_archive::model::{MediaRef, Message, Page};
use stele_archive::{Clock, Commit, Outcome, Stream};
use stele_plugin_api::ErrorCode;
use steled::jobs::NotStarted;

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_no_file_an_attempt() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let drafts = bench.dir.path().join("media/drafts");
    // A folder that is gone would be made again; this is none.
    std::fs::remove_dir(&drafts).unwrap();
    std::fs::write(&drafts, "").unwrap();
    let files = HashMap::from([("good".to_owned(), b"hello, world".to_vec())]);
    bench.add(&jobs, Arc::new(Script { messages: 10, page: 10, files, ..Script::default() })).await;
    bench.run(&jobs, "sync").await;
    bench.idle(&jobs).await;
    let failed = &bench.history("media").await[0];
    assert_eq!(failed.outcome, Outcome::Failed);
    let error = failed.report.error.as_deref().unwrap();
    assert!(error.starts_with("files cannot be written: "), "{error}");
    let due = bench.archive.media_due(bench.id, bench.clock.now(), 10).await.unwrap();
    assert_eq!((due.len(), due[0].attempts), (1, 0));
    // It is not asked for again before its time.
    jobs.wake("hq", "media");
    assert!(jobs.overview().await.iter().all(|job| !job.running));
    std::fs::remove_file(&drafts).unwrap();
    bench.run(&jobs, "media").await;
    assert_eq!(bench.archive.media_totals(Some(bench.id)).await.unwrap().stored, 1);
}

#[tokio::test]
async fn files_are_resumed_checked_parked_and_stored_once() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let files = HashMap::from([
        ("good".to_owned(), b"hello, world".to_vec()),
        ("same".to_owned(), b"hello, world".to_vec()),
        ("wrong-md5".to_owned(), b"something else".to_vec()),
        ("too-large".to_owned(), vec![7; 2000]),
    ]);
    let breaks = Mutex::new(VecDeque::from([1]));
    let source = Arc::new(Script { messages: 10, page: 10, files, breaks, ..Script::default() });
    bench.add(&jobs, source.clone()).await;
    bench.run(&jobs, "sync").await;
    bench.idle(&jobs).await;
    let totals = bench.archive.media_totals(Some(bench.id)).await.unwrap();
    assert_eq!((totals.stored, totals.parked, totals.pending, totals.blobs), (3, 1, 0, 2));
    assert!(source.opened.lock().unwrap().iter().any(|open| open.ends_with("@4")), "resumed after the first chunk");
    let parked = bench.archive.media_parked(bench.id, 10).await.unwrap();
    assert_eq!(parked[0].0.handle, "too-large");
    assert!(parked[0].1.contains("larger than 1000 bytes"), "{}", parked[0].1);
    let path = bench.dir.path().join("media").join(&MD5_OF_GOOD[..2]).join(&MD5_OF_GOOD[2..4]).join(MD5_OF_GOOD);
    assert_eq!(std::fs::read(path).unwrap(), b"hello, world");
}

#[tokio::test]
async fn a_parked_file_is_tried_again_when_its_instance_is_added_or_somebody_asks() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let large = || HashMap::from([("large".to_owned(), vec![7; 2000])]);
    let source = |files| Arc::new(Script { messages: 10, page: 10, files, ..Script::default() });
    let totals = async || {
        let totals = bench.archive.media_totals(Some(bench.id)).await.unwrap();
        (totals.stored, totals.parked)
    };
    bench.add(&jobs, source(large())).await;
    bench.run(&jobs, "sync").await;
    assert_eq!(totals().await, (0, 1));
    // The limit is raised, but the source has no such file for now: that no configuration can mend.
    let gone = source(HashMap::new());
    bench.add_with_limit(&jobs, gone.clone(), 5000).await;
    bench.idle(&jobs).await;
    assert_eq!((totals().await, gone.opened.lock().unwrap().len()), ((0, 1), 1));
    let back = source(large());
    bench.add_with_limit(&jobs, back.clone(), 5000).await;
    bench.idle(&jobs).await;
    assert_eq!((totals().await, back.opened.lock().unwrap().len()), ((0, 1), 0));
    let stopped = bench.jobs("two");
    bench.add_with_limit(&stopped, back.clone(), 5000).await;
    stopped.shutdown().await;
    let refused = stopped.request_by_hand("hq", "media", None).await.unwrap();
    assert!(matches!(refused, Err(NotStarted::Stopping)) && totals().await == (0, 1), "it is parked as it was");
    assert!(jobs.request_by_hand("hq", "media", None).await.unwrap().expect("the job is known").started);
    bench.idle(&jobs).await;
    assert_eq!(totals().await, (1, 0));
}

#[tokio::test]
async fn a_file_is_lost_only_if_the_source_does_not_have_it() {
    let files = HashMap::from([("f".to_owned(), vec![7; 10])]);
    for (code, given_up, comes_back) in
        [(ErrorCode::NotFound, true, false), (ErrorCode::Invalid, true, true), (ErrorCode::Denied, false, true)]
    {
        let bench = Bench::new().await;
        let jobs = bench.jobs("one");
        let source =
            |refusal| Arc::new(Script { messages: 1, page: 1, files: files.clone(), refusal, ..Script::default() });
        let totals = async || bench.archive.media_totals(Some(bench.id)).await.unwrap();
        bench.add(&jobs, source(Some(code.clone()))).await;
        bench.run(&jobs, "sync").await;
        bench.idle(&jobs).await;
        assert_eq!(totals().await.parked == 1, given_up, "{code}");
        // The instance comes back with another configuration, and no pause is so long.
        bench.clock.advance(3_600_000_000);
        bench.add(&jobs, source(None)).await;
        // It may run already, because there is something to try again.
        jobs.request("hq", "media", None).await.expect("the job is known");
        bench.idle(&jobs).await;
        assert_eq!(totals().await.stored == 1, comes_back, "{code}");
    }
}

#[tokio::test]
async fn an_announced_md5_alone_is_no_reason_not_to_fetch() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let source = |name: &str, content: &[u8]| {
        let files = HashMap::from([(name.to_owned(), content.to_vec())]);
        Arc::new(Script { messages: 10, page: 10, files, ..Script::default() })
    };
    bench.add(&jobs, source("good", b"hello, world")).await;
    bench.run(&jobs, "sync").await;
    let other = MediaRef {
        handle: "md5-of-another".into(),
        kind: "file".into(),
        md5: Some(MD5_OF_GOOD.into()),
        ..MediaRef::default()
    };
    let page = Page { messages: vec![Message { media: vec![other], ..message(11) }], ..Page::default() };
    let stream = Stream::Messages;
    let commit = Commit { instance: bench.id, partition: "q", stream, from: None, page: &page, now: 0 };
    bench.archive.commit(commit).await.unwrap();
    bench.add(&jobs, source("md5-of-another", b"another")).await;
    bench.run(&jobs, "media").await;
    let totals = bench.archive.media_totals(Some(bench.id)).await.unwrap();
    assert_eq!((totals.stored, totals.blobs), (2, 2));
}
