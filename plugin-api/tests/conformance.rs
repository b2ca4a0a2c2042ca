//! The kit passes a sound plugin, and fails one for each rule it breaks.

#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::abi::{Descriptor, SteleDescriptor};
use stele_plugin_api::conformance::{Outcome, Pipe, Report, Subject, assert_conforms, run};
use stele_plugin_api::frame::{Frame, Kind};
use stele_plugin_api::ops::Description;
use stele_plugin_api::{Encoding, Error, ErrorCode, Host, Plugin, Result};
use tokio::sync::mpsc;

#[allow(dead_code)]
#[path = "../examples/smallest.rs"]
mod smallest;

unsafe extern "C" {
    fn stele_plugin_v1() -> *const SteleDescriptor;
}

fn descriptor() -> Descriptor {
    // SAFETY: the symbol is the one of the example above, in this very program.
    unsafe { Descriptor::load(stele_plugin_v1) }.expect("a sound descriptor")
}

fn sound() -> Subject {
    let open = || -> Result<Pipe, String> { Pipe::in_process(&descriptor()).map_err(|error| error.to_string()) };
    Subject::new(move || Box::pin(std::future::ready(open()))).with_config(serde_json::json!({ "greeting": "hi" }))
}

/// A plugin of which `change` spoils the frames: those it sends when `outward`, those it is sent otherwise.
fn spoiled(outward: bool, change: impl Fn(Frame) -> Vec<Frame> + Send + Sync + 'static) -> Subject {
    let change = Arc::new(change);
    let open = move || -> Result<Pipe, String> {
        let pipe = Pipe::in_process(&descriptor()).map_err(|error| error.to_string())?;
        let Pipe { post, post_counted, mut frames, close } = pipe;
        if !outward {
            let change = change.clone();
            let post = Box::new(move |frame| change(frame).into_iter().for_each(&post));
            return Ok(Pipe { post, post_counted: None, frames, close });
        }
        let (sender, changed) = mpsc::unbounded_channel();
        let change = change.clone();
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                change(frame).into_iter().for_each(|frame| drop(sender.send(frame)));
            }
        });
        Ok(Pipe { post, post_counted, frames: changed, close })
    };
    Subject::new(move || Box::pin(std::future::ready(open())))
        .with_config(serde_json::json!({ "greeting": "hi" }))
        .with_timeout(Duration::from_millis(300))
}

fn failed(report: &Report) -> Vec<&'static str> {
    report.checks.iter().filter(|check| check.outcome == Outcome::Fail).map(|check| check.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_plugin_conforms() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let report = run(&sound().speaking(encoding)).await;
        assert!(report.passed(), "{report}");
        assert!(report.checks.iter().all(|check| check.outcome == Outcome::Pass), "{report}");
        assert_eq!(report.checks.len(), 20);
    }
}

/// Has two names.
struct Twofold;

impl Plugin for Twofold {
    type Config = serde_json::Value;
    const NAME: &'static str = "twofold";
    const VERSION: &'static str = "1";

    async fn open(_: serde_json::Value, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description { name: "twosome".into(), ..Description::default() }
    }
}

#[test]
#[should_panic(expected = "FAIL described_operations_are_answered: it calls itself \"twofold\" and \"twosome\"")]
fn a_plugin_that_breaks_a_rule_fails_its_test() {
    assert_conforms::<Twofold>(serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broken_rule_is_noticed() {
    async fn check(broken: Subject, rule: &str) {
        let report = run(&broken).await;
        assert!(failed(&report).contains(&rule), "{rule} was not noticed:\n{report}");
        assert!(!report.passed());
    }
    let error = |code: ErrorCode, id: u64| Frame {
        payload: Encoding::MessagePack.encode(&Error::new(code, "x")).expect("writes"),
        ..Frame::bare(Kind::Error, id)
    };
    check(
        spoiled(true, |frame| if frame.kind == Kind::Hello { vec![] } else { vec![frame] }),
        "hello_is_answered_within_limits",
    )
    .await;
    check(spoiled(true, |frame| if frame.kind == Kind::Goodbye { vec![] } else { vec![frame] }), "goodbye_is_answered")
        .await;
    check(
        spoiled(true, |frame| if frame.kind == Kind::Reply { vec![frame.clone(), frame] } else { vec![frame] }),
        "concurrent_calls_are_answered",
    )
    .await;
    check(
        spoiled(true, move |frame| {
            if frame.kind == Kind::Error && frame.id > 0 {
                vec![error(ErrorCode::Internal, frame.id)]
            } else {
                vec![frame]
            }
        }),
        "other_operations_are_unsupported",
    )
    .await;
    check(
        spoiled(true, move |frame| {
            if frame.kind == Kind::Error && frame.id > 0 {
                vec![error(ErrorCode::Internal, frame.id)]
            } else {
                vec![frame]
            }
        }),
        "malformed_payload_is_invalid",
    )
    .await;
    check(
        spoiled(true, |frame| if frame.kind == Kind::Error && frame.id > 0 { vec![] } else { vec![frame] }),
        "too_large_is_refused",
    )
    .await;
    check(spoiled(true, |frame| vec![Frame { flags: 0, ..frame }]).speaking(Encoding::Json), "health_is_answered")
        .await;
    let newer = |frame: &Frame| frame.payload.windows(19).any(|bytes| bytes == b"conformance_unknown");
    check(
        spoiled(false, move |frame| if frame.kind == Kind::Hello && newer(&frame) { vec![] } else { vec![frame] }),
        "hello_of_a_newer_host_is_taken",
    )
    .await;
    // An unknown kind, a late reply or an unknown notify ends it.
    let fragile = |fatal: fn(&Frame) -> bool| {
        spoiled(false, move |frame| if fatal(&frame) { vec![Frame::bare(Kind::Goodbye, 0)] } else { vec![frame] })
    };
    check(fragile(|frame| matches!(frame.kind, Kind::Unknown(_))), "garbage_frames_are_ignored").await;
    check(fragile(|frame| frame.kind == Kind::Notify), "unknown_notify_is_ignored").await;
    check(fragile(|frame| frame.kind == Kind::Cancel), "cancel_is_heeded").await;
}
