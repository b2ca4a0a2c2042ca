//! Failures of every kind at every call: in the end nothing is lost, and nothing is there twice.

use super::{GROUPS, LAST, MEMBERS, NEWEST, PEOPLE, PULL, Rig, SEARCH, VERSIONS, chat, people, tell};
use anyhow::{Context, Result};
use serde_json::json;
use std::time::Duration;
use stele_tests::standin::{Reply, openim::Version};

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
        Reply::Body("x".repeat(17 << 20)),
        Reply::Errcode(500),
        Reply::Errcode(1001),
        Reply::Errcode(1507),
        Reply::Delay(Duration::from_millis(1100)),
    ];
    const PATHS: [&str; 9] =
        [GROUPS, PEOPLE, NEWEST, LAST, PULL, MEMBERS, SEARCH, "/auth/get_admin_token", "/auth/user_token"];
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "timeout_seconds": 1 })).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        // One at a time, or all at once.
        let paths: Vec<&[&str]> = if version == Version::Head { PATHS.chunks(1).collect() } else { vec![&PATHS] };
        for (failure, paths) in failures.iter().flat_map(|failure| paths.iter().map(move |paths| (failure, paths))) {
            work(&rig)?;
            paths.iter().for_each(|path| rig.standin.script.push(path, failure.clone(), 1));
            rig.sync_until_complete().await.with_context(|| format!("{failure:?} at {paths:?}"))?;
            rig.standin.script.clear();
        }
    }
    Ok(())
}

#[tokio::test]
async fn failures_at_each_call_in_turn_pass() -> Result<()> {
    for version in VERSIONS {
        for failure in [Reply::Status(500), Reply::Close, Reply::Errcode(500)] {
            for number in 1..=12 {
                let rig = Rig::new(version, json!({ "timeout_seconds": 1 })).await?;
                people(&rig.standin);
                rig.standin.add_group("team", "Ops", &["alice", "bob"]);
                work(&rig)?;
                for path in [NEWEST, LAST, PULL, SEARCH] {
                    rig.standin.fail(path, number, failure.clone());
                }
                rig.sync_until_complete().await.with_context(|| format!("{failure:?} at {number}"))?;
            }
        }
    }
    Ok(())
}
