//! What is missing: not there yet, not there for whoever is asked, or not there any more.

use super::{PULL, Rig, SEARCH, VERSIONS, chat, has, people, tell};
use anyhow::{Result, ensure};
use serde_json::json;
use stele_tests::standin::{
    Reply,
    openim::{Arrival, Say},
};

#[tokio::test]
async fn what_one_end_cleared_or_deleted_is_read_as_the_other() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let admin = rig.standin.token("imAdmin");
        for (one, other) in [("alice", "bob"), ("bob", "u_1"), ("u_10", "u")] {
            let conversation = chat(&rig.standin, one, other, 120);
            rig.standin.remove_for(other, &conversation, [3, 119]);
            let body = json!({ "userID": one, "conversationIDs": [conversation], "deleteSyncOpt": {} });
            let reply = call(&rig, &admin, "/msg/clear_conversation_msg", &body).await?;
            ensure!(reply["errCode"] == 0, "{reply}");
            chat(&rig.standin, other, one, 3);
        }
        // Of what both deleted the search still has what it said.
        has(&rig.sync(40).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

async fn call(rig: &Rig, token: &str, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let request = stele_tests::client::http().post(format!("{}{path}", rig.standin.url())).json(body);
    Ok(request.header("operationID", "op").header("token", token).send().await?.json().await?)
}

#[tokio::test]
async fn what_both_ends_deleted_is_asked_of_the_search() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 1 })).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        let pair = chat(&rig.standin, "alice", "bob", 20);
        let team = tell(&rig.standin, "alice", "team", 20);
        for conversation in [&pair, &team] {
            rig.standin.remove_for("alice", conversation, [5, 20]);
            rig.standin.remove_for("bob", conversation, [5, 20]);
        }
        has(&rig.sync(40).await?, &[])?;
        rig.complete()?;
        // Where no search finds it, it is known that it was.
        let (system, _) = rig.standin.say(Say { session: 4, ..Say::to("imAdmin", "bob", "hello") });
        rig.standin.remove_for("bob", &system, [1]);
        has(&rig.sync_until("emptied").await?, &["emptied: sn_bob_imAdmin: what message 1 said"])?;
        let kept = rig.kept();
        let emptied = kept.messages.values().find(|message| message.conversation == system);
        ensure!(emptied.is_some_and(|message| message.text.is_empty() && message.sender == "imAdmin"), "{emptied:?}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_left_a_group_does_not_hide_what_came_after() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        // The owner of record has left, somebody else sees all.
        rig.standin.add_group("team", "Ops", &["alice", "bob", "u_1"]);
        tell(&rig.standin, "bob", "team", 150);
        rig.sync(1000).await?;
        rig.complete()?;
        rig.standin.leave("team", "alice");
        tell(&rig.standin, "bob", "team", 70);
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
        // Whoever comes in.
        rig.standin.join("team", "u");
        tell(&rig.standin, "u", "team", 7);
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn dismissed_groups_are_read_as_those_who_were_in_them() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 0 })).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob", "u_1"]);
        let conversation = tell(&rig.standin, "bob", "team", 30);
        rig.standin.leave("team", "alice");
        tell(&rig.standin, "bob", "team", 130);
        rig.standin.leave("team", "bob");
        tell(&rig.standin, "u_1", "team", 5);
        rig.standin.dismiss("team");
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
        // What nobody sees now is not taken for missing, and not asked for all the time.
        rig.standin.leave("team", "u_1");
        tell(&rig.standin, "u_1", "team", 1);
        rig.sync(1000).await?;
        ensure!(rig.kept().reached[&conversation] == 165, "{:?}", rig.kept().reached);
        let calls = rig.standin.calls(PULL);
        has(&rig.sync(1000).await?, &[])?;
        ensure!(rig.standin.calls(PULL) == calls, "it is asked for again");
    }
    Ok(())
}

