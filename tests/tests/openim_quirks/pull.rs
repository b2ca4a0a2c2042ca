//! reference/openim.md §7.1 and §7.2.

use crate::rig::{ALL, Rig, content, seqs};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stele_tests::standin::openim::{Arrival, Say, Version};

const NEWEST: &str = "/msg/newest_seq";
const MAX: &str = "/msg/get_conversations_has_read_and_max_seq";

#[tokio::test]
async fn a_range_gives_its_last_ones() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.chat(250);
        for (range, num, expected) in [
            ((1, 100), 100, 1..=100),
            ((1, 250), 3, 248..=250),
            ((1, 100), 7, 94..=100),
            ((-5, 900), 1000, 1..=250),
            ((240, 300), 100, 240..=250),
        ] {
            let mut told = seqs(&rig.pulled("alice", "sg_g", range, num).await?);
            // 3.8.0 has no order.
            ensure!(told.is_sorted() == (version > Version::V380), "{version:?} {told:?}");
            told.sort_unstable();
            ensure!(told == expected.collect::<Vec<_>>(), "{range:?} {num}");
        }
        for (range, num) in [((1, 100), 0), ((1, 100), -1), ((251, 300), 100), ((9, 8), 100)] {
            ensure!(rig.pulled("alice", "sg_g", range, num).await?.is_empty(), "{range:?} {num}");
        }
        // Nothing is left out at HEAD and null before.
        let nothing = rig.pull("alice", "sg_g", (900, 901), 2).await?;
        match version {
            Version::Head => ensure!(nothing == json!({}), "{nothing}"),
            _ => ensure!(nothing == json!({ "msgs": null, "notificationMsgs": null }), "{nothing}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn messages_are_as_the_server_sends_them() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let said = Say { send_time: Some(1_775_700_000_000), ex: "mine".into(), ..Say::to("c_d", "bob", "<hi>") };
    ensure!(rig.standin.say(said) == ("si_bob_c_d".to_owned(), 1), "its conversation");
    let answer = rig.pull("bob", "si_bob_c_d", (1, 1), 1).await?;
    let pulled = &answer["msgs"]["si_bob_c_d"];
    ensure!(pulled["isEnd"] == true && pulled["endSeq"] == 0, "{answer}");
    let row = &pulled["Msgs"][0];
    ensure!(content(row)? == json!({ "content": "<hi>" }), "{row}");
    for (name, value) in [
        ("sendID", json!("c_d")),
        ("recvID", json!("bob")),
        ("groupID", json!("")),
        ("sessionType", json!(1)),
        ("msgFrom", json!(100)),
        ("contentType", json!(101)),
        ("status", json!(2)),
        ("sendTime", json!(1_775_700_000_000_i64)),
        ("atUserIDList", Value::Null),
        ("ex", json!("mine")),
    ] {
        ensure!(row[name] == value, "{name}: {row}");
    }
    ensure!(row.get("options").is_none(), "an empty map is left out: {row}");
    ensure!(row["serverMsgID"].as_str().is_some_and(|id| id.len() == 32), "{row}");
    Ok(())
}

#[tokio::test]
async fn only_who_has_a_conversation_reads_it() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.standin.say(Say::to("alice", "bob", "hi"));
        rig.chat(2);
        for (user, count) in [("alice", 1), ("bob", 1), ("c_d", 0), ("imAdmin", 0), ("nobody", 0)] {
            ensure!(rig.pulled(user, "si_alice_bob", (1, 9), 9).await?.len() == count, "{user}");
        }
        ensure!(rig.pulled("imAdmin", "sg_g", (1, 9), 9).await?.is_empty(), "not a member");
        // Somebody else's: not allowed at HEAD, and not looked at before.
        let range = json!({ "conversationID": "si_alice_bob", "begin": 1, "end": 9, "num": 9 });
        let body = json!({ "userID": "alice", "seqRanges": [range] });
        let answer = rig.with(&rig.standin.token("c_d"), "/msg/pull_msg_by_seq", &body).await?;
        ensure!(answer["errCode"] == if version == Version::Head { 1002 } else { 0 }, "{answer}");
        let answer = rig.with(&rig.standin.token("c_d"), NEWEST, &body).await?;
        ensure!(answer["errCode"] == 1002, "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_a_placeholder() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.standin.say(Say { send_time: Some(1000), ..Say::group("alice", "g", "first") });
    rig.standin.jump("sg_g", 3);
    rig.standin.say(Say { send_time: Some(5000), ..Say::group("alice", "g", "fifth") });
    rig.standin.set(|switches| switches.arrival = Arrival::Unreadable);
    rig.chat(1);
    ensure!(rig.standin.max_seq("sg_g") == 6, "numbers are given out");
    let told = async || -> Result<Vec<(i64, i64, i64)>> {
        let rows = rig.pulled("alice", "sg_g", (1, 100), 100).await?;
        let number = |row: &Value, name: &str| row[name].as_i64().unwrap_or(-1);
        Ok(rows.iter().map(|row| (number(row, "seq"), number(row, "status"), number(row, "sendTime"))).collect())
    };
    let early = [(1, 2, 1000), (2, 4, 1000), (3, 4, 1000), (4, 4, 1000), (5, 2, 5000), (6, 4, 5000)];
    ensure!(told().await? == early, "{:?}", told().await?);
    let row = &rig.pulled("alice", "sg_g", (2, 2), 1).await?[0];
    ensure!(row["serverMsgID"] == "" && row["content"].is_null() && row["contentType"] == 0, "{row}");
    rig.standin.arrive();
    ensure!(told().await?[5].1 == 2, "{:?}", told().await?);
    rig.standin.remove("sg_g", [1, 5]);
    ensure!(told().await?.iter().filter(|(_, status, _)| *status == 4).count() == 5, "{:?}", told().await?);
    // What is not taken in has no number.
    rig.standin.set(|switches| switches.arrival = Arrival::Queued);
    rig.chat(2);
    ensure!(rig.standin.max_seq("sg_g") == 6, "queued");
    rig.standin.arrive();
    ensure!(rig.standin.max_seq("sg_g") == 8, "taken in");
    Ok(())
}

#[tokio::test]
async fn history_that_was_cut_off_begins_later() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.chat(250);
        rig.standin.forget("sg_g", 130);
        for range in [(1, 100), (100, 100)] {
            ensure!(rig.pulled("alice", "sg_g", range, 100).await?.is_empty(), "nothing is told of it");
        }
        let rest = rig.pulled("alice", "sg_g", (101, 200), 100).await?;
        match version {
            Version::V380 => ensure!(rest.iter().filter(|row| row["serverMsgID"] == "").count() == 30, "{rest:?}"),
            _ => ensure!(seqs(&rest) == (131..=200).collect::<Vec<_>>(), "{rest:?}"),
        }
        // What is cut off is cut off; what is gone at 3.8.0 takes the rest of its range with it.
        let over = rig.pulled("alice", "sg_g", (1, 250), 250).await?;
        ensure!(over.len() == if version == Version::V380 { 0 } else { 120 }, "{}", over.len());
    }
    Ok(())
}

