//! What the supervisor makes of plugins that crash, hang, and keep no rule. Over the child carrier: in-process there is nobody
//! left to tell.

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use stele_host::{Carrier, Instance, InstanceSpec, InstanceState, RestartPolicy, Watchdog};
use stele_plugin_api::{
    ErrorCode,
    ops::{HttpHandle, MediaChunk, MediaFetch, MediaRequest},
};
use support::{
    PATIENCE, Remembering, SECRET, deed, deed_within, eventually, hold, host_program, log, misbehave, reached, request,
    running, shown, spec, zoo,
};

fn child(name: &str) -> InstanceSpec {
    spec(name, &misbehave(), Carrier::Child)
}

fn alive(pid: u32) -> bool {
    // A process that nobody has waited for yet is a zombie, and dead.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn pid(instance: &Instance) -> u32 {
    instance.status().pid.expect("a running child has a process")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_costs_one_restart_and_the_calls_in_flight() {
    let (instance, _) = running(child("abort")).await;
    let (beside, _) = running(child("abort-beside")).await;
    let (old, other) = (pid(&instance), pid(&beside));
    let hanging = tokio::spawn({
        let instance = instance.clone();
        async move { deed(&instance, "/hang", "").await }
    });
    let fetch = MediaRequest { handle: "2/10".into(), resume: "hang".into(), ..MediaRequest::default() };
    let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, PATIENCE);
    for _ in 0..2 {
        stream.next().await.unwrap().unwrap();
    }
    eventually("both are in flight", || instance.status().calls_in_flight == 2).await;

    let error = deed(&instance, "/abort", "").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(error.message, "the plugin's process was ended by signal 6 (SIGABRT)");
    assert_eq!(hanging.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(stream.next().await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    drop(stream);

    // The next call waits for the restart.
    assert_eq!(deed(&instance, "/echo", "back").await.unwrap(), "back");
    let status = instance.status();
    assert_eq!((status.state, status.restarts), (InstanceState::Running, 1));
    assert_eq!(status.last_error.unwrap(), "unavailable: the plugin's process was ended by signal 6 (SIGABRT)");
    assert_ne!(pid(&instance), old);
    assert!(!alive(old));
    assert_eq!((pid(&beside), beside.status().restarts), (other, 0), "the other instance notices nothing");
    assert_eq!(deed(&beside, "/echo", "here").await.unwrap(), "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_a_crash_with_its_status() {
    let (instance, _) = running(child("exit")).await;
    let error = deed(&instance, "/exit/7", "").await.unwrap_err();
    assert_eq!(error.message, "the plugin's process exited with status 7");
    assert_eq!(deed(&instance, "/echo", "back").await.unwrap(), "back");
    assert_eq!(instance.status().restarts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_stops_until_somebody_asks() {
    let mut spec = child("loop");
    spec.config = serde_json::json!({ "open": "abort" });
    spec.limits.restart = RestartPolicy {
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(2),
        max_failures: 4,
        healthy: Duration::from_secs(600),
    };
    log();
    let instance = Instance::start(spec, Arc::new(Remembering::default()));
    reached(&instance, InstanceState::Failed).await;
    assert_eq!(instance.status().restarts, 3);
    let error = instance.ready(PATIENCE).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(error.message, "instance loop is failed: the plugin's process was ended by signal 6 (SIGABRT)");
    instance.restart(instance.spec()).await.unwrap();
    reached(&instance, InstanceState::Failed).await;
    assert_eq!(instance.status().restarts, 6, "the past was forgotten: three more");
    instance.stop(PATIENCE).await;
    assert_eq!(instance.status().state, InstanceState::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_take_their_time_are_failures_in_a_row() {
    // One that never opens, and one that opens each time and answers nothing: however long that is, it has not worked meanwhile.
    let mut silent = child("never-opens");
    silent.config = serde_json::json!({ "open": "hang" });
    silent.limits.start_timeout = Duration::from_millis(400);
    let mut mute = spec("never-answers", zoo(), Carrier::Child);
    mute.config = serde_json::json!({ "deed": "mute" });
    mute.limits.watchdog = Watchdog::after(Duration::from_millis(900));
    for (mut spec, told) in
        [(silent, "did not answer hello in time"), (mute, "the plugin hangs: it did not answer for ")]
    {
        let healthy = Duration::from_millis(300);
        spec.limits.restart = RestartPolicy {
            max_failures: 3,
            healthy,
            first_delay: Duration::from_millis(1),
            ..RestartPolicy::default()
        };
        let instance = Instance::start(spec, Arc::new(Remembering::default()));
        reached(&instance, InstanceState::Failed).await;
        let status = instance.status();
        assert_eq!(status.restarts, 2);
        assert!(status.last_error.clone().unwrap().contains(told), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_has_worked_may_fail_again() {
    let mut spec = child("works");
    let healthy = Duration::from_nanos(1);
    spec.limits.restart =
        RestartPolicy { max_failures: 2, healthy, first_delay: Duration::from_millis(1), ..RestartPolicy::default() };
    let (instance, _) = running(spec).await;
    for restarts in 1..=4 {
        assert!(deed(&instance, "/abort", "").await.is_err());
        assert_eq!(deed(&instance, "/echo", "back").await.unwrap(), "back");
        assert_eq!(instance.status().restarts, restarts);
    }
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_not_tried_again() {
    for (config, expected) in [
        (serde_json::json!({ "open": "sesame" }), "open cannot be sesame"),
        (serde_json::json!({ "secret": [SECRET] }), "unusable configuration"),
    ] {
        let mut spec = child("refused");
        spec.config = config;
        let instance = Instance::start(spec, Arc::new(Remembering::default()));
        let error = instance.ready(PATIENCE).await.unwrap_err();
        assert!(error.message.contains(expected), "{error}");
        assert!(!error.message.contains(SECRET), "{error}");
        assert_eq!((instance.status().state, instance.status().restarts), (InstanceState::Failed, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_plugin_is_stopped_by_force() {
    let (instance, _) = running(child("hanging")).await;
    let pid = pid(&instance);
    // Both threads of its runtime.
    for _ in 0..2 {
        deed_within(&instance, "/block", "", Duration::from_millis(50)).await.unwrap_err();
    }
    let started = Instant::now();
    instance.stop(Duration::from_millis(100)).await;
    assert!(started.elapsed() < PATIENCE);
    eventually("the process is gone", || !alive(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_close_in_order_is_told_once_however_it_is_ended() {
    for (carrier, path, reason) in [
        (Carrier::Child, "/crash-closing", "the plugin's process was ended by signal 11 (SIGSEGV)"),
        (Carrier::Child, "/hang-closing", "the plugin did not close in time, and its process was ended"),
        (Carrier::InProcess, "/hang-closing", "the plugin did not close in time, and is left alone"),
    ] {
        let name = format!("closes{}-{carrier:?}", path.replace('/', "-"));
        let mut spec = spec(&name, zoo(), carrier);
        (spec.limits.drain, spec.limits.stop_grace) = (Duration::from_millis(100), Duration::from_millis(100));
        let (instance, _) = running(spec).await;
        let told =
            format!("plugin does not end in order instance=\"{name}\" {} reason={:?}", shown(zoo()), reason.to_owned());
        let told = || log().matches(&told).count();
        deed(&instance, path, "").await.unwrap();
        instance.restart(instance.spec()).await.unwrap();
        eventually("what became of the old one is told", || told() == 1).await;
        deed(&instance, path, "").await.unwrap();
        instance.stop(Duration::from_millis(100)).await;
        assert_eq!(told(), 2, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_calls_finish() {
    let (instance, _) = running(child("finish")).await;
    let fetch = MediaRequest { handle: "100/100000".into(), ..MediaRequest::default() };
    let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, PATIENCE);
    stream.next().await.unwrap().unwrap();
    let stopping = tokio::spawn({
        let instance = instance.clone();
        async move { instance.stop(PATIENCE).await }
    });
    reached(&instance, InstanceState::Stopped).await;
    let mut items = 1;
    while let Some(item) = stream.next().await {
        item.expect("the stream goes on");
        items += 1;
    }
    assert_eq!(items, 100);
    drop(stream);
    stopping.await.unwrap();
    let plugin = shown(&misbehave());
    let told =
        format!("plugin has stopped instance=\"finish\" {plugin} exit=the plugin's process exited with status 0");
    assert!(log().contains(&told), "{}", log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_stops_the_plugin() {
    log();
    let instance = Instance::start(child("dropped"), Arc::new(Remembering::default()));
    instance.ready(PATIENCE).await.unwrap();
    let pid = pid(&instance);
    let other = instance.clone();
    drop(instance);
    assert_eq!(deed(&other, "/echo", "held").await.unwrap(), "held");
    drop(other);
    eventually("the process is gone", || !alive(pid)).await;
    assert!(!log().contains("plugin has crashed instance=\"dropped\""), "an end in order is no crash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reload_keeps_the_old_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.so");
    std::fs::copy(misbehave(), &file).unwrap();
    let mut spec = child("reload-fails");
    spec.plugin = file.clone();
    let (instance, _) = running(spec).await;
    let old = pid(&instance);
    // Replaced as a package manager does it: a new file under the old name.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "no library").unwrap();
    let error = instance.restart(instance.spec()).await.unwrap_err();
    assert!(error.message.contains("cannot be loaded"), "{error}");
    assert_eq!((pid(&instance), instance.status().state), (old, InstanceState::Running));
    assert_eq!(deed(&instance, "/echo", "old").await.unwrap(), "old");
    std::fs::remove_file(&file).unwrap();
    std::fs::copy(misbehave(), &file).unwrap();
    instance.restart(instance.spec()).await.unwrap();
    assert_ne!(pid(&instance), old);
    assert_eq!(deed(&instance, "/echo", "new").await.unwrap(), "new");
    eventually("the old process is gone", || !alive(old)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_a_new_configuration_or_nothing() {
    let (instance, _) = running(child("reconfigured")).await;
    let (old, before) = (pid(&instance), instance.spec());
    let refused = InstanceSpec { config: serde_json::json!({ "open": "sesame" }), ..InstanceSpec::clone(&before) };
    let error = instance.restart(Arc::new(refused)).await.unwrap_err();
    assert!(error.message.contains("open cannot be sesame"), "{error}");
    assert_eq!(pid(&instance), old);
    // After a crash it is the configuration in use that counts, not the one that was refused.
    assert!(deed(&instance, "/abort", "").await.is_err());
    eventually("it is back", || instance.status().state == InstanceState::Running && pid(&instance) != old).await;

    let old = pid(&instance);
    let held = tokio::spawn({
        let instance = instance.clone();
        async move {
            let fetch = MediaRequest { handle: "100/100000".into(), ..MediaRequest::default() };
            let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, PATIENCE);
            let mut items = 0;
            while let Some(item) = stream.next().await {
                item.expect("the stream goes on");
                items += 1;
            }
            items
        }
    });
    eventually("the call is in flight", || instance.status().calls_in_flight > 0 || held.is_finished()).await;
    let accepted = InstanceSpec { config: serde_json::json!({}), ..InstanceSpec::clone(&before) };
    instance.restart(Arc::new(accepted)).await.unwrap();
    assert_eq!(instance.spec().config, serde_json::json!({}));
    assert_eq!(held.await.unwrap(), 100, "what is in flight finishes on the old one");
    eventually("the old process is gone", || !alive(old)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_a_second_reload_ends_every_life() {
    let mut spec = child("replaced-twice");
    spec.limits.drain = 10 * PATIENCE;
    let (instance, _) = running(spec).await;
    let first = pid(&instance);
    let held = tokio::spawn({
        let instance = instance.clone();
        async move { deed_within(&instance, "/hang", "", 10 * PATIENCE).await }
    });
    eventually("the call is in flight", || instance.status().calls_in_flight > 0).await;
    instance.restart(instance.spec()).await.unwrap();
    let second = pid(&instance);
    let spec = instance.spec();
    let (restarted, ()) = tokio::join!(instance.restart(spec), instance.stop(Duration::from_millis(100)));
    restarted.expect_err("it stops");
    eventually("both are gone", || !alive(first) && !alive(second)).await;
    held.await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plugin_outlives_a_killed_daemon() {
    // A plugin that works, one whose runtime is stuck, and one that is stuck within `post`, so that nobody reads the socket.
    for (plugin, path) in [(misbehave(), "/hang"), (misbehave(), "/block"), (zoo().into(), "/hang")] {
        let mut daemon = Command::new(hold())
            .args([&plugin, &host_program(), Path::new(path)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();
        assert!(alive(pid));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        eventually("the plugin's process is gone", || !alive(pid)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_prints_is_in_the_log_within_bounds() {
    let (instance, _) = running(child("noisy")).await;
    deed(&instance, "/noise/5000", "").await.unwrap();
    assert_eq!(deed(&instance, "/echo", "unharmed").await.unwrap(), "unharmed");
    instance.stop(PATIENCE).await;
    let (log, plugin) = (log(), shown(&misbehave()));
    for stream in ["stdout", "stderr"] {
        assert!(
            log.contains(&format!("noise 0 on {stream} instance=\"noisy\" {plugin} stream=\"{stream}\"")),
            "{stream} is not logged"
        );
        let lines = log.lines().filter(|line| line.contains("noisy") && line.contains(&format!("on {stream}"))).count();
        assert!(lines < 1100, "{lines} lines of {stream} are logged");
    }
    assert!(log.contains("the plugin prints too much"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_cleared() {
    let (instance, _) = running(child("environment")).await;
    let names = deed(&instance, "/environment", "").await.unwrap();
    let names = String::from_utf8(names.to_vec()).unwrap();
    let kept = |name: &str| ["PATH", "LANG", "TZ", "HOME", "RUST_BACKTRACE"].contains(&name);
    assert!(names.lines().all(kept), "{names}");
    assert!(std::env::vars().any(|(name, _)| !kept(&name)), "the test's own environment has more than that");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log() {
    let (instance, services) = running(child("secretive")).await;
    deed(&instance, "/panic", "").await.unwrap_err();
    deed(&instance, "/abort", "").await.unwrap_err();
    deed(&instance, "/echo", "").await.unwrap();
    let shown = format!("{instance:?} {:?} {:?}", instance.status(), instance.spec());
    instance.stop(PATIENCE).await;
    assert!(!shown.contains(SECRET), "{shown}");
    let log = log();
    assert!(log.contains("secretive"), "the log is captured");
    assert!(!log.contains(SECRET), "a secret is in the log");
    assert!(!format!("{:?}", services.logs.lock().unwrap()).contains(SECRET), "a secret is in the plugin's log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_without_manners_hurts_only_itself() {
    let (instance, _) = running(spec("rude", zoo(), Carrier::Child)).await;
    let status =
        async |path: &str| instance.call::<HttpHandle>(request(path, ""), PATIENCE).await.map(|reply| reply.status);
    // Against its credit: the first item too many ends the call.
    assert_eq!(status("/flood").await.unwrap_err().code, ErrorCode::Internal);
    eventually("the other items and the reply are dropped", || instance.status().late_frames == 1000).await;
    let before = instance.status().late_frames;
    let fetch = MediaRequest { handle: "/flood".into(), ..MediaRequest::default() };
    let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, PATIENCE);
    stream.next().await.unwrap().unwrap();
    eventually("the rest of the flood is dropped", || instance.status().late_frames > before + 900).await;
    let mut items = 1;
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => items += 1,
            Some(Err(error)) => break error,
            None => panic!("the flood passed"),
        }
    };
    assert_eq!((items, error.code), (instance.spec().limits.stream_credit, ErrorCode::Internal));
    drop(stream);

    assert_eq!(status("/strangers").await.unwrap(), 200);
    assert_eq!(status("/garbage").await.unwrap_err().code, ErrorCode::Invalid);
    assert_eq!(status("/twice").await.unwrap(), 200);
    assert_eq!(status("/stdin").await.unwrap(), 204, "its stdin is empty, and not the socket");
    eventually("what came too late is counted", || instance.status().late_frames > 1000).await;
    assert_eq!(instance.status().restarts, 0);
    let dropped = "plugin sends what is dropped; more of it is only counted instance=\"rude\"";
    let dropped = format!("{dropped} {} what=\"frames", shown(zoo()));
    for what in [" that break a rule", " of a kind that this version does not know", " for calls that are over"] {
        let told = || log().matches(&format!("{dropped}{what}")).count();
        eventually("what it sends is told", || told() > 0).await;
        assert_eq!(told(), 1, "once, and not for each frame:{what}");
    }

    let crashes = ["/scribble", "/close", "/crash"];
    let messages = ["broke the protocol", "", "signal 11 (SIGSEGV)"];
    for (number, (path, message)) in crashes.into_iter().zip(messages).enumerate() {
        let error = status(path).await.expect_err(path);
        assert_eq!(error.code, ErrorCode::Unavailable, "{path}: {error}");
        assert!(error.message.contains(message), "{path}: {error}");
        assert_eq!(status("/fine").await.unwrap(), 200);
        assert_eq!(instance.status().restarts, number as u64 + 1);
    }
    // It does not answer goodbye either.
    assert_eq!(status("/stay").await.unwrap(), 200);
    let pid = pid(&instance);
    instance.stop(Duration::from_millis(100)).await;
    eventually("the process is gone", || !alive(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_goodbye_by_itself_is_gone_at_once() {
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let (instance, _) = running(spec("leaves", zoo(), carrier)).await;
        for restarts in 1..=2 {
            let begun = Instant::now();
            let error = deed(&instance, "/leave", "").await.expect_err("it leaves with this call in flight");
            assert_eq!((error.code, error.message.as_str()), (ErrorCode::Unavailable, "the plugin ended its session"));
            // It waits for the restart as after a crash.
            deed(&instance, "/fine", "").await.expect("it is back");
            assert!(begun.elapsed() < Duration::from_secs(5), "no grace is waited for");
            assert_eq!(instance.status().restarts, restarts);
        }
        instance.stop(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_is_taken_at_its_pace() {
    let (instance, _) = running(spec("babbles", zoo(), Carrier::Child)).await;
    deed(&instance, "/babble", "").await.unwrap();
    let late = || instance.status().late_frames;
    eventually("it floods", || late() > 0).await;
    let (before, begun) = (late(), Instant::now());
    eventually("it goes on", || late() > before + 40_000).await;
    assert!(begun.elapsed() > Duration::from_secs(2), "10,000 a second are taken, and not all that come");
    deed(&instance, "/fine", "").await.expect("its answers come through");
    assert_eq!(instance.status().restarts, 0);
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_on_and_takes_no_answer_is_ended_before_there_are_many() {
    let (instance, _) = running(spec("begs", zoo(), Carrier::Child)).await;
    let before = resident_mib();
    let error = deed(&instance, "/beg", "").await.unwrap_err();
    assert_eq!(error.message, "the plugin takes nothing that is sent to it");
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 200, "{grown} MiB more, with what the other tests hold");
    deed(&instance, "/fine", "").await.expect("it is back");
    instance.stop(PATIENCE).await;
}

/// Memory of this process.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_has_started_ends_with_it() {
    // It is killed, dies, ends by itself, or is stopped: those it has forked hold all that it held, and wait for nothing.
    for (name, end) in [("killed", "/scribble"), ("dead", "/crash"), ("ended", "/exit"), ("stopped", "")] {
        let name = format!("forks-{name}");
        let (instance, _) = running(spec(&name, zoo(), Carrier::Child)).await;
        let leader = pid(&instance);
        let call = async |path: &str| instance.call::<HttpHandle>(request(path, ""), PATIENCE).await;
        for _ in 0..2 {
            call("/fork").await.unwrap();
        }
        eventually("it has forked", || group(leader).len() == 3).await;
        let begun = Instant::now();
        if !end.is_empty() {
            call(end).await.expect_err("it ends");
            call("/fine").await.expect("another one is there");
            assert_ne!(pid(&instance), leader);
        }
        instance.stop(PATIENCE).await;
        assert!(begun.elapsed() < PATIENCE / 2, "nobody waits for those that were forked");
        eventually("all are gone", || group(leader).is_empty()).await;
        let told = "plugin leaves processes behind; they are killed";
        let told = format!("{told} instance=\"{name}\" {} processes=2", shown(zoo()));
        // A kill is for all of them.
        eventually("that is told", || end == "/scribble" || log().contains(&told)).await;
    }
}

/// Processes of a group that live.
fn group(leader: u32) -> Vec<u32> {
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let in_group = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        matches!(fields[..], [state, _, group, ..] if state != "Z" && group == leader.to_string())
    };
    pids.filter(in_group).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_no_header_can_say_ends_its_plugin() {
    let (instance, _) = running(spec("beyond", zoo(), Carrier::Child)).await;
    let error = instance.call::<HttpHandle>(request("/beyond", ""), PATIENCE).await.unwrap_err();
    assert_eq!(error.message, "the plugin's process was ended by signal 6 (SIGABRT)");
    let told = "the plugin posted a frame of 5368709134 bytes, which no header can say instance=\"beyond\"";
    let told = format!("{told} {}", shown(zoo()));
    eventually("the log says why", || log().contains(&told)).await;
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_host_program_is_said() {
    let mut spec = child("no-program");
    spec.host_program = "/nowhere/steled".into();
    spec.limits.restart = RestartPolicy { max_failures: 1, ..RestartPolicy::default() };
    let instance = Instance::start(spec, Arc::new(Remembering::default()));
    let error = instance.ready(PATIENCE).await.unwrap_err();
    assert!(error.message.contains("cannot start \"/nowhere/steled\""), "{error}");
}
