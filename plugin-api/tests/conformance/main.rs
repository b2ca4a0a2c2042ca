//! The kit passes a sound plugin, fails one for each rule it breaks, and ends whatever a plugin does.

#![allow(unsafe_code)]

mod around;
mod rules;

use around::{given, opened};
use std::ffi::c_void;
use std::sync::OnceLock;
use std::time::Duration;
use stele_plugin_api::abi::{Descriptor, EntryPoint, OPEN_OK, SteleDescriptor, SteleFrame, StelePeer};
use stele_plugin_api::conformance::{MOST_WAITING, Outcome, Pipe, Report, Subject, assert_conforms, run, run_each};
use stele_plugin_api::frame::{FLAG_JSON, Frame, Kind};
use stele_plugin_api::ops::Description;
use stele_plugin_api::peer::BoxFuture;
use stele_plugin_api::{Encoding, Host, Plugin, Result};
use tokio::sync::mpsc;

#[allow(dead_code)]
#[path = "../../examples/smallest.rs"]
mod smallest;

unsafe extern "C" {
    fn stele_plugin_v1() -> *const SteleDescriptor;
}

/// Time for an answer, where waiting in vain is the test.
const SOON: Duration = Duration::from_millis(300);

fn descriptor() -> Descriptor {
    // SAFETY: the symbol is the one of the example above, in this very program.
    unsafe { Descriptor::load(stele_plugin_v1) }.expect("a sound descriptor")
}

fn configured(subject: Subject) -> Subject {
    subject.with_config(serde_json::json!({ "greeting": "hi" }))
}

fn sound() -> Subject {
    configured(Subject::new(|| Box::pin(Pipe::in_process(|| Ok(descriptor())))))
}

/// What is said of a broken rule.
fn detail<'r>(report: &'r Report, rule: &str) -> &'r str {
    let failed = report.checks.iter().find(|check| check.name == rule && check.outcome == Outcome::Fail);
    &failed.unwrap_or_else(|| panic!("{rule} was not noticed:\n{report}")).detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_plugin_conforms() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let report = run(&sound().speaking(encoding)).await;
        assert!(report.passed(), "{report}");
        assert!(report.checks.iter().all(|check| check.outcome == Outcome::Pass), "{report}");
        assert_eq!(report.checks.len(), 22);
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
async fn a_plugin_is_looked_at_in_each_encoding_it_takes() {
    let found = async |subject: Subject| {
        let runs = run_each(&subject).await;
        runs.into_iter().map(|run| (run.encoding, run.report.passed(), run.to_string())).collect::<Vec<_>>()
    };
    let all = |encoding: &str| format!("{encoding}: 22 of 22 checks passed\n");
    let message_pack = (Some(Encoding::MessagePack), true, all("MessagePack"));
    assert_eq!(found(sound()).await, [message_pack.clone(), (Some(Encoding::Json), true, all("JSON"))]);
    let one =
        given(|frame| if frame.kind == Kind::Call && frame.flags & FLAG_JSON != 0 { vec![] } else { vec![frame] });
    let patient = one.with_timeout(Duration::from_secs(3));
    let skipped = "JSON: skipped, it speaks MessagePack\n".to_owned();
    let [(spoken, true, _), other] = &found(patient).await[..] else { panic!("it keeps the rules") };
    assert_eq!((*spoken, other), (Some(Encoding::MessagePack), &(Some(Encoding::Json), true, skipped)));
    assert_eq!(found(sound().speaking(Encoding::MessagePack)).await, [message_pack]);
    let why = "cannot be opened: there is none; nothing else is tried";
    let none = format!("its own encoding: 0 of 1 checks passed\nFAIL hello_is_answered_within_limits: {why}\n");
    assert_eq!(found(opened(|| Err("there is none".to_owned()))).await, [(None, false, none)]);
}

/// Neither the kit nor the end of its runtime waits for a plugin for ever.
#[test]
fn what_hangs_is_left_alone() {
    unsafe extern "C" fn never_opens(_: *const StelePeer, _: *mut StelePeer) -> i32 {
        hang()
    }
    unsafe extern "C" fn opens(_: *const StelePeer, plugin: *mut StelePeer) -> i32 {
        // SAFETY: the host lends the structure for this call.
        unsafe { (*plugin).post = Some(never_returns) };
        OPEN_OK
    }
    unsafe extern "C" fn never_returns(_: *mut c_void, _: *mut SteleFrame) {
        hang()
    }
    unsafe extern "C" fn never_closes(_: *mut c_void) {
        hang()
    }
    fn hang() -> ! {
        loop {
            std::thread::park();
        }
    }
    /// The descriptor of the sound plugin with other functions.
    macro_rules! entry {
        ($($field:ident: $function:expr),+) => {{
            unsafe extern "C" fn entry() -> *const SteleDescriptor {
                static DESCRIPTOR: OnceLock<SteleDescriptor> = OnceLock::new();
                DESCRIPTOR.get_or_init(|| {
                    // SAFETY: as in `descriptor`.
                    let sound = unsafe { stele_plugin_v1().read() };
                    SteleDescriptor { $($field: Some($function),)+ ..sound }
                })
            }
            entry as EntryPoint
        }};
    }
    let cases = [
        (entry!(open: never_opens), "it was not open within"),
        (entry!(open: opens), "hello was not answered within"),
        (entry!(close: never_closes), "close did not return within"),
    ];
    for (entry, expected) in cases {
        // SAFETY: a descriptor that stays as it is.
        let open = move || Ok(unsafe { Descriptor::load(entry) }.expect("a sound descriptor"));
        let subject = configured(Subject::new(move || Box::pin(Pipe::in_process(open)))).with_timeout(SOON);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
        let runtime = runtime.expect("a runtime");
        let report = runtime.block_on(run(&subject));
        drop(runtime);
        let details: Vec<_> = report.checks.iter().map(|check| check.detail.as_str()).collect();
        assert!(details.iter().all(|detail| detail.contains(expected)), "{report}");
        assert!(details.len() == 3 && details[2].ends_with("; nothing else is tried"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_stops_talking_is_left_alone() {
    let subject = opened(|| {
        let (sender, frames) = mpsc::channel(MOST_WAITING);
        std::thread::spawn(move || {
            while !sender.is_closed() {
                let _ = sender.try_send(Frame::bare(Kind::Notify, 0));
            }
        });
        let close = || -> BoxFuture<Result<(), String>> { Box::pin(std::future::ready(Ok(()))) };
        Ok(Pipe { post: Box::new(drop), post_counted: None, frames, close: Box::new(close) })
    });
    let report = run(&subject.with_timeout(SOON)).await;
    assert!(detail(&report, "hello_is_answered_within_limits").contains("hello was not answered within"), "{report}");
}
