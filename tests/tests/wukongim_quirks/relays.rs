//! Sends through the plugin to a WuKongIM that answers early, loses what it answered, and stores again what is sent again.

use super::{
    BOTH,
    rig::{Rig, ask},
};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use stele_tests::{
    daemon::wait_for,
    standin::{
        Reply,
        wukongim::{Say, Version},
    },
};
use stele_wukongim::Wukongim;
use tokio::sync::{Barrier, Notify};

const SEND: &str = "/message/send";

fn message(client_msg_no: &str, content: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    json!({
        "from_uid": "alice", "channel_id": "bob", "channel_type": 1, "client_msg_no": client_msg_no,
        "payload": STANDARD.encode(content), "header": { "red_dot": 1 },
    })
}

async fn send(rig: &Rig, message: Value) -> Result<(u16, Value)> {
    send_to(&rig.plugin, message).await
}

async fn send_to(plugin: &Wukongim, message: Value) -> Result<(u16, Value)> {
    let reply = ask(plugin, SEND, message).await?;
    Ok((reply.status, serde_json::from_slice(&reply.body)?))
}

#[tokio::test]
async fn what_is_sent_is_stored_there_and_archived() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        rig.say(1, "bob@alice", 3);
        // It is stored after it is answered (v2), or seen later.
        rig.standin.set(|switches| switches.late_reads = 3);
        let (status, first) = send(&rig, message("n1", "hello")).await?;
        ensure!(status == 200 && first["message_seq"] == 4 && first["client_msg_no"] == "n1", "{first}");
        if version == Version::V2 {
            rig.complete()?;
        }
        rig.standin.set(|switches| switches.late_reads = 0);
        ensure!(send(&rig, message("n1", "hello")).await? == (200, first), "the same again");
        let (status, other) = send(&rig, message("n1", "something else")).await?;
        ensure!(status == 400, "{other}");
        let (status, unnamed) = send(&rig, message("", "hello")).await?;
        ensure!(status == 200 && unnamed["message_seq"] == 5, "{unnamed}");
        let list = json!([message("n2", "x"), message("n3", "y"), message("n2", "x")]);
        let reply = rig.ask("/message/sendbatch", list).await?;
        let sent: Value = serde_json::from_slice(&reply.body)?;
        let seqs: Vec<_> = sent.as_array().context("a list")?.iter().map(|sent| sent["message_seq"].clone()).collect();
        ensure!(seqs == [6, 7, 6], "{sent}");
        rig.complete()?;
        rig.sync(1000).await?;
        rig.complete()?;
        ensure!(rig.standin.channels().len() == 1, "no other channel was made");
    }
    Ok(())
}