#[tokio::test]
async fn placeholders_are_those_of_the_version() -> Result<()> {
    for (version, status, time) in [(Version::V380, 0, 0), (Version::V383, 4, 0), (Version::Head, 4, 1000)] {
        let rig = Rig::new(version).await?;
        rig.standin.say(Say { send_time: Some(1000), ..Say::group("alice", "g", "first") });
        rig.standin.jump("sg_g", 1);
        let row = &rig.pulled("bob", "sg_g", (2, 2), 1).await?[0];
        ensure!(row["status"] == status && row["sendTime"] == time && row["serverMsgID"] == "", "{version:?} {row}");
        // A jump into a document that nothing is in.
        rig.standin.jump("sg_g", 200);
        let count = rig.pulled("bob", "sg_g", (101, 200), 100).await?.len();
        ensure!(count == if version == Version::V380 { 0 } else { 100 }, "{version:?} {count}");
    }
    Ok(())
}

#[tokio::test]
async fn who_left_a_group_reads_no_further_and_is_told_no_more() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.chat(5);
        let kicked = json!({ "groupID": "g", "kickedUserIDs": ["bob"] });
        rig.data("/group/kick_group", &kicked).await?;
        rig.data("/group/quit_group", &json!({ "groupID": "g", "userID": "c_d" })).await?;
        rig.chat(5);
        for (user, last) in [("alice", 12), ("bob", 5), ("c_d", 6)] {
            ensure!(rig.pulled(user, "sg_g", (1, 100), 100).await?.len() == last, "{user}");
            let asked = json!({ "userID": user, "conversationIDs": ["sg_g", "n_g", "sg_unknown"] });
            let seqs = &rig.data(MAX, &asked).await?["seqs"];
            ensure!(seqs["sg_g"]["maxSeq"] == last && seqs["sg_unknown"]["maxSeq"] == 0, "{user} {seqs}");
            // The newest number is told to everybody who ever was there.
            ensure!(rig.data(NEWEST, &json!({ "userID": user })).await?["maxSeqs"]["sg_g"] == 12, "{user}");
        }
        let admin = rig.data(MAX, &json!({ "userID": "imAdmin", "conversationIDs": ["sg_g"] })).await?;
        ensure!(admin["seqs"]["sg_g"]["maxSeq"] == 12, "{admin}");
        rig.standin.join("g", "bob");
        ensure!(rig.pulled("bob", "sg_g", (1, 100), 100).await?.len() == 12, "back again");
    }
    Ok(())
}

