//! Jobs, leases and runs.

use super::Backend;
use crate::{Archive, ArchiveError, JobKey, Outcome, RunReport, RunStart};

const TTL: i64 = 1000;

fn key(instance: &str, partition: &str) -> JobKey {
    JobKey { instance: instance.to_owned(), kind: "sync".to_owned(), partition: partition.to_owned() }
}

fn start(now: i64) -> RunStart {
    RunStart { trigger: "schedule".to_owned(), now }
}

async fn define(archive: &dyn Archive, key: &JobKey) {
    archive.job_define(key, "0 * * * *", "UTC", 1).await.expect("defined");
}

fn is_lost<T: std::fmt::Debug>(result: &crate::Result<T>) -> bool {
    matches!(result, Err(ArchiveError::LeaseLost { .. }))
}

pub(super) async fn leases_exclude_and_fence(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let job = key("hq", "p");
    assert!(archive.lease_acquire(&job, "one", 0, TTL).await.is_err(), "never defined");
    define(&*archive, &job).await;
    define(&*archive, &key("hq", "q")).await;
    let lease = archive.lease_acquire(&job, "one", 100, TTL).await.unwrap().expect("free");
    for owner in ["one", "two"] {
        assert_eq!(archive.lease_acquire(&job, owner, 100 + TTL - 1, TTL).await.unwrap(), None, "{owner}");
    }
    assert!(archive.lease_acquire(&key("hq", "q"), "two", 100, TTL).await.unwrap().is_some(), "another job");
    archive.lease_renew(&lease, 200, TTL).await.unwrap();
    assert_eq!(archive.lease_acquire(&job, "two", 200 + TTL - 1, TTL).await.unwrap(), None);
    assert_eq!(archive.jobs().await.unwrap()[0].lease, Some(("one".to_owned(), 200 + TTL)));
    assert_eq!(archive.job(&job).await.unwrap().as_ref(), archive.jobs().await.unwrap().first());
    assert_eq!(archive.job(&key("hq", "nobody's")).await.unwrap(), None);
    let run = archive.run_begin(&lease, &start(250)).await.unwrap();

    backend.restart().await;
    let archive = backend.archive();
    let taken = archive.lease_acquire(&job, "two", 200 + TTL, TTL).await.unwrap().expect("expired");
    assert!(taken.fence > lease.fence);
    assert!(is_lost(&archive.lease_renew(&lease, 1300, TTL).await));
    assert!(is_lost(&archive.lease_release(&lease, 9, Some(9)).await));
    assert!(is_lost(&archive.run_begin(&lease, &start(1300)).await));
    archive.job_mark_due(&taken, 900).await.unwrap();
    assert!(is_lost(&archive.job_mark_due(&lease, 600).await), "it would be due again");
    let report = RunReport { stored: 5, ..RunReport::default() };
    archive.run_finish(&job, run, Outcome::Succeeded, &report, 1400).await.unwrap();
    let runs = archive.runs(None, 10).await.unwrap();
    assert_eq!((runs[0].outcome, runs[0].finished_at), (Outcome::Lost, Some(200 + TTL)), "a lost run stays lost");

    archive.lease_release(&taken, 3, Some(7777)).await.unwrap();
    assert!(is_lost(&archive.lease_release(&taken, 0, None).await), "only once");
    let record = &archive.jobs().await.unwrap()[0];
    assert_eq!((&record.lease, record.failures, record.retry_at), (&None, 3, Some(7777)));
    assert_eq!(record.last_due, Some(900));
    let again = archive.lease_acquire(&job, "one", 1500, TTL).await.unwrap().expect("free");
    assert!(again.fence > taken.fence);
}