#[tokio::test]
async fn no_failure_doubles_or_loses_a_send() -> Result<()> {
    let failures = [
        Reply::Status(500),
        Reply::Status(502),
        Reply::Close,
        Reply::Truncated,
        Reply::Body("<html>".into()),
        Reply::Errcode(503),
        Reply::Delay(Duration::from_millis(1300)),
    ];
    for version in BOTH {
        let mut rig = Rig::new(version, json!({ "timeout_seconds": 1 })).await?;
        for (number, failure) in failures.iter().enumerate() {
            rig.standin.script.push(SEND, failure.clone(), 1);
            let message = message(&format!("n{number}"), "hello");
            let (mut status, mut answer) = send(&rig, message.clone()).await?;
            if status != 200 {
                // As whoever gets no answer does; even where the plugin began anew meanwhile.
                rig.reopen()?;
                (status, answer) = send(&rig, message).await?;
            }
            ensure!(status == 200, "{failure:?}: {answer}");
            ensure!(answer["message_seq"] == number + 1, "{failure:?}: {answer}");
            rig.complete().with_context(|| format!("{failure:?}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_answered_and_not_stored_is_told() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    rig.say(1, "bob@alice", 2);
    rig.standin.set(|switches| switches.lose_sends = 1);
    let (status, answer) = send(&rig, message("n1", "hello")).await?;
    ensure!(status == 503 && answer["msg"].as_str().is_some_and(|msg| msg.contains("did not store")), "{answer}");
    let (status, answer) = send(&rig, message("n1", "hello")).await?;
    ensure!(status == 200 && answer["message_seq"] == 3, "{answer}");
    rig.complete()?;
    // Not done, and nobody knows: it is looked for, and sent again.
    rig.standin.set(|switches| switches.lose_sends = 1);
    rig.standin.script.push(SEND, Reply::Close, 1);
    let (status, answer) = send(&rig, message("n2", "hello")).await?;
    ensure!(status == 200 && answer["message_seq"] == 4, "{answer}");
    rig.complete()
}

#[tokio::test]
async fn a_channel_that_is_far_from_archived_is_sent_to() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    for _ in 0..5000 {
        rig.standin.say(1, "bob@alice", &Say { from: "alice", payload: b"x", ..Say::default() });
    }
    let (status, answer) = send(&rig, message("n1", "hello")).await?;
    ensure!(status == 200 && answer["message_seq"] == 5001, "{answer}");
    rig.sync(1000).await?;
    ensure!(rig.kept().messages.len() == 5001);
    Ok(())
}

#[tokio::test]
async fn what_the_upstream_refuses_is_told() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        rig.standin.script.push(SEND, Reply::Errcode(400), 1);
        let (status, answer) = send(&rig, message("n1", "hello")).await?;
        ensure!(status == 400 && answer["msg"].as_str().is_some_and(|msg| msg.contains("refuses")), "{answer}");
        let stream = json!({ "from_uid": "alice", "channel_id": "g", "channel_type": 2, "payload": "aGk=" });
        ensure!(rig.ask("/stream/open", stream).await?.status == 400, "no streams");
        let mut passing = message("n2", "hello");
        passing["header"] = json!({ "no_persist": 1 });
        let (status, answer) = send(&rig, passing).await?;
        ensure!(status == 200 && answer["message_seq"] == 0 && answer["message_id"] != 0, "{answer}");
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_that_gives_up_changes_nothing() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        let answers = Arc::new(Notify::new());
        rig.standin.script.push(SEND, Reply::Held(Arc::clone(&answers)), 1);
        let list = json!([message("n1", "hello"), message("n1", "hello")]);
        let given_up = [rig.ask(SEND, message("n1", "hello")), rig.ask("/message/sendbatch", list)];
        for asked in given_up {
            // What came of it is not waited for; the upstream has it by then.
            let until_sent =
                wait_for("the send", || async { rig.standin.calls(SEND).checked_sub(1).ok_or("not yet".to_owned()) });
            tokio::select! {
                biased;
                reply = asked => anyhow::bail!("{:?}", reply?.status),
                sent = until_sent => drop(sent?),
            }
        }
        rig.standin.set(|switches| switches.late_reads = 4);
        let again = send(&rig, message("n1", "hello"));
        tokio::pin!(again);
        ensure!(futures::poll!(&mut again).is_pending());
        answers.notify_one();
        let (status, answer) = again.await?;
        ensure!(status == 200 && answer["message_seq"] == 1, "{answer}");
        ensure!(rig.standin.calls(SEND) == 1, "{} times", rig.standin.calls(SEND));
        rig.complete()?;
    }
    Ok(())
}

/// The daemon is killed while a message is on its way, and the message is stored when the next one is there.
#[tokio::test]
async fn what_was_under_way_before_a_restart_is_waited_for() -> Result<()> {
    let mut rig = Rig::new(Version::V2, json!({})).await?;
    rig.say(1, "bob@alice", 1);
    rig.standin.set(|switches| switches.late_reads = 5);
    rig.standin.script.push(SEND, Reply::Silence, 1);
    let sent = wait_for("the send", || async { rig.standin.calls(SEND).checked_sub(1).ok_or("not yet".to_owned()) });
    tokio::select! {
        reply = rig.ask(SEND, message("n1", "hello")) => anyhow::bail!("{:?}", reply?.status),
        sent = sent => drop(sent?),
    }
    rig.reopen()?;
    let (status, answer) = send(&rig, message("n1", "hello")).await?;
    ensure!(status == 200 && answer["message_seq"] == 2, "{answer}");
    ensure!(rig.standin.calls(SEND) == 1, "{} times", rig.standin.calls(SEND));
    rig.complete()
}

/// Whoever had no answer from one daemon asks another one, while the first one is at it still.
#[tokio::test]
async fn what_two_daemons_are_sent_at_once_goes_out_once() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    let other = rig.at_node(2)?;
    for (plugin, name) in [(&rig.plugin, "n1"), (&other, "n2")] {
        let (status, answer) = send_to(plugin, message(name, "hello")).await?;
        ensure!(status == 200, "{answer}");
    }
    // Each has noted it before it looks at what the other one has noted.
    rig.kept().meeting = Some(Arc::new(Barrier::new(2)));
    let both = [&rig.plugin, &other].map(|plugin| send_to(plugin, message("n3", "hello")));
    let answers = try_join_all(both).await?;
    ensure!(answers.iter().all(|(status, answer)| *status == 200 && answer["message_seq"] == 3), "{answers:?}");
    ensure!(rig.standin.calls(SEND) == 3, "{} times", rig.standin.calls(SEND));
    rig.complete()
}

