//! Failures of every kind at every call: in the end nothing is lost, and nothing is there twice.

use super::{GROUPS, INFO, LAST, MEMBERS, NEWEST, PEOPLE, PULL, Rig, SEARCH, VERSIONS, chat, people, tell};
use anyhow::{Context, Error, Result};
use futures::{TryStreamExt, stream};
use serde_json::json;
use std::time::Duration;
use stele_tests::standin::{Reply, openim::Version};

/// Cases that are tried at the same time: most of them wait.
const AT_ONCE: usize = 16;
/// Largest reply that is passed on, in bytes.
const MAX_REPLY: usize = 1 << 20;

/// A rig whose upstream has somebody and something.
async fn rig(version: Version) -> Result<Rig> {
    let rig = Rig::new(version, json!({ "timeout_seconds": 1 })).await?;
    people(&rig.standin);
    rig.standin.add_group("team", "Ops", &["alice", "bob"]);
    rig.kept().max_reply = MAX_REPLY;
    Ok(rig)
}

/// Everything the sync has to do.
fn work(rig: &Rig) -> Result<()> {
    let pair = chat(&rig.standin, "alice", "bob", 9);
    let team = tell(&rig.standin, "bob", "team", 9);
    for conversation in [&pair, &team] {
        let last = rig.standin.max_seq(conversation);
        let by = if conversation == &pair { "alice" } else { "bob" };
        rig.standin.revoke(conversation, last - 3, by)?;
        rig.standin.remove_for("alice", conversation, [last - 5]);
        rig.standin.remove_for("bob", conversation, [last - 6]);
    }
    rig.standin.remove_for("alice", &pair, [rig.standin.max_seq(&pair) - 6]);
    Ok(())
}

#[tokio::test]
async fn failures_at_every_call_pass() -> Result<()> {
    let failures = [
        Reply::Status(500),
        Reply::Status(502),
        Reply::Status(429),
        Reply::Close,
        Reply::Truncated,
        Reply::Body("<html>".into()),
        Reply::Body(r#"{"errCode":0,"errMsg":"","errDlt":"","data":null}"#.into()),
        Reply::Body("x".repeat(MAX_REPLY + 1)),
        Reply::Errcode(500),
        Reply::Errcode(1001),
        Reply::Errcode(1507),
        Reply::Delay(Duration::from_millis(1100)),
    ];
    const PATHS: [&str; 10] =
        ["/auth/user_token", "/auth/get_admin_token", GROUPS, PEOPLE, INFO, NEWEST, LAST, PULL, MEMBERS, SEARCH];
    // One at a time, or all at once. Only 3.8.0 has the first one.
    let paths = |version| if version == Version::Head { PATHS[1..].chunks(1).collect() } else { vec![&PATHS[..]] };
    let cases = VERSIONS.iter().flat_map(|version| paths(*version).into_iter().map(move |paths| (*version, paths)));
    let cases = cases.flat_map(|case| failures.iter().map(move |failure| (case, failure)));
    let runs = cases.map(|((version, paths), failure)| async move {
        let rig = rig(version).await?;
        // Where nothing is archived and there is no token, and where there is.
        for _ in 0..2 {
            work(&rig)?;
            paths.iter().for_each(|path| rig.standin.script.push(path, failure.clone(), 1));
            rig.sync_until_complete().await.with_context(|| format!("{failure:?} at {paths:?} of {version:?}"))?;
            rig.standin.script.clear();
        }
        Ok(())
    });
    stream::iter(runs.map(Ok::<_, Error>)).try_for_each_concurrent(AT_ONCE, |run| run).await
}

#[tokio::test]
async fn failures_at_each_call_in_turn_pass() -> Result<()> {
    let cases = VERSIONS.iter().flat_map(|version| (1..=12).map(move |number| (*version, number)));
    let failures = [Reply::Status(500), Reply::Close, Reply::Errcode(500)];
    let cases = cases.flat_map(|case| failures.iter().map(move |failure| (case, failure)));
    let runs = cases.map(|((version, number), failure)| async move {
        let rig = rig(version).await?;
        work(&rig)?;
        for path in [NEWEST, LAST, PULL, SEARCH] {
            rig.standin.fail(path, number, failure.clone());
        }
        rig.sync_until_complete().await.with_context(|| format!("{failure:?} at {number} of {version:?}"))
    });
    stream::iter(runs.map(Ok::<_, Error>)).try_for_each_concurrent(AT_ONCE, |run| run).await
}