#[tokio::test]
async fn the_newest_numbers_of_a_user_hold_the_channels_beside() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let nothing = rig.data(NEWEST, &json!({ "userID": "alice" })).await?;
        let empty = match version {
            Version::Head => json!({}),
            Version::V383 => json!({ "maxSeqs": null, "minSeqs": null }),
            Version::V380 => json!({ "maxSeqs": { "n_alice_alice": 0 }, "minSeqs": null }),
        };
        ensure!(nothing == empty, "{nothing}");
        let (chat, seq) = rig.standin.say(Say::to("alice", "c_d", "hi"));
        rig.standin.say(Say { session: 4, ..Say::to("news", "alice", "read this") });
        rig.standin.revoke(&chat, seq, "alice")?;
        let own =
            json!({ "userID": "alice", "conversationID": chat, "seqs": [1], "deleteSyncOpt": { "isSyncSelf": true } });
        rig.data("/msg/delete_msgs", &own).await?;
        let newest = rig.data(NEWEST, &json!({ "userID": "alice" })).await?["maxSeqs"].clone();
        let mut expected = json!({ "si_alice_c_d": 1, "sn_alice_news": 1, "n_alice_c_d": 1, "n_alice_alice": 1 });
        if version == Version::V380 {
            expected["n_alice_news"] = json!(0);
        }
        ensure!(newest == expected, "{newest}");
        let ids = rig.data("/conversation/get_full_conversation_ids", &json!({ "userID": "alice" })).await?;
        ensure!(ids["conversationIDs"] == json!(["si_alice_c_d", "sn_alice_news"]), "{ids}");
        let sender = rig.data("/conversation/get_full_conversation_ids", &json!({ "userID": "news" })).await?;
        ensure!(sender["conversationIDs"].is_null(), "only the receiver has it: {sender}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error() -> Result<()> {
    for (version, most) in [(Version::V380, 4), (Version::V383, 4), (Version::Head, 8)] {
        let rig = Rig::new(version).await?;
        let mebibyte = "x".repeat(1 << 20);
        (0..=most)
            .for_each(|_| drop(rig.standin.say(Say { content: mebibyte.clone(), ..Say::group("alice", "g", "") })));
        let ask = async |count: i64| {
            let range = json!({ "conversationID": "sg_g", "begin": 1, "end": count, "num": count });
            rig.ask("/msg/pull_msg_by_seq", &json!({ "userID": "alice", "seqRanges": [range] })).await
        };
        ensure!(ask(most + 1).await?["errCode"] == 8 && ask(most).await?["errCode"] == 0, "{version:?}");
        let page = json!({ "pageNumber": 1, "showNumber": most + 1 });
        let search = rig.ask("/msg/search_msg", &json!({ "recvID": "g", "pagination": page })).await?;
        ensure!(search["errCode"] == 8, "{version:?}");
        rig.standin.set(|switches| switches.max_answer = Some(1 << 20));
        ensure!(ask(2).await?["errCode"] == 8 && ask(1).await?["errCode"] == 0, "{version:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_restored_gives_other_ids() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.chat(3);
    let then = rig.standin.snapshot();
    rig.chat(2);
    let id = async |seq: i64| -> Result<String> {
        Ok(rig.pulled("alice", "sg_g", (seq, seq), 1).await?[0]["serverMsgID"].to_string())
    };
    let (third, fourth) = (id(3).await?, id(4).await?);
    rig.standin.restore(&then);
    ensure!(rig.standin.max_seq("sg_g") == 3, "back");
    rig.chat(1);
    ensure!(id(3).await? == third && id(4).await? != fourth, "the fourth is another one");
    rig.standin.wipe();
    rig.chat(1);
    ensure!(rig.standin.max_seq("sg_g") == 1 && rig.standin.rows()["sg_g"].len() == 1, "from the beginning");
    Ok(())
}
