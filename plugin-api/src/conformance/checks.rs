//! The rules, one function each.

use super::link::{Answer, Finding, Link, Verdict};
use super::{Check, Outcome, Report, Subject};
use crate::codec::Encoding;
use crate::error::ErrorCode;
use crate::frame::{Frame, Kind};
use crate::hello::Limits;
use crate::ops::{
    Caller, Describe, Description, Health, HealthReport, HttpHandle, MediaFetch, OPERATIONS, Op, Operation,
};
use bytes::Bytes;
use serde::Serialize;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, timeout};

/// What a daemon may ask of a plugin.
fn asked() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|operation| operation.caller == Caller::Daemon)
}

/// Those that every plugin answers, listed or not.
const ALWAYS: [&str; 2] = [Describe::NAME, Health::NAME];

/// Times in which an answer must come that a check may take as a whole: the longest one opens, asks and closes four times over.
const LONGEST: u32 = 16;

/// Checks in which a plugin may hang; in one more it is not waited for.
const MOST_LATE: usize = 3;

/// Largest frame the kit makes, in bytes.
const LARGEST: u32 = 256 * 1024 * 1024;

/// Most calls the kit makes at once.
const MOST_CALLS: u32 = 4096;

pub(super) async fn all(subject: &Subject) -> Report {
    let mut report = Report::default();
    let longest = subject.timeout * LONGEST;
    let mut late = 0;
    macro_rules! check {
        ($($name:ident),+ $(,)?) => {$(
            let found = timeout(longest, Box::pin($name(subject))).await;
            let found = found.unwrap_or_else(|_| Err(Verdict::Late(format!("it took more than {longest:?}"))));
            late += usize::from(matches!(found, Err(Verdict::Late(_))));
            // What never opens, or always hangs, does so at every check.
            let last = late == MOST_LATE || report.checks.is_empty() && matches!(found, Err(Verdict::Shut(_)));
            let (outcome, mut detail) = match found {
                Ok(()) => (Outcome::Pass, String::new()),
                Err(Verdict::Fail(detail) | Verdict::Late(detail) | Verdict::Shut(detail)) => (Outcome::Fail, detail),
                Err(Verdict::Skip(detail)) => (Outcome::Skip, detail),
            };
            if last {
                detail.push_str("; nothing else is tried");
            }
            report.checks.push(Check { name: stringify!($name), outcome, detail });
            if last {
                return report;
            }
        )+};
    }
    check!(
        hello_is_answered_within_limits,
        hello_of_a_newer_host_is_taken,
        bad_configuration_is_survived_and_not_repeated,
        health_is_answered,
        described_operations_are_answered,
        other_operations_are_unsupported,
        streams_keep_to_their_credit,
        the_hosts_limits_are_kept,
        unknown_notify_is_ignored,
        unknown_fields_are_ignored,
        malformed_payload_is_invalid,
        garbage_frames_are_ignored,
        cancel_is_heeded,
        cancelled_calls_free_their_slots,
        too_large_is_refused,
        concurrent_calls_are_answered,
        too_many_calls_are_refused,
        goodbye_is_answered,
        close_interrupts_work,
        opens_again_after_close,
        instances_are_independent,
        buffers_are_released_once,
    );
    report
}

/// The encodings it takes; `None` when it does not open.
pub(super) async fn encodings(subject: &Subject) -> Option<Vec<Encoding>> {
    let mut link = Link::open(subject).await.ok()?;
    let mut taken = vec![link.encoding];
    if link.encoding == Encoding::MessagePack {
        // One that speaks JSON need not know MessagePack: it is never spoken to in it, and so not asked.
        link.encoding = Encoding::Json;
        taken.extend(link.lives("hello").await.is_ok().then_some(Encoding::Json));
    }
    // How it closes the checks find out.
    let _ = link.close().await;
    Some(taken)
}

async fn hello_is_answered_within_limits(subject: &Subject) -> Finding {
    let link = Link::open(subject).await?;
    let (hello, least) = (&link.hello, Limits::LEAST);
    if hello.name.is_empty() || hello.version.is_empty() {
        return Err("its hello has no name or no version".into());
    }
    if !hello.config.0.is_null() {
        return Err("its hello repeats the configuration".into());
    }
    let Limits { max_frame, max_calls, credit } = hello.limits;
    if max_frame < least.max_frame || max_calls < least.max_calls || credit < least.credit {
        return Err(format!("its limits {:?} are below the least {least:?}", hello.limits).into());
    }
    link.close().await
}

