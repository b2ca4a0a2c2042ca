//! Each rule, and a plugin that breaks it.

use crate::around::{Around, besides, given, opened, said};
use crate::{SOON, detail, sound};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use stele_plugin_api::conformance::{Pipe, Subject, run};
use stele_plugin_api::frame::{FLAG_STREAM, Frame, Kind};
use stele_plugin_api::ops::{Describe, Health, HttpHandle, Op};
use stele_plugin_api::{Encoding, Error, ErrorCode};

fn is_call(frame: &Frame, op: &str) -> bool {
    frame.kind == Kind::Call && frame.op == op
}

/// The same call of an operation that the plugin does not know.
fn unheard_of(frame: Frame) -> Vec<Frame> {
    vec![Frame { op: "unheard.of".into(), ..frame }]
}

fn mentions(frame: &Frame, word: &str) -> bool {
    frame.payload.windows(word.len()).any(|bytes| bytes == word.as_bytes())
}

fn error(id: u64, error: &Error) -> Frame {
    Frame { payload: Encoding::MessagePack.encode(error).expect("writes"), ..Frame::bare(Kind::Error, id) }
}

/// A call of the plugin.
fn called(id: u64) -> Frame {
    Frame { op: "state.get".into(), ..Frame::bare(Kind::Call, id) }
}

/// One that is waited for in vain.
fn late(subject: Subject) -> Subject {
    subject.with_timeout(SOON)
}

