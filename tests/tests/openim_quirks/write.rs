//! reference/openim.md §2.4, §6, §7.1 and §8.

use crate::rig::{ALL, Rig, content, seqs};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_tests::standin::{
    Reply,
    openim::{Say, Version},
};

const SEND: &str = "/msg/send_msg";
const REVOKE: &str = "/msg/revoke_msg";

fn text(to: &str) -> Value {
    json!({
        "sendID": "alice", "recvID": to, "senderNickname": "Ann", "content": { "b": [], "content": "<hi>" },
        "contentType": 101, "sessionType": 1, "sendTime": 1_000, "ex": "mine",
    })
}

#[tokio::test]
async fn what_is_sent_is_stored_as_given() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let sent = rig.data(SEND, &text("bob")).await?;
    ensure!(sent["sendTime"] == 1000 && sent.get("seq").is_none() && sent.get("modify").is_none(), "{sent}");
    let row = rig.pulled("bob", "si_alice_bob", (1, 1), 1).await?.remove(0);
    ensure!(row["serverMsgID"] == sent["serverMsgID"] && row["clientMsgID"] == sent["clientMsgID"], "{row}");
    ensure!(row["msgFrom"] == 200 && row["sendTime"] == 1000 && row["createTime"] != 1000, "{row}");
    ensure!(row["ex"] == "mine" && row["senderNickname"] == "Ann", "{row}");
    let stored = &rig.standin.rows()["si_alice_bob"][0].said.content;
    ensure!(stored == r#"{"b":[],"content":"\u003chi\u003e"}"#, "{stored}");
    Ok(())
}

#[tokio::test]
async fn a_send_that_is_repeated_is_done_again() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.standin.fail(SEND, 1, Reply::Close);
    ensure!(rig.ask(SEND, &text("bob")).await.is_err(), "cut off");
    rig.data(SEND, &text("bob")).await?;
    ensure!(rig.standin.rows()["si_alice_bob"].len() == 2, "both are there");
    // A client that repeats keeps its id.
    let said = Say { client_msg_id: "same".into(), ..Say::group("alice", "g", "hi") };
    rig.standin.say(said.clone());
    rig.standin.say(said);
    let rows = rig.pulled("bob", "sg_g", (1, 9), 9).await?;
    let same = |name: &str| rows[0][name] == rows[1][name];
    ensure!(same("clientMsgID") && !same("serverMsgID") && seqs(&rows) == [1, 2], "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.standin.add_account("news", "News", 3);
        let with = |name: &str, value: Value| {
            let mut request = text("bob");
            request[name] = value;
            request
        };
        for (request, code) in [
            (with("contentType", json!(107)), 1001),
            (with("content", json!({})), 1001),
            (with("sessionType", json!(2)), 1001),
            (with("sendID", json!("nobody")), 1004),
            (with("recvID", json!("nobody")), 1004),
            (
                json!({ "sendID": "alice", "groupID": "no", "content": { "content": "x" }, "contentType": 101, "sessionType": 3 }),
                1004,
            ),
            (
                json!({ "sendID": "news", "groupID": "g", "content": { "content": "x" }, "contentType": 101, "sessionType": 3 }),
                1203,
            ),
            (with("contentType", json!(1400)), 1001),
            (with("isOnlineOnly", json!(true)), 0),
        ] {
            let answer = rig.ask(SEND, &request).await?;
            ensure!(answer["errCode"] == code, "{version:?} {request} {answer}");
        }
        // What cannot be read at all has a status of its own.
        let (unread, headers) =
            (with("content", json!("text")), [("operationID", "op"), ("token", rig.token.as_str())]);
        let answer = rig.raw(SEND, &headers, &unread.to_string()).await?;
        ensure!(
            answer.status == 400 && answer.json()?["errCode"] == 1001,
            "{version:?} {} {}",
            answer.status,
            answer.text
        );
        ensure!(rig.standin.rows().is_empty(), "nothing was stored");
        ensure!(rig.with(&rig.standin.token("alice"), SEND, &text("bob")).await?["errCode"] == 1002, "no admin");
        rig.standin.dismiss("g");
        let group = json!({ "sendID": "alice", "groupID": "g", "content": { "content": "x" }, "contentType": 101, "sessionType": 3 });
        ensure!(rig.ask(SEND, &group).await?["errCode"] == 1204, "{version:?}");
        let system = json!({ "sendID": "news", "recvID": "bob", "content": { "text": "x" }, "contentType": 1400, "sessionType": 1 });
        rig.data(SEND, &system).await?;
        ensure!(rig.standin.max_seq("sn_bob_news") == 1, "1400 makes it a system chat");
    }
    Ok(())
}