async fn hello_of_a_newer_host_is_taken(subject: &Subject) -> Finding {
    let mut link = Link::connect(subject).await?;
    let frame = link.hello_frame(subject.config.clone())?;
    let mut hello: serde_json::Value = Encoding::Json.decode(&frame.payload)?;
    hello["abi_minor"] = u32::MAX.into();
    hello["conformance_unknown"] = serde_json::json!({ "of": [-1, null] });
    hello["limits"]["conformance_unknown"] = true.into();
    link.post(Frame { payload: Encoding::Json.encode(&hello)?, ..frame });
    if let Err(error) = link.greeted().await? {
        return Err(format!("it refuses a host that knows more than it does: {error}").into());
    }
    link.lives("the hello of a newer host").await?;
    link.close().await
}

async fn bad_configuration_is_survived_and_not_repeated(subject: &Subject) -> Finding {
    const CANARY: &str = "canary-4f1a";
    let unknown = "unheard_of".to_owned();
    let canary = serde_json::json!(CANARY);
    // The settings it knows, with values of another type; and one that none knows.
    let known = subject.config.as_object().into_iter().flat_map(|table| table.keys());
    let misfit = |value: &serde_json::Value| {
        let settings = known.clone().chain([&unknown]).map(|key| (key.clone(), value.clone()));
        serde_json::Value::Object(settings.collect())
    };
    let configurations = [
        canary.clone(),
        serde_json::json!([canary]),
        misfit(&canary),
        misfit(&serde_json::json!({ "canary": canary })),
    ];
    for config in configurations {
        let mut link = Link::connect(subject).await?;
        match link.greet(config).await? {
            Ok(()) => link.lives("an odd configuration").await?,
            Err(error) if error.to_string().contains(CANARY) => {
                return Err("its error repeats the configuration".into());
            }
            Err(_) => {}
        }
        link.close().await?;
    }
    Ok(())
}

async fn health_is_answered(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    link.reply::<HealthReport>(Health::NAME).await?;
    link.close().await
}

async fn described_operations_are_answered(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let description: Description = link.reply(Describe::NAME).await?;
    if description.name != link.hello.name {
        return Err(format!("it calls itself {:?} and {:?}", link.hello.name, description.name).into());
    }
    ask_for_everything(subject, &mut link, &description).await?;
    link.close().await
}

/// Everything it offers, with empty requests.
async fn ask_for_everything(subject: &Subject, link: &mut Link, description: &Description) -> Finding {
    for op in asked().map(|operation| operation.name).filter(|op| description.offers(op)) {
        let id = if op == MediaFetch::NAME { fetch(subject, link)? } else { link.send(op) };
        if link.answer(id).await?.code() == Some(&ErrorCode::Unsupported) {
            return Err(format!("it offers {op} and does not support it").into());
        }
    }
    Ok(())
}

/// Asks for the file of the subject.
fn fetch(subject: &Subject, link: &mut Link) -> Finding<u64> {
    Ok(link.send_stream(MediaFetch::NAME, link.encoding.encode(&subject.media)?))
}

/// Who takes one item at a time is sent one at a time, of whatever is asked for, and none behind the answer.
async fn streams_keep_to_their_credit(subject: &Subject) -> Finding {
    let mut link = Link::open_within(subject, Limits { credit: 1, ..Limits::default() }).await?;
    let description: Description = link.reply(Describe::NAME).await?;
    let id = match description.offers(MediaFetch::NAME) {
        true => fetch(subject, &mut link)?,
        // Nothing has to come of a call because its caller takes items.
        false => link.send_stream(Describe::NAME, Bytes::new()),
    };
    // While nothing more is granted, so that what is beyond the credit comes before this.
    link.lives("asking for a stream").await?;
    link.answer(id).await?;
    link.lives("a stream").await?;
    link.close().await
}

/// A host that bears as little as one may is not sent more: neither larger frames nor more calls.
async fn the_hosts_limits_are_kept(subject: &Subject) -> Finding {
    let mut link = Link::open_within(subject, Limits::LEAST).await?;
    let description: Description = link.reply(Describe::NAME).await?;
    ask_for_everything(subject, &mut link, &description).await?;
    link.close().await
}