#[tokio::test]
async fn numbers_without_messages_are_waited_for_and_then_passed() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 2 })).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "alice", "bob", 250);
        rig.standin.remove(&pair, [30, 31, 32, 77, 140]);
        has(&rig.sync(1000).await?, &[])?;
        ensure!(rig.kept().reached[&pair] == 29, "{:?}", rig.kept().reached);
        let notices = rig.sync_until("from 140 to 140").await?;
        has(
            &notices,
            &["gap: si_alice_bob: the upstream has no messages from 30 to 32", "from 77 to 77", "from 140 to 140"],
        )?;
        rig.complete()?;
        // At the end, as after its Redis was lost.
        rig.standin.jump(&pair, 50);
        has(&rig.sync(1000).await?, &[])?;
        ensure!(rig.kept().reached[&pair] == 250, "{:?}", rig.kept().reached);
        has(&rig.sync_until("from 251 to 300").await?, &["gap: "])?;
        chat(&rig.standin, "alice", "bob", 5);
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn what_becomes_readable_late_is_not_passed() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "alice", "bob", 5);
        for arrival in [Arrival::Unreadable, Arrival::Queued] {
            let before = rig.standin.max_seq(&pair);
            rig.standin.set(|switches| switches.arrival = arrival);
            chat(&rig.standin, "bob", "alice", 3);
            rig.standin.set(|switches| switches.arrival = Arrival::AtOnce);
            chat(&rig.standin, "alice", "bob", 2);
            has(&rig.sync(1000).await?, &[])?;
            let passed = rig.kept().reached[&pair];
            ensure!(passed == if arrival == Arrival::Unreadable { before } else { before + 2 }, "{passed}");
            rig.standin.arrive();
            has(&rig.sync(1000).await?, &[])?;
            rig.complete()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn history_that_was_deleted_is_told() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 1 })).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "alice", "bob", 100);
        rig.sync(1000).await?;
        chat(&rig.standin, "alice", "bob", 350);
        // By placeholders, and by its bound.
        rig.standin.remove(&pair, 101..=200);
        rig.sync_until("lost: si_alice_bob: the upstream has deleted the messages from 101 to 200").await?;
        chat(&rig.standin, "alice", "bob", 350);
        let seen = rig.kept().messages.len();
        rig.standin.forget(&pair, 700);
        let notices = rig.sync_until("lost: si_alice_bob: the upstream has deleted the messages").await?;
        ensure!(notices.iter().any(|notice| notice.contains("to 700")), "{notices:?}");
        ensure!(rig.kept().messages.len() == seen + 100, "{} {seen}", rig.kept().messages.len());
        ensure!(rig.kept().reached[&pair] == 800, "{:?}", rig.kept().reached);
    }
    Ok(())
}

#[tokio::test]
async fn what_nobody_answers_is_not_taken_for_missing() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 0 })).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "alice", "bob", 5);
        // As where its database is away, and it leaves out what it cannot read.
        rig.standin.script.push(
            PULL,
            Reply::Body(json!({ "errCode": 0, "errMsg": "", "errDlt": "", "data": {} }).to_string()),
            100,
        );
        has(&rig.sync(1000).await?, &[])?;
        ensure!(!rig.kept().reached.contains_key(&pair), "{:?}", rig.kept().reached);
        rig.standin.script.clear();
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_was_wiped_or_restored_is_read_again() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "alice", "bob", 50);
        let backup = rig.standin.snapshot();
        chat(&rig.standin, "alice", "bob", 100);
        rig.standin.revoke(&pair, 60, "alice")?;
        rig.sync(1000).await?;
        rig.complete()?;
        let mut expected = rig.kept().messages.len();
        // Restored: fewer than are archived, then others in their place, then more.
        rig.standin.restore(&backup);
        has(&rig.sync(1000).await?, &["fewer: si_alice_bob: the upstream has 50 messages, and 150 are archived"])?;
        for count in [30, 69, 1, 20] {
            chat(&rig.standin, "bob", "alice", count);
            expected += count;
            let notices = rig.sync(1000).await?;
            ensure!(rig.kept().messages.len() == expected, "{notices:?}: {} of {expected}", rig.kept().messages.len());
        }
        ensure!(rig.kept().reached[&pair] == 170);
        has(&rig.sync(1000).await?, &[])?;
        // Wiped, and everything begins at 1.
        rig.standin.wipe();
        has(&rig.sync(1000).await?, &[])?;
        for count in [3, 30, 200] {
            chat(&rig.standin, "alice", "bob", count);
            expected += count;
            has(&rig.sync(1000).await?, &["reset: si_alice_bob"])?;
            ensure!(rig.kept().messages.len() == expected, "{} of {expected}", rig.kept().messages.len());
        }
        rig.standin.revoke(&pair, 2, "alice")?;
        has(&rig.sync(1000).await?, &[])?;
        let rows = rig.standin.rows();
        rows.values().flatten().try_for_each(|row| rig.is_kept(row))?;
    }
    Ok(())
}