#[tokio::test]
async fn a_revoked_message_is_pulled_as_its_revoke() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.chat(2);
        rig.data(REVOKE, &json!({ "conversationID": "sg_g", "seq": 2, "userID": "alice" })).await?;
        let row = rig.pulled("bob", "sg_g", (2, 2), 1).await?.remove(0);
        ensure!(row["contentType"] == 2101 && row["status"] == 2 && row["sendID"] == "alice", "{row}");
        let detail = content(&row)?["detail"].as_str().map(str::to_owned).context("a detail")?;
        let detail: Value = serde_json::from_str(&detail)?;
        ensure!(
            detail["revokerID"] == "alice" && detail["seq"] == 2 && !row.to_string().contains("text 1"),
            "{detail}"
        );
        // The event is in the channel beside, which nobody owns.
        let event = rig.pulled("imAdmin", "n_g", (1, 9), 0).await?.remove(0);
        ensure!(event["contentType"] == 2101 && event["groupID"] == "g", "{event}");
        let detail = content(&event)?["detail"].as_str().map(str::to_owned).context("a detail")?;
        let detail: Value = serde_json::from_str(&detail)?;
        ensure!(detail["conversationID"] == "sg_g" && detail["seq"] == 2 && detail["sesstionType"] == 3, "{detail}");
        for (seq, code) in [(2, 1404), (3, 1004)] {
            let again = json!({ "conversationID": "sg_g", "seq": seq, "userID": "alice" });
            ensure!(rig.ask(REVOKE, &again).await?["errCode"] == code, "{version:?} {seq}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_event_of_an_admins_revoke_is_not_beside_the_chat() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let (chat, _) = rig.standin.say(Say::to("alice", "bob", "hi"));
    rig.standin.say(Say::to("bob", "alice", "ho"));
    rig.data(REVOKE, &json!({ "conversationID": chat, "seq": 1, "userID": "imAdmin" })).await?;
    ensure!(rig.pulled("imAdmin", "n_alice_bob", (1, 9), 9).await?.is_empty(), "nothing beside the chat");
    let event = rig.pulled("imAdmin", "n_bob_imAdmin", (1, 9), 9).await?.remove(0);
    ensure!(event["sendID"] == "imAdmin" && event["recvID"] == "bob", "{event}");
    for user in ["alice", "bob", "imAdmin"] {
        let newest = rig.data("/msg/newest_seq", &json!({ "userID": user })).await?;
        ensure!(newest["maxSeqs"].get("n_bob_imAdmin").is_none(), "nobody is told of it: {newest}");
    }
    // Another's message is not a user's to revoke.
    let body = json!({ "conversationID": chat, "seq": 2, "userID": "alice" });
    ensure!(rig.with(&rig.standin.token("alice"), REVOKE, &body).await?["errCode"] == 1002, "bob's");
    Ok(())
}

#[tokio::test]
async fn deleting_is_for_oneself_or_for_all() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let (chat, _) = rig.standin.say(Say::to("alice", "bob", "one"));
        rig.standin.say(Say::to("alice", "bob", "two"));
        let delete = |seq: i64, others: bool| {
            json!({
                "conversationID": chat, "seqs": [seq], "userID": "alice",
                "deleteSyncOpt": { "isSyncSelf": true, "isSyncOther": others },
            })
        };
        rig.data("/msg/delete_msgs", &delete(1, false)).await?;
        let row = &rig.pulled("alice", &chat, (1, 1), 1).await?[0];
        let empty = if version == Version::Head { json!("") } else { Value::Null };
        ensure!(row["content"] == empty && row["status"] == 4 && row["serverMsgID"] != "", "emptied: {row}");
        ensure!(content(&rig.pulled("bob", &chat, (1, 1), 1).await?[0])?["content"] == "one", "his is whole");
        rig.data("/msg/delete_msgs", &delete(2, true)).await?;
        ensure!(rig.pulled("bob", &chat, (2, 2), 1).await?[0]["serverMsgID"] == "", "gone for all");
        let (own, beside) = ("n_alice_alice", "n_alice_bob");
        ensure!((rig.standin.max_seq(own), rig.standin.max_seq(beside)) == (1, 1), "both are told");
    }
    Ok(())
}

#[tokio::test]
async fn clearing_moves_the_beginning() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.chat(5);
    let clear = |others: bool| json!({ "userID": "alice", "conversationIDs": ["sg_g"], "deleteSyncOpt": { "isSyncOther": others } });
    rig.data("/msg/clear_conversation_msg", &clear(false)).await?;
    rig.chat(1);
    ensure!(seqs(&rig.pulled("alice", "sg_g", (1, 9), 9).await?) == [6], "she reads what is new");
    ensure!(rig.pulled("bob", "sg_g", (1, 9), 9).await?.len() == 6, "he reads all");
    rig.data("/msg/clear_conversation_msg", &clear(true)).await?;
    ensure!(rig.pulled("bob", "sg_g", (1, 9), 9).await?.is_empty(), "nobody reads it");
    rig.chat(2);
    rig.data("/msg/user_clear_all_msg", &json!({ "userID": "bob" })).await?;
    ensure!(rig.pulled("bob", "sg_g", (1, 9), 9).await?.is_empty(), "all of his");
    ensure!(rig.standin.rows()["sg_g"].len() == 8, "all are stored");
    Ok(())
}

#[tokio::test]
async fn odd_messages_are_sent_as_they_are() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.standin.say(Say { content: "no json".into(), content_type: 9999, ..Say::group("alice", "g", "") });
    let odd =
        json!({ "content": "%%%", "sendTime": 9_223_372_036_854_775_807_i64, "atUserIDList": null, "status": "2" });
    rig.standin.say(Say { odd: Some(odd), ..Say::group("alice", "g", "hi") });
    rig.standin.say(Say { group: "g".into(), session: 3, ..Say::notice(1501, &json!({ "group": {} })) });
    let rows = rig.pulled("bob", "sg_g", (1, 9), 9).await?;
    ensure!(rows[0]["contentType"] == 9999 && content(&rows[0]).is_err(), "{:?}", rows[0]);
    ensure!(
        rows[1]["content"] == "%%%" && rows[1]["status"] == "2" && rows[1]["sendTime"] == i64::MAX,
        "{:?}",
        rows[1]
    );
    ensure!(rows[2]["contentType"] == 1501 && content(&rows[2])?["detail"] == r#"{"group":{}}"#, "{:?}", rows[2]);
    Ok(())
}