async fn other_operations_are_unsupported(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let description: Description = link.reply(Describe::NAME).await?;
    let absent = |op: &&str| !ALWAYS.contains(op) && !description.offers(op);
    for op in asked().map(|operation| operation.name).filter(absent).chain(["conformance.unknown", "好"]) {
        let id = link.send(op);
        match link.answer(id).await? {
            Answer::Error(error) if error.code == ErrorCode::Unsupported => {}
            other => return Err(format!("{op} is not offered and was answered {other}").into()),
        }
    }
    link.close().await
}

async fn unknown_notify_is_ignored(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    for payload in [Bytes::new(), Bytes::from_static(b"\xc1\xff")] {
        link.post(Frame { op: "conformance.unknown".into(), payload, ..Frame::bare(Kind::Notify, 0) });
    }
    link.lives("an unknown notify").await?;
    link.close().await
}

async fn unknown_fields_are_ignored(subject: &Subject) -> Finding {
    #[derive(Serialize)]
    struct Future {
        conformance_unknown: Vec<Option<u64>>,
    }
    let mut link = Link::open(subject).await?;
    let known: Description = link.reply(Describe::NAME).await?;
    match link.call(Describe::NAME, &Future { conformance_unknown: vec![Some(1), None] }).await? {
        Answer::Reply(payload) if link.encoding.decode::<Description>(&payload)? == known => {}
        other => return Err(format!("an unknown field changes the answer to describe: it comes {other}").into()),
    }
    link.close().await
}

async fn malformed_payload_is_invalid(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let description: Description = link.reply(Describe::NAME).await?;
    let has_fields = |operation: &&Operation| operation.types.0 != "Empty" && description.offers(operation.name);
    let Some(op) = asked().find(has_fields).map(|operation| operation.name) else {
        return Err(Verdict::Skip("it offers no operation whose request has fields".into()));
    };
    let malformed: [&'static [u8]; 3] = match link.encoding {
        // Cut off; never a beginning; not a map.
        Encoding::MessagePack => [b"\x81\xa1", b"\xc1", b"\xa4text"],
        Encoding::Json => [b"{\"a\":", b"\xff", b"\"text\""],
    };
    for payload in malformed {
        let frame = link.call_frame(op, Bytes::from_static(payload));
        let id = frame.id;
        link.post(frame);
        match link.answer(id).await? {
            Answer::Error(error) if error.code == ErrorCode::Invalid => {}
            other => return Err(format!("\"{}\" for {op} was answered {other}", payload.escape_ascii()).into()),
        }
    }
    link.lives("a malformed payload").await?;
    link.close().await
}

async fn garbage_frames_are_ignored(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let noise = Bytes::from_static(&[0xc1; 64]);
    for kind in
        [Kind::Reply, Kind::Error, Kind::Item, Kind::Cancel, Kind::Credit, Kind::Unknown(0), Kind::Unknown(4711)]
    {
        for id in [0, 1_000_000, u64::MAX] {
            link.post(Frame { flags: u32::MAX, payload: noise.clone(), body: noise.clone(), ..Frame::bare(kind, id) });
        }
    }
    let hello = link.hello_frame(serde_json::Value::Null)?;
    link.post(hello);
    link.lives("garbage").await?;
    link.close().await
}

async fn cancel_is_heeded(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    for _ in 0..16 {
        let id = link.send(Describe::NAME);
        link.cancel(id);
        link.cancel(id);
    }
    // An answer that was on its way is fine; a second one is not, which the link notices.
    link.lives("cancel").await?;
    link.close().await
}

async fn cancelled_calls_free_their_slots(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let calls = link.hello.limits.max_calls.min(MOST_CALLS);
    for _ in 0..3 {
        let ids: Vec<u64> = (0..calls).map(|_| link.send(Health::NAME)).collect();
        ids.into_iter().for_each(|id| link.cancel(id));
    }
    link.lives("giving up as many calls as it takes, three times").await?;
    link.close().await
}

async fn too_large_is_refused(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let limit = link.hello.limits.max_frame;
    if limit > LARGEST {
        return Err(Verdict::Skip(format!("it takes frames of {limit} bytes, more than this kit makes")));
    }
    let body = Bytes::from(vec![0; limit as usize + 1]);
    let frame = Frame { body, ..link.call_frame(Describe::NAME, Bytes::new()) };
    let id = frame.id;
    link.post(frame);
    match link.answer(id).await? {
        Answer::Error(error) if error.code == ErrorCode::TooLarge => {}
        other => return Err(format!("a frame of {limit} bytes and one was answered {other}").into()),
    }
    link.lives("a frame that is too large").await?;
    link.close().await
}

