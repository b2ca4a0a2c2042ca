//! What becomes of plugins that live and do not answer.

mod support;

use std::{path::Path, time::Duration};
use stele_host::{Carrier, Instance, InstanceSpec, InstanceState, Watchdog};
use stele_plugin_api::ErrorCode;
use support::{PATIENCE, deed, eventually, misbehave, reached, running, spec, zoo};

/// What is told of one that hangs begins so.
const HANGS: &str = "the plugin hangs: it did not answer for ";
/// Bites fast.
const STRICT: Watchdog = Watchdog { every: Duration::from_millis(20), deadline: Duration::from_millis(500), misses: 3 };
/// Asks often, and bites only what answers nothing at all.
const PATIENT: Watchdog = Watchdog { every: Duration::from_millis(5), deadline: PATIENCE, misses: 1 };

fn watched(name: &str, plugin: &Path, carrier: Carrier, watchdog: Watchdog) -> InstanceSpec {
    let mut spec = spec(name, plugin, carrier);
    spec.limits.watchdog = watchdog;
    spec
}

/// Asks for the same deed so many times at once.
fn calls(
    instance: &Instance,
    path: &'static str,
    body: &str,
    times: usize,
) -> Vec<tokio::task::JoinHandle<stele_plugin_api::Result<bytes::Bytes>>> {
    let call = |_| {
        let (instance, body) = (instance.clone(), body.to_owned());
        tokio::spawn(async move { deed(&instance, path, body).await })
    };
    (0..times).map(call).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_hangs_is_killed_and_started_again() {
    // One whose runtime is stuck, on both its threads, and ones that are stuck within `post`, waiting or working, or waiting while
    // another thread tells how many it has counted.
    let misbehave = misbehave();
    for (plugin, path, times, works) in [
        (misbehave.as_path(), "/block", 2, false),
        (zoo(), "/hang", 1, false),
        (zoo(), "/spin", 1, true),
        (zoo(), "/beat", 1, false),
    ] {
        let (instance, _) = running(watched("hangs", plugin, Carrier::Child, STRICT)).await;
        let old = instance.status().pid;
        for call in calls(&instance, path, "", times) {
            let error = call.await.unwrap().expect_err("it hangs");
            assert_eq!(error.code, ErrorCode::Unavailable);
            assert!(error.message.starts_with(HANGS), "{error}");
            assert_eq!(!error.message.ends_with("and took 0.0 s of processor time"), works, "{error}");
        }
        deed(&instance, "/echo", "back").await.expect("the next call waits for the restart");
        let status = instance.status();
        assert_eq!((status.state, status.restarts), (InstanceState::Running, 1));
        assert!(status.last_error.unwrap().starts_with(&format!("unavailable: {HANGS}")));
        assert_ne!(status.pid, old);
        instance.stop(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_only_slow_is_left_alone() {
    let (instance, services) = running(watched("slow", &misbehave(), Carrier::Child, PATIENT)).await;
    let pid = instance.status().pid;
    // A call that blocks one of its two threads, and many that do not return.
    let blocking = calls(&instance, "/block", "", 1);
    let hanging = calls(&instance, "/hang", "", 20);
    eventually("all are in flight", || instance.status().calls_in_flight >= 21).await;
    let asked = || services.metrics.lock().unwrap().iter().filter(|metric| metric.name == "healths_total").count();
    let before = asked();
    eventually("the watchdog has asked many times", || asked() >= before + 20).await;
    assert_eq!(deed(&instance, "/echo", "here").await.unwrap(), "here");
    let status = instance.status();
    assert_eq!((status.state, status.restarts, status.pid), (InstanceState::Running, 0, pid));
    assert!(blocking.iter().chain(&hanging).all(|call| !call.is_finished()), "and its calls go on");
    instance.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_a_plugin_that_hangs_is_shown_until_it_answers_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go-on");
    let (instance, _) = running(watched("stuck", &misbehave(), Carrier::InProcess, STRICT)).await;
    let stuck = calls(&instance, "/block-until", file.to_str().unwrap(), 2);
    reached(&instance, InstanceState::Unresponsive).await;
    assert!(instance.last_error().unwrap().message.starts_with(HANGS));
    std::fs::write(&file, "").unwrap();
    reached(&instance, InstanceState::Running).await;
    for call in stuck {
        call.await.unwrap().expect("nothing was lost");
    }
    assert_eq!(instance.status().restarts, 0);
    instance.stop(PATIENCE).await;
}
