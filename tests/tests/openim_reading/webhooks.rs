//! Webhooks as wake-ups, and what is relayed.

use super::{Rig, SEND, VERSIONS, chat, has, people, rig::HOOK_SECRET, tell};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stele_plugin_api::{Plugin, ops::HttpReply};
use stele_tests::{
    daemon::wait_for,
    standin::{
        Reply,
        openim::{Arrival, Say, Version},
    },
};

const AGREED: &str = r#"{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}"#;

fn body(reply: &HttpReply) -> Result<Value> {
    serde_json::from_slice(&reply.body).with_context(|| format!("{:?}", reply.body))
}

/// Hands on what the stand-in would tell of its last messages.
async fn told(rig: &Rig, command: &str, body: Value) -> Result<()> {
    let reply = rig.ask(&format!("/hook/{HOOK_SECRET}/{command}?contenttype=json"), "", body).await?;
    ensure!((reply.status, reply.body.as_ref()) == (200, AGREED.as_bytes()), "{reply:?} {:?}", reply.body);
    Ok(())
}

async fn arrived(rig: &Rig) -> Result<()> {
    wait_for("what webhooks named", || async { rig.complete().map_err(|error| format!("{error:#}")) }).await
}

#[tokio::test]
async fn what_a_webhook_names_is_archived_without_a_sync() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        rig.standin.add_group("team", "Ops", &["alice", "bob"]);
        for count in [1, 120] {
            chat(&rig.standin, "u_1", "u_10", count);
            let single =
                json!({ "sendID": "u_1", "recvID": "u_10", "sessionType": 1, "clientMsgID": "", "seq": 0, "new": [] });
            told(&rig, "callbackAfterSendSingleMsgCommand", single).await?;
            tell(&rig.standin, "bob", "team", count);
            let group =
                json!({ "sendID": "bob", "groupID": "team", "sessionType": 3, "clientMsgID": "", "atUserList": null });
            told(&rig, "callbackAfterSendGroupMsgCommand", group).await?;
            arrived(&rig).await?;
        }
        let calls = rig.standin.calls(super::PULL);
        has(&rig.sync(1000).await?, &[])?;
        ensure!(rig.standin.calls(super::PULL) == calls, "what webhooks brought is known");
    }
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_comes_before_its_message_waits_for_it() -> Result<()> {
    for version in VERSIONS {
        for arrival in [Arrival::Queued, Arrival::Unreadable] {
            let rig = Rig::new(version, json!({})).await?;
            people(&rig.standin);
            rig.standin.set(|switches| switches.arrival = arrival);
            let say = Say { client_msg_id: "c1".into(), ..Say::to("alice", "bob", "x") };
            rig.standin.say(say);
            let single = json!({ "sendID": "alice", "recvID": "bob", "sessionType": 1, "clientMsgID": "c1" });
            told(&rig, "callbackAfterSendSingleMsgCommand", single).await?;
            wait_for("a look", || async {
                if rig.standin.calls(super::LAST) > 1 { Ok(()) } else { Err("none".to_owned()) }
            })
            .await?;
            ensure!(rig.kept().messages.is_empty());
            rig.standin.arrive();
            arrived(&rig).await?;
            ensure!(rig.kept().messages.len() == 1);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_webhook_marks_what_was_taken_back() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let pair = chat(&rig.standin, "u_1", "u_10", 5);
        rig.sync(10).await?;
        for (seq, by) in [(2, "u_1"), (3, "imAdmin")] {
            rig.standin.revoke(&pair, seq, by)?;
            let revoked = json!({ "callbackCommand": "x", "conversationID": pair, "seq": seq, "userID": by });
            told(&rig, "callbackBeforeAfterMsgCommand", revoked).await?;
            arrived(&rig).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn whatever_comes_is_agreed_to_and_nothing_without_the_secret() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    for command in ["callbackBeforeSendSingleMsgCommand", "callbackAfterCreateGroupCommand", "unknown", ""] {
        for odd in [
            json!({}),
            json!([1]),
            json!("x"),
            json!({ "sessionType": "1" }),
            json!({ "conversationID": "n", "seq": -1 }),
        ] {
            told(&rig, command, odd).await?;
        }
    }
    for odd in
        [json!({ "sessionType": 9 }), json!({ "sessionType": 1, "sendID": "", "recvID": "" }), json!({ "sendID": 5 })]
    {
        told(&rig, "callbackAfterSendSingleMsgCommand", odd).await?;
    }
    for path in ["/hook/wrong-secret-of-hooks/x", "/hook/", "/hook", "/hook//x"] {
        let reply = rig.ask(path, "", json!({})).await?;
        ensure!(reply.status == 404, "{path}: {reply:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_of_webhooks_is_read_once_for_each_conversation() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    chat(&rig.standin, "alice", "bob", 20);
    for _ in 0..2000 {
        let single = json!({ "sendID": "alice", "recvID": "bob", "sessionType": 1, "clientMsgID": "" });
        told(&rig, "callbackAfterSendSingleMsgCommand", single).await?;
    }
    arrived(&rig).await?;
    ensure!(rig.standin.calls(super::PULL) < 300, "{} pulls", rig.standin.calls(super::PULL));
    Ok(())
}

/// Far less than the time for which a message that is not there is looked for.
const SOON: Duration = Duration::from_secs(4);

/// What was told right now arrives, whatever is being looked for.
async fn arrived_soon(rig: &Rig) -> Result<()> {
    let begun = Instant::now();
    arrived(rig).await?;
    ensure!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn messages_that_are_never_stored_keep_nobody_waiting() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    chat(&rig.standin, "alice", "bob", 1);
    for content_type in [101, 113, 120] {
        for number in 0..32 {
            let (from, id) = (format!("x{number}"), format!("never{content_type}_{number}"));
            let never = json!({ "sendID": from, "recvID": "bob", "sessionType": 1, "contentType": content_type, "clientMsgID": id });
            told(&rig, "callbackAfterSendSingleMsgCommand", never).await?;
        }
    }
    let single = json!({ "sendID": "alice", "recvID": "bob", "sessionType": 1, "contentType": 101, "clientMsgID": "" });
    told(&rig, "callbackAfterSendSingleMsgCommand", single).await?;
    arrived_soon(&rig).await?;
    // Among them, in the same conversation, one that comes late.
    rig.standin.set(|switches| switches.arrival = Arrival::Unreadable);
    rig.standin.say(Say { client_msg_id: "late".into(), ..Say::to("alice", "bob", "x") });
    for id in ["never", "late"] {
        let single =
            json!({ "sendID": "alice", "recvID": "bob", "sessionType": 1, "contentType": 101, "clientMsgID": id });
        told(&rig, "callbackAfterSendSingleMsgCommand", single).await?;
    }
    let calls = rig.standin.calls(super::LAST);
    wait_for("two looks", || async {
        if rig.standin.calls(super::LAST) > calls + 1 { Ok(()) } else { Err("fewer".to_owned()) }
    })
    .await?;
    rig.standin.arrive();
    arrived_soon(&rig).await
}

#[tokio::test]
async fn what_is_relayed_and_not_stored_keeps_nobody_waiting() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    let token = own_token(&rig).await?;
    let send = async |from: &str, to: &str, is_online_only: bool| {
        let mut message = message("hello");
        (message["sendID"], message["recvID"]) = (json!(from), json!(to));
        message["isOnlineOnly"] = json!(is_online_only);
        let sent = body(&rig.ask(SEND, &token, message).await?)?;
        ensure!(sent["errCode"] == 0, "{sent}");
        Ok(())
    };
    for to in ["alice", "bob", "u_1", "u_10", "u"] {
        for from in ["alice", "张三"] {
            send(from, to, true).await?;
        }
    }
    send("u", "u_1", false).await?;
    arrived_soon(&rig).await?;
    ensure!(rig.kept().messages.len() == 1);
    Ok(())
}

#[tokio::test]
async fn what_is_refused_there_is_the_affair_of_whoever_asked() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let token = own_token(&rig).await?;
        // Read here, and not there.
        let mut unread = message("hello");
        unread["senderPlatformID"] = json!("5");
        let reply = rig.ask(SEND, &token, unread).await?;
        ensure!((reply.status, body(&reply)?["errCode"].as_i64()) == (400, Some(1001)), "{reply:?} {:?}", reply.body);
        rig.standin.script.push(SEND, Reply::Errcode(1002), 1);
        let refused = body(&rig.ask(SEND, &token, message("hello")).await?)?;
        ensure!(refused["errCode"] == 1002, "{refused}");
        // One that is no answer of an OpenIM says nothing of what was done.
        rig.standin.script.push(SEND, Reply::Status(400), 1);
        let reply = rig.ask(SEND, &token, message("hello")).await?;
        ensure!((reply.status, body(&reply)?["errCode"].as_i64()) == (200, Some(500)), "{reply:?} {:?}", reply.body);
        let health = rig.plugin.health().await?;
        ensure!(health.ok, "{health:?}");
    }
    Ok(())
}

fn message(text: &str) -> Value {
    json!({
        "sendID": "alice", "recvID": "bob", "contentType": 101, "sessionType": 1, "content": { "content": text },
        "senderPlatformID": 5, "ex": "own",
    })
}

async fn own_token(rig: &Rig) -> Result<String> {
    let asked = json!({ "secret": "openIM123", "userID": "imAdmin" });
    let reply = body(&rig.ask("/auth/get_admin_token", "", asked).await?)?;
    Ok(reply["data"]["token"].as_str().context("a token")?.to_owned())
}

#[tokio::test]
async fn what_is_asked_for_here_is_done_there_once() -> Result<()> {
    for version in VERSIONS {
        let rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        let token = own_token(&rig).await?;
        let sent = body(&rig.ask(SEND, &token, message("hello")).await?)?;
        ensure!(sent["errCode"] == 0 && sent["data"]["serverMsgID"].is_string(), "{sent}");
        arrived(&rig).await?;
        let kept = rig.kept().messages.keys().next().cloned();
        ensure!(kept.as_deref() == sent["data"]["serverMsgID"].as_str(), "{kept:?} {sent}");
        let back = json!({ "conversationID": "si_alice_bob", "seq": 1, "userID": "alice" });
        let revoked = body(&rig.ask("/msg/revoke_msg", &token, back.clone()).await?)?;
        ensure!(revoked["errCode"] == 0, "{revoked}");
        arrived(&rig).await?;
        // What the upstream refuses, it refuses here.
        let again = body(&rig.ask("/msg/revoke_msg", &token, back).await?)?;
        ensure!(again["errCode"] == 1404, "{again}");
        let group = json!({ "ownerUserID": "alice", "memberUserIDs": ["bob"], "groupInfo": { "groupID": "new", "groupType": 2 } });
        let made = body(&rig.ask("/group/create_group", &token, group).await?)?;
        ensure!(made["data"]["groupInfo"]["groupID"] == "new", "{made}");
        let users = json!({ "users": [{ "userID": "zoe", "nickname": "Zoe" }], "secret": "openIM123" });
        let registered = body(&rig.ask("/user/user_register", &token, users).await?)?;
        ensure!(registered["errCode"] == 0, "{registered}");
        // One whose answer is lost is sent once all the same, and archived.
        for failure in [Reply::Close, Reply::Status(502), Reply::Truncated, Reply::Body("<html>".into())] {
            let before = rig.standin.rows()["si_alice_bob"].len();
            rig.standin.script.push(SEND, failure.clone(), 1);
            let answer = body(&rig.ask(SEND, &token, message("lost")).await?)?;
            ensure!(answer["errCode"] == 500, "{failure:?}: {answer}");
            ensure!(rig.standin.rows()["si_alice_bob"].len() == before + 1, "{failure:?}");
        }
        has(&rig.sync(100).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_ended_costs_no_relay() -> Result<()> {
    use stele_tests::standin::openim::Ended;
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    let token = own_token(&rig).await?;
    for ended in [Ended::Expired, Ended::Kicked, Ended::Gone] {
        rig.standin.end_tokens(ended);
        let sent = body(&rig.ask(SEND, &token, message("hello")).await?)?;
        ensure!(sent["errCode"] == 0, "{sent}");
    }
    arrived(&rig).await?;
    ensure!(rig.kept().messages.len() == 3);
    Ok(())
}