async fn concurrent_calls_are_answered(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let calls = link.hello.limits.max_calls.min(MOST_CALLS);
    let ids: Vec<u64> = (0..calls).map(|_| link.send(Describe::NAME)).collect();
    for id in ids {
        if let Answer::Error(error) = link.answer(id).await? {
            return Err(format!("one of {calls} calls at once failed: {error}").into());
        }
    }
    link.close().await
}

async fn too_many_calls_are_refused(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let limit = link.hello.limits.max_calls;
    if limit > MOST_CALLS {
        return Err(Verdict::Skip(format!("it takes {limit} calls at once, more than this kit makes")));
    }
    // How many of them are in flight at once is up to the plugin; each must be answered, the surplus with `too_large`.
    let ids: Vec<u64> = (0..limit * 2 + 16).map(|_| link.send(Health::NAME)).collect();
    let deadline = Instant::now() + subject.timeout;
    for id in ids {
        match link.answer(id).await?.code() {
            None | Some(ErrorCode::TooLarge) => {}
            Some(code) => return Err(format!("a surplus call was answered {code}").into()),
        }
        if Instant::now() > deadline {
            return Err("the calls are answered too slowly".into());
        }
    }
    link.lives("too many calls").await?;
    link.close().await
}

async fn goodbye_is_answered(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    let id = link.send(Describe::NAME);
    link.post(Frame::bare(Kind::Goodbye, 0));
    link.until_goodbye().await?;
    // What was asked before goodbye is answered before goodbye.
    link.answer(id).await?;
    link.close().await
}

async fn close_interrupts_work(subject: &Subject) -> Finding {
    let mut link = Link::open(subject).await?;
    for _ in 0..link.hello.limits.max_calls.min(16) {
        link.send(Health::NAME);
    }
    link.close().await
}

async fn opens_again_after_close(subject: &Subject) -> Finding {
    for _ in 0..2 {
        let mut link = Link::open(subject).await?;
        link.lives("open").await?;
        link.close().await?;
    }
    Ok(())
}

async fn instances_are_independent(subject: &Subject) -> Finding {
    let first = Link::open(subject).await?;
    let mut second = Link::open(subject).await?;
    second.lives("a second instance was opened").await?;
    first.close().await?;
    second.lives("the first instance was closed").await?;
    second.close().await
}

async fn buffers_are_released_once(subject: &Subject) -> Finding {
    let mut link = Link::connect(subject).await?;
    let noise = Bytes::from_static(b"noise");
    let hello = link.hello_frame(subject.config.clone())?;
    let Some(hello) = link.counted(hello) else {
        return Err(Verdict::Skip("this carrier cannot count releases".into()));
    };
    if let Err(error) = link.greeted().await? {
        return Err(format!("the instance does not open: {error}").into());
    }
    let mut posted = vec![("hello", hello)];
    let call = |link: &mut Link, op, payload: &Bytes| {
        let frame = link.call_frame(op, payload.clone());
        (frame.id, Frame { body: noise.clone(), ..frame })
    };
    let (id, frame) = call(&mut link, Describe::NAME, &Bytes::new());
    posted.extend(link.counted(frame).map(|releases| ("a call", releases)));
    link.answer(id).await?;
    let (id, frame) = call(&mut link, HttpHandle::NAME, &noise);
    posted.extend(link.counted(frame).map(|releases| ("a malformed call", releases)));
    link.answer(id).await?;
    let (id, frame) = call(&mut link, Health::NAME, &Bytes::new());
    posted.extend(link.counted(frame).map(|releases| ("a cancelled call", releases)));
    link.cancel(id);
    let others = [
        ("an unknown kind", Kind::Unknown(4711)),
        ("a notify", Kind::Notify),
        ("a late reply", Kind::Reply),
        ("a late item", Kind::Item),
        ("a cancel", Kind::Cancel),
        ("goodbye", Kind::Goodbye),
    ];
    for (what, kind) in others {
        let frame = Frame { payload: noise.clone(), body: noise.clone(), ..Frame::bare(kind, 1_000_000) };
        posted.extend(link.counted(frame).map(|releases| (what, releases)));
    }
    link.until_goodbye().await?;
    link.close().await?;
    for (what, releases) in posted {
        // Payload and body.
        let releases = releases.load(Ordering::SeqCst);
        if releases != 2 {
            return Err(format!("the two buffers of {what} were released {releases} times").into());
        }
    }
    Ok(())
}