/// Who breaks the rule is told so in these words.
async fn check(broken: Subject, rule: &'static str, told: &str) -> &'static str {
    let report = run(&broken).await;
    let detail = detail(&report, rule);
    assert!(detail.contains(told), "{rule} is told as {detail:?}");
    assert!(!report.passed());
    rule
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broken_rule_is_noticed() {
    let shown = [
        check(
            late(said(|frame| if frame.kind == Kind::Hello { vec![] } else { vec![frame] })),
            "hello_is_answered_within_limits",
            "hello was not answered within",
        )
        .await,
        check(
            late(given(|frame| {
                let newer = frame.kind == Kind::Hello && mentions(&frame, "conformance_unknown");
                if newer { vec![] } else { vec![frame] }
            })),
            "hello_of_a_newer_host_is_taken",
            "hello was not answered within",
        )
        .await,
        check(
            said(|frame| match (frame.kind, frame.id) {
                (Kind::Error, 0) => vec![error(0, &Error::invalid("what is canary-4f1a?"))],
                _ => vec![frame],
            }),
            "bad_configuration_is_survived_and_not_repeated",
            "its error repeats the configuration",
        )
        .await,
        check(
            said(|frame| vec![Frame { flags: 0, ..frame }]).speaking(Encoding::Json),
            "health_is_answered",
            "it was asked in Json and answered in MessagePack",
        )
        .await,
        check(
            given(|frame| if is_call(&frame, HttpHandle::NAME) { unheard_of(frame) } else { vec![frame] }),
            "described_operations_are_answered",
            "it offers http.handle and does not support it",
        )
        .await,
        check(
            said(|frame| match (frame.kind, frame.id) {
                (Kind::Error, 1..) => vec![error(frame.id, &Error::internal("x"))],
                _ => vec![frame],
            }),
            "other_operations_are_unsupported",
            "is not offered and was answered with the error \"internal: x\"",
        )
        .await,
        check(
            late(given(
                |frame| if frame.kind == Kind::Notify { vec![Frame::bare(Kind::Goodbye, 0)] } else { vec![frame] },
            )),
            "unknown_notify_is_ignored",
            "after an unknown notify",
        )
        .await,
        check(
            given(|frame| {
                let newer = frame.kind == Kind::Call && mentions(&frame, "conformance_unknown");
                if newer { unheard_of(frame) } else { vec![frame] }
            }),
            "unknown_fields_are_ignored",
            "an unknown field changes the answer to describe",
        )
        .await,
        check(
            said(|frame| match (frame.kind, frame.id) {
                (Kind::Error, 1..) => vec![error(frame.id, &Error::new(ErrorCode::Unsupported, "x"))],
                _ => vec![frame],
            }),
            "malformed_payload_is_invalid",
            "for http.handle was answered with the error \"unsupported: x\"",
        )
        .await,
        check(
            late(given(|frame| match frame.kind {
                Kind::Unknown(_) => vec![Frame::bare(Kind::Goodbye, 0)],
                _ => vec![frame],
            })),
            "garbage_frames_are_ignored",
            "after garbage",
        )
        .await,
        check(
            late(given(
                |frame| if frame.kind == Kind::Cancel { vec![Frame::bare(Kind::Goodbye, 0)] } else { vec![frame] },
            )),
            "cancel_is_heeded",
            "after cancel",
        )
        .await,
        // What it never ends keeps its place, wanted or not.
        check(
            late({
                let kept = AtomicU32::new(0);
                given(move |frame| {
                    if is_call(&frame, Health::NAME) && frame.id > 3 {
                        kept.fetch_add(1, Ordering::SeqCst);
                        vec![]
                    } else if is_call(&frame, Describe::NAME) && kept.load(Ordering::SeqCst) >= 256 {
                        unheard_of(frame)
                    } else {
                        vec![frame]
                    }
                })
            }),
            "cancelled_calls_free_their_slots",
            "after giving up as many calls as it takes, three times",
        )
        .await,
        check(
            late(said(|frame| if frame.kind == Kind::Error && frame.id > 0 { vec![] } else { vec![frame] })),
            "too_large_is_refused",
            "a call was not answered within",
        )
        .await,
        check(
            said(|frame| if frame.kind == Kind::Reply { vec![frame.clone(), frame] } else { vec![frame] }),
            "concurrent_calls_are_answered",
            "was answered twice, or never made",
        )
        .await,
        check(
            late(given(|frame| if is_call(&frame, Health::NAME) && frame.id > 300 { vec![] } else { vec![frame] })),
            "too_many_calls_are_refused",
            "a call was not answered within",
        )
        .await,
        check(
            late(said(|frame| if frame.kind == Kind::Goodbye { vec![] } else { vec![frame] })),
            "goodbye_is_answered",
            "goodbye was not answered within",
        )
        .await,
        check(late(busy_when_closed()), "close_interrupts_work", "close did not return within").await,
        check(
            {
                let opened_before = AtomicBool::new(false);
                opened(move || match opened_before.swap(true, Ordering::SeqCst) {
                    true => Err("once is enough".to_owned()),
                    false => Around::default().open(),
                })
            },
            "opens_again_after_close",
            "cannot be opened: once is enough",
        )
        .await,
        check(one_at_a_time(), "instances_are_independent", "cannot be opened: there is one").await,
        check(
            opened(|| {
                let pipe = Around::default().open()?;
                let post = Arc::new(pipe.post);
                let counted = post.clone();
                let counted = move |frame: Frame| {
                    counted(frame);
                    Arc::new(AtomicU32::new(3))
                };
                Ok(Pipe { post: Box::new(move |frame| post(frame)), post_counted: Some(Box::new(counted)), ..pipe })
            }),
            "buffers_are_released_once",
            "the two buffers of hello were released 3 times",
        )
        .await,
        check(
            besides(|frame| match frame.flags & FLAG_STREAM {
                0 => vec![],
                _ => vec![Frame::bare(Kind::Item, frame.id), Frame::bare(Kind::Item, frame.id)],
            }),
            "streams_keep_to_their_credit",
            "that nobody has granted",
        )
        .await,
        check(
            besides(|frame| if frame.kind == Kind::Hello { vec![called(1), called(2)] } else { vec![] }),
            "the_hosts_limits_are_kept",
            "it has 2 calls in flight, the host takes 1",
        )
        .await,
    ];
    let all: BTreeSet<_> = run(&sound()).await.checks.iter().map(|check| check.name).collect();
    assert_eq!(BTreeSet::from_iter(shown), all, "every check is shown to fail");
}

/// Does not close while it works, as which counts the last thing it was asked for.
fn busy_when_closed() -> Subject {
    opened(|| {
        let Pipe { post, close, frames, .. } = Around::default().open()?;
        let busy = Arc::new(AtomicBool::new(false));
        let working = busy.clone();
        Ok(Pipe {
            post: Box::new(move |frame| {
                working.store(is_call(&frame, Health::NAME), Ordering::SeqCst);
                post(frame);
            }),
            post_counted: None,
            frames,
            close: Box::new(move || match busy.load(Ordering::SeqCst) {
                true => Box::pin(std::future::pending()),
                false => close(),
            }),
        })
    })
}

/// Has what only one instance can have.
fn one_at_a_time() -> Subject {
    let taken = Arc::new(AtomicBool::new(false));
    opened(move || {
        if taken.swap(true, Ordering::SeqCst) {
            return Err("there is one".to_owned());
        }
        let pipe = Around::default().open()?;
        let (taken, close) = (taken.clone(), pipe.close);
        let close = Box::new(move || {
            taken.store(false, Ordering::SeqCst);
            close()
        });
        Ok(Pipe { close, ..pipe })
    })
}

/// What the kit looks for in every frame, whichever check it came to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_frame_may_say_is_noticed() {
    // Each instance is greeted once with its configuration, and in one check once more without.
    let hello = |frames: fn() -> Vec<Frame>| {
        besides(move |frame| if frame.kind == Kind::Hello && mentions(frame, "greeting") { frames() } else { vec![] })
    };
    let first = "hello_is_answered_within_limits";
    check(hello(|| vec![called(5), called(5)]), first, "under the number 5, which is not a new one").await;
    check(hello(|| vec![called(0)]), first, "under the number 0, which is not a new one").await;
    // What it gave up is in flight no more.
    let report = run(&hello(|| vec![called(1), Frame::bare(Kind::Cancel, 1), called(2)])).await;
    assert!(report.passed(), "{report}");
    let calls = || (1..=257).map(called).collect::<Vec<_>>();
    check(hello(calls), first, "it has 257 calls in flight, the host takes 256").await;
    let large = || vec![Frame { body: vec![0; 64 * 1024 + 1].into(), ..Frame::bare(Kind::Notify, 0) }];
    check(hello(large), "the_hosts_limits_are_kept", "it sent a frame of 65537 bytes (Notify), the host takes 65536")
        .await;
    let after = |kind: Kind, more: fn(u64) -> Frame| {
        said(move |frame| if frame.kind == kind { vec![frame.clone(), more(frame.id)] } else { vec![frame] })
    };
    check(after(Kind::Reply, |id| Frame::bare(Kind::Item, id)), "health_is_answered", "which was answered").await;
    check(after(Kind::Goodbye, |_| called(9)), "goodbye_is_answered", "it called state.get after its goodbye").await;
    check(after(Kind::Goodbye, |_| Frame::bare(Kind::Goodbye, 0)), "goodbye_is_answered", "said goodbye twice").await;
    let unasked = besides(|frame| match is_call(frame, Health::NAME) {
        true => vec![Frame::bare(Kind::Item, frame.id)],
        false => vec![],
    });
    check(unasked, "health_is_answered", "an item came for call 1, which takes none").await;
}