pub(super) async fn runs_are_kept_and_bounded(backend: &mut dyn Backend) {
    let archive = backend.archive();
    for job in [key("hq", "p"), key("branch", "p")] {
        define(&*archive, &job).await;
    }
    let other = archive.lease_acquire(&key("branch", "p"), "one", 0, TTL).await.unwrap().expect("free");
    let kept = archive.run_begin(&other, &start(1)).await.unwrap();
    let lease = archive.lease_acquire(&key("hq", "p"), "one", 0, TTL).await.unwrap().expect("free");
    let report = RunReport {
        stored: 1,
        known: 2,
        parked: 3,
        pages: 4,
        retries: 5,
        notices: vec!["a \"gap\"".to_owned(), "断".to_owned()],
        error: Some("refused".to_owned()),
    };
    for at in 0..1003 {
        let run = archive.run_begin(&lease, &start(at)).await.unwrap();
        if at == 0 {
            archive.run_progress(&lease.key, run, &report).await.unwrap();
            archive.run_progress(&other.key, run, &RunReport::default()).await.unwrap();
            let running = archive.runs(Some("hq"), 1).await.unwrap().remove(0);
            assert_eq!((running.outcome, running.finished_at, &running.report), (Outcome::Running, None, &report));
        }
        archive.run_finish(&lease.key, run, Outcome::Failed, &report, at + 1).await.unwrap();
        archive.run_progress(&lease.key, run, &RunReport::default()).await.unwrap();
    }
    backend.restart().await;
    let archive = backend.archive();
    let runs = archive.runs(Some("hq"), 5000).await.unwrap();
    assert_eq!(runs.len(), 1000);
    assert!(runs.is_sorted_by(|a, b| a.id > b.id), "latest first");
    assert_eq!((runs[0].started_at, runs[0].finished_at, runs[0].outcome), (1002, Some(1003), Outcome::Failed));
    assert_eq!((&runs[0].report, &runs[0].job, runs[0].trigger.as_str()), (&report, &key("hq", "p"), "schedule"));
    assert_eq!(archive.runs(Some("branch"), 10).await.unwrap()[0].id, kept, "of another job");
    assert_eq!(archive.runs(None, 3).await.unwrap(), runs[..3]);
    assert_eq!(archive.runs(Some("nobody"), 3).await.unwrap(), []);
}

pub(super) async fn a_sweep_marks_what_was_lost(backend: &mut dyn Backend) {
    let archive = backend.archive();
    for partition in ["p", "q", "r"] {
        define(&*archive, &key("hq", partition)).await;
    }
    let dead = archive.lease_acquire(&key("hq", "p"), "dead", 0, TTL).await.unwrap().expect("free");
    archive.lease_acquire(&key("hq", "q"), "dead", 0, TTL).await.unwrap().expect("free");
    let alive = archive.lease_acquire(&key("hq", "r"), "alive", 0, TTL).await.unwrap().expect("free");
    archive.run_begin(&dead, &start(1)).await.unwrap();
    archive.run_begin(&alive, &start(2)).await.unwrap();
    backend.restart().await;
    let archive = backend.archive();
    assert_eq!(archive.lease_sweep("dead", 50).await.unwrap(), 1);
    assert_eq!(archive.lease_sweep("dead", 51).await.unwrap(), 0);
    let runs = archive.runs(None, 10).await.unwrap();
    assert_eq!((runs[1].outcome, runs[1].finished_at), (Outcome::Lost, Some(50)));
    assert_eq!((runs[0].outcome, runs[0].finished_at), (Outcome::Running, None));
    for partition in ["p", "q"] {
        assert!(archive.lease_acquire(&key("hq", partition), "dead", 52, TTL).await.unwrap().is_some(), "{partition}");
    }
    assert!(is_lost(&archive.lease_renew(&dead, 53, TTL).await));
    archive.lease_renew(&alive, 53, TTL).await.unwrap();
}

pub(super) async fn definitions_keep_history(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let job = key("hq", "p");
    let new = archive.job_define(&job, "0 * * * *", "UTC", 1).await.unwrap();
    assert_eq!((new.last_due, new.failures, new.retry_at, &new.lease), (None, 0, None, &None));
    let fail = async || {
        let lease = archive.lease_acquire(&job, "one", 700, TTL).await.unwrap().expect("free");
        archive.job_mark_due(&lease, 600).await.unwrap();
        archive.lease_release(&lease, 3, Some(900)).await.unwrap();
    };
    fail().await;
    let kept = archive.job_define(&job, "5 * * * *", "UTC", 2).await.unwrap();
    assert_eq!((kept.failures, kept.retry_at), (3, Some(900)));
    let changed = archive.job_define(&job, "", "Asia/Shanghai", 2).await.unwrap();
    assert_eq!((changed.pattern.as_str(), changed.zone.as_str(), changed.last_due), ("", "Asia/Shanghai", Some(600)));
    assert_eq!((changed.failures, changed.retry_at), (3, None), "it was switched off");
    fail().await;
    let changed = archive.job_define(&job, "", "Asia/Shanghai", 2).await.unwrap();
    assert_eq!(changed.retry_at, Some(900), "somebody asked for it");
    define(&*archive, &key("branch", "z")).await;
    backend.restart().await;
    let jobs = backend.archive().jobs().await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.key.clone()).collect::<Vec<_>>(), [key("branch", "z"), job]);
    assert_eq!(jobs[1], changed);
}

