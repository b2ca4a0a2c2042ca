//! Jobs against a real archive and a scripted source: nothing lost, nothing doubled, every fault in the history.

mod files;

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_archive::model::{Conversation, ConversationKind, MediaRef, Message, Page, Parked};
use stele_archive::ops::{MediaChunk, MediaRequest, MessageQuery, Partition, Partitions, PullRequest, RecoverRequest};
use stele_archive::{Archive, Clock, InstanceId, ManualClock, Outcome, RunRecord, Stream};
use stele_plugin_api::{Error, ErrorCode};
use stele_store::SqliteArchive;
use steled::jobs::{InstanceJobs, JobOptions, JobView, Jobs, KindPlan, NotStarted, Schedule, Source};
use steled::media::{FetchOptions, MediaSource, MediaStore, MediaStream};

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source with some messages, that fails as told.
#[derive(Default)]
struct Script {
    messages: u64,
    page: u64,
    /// Answered before anything else, one per pull.
    faults: Mutex<VecDeque<Error>>,
    /// A pull waits for one of these, when set.
    gate: Option<Arc<tokio::sync::Semaphore>>,
    parked: bool,
    /// It cannot tell its partitions.
    has_none: bool,
    files: HashMap<String, Vec<u8>>,
    /// Its answer to whoever asks for a file.
    refusal: Option<ErrorCode>,
    /// Chunks after which a stream breaks, once.
    breaks: Mutex<VecDeque<usize>>,
    opened: Mutex<Vec<String>>,
}

/// Of `hello, world`.
const MD5_OF_GOOD: &str = "e4d7f1b4ed2e42d15898f4b27b019da4";

fn conversation() -> Conversation {
    Conversation {
        native_id: "c/room".into(),
        partition: "c".into(),
        kind: Some(ConversationKind::Group),
        ..Conversation::default()
    }
}

fn message(n: u64) -> Message {
    Message {
        native_id: format!("m{n}"),
        conversation: "c/room".into(),
        seq: Some(n as i64),
        sender: "c/zhang".into(),
        sent_at: 1_700_000_000_000_000 + n as i64,
        kind: "text".into(),
        text: format!("第{n}条"),
        body: Bytes::from_static(b"{}"),
        ..Message::default()
    }
}

#[async_trait]
impl MediaSource for Script {
    async fn open(&self, request: MediaRequest) -> Result<Box<dyn MediaStream>, Error> {
        self.opened.lock().unwrap().push(format!("{}@{}", request.handle, request.resume));
        if let Some(code) = self.refusal.clone() {
            return Err(Error::new(code, "refused"));
        }
        let content = self.files.get(&request.handle).ok_or_else(|| Error::new(ErrorCode::NotFound, "expired"))?;
        let from: usize = request.resume.parse().unwrap_or(0);
        let breaks = self.breaks.lock().unwrap().pop_front();
        Ok(Box::new(Chunks { content: content.clone(), at: from, left: breaks }))
    }
}

struct Chunks {
    content: Vec<u8>,
    at: usize,
    left: Option<usize>,
}

#[async_trait]
impl MediaStream for Chunks {
    async fn next(&mut self) -> Option<Result<(MediaChunk, Bytes), Error>> {
        if self.left == Some(0) {
            return Some(Err(Error::new(ErrorCode::Unavailable, "connection reset")));
        }
        self.left = self.left.map(|left| left - 1);
        let end = (self.at + 4).min(self.content.len());
        let chunk = Bytes::copy_from_slice(&self.content[self.at..end]);
        self.at = end;
        Some(Ok((MediaChunk { resume: end.to_string(), last: end == self.content.len() }, chunk)))
    }
}

#[async_trait]
impl Source for Script {
    async fn discover(&self) -> Result<Partitions, Error> {
        if self.has_none {
            return Err(Error::new(ErrorCode::Unsupported, "no such operation"));
        }
        Ok(Partitions { partitions: vec![Partition { key: "c".into(), title: "C".into() }] })
    }

