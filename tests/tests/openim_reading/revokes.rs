//! Messages that were taken back.

use super::{MEMBERS, PULL, Rig, SEARCH, VERSIONS, chat, has, people, tell};
use anyhow::{Result, ensure};
use serde_json::json;
use std::time::{Duration, Instant};
use stele_tests::standin::{Reply, openim::Say};

#[tokio::test]
async fn what_was_taken_back_keeps_what_it_said() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        let conversations = [chat(&rig.standin, "alice", "bob", 130), tell(&rig.standin, "alice", "team", 130)];
        for conversation in &conversations {
            // Before anything is archived.
            for seq in [1, 99, 130] {
                rig.standin.revoke(conversation, seq, "alice")?;
            }
        }
        has(&rig.sync(40).await?, &[])?;
        rig.complete()?;
        for conversation in &conversations {
            // After it was; by its sender, and by an admin, whose notice is elsewhere.
            rig.standin.revoke(conversation, 5, "alice")?;
            rig.standin.revoke(conversation, 120, "imAdmin")?;
        }
        has(&rig.sync(40).await?, &[])?;
        rig.complete()?;
        let committed = rig.kept().committed.len();
        has(&rig.sync(40).await?, &[])?;
        ensure!(rig.kept().committed.len() == committed);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_taken_back_while_it_is_archived_is_marked() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "alice", "bob", 30);
        // A page is pulled while the one before is not committed yet.
        let first = rig.pull(10).await?;
        ensure!(first.messages.len() == 10, "{}", first.messages.len());
        rig.standin.revoke(&pair, 3, "alice")?;
        rig.standin.revoke(&pair, 25, "alice")?;
        rig.commit(first);
        has(&rig.sync(10).await?, &[])?;
        has(&rig.sync(10).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn many_of_one_day_are_found() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        for number in 0..700_i64 {
            let send_time = Some(1_775_700_000_000 + (number % 3) * 86_400_000);
            rig.standin.say(Say { send_time, ..Say::group("alice", "team", &format!("{number}")) });
        }
        for seq in (1..=700).step_by(37) {
            rig.standin.revoke("sg_team", seq, "bob").or_else(|_| rig.standin.revoke("sg_team", seq, "alice"))?;
        }
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_found_is_told() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 0 })).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        let team = tell(&rig.standin, "alice", "team", 5);
        rig.standin.revoke(&team, 2, "alice")?;
        // Deleted for all, so the search has not got it either.
        rig.standin.remove(&team, [2]);
        let notices = rig.sync(10).await?;
        has(&notices, &["gap: sg_team", "unknown: sg_team: message 2"])?;
        // Nothing but messages that were taken back is looked at in the notices.
        let calls = rig.standin.calls(PULL);
        has(&rig.sync(10).await?, &[])?;
        ensure!(rig.standin.calls(PULL) == calls);
    }
    Ok(())
}

#[tokio::test]
async fn any_admin_the_upstream_knows_may_take_back() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        // Not among those of the instance.
        rig.standin.add_account("boss", "Boss", 2);
        let pair = chat(&rig.standin, "alice", "bob", 5);
        has(&rig.sync(1000).await?, &[])?;
        rig.standin.revoke(&pair, 3, "boss")?;
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn many_revokes_cost_few_calls() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 0 })).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob", "u_1", "u_10", "u", "张三"]);
        let team = tell(&rig.standin, "alice", "team", 300);
        for seq in 101..=200 {
            rig.standin.revoke(&team, seq, "alice")?;
        }
        // They are in the same page as what tells of them.
        rig.pull(1000).await?;
        let calls = || (rig.standin.calls(PULL), rig.standin.calls(MEMBERS));
        ensure!(calls() <= (10, 4), "{:?}", calls());
        // Nobody can be asked for them any more.
        rig.standin.remove(&team, 101..=200);
        let before = calls();
        let notices = rig.sync(1000).await?;
        has(&notices, &["gap: sg_team: the upstream has no messages from 101 to 200", "unknown: sg_team"])?;
        ensure!(calls().0 - before.0 <= 40 && calls().1 - before.1 <= 6, "{before:?} {:?}", calls());
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_search_keeps_no_page_from_coming() -> Result<()> {
    let rig = Rig::new(VERSIONS[2], json!({})).await?;
    people(&rig.standin);
    let mut pair = String::new();
    for day in 0..40_i64 {
        let send_time = Some(1_775_700_000_000 + day * 86_400_000);
        let (conversation, seq) = rig.standin.say(Say { send_time, ..Say::to("alice", "bob", "taken back") });
        rig.standin.revoke(&conversation, seq, "alice")?;
        pair = conversation;
    }
    chat(&rig.standin, "u", "u_1", 3);
    rig.standin.script.push(SEARCH, Reply::Delay(Duration::from_secs(1)), u32::MAX);
    let begun = Instant::now();
    let page = rig.pull(1000).await?;
    ensure!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    ensure!((8..40).contains(&page.messages.len()), "{} messages", page.messages.len());
    rig.commit(page);
    rig.standin.script.clear();
    has(&rig.sync(1000).await?, &[])?;
    ensure!(rig.kept().reached[&pair] == 40);
    rig.complete()
}