/// Failures of a search, of every kind.
fn failures() -> [Reply; 6] {
    let odd = Reply::Body("{}".into());
    [Reply::Status(500), Reply::Errcode(500), Reply::Errcode(1002), Reply::Truncated, Reply::Close, odd]
}

/// Two conversations in which something was taken back, and something deleted by all.
fn incomplete(rig: &Rig) -> Result<[String; 2]> {
    people(&rig.standin);
    rig.standin.add_group("team", "Ops", &["alice", "bob"]);
    let conversations = [chat(&rig.standin, "alice", "bob", 120), tell(&rig.standin, "alice", "team", 120)];
    for conversation in &conversations {
        rig.standin.revoke(conversation, 10, "alice")?;
        for person in ["alice", "bob"] {
            rig.standin.remove_for(person, conversation, [20, 120]);
        }
    }
    Ok(conversations)
}

#[tokio::test]
async fn what_the_search_does_not_answer_once_it_is_asked_again_at_once() -> Result<()> {
    for version in VERSIONS {
        for failure in failures() {
            let rig = Rig::new(version, json!({ "grace_seconds": 0 })).await?;
            incomplete(&rig)?;
            rig.standin.script.push(SEARCH, failure, 1);
            has(&rig.sync(1000).await?, &[])?;
            rig.complete()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_the_search_does_not_answer_is_owed_until_it_does() -> Result<()> {
    for (version, grace_seconds) in VERSIONS.into_iter().flat_map(|version| [(version, 0), (version, 60)]) {
        let mut rig = Rig::new(version, json!({ "grace_seconds": grace_seconds })).await?;
        let conversations = incomplete(&rig)?;
        for failure in failures() {
            rig.standin.script.push(SEARCH, failure, u32::MAX);
            has(&rig.sync(7).await?, &["owed: 6 messages"])?;
            for conversation in &conversations {
                ensure!(rig.kept().reached[conversation] == 120, "{:?}", rig.kept().reached);
            }
            ensure!(rig.kept().messages.len() == 234, "what is behind it is there");
            rig.standin.script.clear();
            rig.reopen()?;
        }
        has(&rig.sync(7).await?, &[])?;
        rig.complete()?;
        let calls = rig.standin.calls(SEARCH);
        has(&rig.sync(7).await?, &[])?;
        ensure!(rig.standin.calls(SEARCH) == calls, "nothing is owed any more");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_while_it_is_owed_is_told() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({ "grace_seconds": 0 })).await?;
        let [pair, team] = incomplete(&rig)?;
        rig.standin.script.push(SEARCH, Reply::Status(500), u32::MAX);
        has(&rig.sync(1000).await?, &["owed: 6 messages"])?;
        rig.standin.script.clear();
        rig.standin.remove(&pair, [10]);
        // Both of the first block; and of one it is not known any more what it said.
        rig.standin.forget(&team, 100);
        let notices = rig.sync(1000).await?;
        has(
            &notices,
            &["gap: si_alice_bob: the upstream has no messages from 10 to 10", "gap: sg_team", "from 20 to 20"],
        )?;
        ensure!(rig.kept().messages.len() == 234 + 3, "{}", rig.kept().messages.len());
        has(&rig.sync(1000).await?, &[])?;
    }
    Ok(())
}