    async fn pull(&self, _stream: Stream, request: PullRequest) -> Result<Page, Error> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if let Some(fault) = self.faults.lock().unwrap().pop_front() {
            return Err(fault);
        }
        let from: u64 = request.cursor.map_or(0, |c| std::str::from_utf8(&c).unwrap().parse().unwrap());
        let to = (from + self.page).min(self.messages);
        let mut page = Page {
            messages: (from + 1..=to).map(message).collect(),
            conversations: vec![conversation()],
            cursor: Some(Bytes::from(to.to_string())),
            caught_up: to == self.messages,
            ..Page::default()
        };
        for (n, handle) in self.files.keys().enumerate() {
            if let Some(message) = page.messages.get_mut(n) {
                let md5 = Some("00000000000000000000000000000000".to_owned()).filter(|_| handle == "wrong-md5");
                message.media =
                    vec![MediaRef { handle: handle.clone(), kind: "file".into(), md5, ..MediaRef::default() }];
            }
        }
        if self.parked {
            let taken = page.messages.remove(0);
            page.parked = vec![Parked {
                native_id: taken.native_id,
                reason: "no key".into(),
                envelope: Bytes::from_static(b"e"),
            }];
        }
        Ok(page)
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Page, Error> {
        let messages = request.parked.iter().map(|parked| message(parked.native_id[1..].parse().unwrap())).collect();
        Ok(Page { messages, conversations: vec![conversation()], ..Page::default() })
    }
}

struct Bench {
    dir: tempfile::TempDir,
    backend: SqliteArchive,
    archive: Arc<dyn Archive>,
    clock: Arc<ManualClock>,
    store: MediaStore,
    id: InstanceId,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = stele_store::Options::default();
        let backend = SqliteArchive::open(&dir.path().join("a.db"), &options).await.unwrap();
        let archive: Arc<dyn Archive> = Arc::new(backend.clone());
        let store = MediaStore::open(&dir.path().join("media")).await.unwrap();
        let id = archive.instance("hq").await.unwrap();
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000));
        Self { dir, backend, archive, clock, store, id }
    }

    fn jobs(&self, owner: &str) -> Jobs {
        let options = JobOptions { owner: owner.into(), ..JobOptions::default() };
        let clock: Arc<dyn Clock> = self.clock.clone();
        Jobs::new(Arc::clone(&self.archive), self.store.clone(), clock, options, |_| ())
    }

    async fn add(&self, jobs: &Jobs, source: Arc<Script>) {
        self.add_with_limit(jobs, source, 1000).await;
    }

    async fn add_with_limit(&self, jobs: &Jobs, source: Arc<Script>, max_bytes: u64) {
        self.add_planned(jobs, source, max_bytes, None).await;
    }

    async fn add_planned(&self, jobs: &Jobs, source: Arc<Script>, max_bytes: u64, schedule: Option<Schedule>) {
        let plan = KindPlan { schedule, jitter: 0, page_limit: 1000 };
        let plans = BTreeMap::from(["sync", "recover", "media"].map(|kind| (kind, plan.clone())));
        let media = FetchOptions { max_bytes, ..FetchOptions::default() };
        jobs.add_instance(InstanceJobs { name: "hq".into(), id: self.id, source, plans, media }).await;
    }

    async fn run(&self, jobs: &Jobs, kind: &str) {
        assert!(jobs.request("hq", kind, None).await.expect("the job is known").started);
        self.idle(jobs).await;
    }

    async fn idle(&self, jobs: &Jobs) {
        wait_for(|| !jobs.is_busy()).await;
    }

    async fn history(&self, kind: &str) -> Vec<RunRecord> {
        let mut runs = self.archive.runs(Some("hq"), 100).await.unwrap();
        runs.retain(|run| run.job.kind == kind);
        runs
    }

    /// Sequence numbers of everything stored, in order of arrival.
    async fn stored(&self) -> Vec<i64> {
        let query = MessageQuery {
            conversation: "c/room".into(),
            order: stele_archive::ops::MessageOrder::Id,
            limit: 1000,
            ..MessageQuery::default()
        };
        let list = self.archive.messages(self.id, &query).await.unwrap();
        assert_eq!(list.total, list.rows.len() as u64);
        list.rows.iter().map(|row| row.seq).collect()
    }
}

async fn wait_for(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come true in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come true in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_sync_stores_every_page_once() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    bench.add(&jobs, Arc::new(Script { messages: 95, page: 10, ..Script::default() })).await;
    bench.run(&jobs, "sync").await;
    bench.run(&jobs, "sync").await;
    assert_eq!(bench.stored().await, (1..=95).collect::<Vec<_>>());
    let runs = bench.history("sync").await;
    assert_eq!(runs.len(), 2);
    assert_eq!((runs[1].report.stored, runs[1].report.pages), (95, 10));
    assert!(runs.iter().all(|run| run.outcome == Outcome::Succeeded && run.trigger == "request"));
}