#[tokio::test]
async fn where_nobody_knows_that_is_the_answer() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({ "timeout_seconds": 1 })).await?;
    rig.say(1, "bob@alice", 1);
    rig.standin.script.push(SEND, Reply::Close, 1);
    rig.standin.set(|switches| switches.unreadable = ["bob@alice".to_owned()].into());
    for _ in 0..2 {
        let (status, answer) = send(&rig, message("n1", "hello")).await?;
        ensure!(status == 503 && answer["msg"].as_str().is_some_and(|msg| msg.contains("nobody knows")), "{answer}");
    }
    rig.standin.set(|switches| switches.unreadable.clear());
    let (status, answer) = send(&rig, message("n1", "hello")).await?;
    ensure!(status == 200 && answer["message_seq"] == 2, "{answer}");
    ensure!(rig.standin.calls(SEND) == 1, "{} times", rig.standin.calls(SEND));
    rig.complete()
}

#[tokio::test]
async fn commands_are_sent_once() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        let mut command = message("n1", "hello");
        command["header"] = json!({ "sync_once": 1 });
        let named = json!({
            "from_uid": "alice", "subscribers": ["bob", "carol"], "client_msg_no": "n2", "payload": "aGk=",
            "header": { "sync_once": 1 },
        });
        // v3 knows no subscribers.
        let named = (version == Version::V2).then_some(named);
        for message in std::iter::once(command.clone()).chain(named.clone()) {
            let before = rig.standin.calls(SEND);
            let (status, first) = send(&rig, message.clone()).await?;
            ensure!(status == 200 && first["message_id"] != 0, "{first}");
            ensure!(first["message_seq"] == 1 || message != command, "{first}");
            ensure!(send(&rig, message.clone()).await? == (200, first), "the same again");
            ensure!(rig.standin.calls(SEND) == before + 1, "{message} is sent again");
            let mut other = message;
            other["payload"] = json!("b3RoZXI=");
            ensure!(send(&rig, other).await?.0 == 400, "another one under its name");
        }
        // What became of it is not known here.
        rig.standin.script.push(SEND, Reply::Close, 1);
        command["client_msg_no"] = json!("n3");
        let (status, answer) = send(&rig, command).await?;
        ensure!(status == 200, "{answer}");
        let Some(mut named) = named else { continue };
        named["client_msg_no"] = json!("n4");
        rig.standin.script.push(SEND, Reply::Close, 1);
        for _ in 0..2 {
            let (status, answer) = send(&rig, named.clone()).await?;
            ensure!(
                status == 503 && answer["msg"].as_str().is_some_and(|msg| msg.contains("nobody knows")),
                "{answer}"
            );
        }
    }
    Ok(())
}