pub(super) async fn what_was_asked_for_is_left_until_somebody_was_at_it(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let job = key("hq", "p");
    assert!(archive.job_ask(&job).await.is_err(), "never defined");
    for partition in ["p", "q"] {
        define(&*archive, &key("hq", partition)).await;
    }
    let asked = async |archive: &dyn Archive| {
        let jobs = archive.jobs().await.expect("listed");
        jobs.into_iter().filter(|record| record.asked).map(|record| record.key).collect::<Vec<_>>()
    };
    let that = std::slice::from_ref(&job);
    assert_eq!(asked(&*archive).await, []);
    archive.job_ask(&job).await.unwrap();
    assert_eq!(asked(&*archive).await, that);
    assert_eq!(archive.job(&job).await.unwrap().as_ref(), archive.jobs().await.unwrap().first());
    let lease = archive.lease_acquire(&job, "one", 100, TTL).await.unwrap().expect("free");
    assert_eq!(asked(&*archive).await, that, "whoever is at it may die");
    // What they are after may have come after the run looked.
    archive.job_ask(&job).await.unwrap();
    archive.lease_release(&lease, 0, None).await.unwrap();
    assert_eq!(asked(&*archive).await, that);
    archive.lease_acquire(&job, "dead", 200, TTL).await.unwrap().expect("free");

    backend.restart().await;
    let archive = backend.archive();
    archive.lease_sweep("dead", 300).await.unwrap();
    assert_eq!(asked(&*archive).await, that, "it was not done");
    let lease = archive.lease_acquire(&job, "one", 300, TTL).await.unwrap().expect("free");
    archive.lease_release(&lease, 1, Some(900)).await.unwrap();
    assert_eq!(asked(&*archive).await, []);
}

pub(super) async fn a_job_tells_of_its_latest_runs(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let job = key("hq", "p");
    let report =
        |stored, error: Option<&str>| RunReport { stored, error: error.map(str::to_owned), ..Default::default() };
    let told = async |archive: &dyn Archive| {
        let record = archive.job(&job).await.unwrap().expect("known");
        assert_eq!(archive.jobs().await.unwrap().into_iter().find(|other| other.key == job).as_ref(), Some(&record));
        (record.error, record.report)
    };
    for job in [key("branch", "p"), key("hq", "o"), job.clone()] {
        define(&*archive, &job).await;
        // That of every other job is its own.
        let lease = archive.lease_acquire(&job, "other", 0, TTL).await.unwrap().expect("free");
        let run = archive.run_begin(&lease, &start(1)).await.unwrap();
        let another = report(9, Some("another's"));
        archive.run_finish(&job, run, Outcome::Failed, &another, 2).await.unwrap();
        archive.lease_release(&lease, u32::from(job != key("hq", "p")), None).await.unwrap();
    }
    assert_eq!(told(&*archive).await, (None, None), "it is well");
    let mut failures = 0;
    for (outcome, end, expected) in [
        (Outcome::Failed, report(1, Some("refused")), Some("refused")),
        (Outcome::Cancelled, report(2, None), Some("refused")),
        (Outcome::Failed, report(3, Some("断")), Some("断")),
        (Outcome::Succeeded, report(4, None), None),
    ] {
        let before = told(&*archive).await.0;
        let lease = archive.lease_acquire(&job, "one", 10, TTL).await.unwrap().expect("free");
        assert_eq!(told(&*archive).await, (before.clone(), None), "no run yet");
        let run = archive.run_begin(&lease, &start(11)).await.unwrap();
        archive.run_progress(&job, run, &report(0, None)).await.unwrap();
        assert_eq!(told(&*archive).await, (before, Some(report(0, None))));
        archive.run_finish(&job, run, outcome, &end, 12).await.unwrap();
        failures = match outcome {
            Outcome::Succeeded => 0,
            Outcome::Failed => failures + 1,
            _ => failures,
        };
        archive.lease_release(&lease, failures, None).await.unwrap();
        assert_eq!(told(&*archive).await, (expected.map(str::to_owned), None), "{outcome:?}");
    }
    // Who makes it known again hears it as well.
    let lease = archive.lease_acquire(&job, "one", 20, TTL).await.unwrap().expect("free");
    let run = archive.run_begin(&lease, &start(21)).await.unwrap();
    archive.run_finish(&job, run, Outcome::Failed, &report(5, Some("again")), 22).await.unwrap();
    archive.lease_release(&lease, 1, None).await.unwrap();
    backend.restart().await;
    let known = backend.archive().job_define(&job, "", "UTC", 30).await.unwrap();
    assert_eq!((known.error.as_deref(), known.report), (Some("again"), None));
}