#[tokio::test]
async fn a_passing_fault_is_retried_and_told() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let faults = Mutex::new(VecDeque::from([
        Error::new(ErrorCode::Unavailable, "connection refused"),
        Error::new(ErrorCode::Deadline, "no answer"),
    ]));
    bench.add(&jobs, Arc::new(Script { messages: 20, page: 10, faults, ..Script::default() })).await;
    bench.run(&jobs, "sync").await;
    assert_eq!(bench.stored().await.len(), 20);
    let run = &bench.history("sync").await[0];
    assert_eq!((run.outcome, run.report.retries), (Outcome::Succeeded, 2));
    assert!(run.report.notices[0].contains("connection refused"), "{:?}", run.report.notices);
}

#[tokio::test]
async fn a_refusal_fails_the_run_and_the_next_one_goes_on() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let faults = Mutex::new(VecDeque::from([Error::new(ErrorCode::Denied, "the secret is wrong")]));
    bench.add(&jobs, Arc::new(Script { messages: 20, page: 10, faults, ..Script::default() })).await;
    bench.run(&jobs, "sync").await;
    let failed = &bench.history("sync").await[0];
    assert_eq!(failed.outcome, Outcome::Failed);
    assert_eq!(failed.report.error.as_deref(), Some("denied: the secret is wrong"));
    let view = jobs.overview().await.into_iter().find(|view| view.record.key.kind == "sync").unwrap();
    assert_eq!(view.record.failures, 1);
    assert_eq!(jobs.findings(), ["job hq sync c: failed: denied: the secret is wrong"]);
    let pause = view.next_due.unwrap() - bench.clock.now();
    assert!(pause >= 300_000_000, "a person must act, so there is no hurry: {pause}");
    bench.run(&jobs, "sync").await;
    assert_eq!(bench.stored().await.len(), 20);
    assert_eq!(jobs.findings(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_archive_that_takes_nothing_is_told() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    bench.add(&jobs, Arc::new(Script { messages: 20, page: 10, ..Script::default() })).await;
    assert_eq!(jobs.findings(), [] as [&str; 0]);
    bench.backend.close().await.unwrap();
    bench.run(&jobs, "sync").await;
    let view = jobs.overview().await.into_iter().find(|view| view.record.key.kind == "sync").unwrap();
    let error = view.record.error.expect("there was no run that could say it");
    assert_eq!(jobs.findings(), [format!("job hq sync c: failed: {error}")]);
    bench.run(&jobs, "sync").await;
    assert_eq!(jobs.findings(), [format!("job hq sync c: failed 2 times in a row: {error}")]);
}

#[tokio::test]
async fn a_request_during_a_run_is_followed_by_another_run() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let source = Script { messages: 10, page: 10, gate: Some(gate.clone()), ..Script::default() };
    bench.add(&jobs, Arc::new(source)).await;
    let first = jobs.request("hq", "sync", Some("c")).await.unwrap();
    let second = jobs.request("hq", "sync", Some("c")).await.unwrap();
    let third = jobs.request("hq", "sync", None).await.unwrap();
    assert_eq!((first.started, second.started, second.running, third.running), (true, false, true, true));
    assert_eq!(jobs.request("hq", "sync", Some("other")).await, Err(NotStarted::Unknown));
    gate.add_permits(100);
    bench.idle(&jobs).await;
    assert_eq!(bench.history("sync").await.len(), 2, "all requests during a run share the one that follows");
}

#[tokio::test]
async fn two_daemons_never_run_a_job_at_once() {
    let bench = Bench::new().await;
    let (one, two) = (bench.jobs("one"), bench.jobs("two"));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let source = Arc::new(Script { messages: 50, page: 10, gate: Some(gate.clone()), ..Script::default() });
    bench.add(&one, source.clone()).await;
    bench.add(&two, source.clone()).await;
    assert!(one.request("hq", "sync", None).await.unwrap().started);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while bench.history("sync").await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let answer = two.request("hq", "sync", None).await.unwrap();
    assert!(!answer.started && answer.running, "the same as from the one that runs it: {answer:?}");
    bench.idle(&two).await;
    assert_eq!(bench.history("sync").await.len(), 1, "the second daemon found the lease taken");
    let views = [one.overview().await, two.overview().await];
    for view in views.map(|views| views.into_iter().find(|view| view.record.key.kind == "sync").unwrap()) {
        assert!(view.running && view.record.report.is_some(), "{view:?}");
    }
    gate.add_permits(100);
    bench.idle(&one).await;
    // Somebody asked the second one for a run, so one follows.
    let _scheduler = two.start().await.unwrap();
    bench.clock.advance(5_000_000);
    until(async || bench.history("sync").await.len() == 2).await;
    bench.idle(&two).await;
    assert_eq!(bench.stored().await.len(), 50);
}

#[tokio::test]
async fn what_is_due_runs_once_however_many_daemons_there_are() {
    let bench = Bench::new().await;
    let daemons = ["one", "two", "three"].map(|owner| bench.jobs(owner));
    let source = Arc::new(Script { messages: 50, page: 10, ..Script::default() });
    let mut schedulers = Vec::new();
    for jobs in &daemons {
        let schedule = Schedule::parse("0 * * * *", "UTC").ok();
        bench.add_planned(jobs, source.clone(), 1000, schedule).await;
        schedulers.push(jobs.start().await.unwrap());
    }
    for hour in 1..=3 {
        // All of them have taken note of it once nobody waits for the job any more.
        let next = bench.clock.now() + 3_600_000_000;
        let settled = async || {
            let mut views = Vec::new();
            for jobs in &daemons {
                views.extend(jobs.overview().await);
            }
            daemons.iter().all(|jobs| !jobs.is_busy())
                && views.iter().all(|view| !view.running && view.next_due.is_some_and(|due| due <= next))
                && bench.history("sync").await.len() == hour
        };
        until(async || {
            // Whoever met another one there looks again after a pause.
            bench.clock.advance(1_000_000);
            settled().await
        })
        .await;
        for kind in ["sync", "recover", "media"] {
            assert_eq!(bench.history(kind).await.len(), hour, "{kind}");
        }
        bench.clock.advance(3_600_000_000);
    }
    assert_eq!(bench.stored().await.len(), 50);
}

#[tokio::test]
async fn what_was_asked_of_a_daemon_that_died_another_does() {
    let bench = Bench::new().await;
    let options = JobOptions { owner: "dead".into(), concurrency: 1, ..JobOptions::default() };
    let lease = options.lease;
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let dead = Jobs::new(Arc::clone(&bench.archive), bench.store.clone(), clock, options, |_| ());
    let gate = Some(Arc::new(tokio::sync::Semaphore::new(1)));
    bench.add(&dead, Arc::new(Script { messages: 50, page: 10, gate, ..Script::default() })).await;
    let next = bench.jobs("next");
    bench.add(&next, Arc::new(Script { messages: 50, page: 10, ..Script::default() })).await;
    let mut events = dead.subscribe();
    dead.request("hq", "sync", None).await.unwrap();
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("the first page").unwrap();
    // It waits for the sync, of which no second page comes, and nobody hears of either any more.
    dead.request("hq", "recover", None).await.unwrap();
    let asked = async |kind: &'static str| {
        let jobs = bench.archive.jobs().await.unwrap();
        jobs.iter().any(|job| job.key.kind == kind && job.asked)
    };
    until(async || asked("recover").await).await;
    bench.clock.advance(lease);
    let _scheduler = next.start().await.unwrap();
    until(async || bench.stored().await.len() == 50 && !next.is_busy()).await;
    let outcomes = async |kind| bench.history(kind).await.iter().map(|run| run.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes("sync").await, [Outcome::Succeeded, Outcome::Lost]);
    until(async || outcomes("recover").await == [Outcome::Succeeded]).await;
    until(async || !asked("recover").await && !asked("sync").await).await;
}

#[tokio::test]
async fn every_daemon_tells_the_same_of_a_job() {
    let bench = Bench::new().await;
    let (one, two) = (bench.jobs("one"), bench.jobs("two"));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let faults = Mutex::new(VecDeque::from([Error::new(ErrorCode::Denied, "the secret is wrong")]));
    let source = Arc::new(Script { messages: 20, page: 10, faults, gate: Some(gate.clone()), ..Script::default() });
    bench.add(&one, source.clone()).await;
    bench.add(&two, source.clone()).await;
    let sync = async |jobs: &Jobs| {
        let views = jobs.overview().await;
        views.into_iter().find(|view| view.record.key.kind == "sync").expect("it is known")
    };
    // Between the two looks it may go on.
    let same = async |is: fn(&JobView) -> bool| {
        until(async || {
            let (of_one, of_two) = (sync(&one).await, sync(&two).await);
            of_one == of_two && is(&of_one)
        })
        .await;
    };
    same(|view| !view.running).await;
    one.request("hq", "sync", None).await.unwrap();
    assert!(sync(&two).await.running, "somebody has asked for it");
    same(|view| view.running && view.record.report.is_some()).await;
    assert!(two.request("hq", "sync", None).await.unwrap().running);
    bench.idle(&two).await;
    // That another daemon runs it is no error.
    same(|view| view.running && view.record.error.is_none()).await;
    gate.add_permits(1);
    bench.idle(&one).await;
    same(|view| view.record.failures == 1 && view.record.report.is_none()).await;
    assert_eq!(sync(&two).await.record.error.as_deref(), Some("denied: the secret is wrong"));
    let finding = ["job hq sync c: failed: denied: the secret is wrong"];
    assert_eq!(one.findings(), finding);

    let _schedulers = (one.start().await.unwrap(), two.start().await.unwrap());
    until(async || two.findings() == finding).await;
    // What was asked of the second one.
    gate.add_permits(100);
    until(async || bench.stored().await.len() == 20).await;
    same(|view| !view.running && view.record.failures == 0 && view.record.error.is_none()).await;
    until(async || one.findings().is_empty() && two.findings().is_empty()).await;
}

#[tokio::test]
async fn shutdown_stops_at_a_page_and_the_next_daemon_goes_on() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let source = Script { messages: 50, page: 10, gate: Some(gate.clone()), ..Script::default() };
    bench.add(&jobs, Arc::new(source)).await;
    let mut events = jobs.subscribe();
    jobs.request("hq", "sync", None).await.unwrap();
    gate.add_permits(2);
    events.recv().await.unwrap();
    let stopping = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.shutdown().await }
    });
    gate.add_permits(1);
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
    let before = bench.stored().await.len();
    assert!(before >= 10 && before % 10 == 0, "whole pages only: {before}");
    assert_eq!(bench.history("sync").await[0].outcome, Outcome::Cancelled);
    // Nobody asks for it and no pattern is due: what a stop has left is taken up by itself.
    let next = bench.jobs("one");
    bench.add(&next, Arc::new(Script { messages: 50, page: 10, ..Script::default() })).await;
    let mut events = next.subscribe();
    let _scheduler = next.start().await.unwrap();
    let done = async { while events.recv().await.unwrap().outcome != Outcome::Succeeded {} };
    tokio::time::timeout(PATIENCE, done).await.expect("it goes on by itself");
    assert_eq!(bench.stored().await, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_switched_off_is_not_tried_again() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let faults = Mutex::new(VecDeque::from([Error::new(ErrorCode::Denied, "the secret is wrong")]));
    let source = Arc::new(Script { messages: 20, page: 10, faults, ..Script::default() });
    let retry_at = async || {
        let sync = jobs.overview().await.into_iter().find(|view| view.record.key.kind == "sync");
        sync.expect("the job is known").record.retry_at
    };
    bench.add_planned(&jobs, source.clone(), 1000, Schedule::parse("0 0 1 1 *", "UTC").ok()).await;
    bench.run(&jobs, "sync").await;
    assert!(retry_at().await.is_some());
    bench.add(&jobs, source).await;
    assert_eq!(retry_at().await, None);
    assert!(bench.archive.jobs().await.unwrap().iter().all(|job| job.retry_at.is_none()));
}

#[tokio::test]
async fn a_source_that_hangs_does_not_keep_the_daemon_from_ending() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let gate = Arc::new(tokio::sync::Semaphore::new(1));
    let source = Script { messages: 50, page: 10, gate: Some(gate.clone()), ..Script::default() };
    bench.add(&jobs, Arc::new(source)).await;
    let mut events = jobs.subscribe();
    jobs.request("hq", "sync", None).await.unwrap();
    // The first page is here; the second one never comes.
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("progress").unwrap();
    tokio::time::timeout(PATIENCE, jobs.shutdown()).await.expect("nobody waits for the page");
    assert_eq!(bench.history("sync").await[0].outcome, Outcome::Cancelled);
    assert_eq!(bench.stored().await.len(), 10);
    assert!(bench.archive.jobs().await.unwrap().iter().all(|job| job.lease.is_none()));
}

#[tokio::test]
async fn an_instance_that_hangs_keeps_no_other_waiting() {
    let bench = Bench::new().await;
    let options = JobOptions { concurrency: 1, ..JobOptions::default() };
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let jobs = Jobs::new(Arc::clone(&bench.archive), bench.store.clone(), clock, options, |_| ());
    let hangs = Script { gate: Some(Arc::new(tokio::sync::Semaphore::new(0))), ..Script::default() };
    let plans = BTreeMap::from([("sync", KindPlan::default())]);
    let id = bench.archive.instance("hangs").await.unwrap();
    let (source, media) = (Arc::new(hangs), FetchOptions::default());
    jobs.add_instance(InstanceJobs { name: "hangs".into(), id, source, plans, media }).await;
    jobs.request("hangs", "sync", None).await.unwrap();
    bench.add(&jobs, Arc::new(Script { messages: 10, page: 10, ..Script::default() })).await;
    let mut events = jobs.subscribe();
    jobs.request("hq", "sync", None).await.unwrap();
    let done = async { while events.recv().await.unwrap().outcome != Outcome::Succeeded {} };
    tokio::time::timeout(PATIENCE, done).await.expect("the other instance has its own turns");
    jobs.shutdown().await;
}

#[tokio::test]
async fn an_instance_that_is_replaced_keeps_its_jobs_and_runs_none_twice() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let gate = Arc::new(tokio::sync::Semaphore::new(1));
    let old = Script { messages: 50, page: 10, gate: Some(gate), ..Script::default() };
    bench.add(&jobs, Arc::new(old)).await;
    let mut events = jobs.subscribe();
    assert!(jobs.request("hq", "sync", None).await.unwrap().started);
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("progress").unwrap();
    // The old one is within its second page, which never comes.
    let source = Arc::new(Script { messages: 50, page: 10, ..Script::default() });
    let adding = bench.add(&jobs, source);
    let asking = async {
        loop {
            jobs.request("hq", "sync", Some("c")).await.expect("the job is known all the while");
            if bench.stored().await.len() == 50 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(adding, asking) }).await.expect("the new one goes on");
    bench.idle(&jobs).await;
    assert_eq!(bench.stored().await, (1..=50).collect::<Vec<_>>());
    let mut runs = bench.history("sync").await;
    runs.reverse();
    assert_eq!(runs[0].outcome, Outcome::Cancelled);
    assert!(runs[1..].iter().all(|run| run.outcome == Outcome::Succeeded), "{runs:?}");

    // One that has fewer kinds has fewer jobs.
    let plans = BTreeMap::from([("sync", KindPlan::default())]);
    let (source, media) = (Arc::new(Script::default()), FetchOptions::default());
    jobs.add_instance(InstanceJobs { name: "hq".into(), id: bench.id, source, plans, media }).await;
    assert_eq!(jobs.overview().await.len(), 1);
    jobs.remove_instance("hq").await;
    assert_eq!(jobs.request("hq", "sync", None).await, Err(NotStarted::Unknown));
    jobs.shutdown().await;
    assert_eq!(jobs.request("hq", "sync", None).await, Err(NotStarted::Stopping));
}

#[tokio::test]
async fn an_instance_without_partitions_is_asked_for_none() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    bench.add(&jobs, Arc::new(Script { has_none: true, ..Script::default() })).await;
    let known: Vec<_> = jobs.overview().await.into_iter().map(|job| job.record.key.kind).collect();
    assert_eq!(known, ["media"], "files have no partition");
}

#[tokio::test]
async fn a_page_that_does_not_move_the_cursor_is_an_error_and_no_endless_loop() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    bench.add(&jobs, Arc::new(Script { messages: 10, page: 0, ..Script::default() })).await;
    bench.run(&jobs, "sync").await;
    let run = &bench.history("sync").await[0];
    assert_eq!(run.outcome, Outcome::Failed);
    assert!(run.report.error.as_deref().unwrap().contains("does not move its cursor"));
}

#[tokio::test]
async fn what_was_parked_takes_its_place_when_it_can_be_read() {
    let bench = Bench::new().await;
    let jobs = bench.jobs("one");
    let script = || Arc::new(Script { messages: 3, page: 3, parked: true, ..Script::default() });
    bench.add(&jobs, script()).await;
    bench.run(&jobs, "sync").await;
    assert_eq!(bench.stored().await, [2, 3]);
    // Adding the instance again is what a new configuration does.
    bench.add(&jobs, script()).await;
    bench.idle(&jobs).await;
    let mut seqs = bench.stored().await;
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(bench.history("recover").await[0].report.stored, 1);
    assert_eq!(bench.archive.stats(None).await.unwrap().parked, 0);
}
