//! reference/openim.md §2.

use crate::rig::{ALL, Rig};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stele_tests::standin::openim::{Arrival, Say, Version};

const PATH: &str = "/msg/search_msg";
/// 2026-04-09T00:00Z.
const DAY: i64 = 1_775_692_800_000;

/// The request with its page.
fn paged(mut request: Value, number: i64, rows: i64) -> Value {
    request["pagination"] = json!({ "pageNumber": number, "showNumber": rows });
    request
}

/// Total and messages.
async fn found(rig: &Rig, request: Value) -> Result<(i64, Vec<Value>)> {
    let data = rig.data(PATH, &request).await?;
    let logs = data["chatLogs"].as_array().cloned().unwrap_or_default();
    let logs = logs.into_iter().map(|log| if log["chatLog"].is_null() { log } else { log["chatLog"].clone() });
    Ok((data["chatLogsNum"].as_i64().unwrap_or(-1), logs.collect()))
}

#[tokio::test]
async fn an_element_has_all_its_fields_and_its_versions_shape() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.standin.say(Say { face_url: "https://a/a.png".into(), ..Say::group("alice", "g", "hi") });
        let (chat, seq) = rig.standin.say(Say { nickname: "Ann".into(), ..Say::to("alice", "bob", "hello") });
        rig.standin.revoke(&chat, seq, "alice")?;
        let data = rig.data(PATH, &paged(json!({ "sendID": "alice" }), 1, 10)).await?;
        let element = &data["chatLogs"][1];
        let log = match version {
            Version::V380 => {
                ensure!(element.get("isRevoked").is_none(), "flat: {element}");
                element
            }
            _ => {
                ensure!(element["isRevoked"] == true && data["chatLogs"][0]["isRevoked"] == false, "{element}");
                &element["chatLog"]
            }
        };
        ensure!(log.as_object().is_some_and(|fields| fields.len() == 23), "{log}");
        ensure!(log["content"] == r#"{"content":"hello"}"# && log["contentType"] == 101, "the original: {log}");
        ensure!(log["senderNickname"] == "Ann" && log["recvNickname"] == "BOB" && log["recvID"] == "bob", "{log}");
        let group = found(&rig, paged(json!({ "recvID": "g" }), 1, 10)).await?.1.remove(0);
        for (name, value) in [
            ("recvID", json!("g")),
            ("groupID", json!("g")),
            ("groupName", json!("The group")),
            ("groupOwner", json!("alice")),
            ("groupMemberCount", json!(3)),
            ("groupType", json!(2)),
            ("groupFaceURL", json!("")),
            ("senderFaceURL", json!("https://x.example/g.png")),
            ("senderNickname", json!("ALICE")),
            ("recvNickname", json!("")),
        ] {
            ensure!(group[name] == value, "{name}: {group}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_rows_are_null() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.chat(3);
        let nothing = rig.data(PATH, &paged(json!({ "sendID": "bob" }), 1, 10)).await?;
        ensure!(nothing == json!({ "chatLogs": null, "chatLogsNum": 0 }), "{nothing}");
        // Without a page there are no rows, and they are counted.
        let unpaged = rig.data(PATH, &json!({ "recvID": "g" })).await?;
        ensure!(unpaged == json!({ "chatLogs": null, "chatLogsNum": 3 }), "{unpaged}");
        let code = match version {
            Version::Head | Version::V380 => 500,
            Version::V383 => 2,
        };
        ensure!(rig.ask(PATH, &paged(json!({}), 1, -1)).await?["errCode"] == code, "{version:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_receiver_is_one_direction_or_a_group() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.standin.say(Say::to("alice", "bob", "there"));
    rig.standin.say(Say::to("bob", "alice", "back"));
    rig.standin.say(Say { session: 4, ..Say::to("news", "bob", "system") });
    rig.standin.say(Say { session: 2, ..Say::group("bob", "old", "an old group") });
    rig.chat(2);
    for (request, count) in [
        (json!({ "recvID": "bob" }), 1),
        (json!({ "sendID": "alice", "recvID": "bob" }), 1),
        (json!({ "recvID": "g" }), 2),
        (json!({ "sessionType": 3 }), 2),
        (json!({ "sessionType": 1 }), 2),
        (json!({ "sessionType": 2 }), 0),
        (json!({ "sessionType": 4 }), 0),
        (json!({ "contentType": 101 }), 4),
        (json!({ "contentType": 102 }), 0),
        (json!({}), 4),
    ] {
        let (total, rows) = found(&rig, paged(request.clone(), 1, 10)).await?;
        ensure!((total, rows.len()) == (count, usize::try_from(count)?), "{request} {total}");
    }
    Ok(())
}

#[tokio::test]
async fn a_day_is_one_of_utc() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    for time in [DAY - 1, DAY, DAY + 86_399_999, DAY + 86_400_000] {
        rig.standin.say(Say { send_time: Some(time), ..Say::group("alice", "g", "hi") });
    }
    let day = json!({ "recvID": "g", "sendTime": "2026-04-09" });
    let (_, rows) = found(&rig, paged(day, 1, 10)).await?;
    ensure!(rows.iter().map(|row| row["seq"].as_i64()).collect::<Vec<_>>() == [Some(2), Some(3)], "{rows:?}");
    for bad in ["2026-4-9", "20260409", " 2026-04-09", "2026-02-30", "2026-04-09 "] {
        ensure!(rig.ask(PATH, &json!({ "sendTime": bad })).await?["errCode"] == 1001, "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn the_order_is_that_of_documents_and_pages_drift() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.standin.add_group("h", "Another", &["alice"]);
    rig.standin.say(Say { send_time: Some(9000), ..Say::group("alice", "g", "first conversation") });
    rig.standin.say(Say { send_time: Some(1), ..Say::group("alice", "h", "second") });
    let groups = async |number: i64, rows: i64| -> Result<Vec<String>> {
        let (_, rows) = found(&rig, paged(json!({}), number, rows)).await?;
        Ok(rows.iter().map(|row| format!("{}{}", row["groupID"].as_str().unwrap_or(""), row["seq"])).collect())
    };
    ensure!(groups(1, 10).await? == ["g1", "h1"], "not by time");
    ensure!(groups(1, 1).await? == ["g1"] && groups(0, 1).await? == ["g1"], "0 is the first page");
    // A message of the first conversation pushes the second off its page.
    rig.chat(1);
    ensure!(groups(2, 1).await? == ["g2"], "the reader never sees h1 here");
    ensure!(groups(3, 1).await? == ["h1"], "but here");
    Ok(())
}

#[tokio::test]
async fn conditions_that_different_messages_fulfil_lose_hits() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let early = |number: i64| Say { send_time: Some(DAY - 1), ..Say::group("alice", &format!("c{number}"), "before") };
    let late = |number: i64| Say { send_time: Some(DAY + 86_400_000), ..early(number) };
    for number in 0..60 {
        let group = format!("c{number}");
        rig.standin.add_group(&group, &group, &["alice"]);
        rig.standin.say(early(number));
        // Every second one says something on the day.
        if number % 2 == 0 {
            rig.standin.say(Say { send_time: Some(DAY), ..early(number) });
        }
        rig.standin.say(late(number));
    }
    let (total, rows) = found(&rig, paged(json!({ "sendTime": "2026-04-09" }), 1, 100)).await?;
    ensure!((total, rows.len()) == (25, 25), "of 30: {total}");
    // One condition alone loses nothing.
    ensure!(found(&rig, paged(json!({ "sendID": "alice" }), 1, 1)).await?.0 == 150, "all");
    Ok(())
}

#[tokio::test]
async fn a_count_is_no_more_than_some_looks_after_the_page() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    for number in 0..700 {
        let group = format!("c{number}");
        rig.standin.add_group(&group, &group, &["alice"]);
        rig.standin.say(Say::group("alice", &group, "hi"));
    }
    ensure!(found(&rig, paged(json!({}), 1, 20)).await?.0 == 550, "11 looks at 50 documents");
    ensure!(found(&rig, paged(json!({}), 4, 20)).await?.0 == 600, "the page is full later");
    Ok(())
}

#[tokio::test]
async fn what_holds_no_message_breaks_a_search_without_conditions_before_head() -> Result<()> {
    for (version, code) in [(Version::V380, 500), (Version::V383, 2), (Version::Head, 0)] {
        let rig = Rig::new(version).await?;
        rig.chat(5);
        let total = found(&rig, paged(json!({}), 1, 5)).await?.0;
        ensure!(total == if version == Version::Head { 5 } else { 100 }, "{version:?} {total}");
        ensure!(rig.ask(PATH, &paged(json!({}), 1, 6)).await?["errCode"] == code, "{version:?}");
        ensure!(found(&rig, paged(json!({ "recvID": "g" }), 1, 6)).await?.0 == 5, "with a condition");
        // A group that is unknown.
        rig.standin.say(Say::group("alice", "unknown", "hi"));
        let broken = if version == Version::V383 { 2 } else { 500 };
        let request = paged(json!({ "recvID": "unknown" }), 1, 6);
        ensure!(rig.ask(PATH, &request).await?["errCode"] == broken, "{version:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_for_all_or_not_there_yet_is_not_found() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    rig.chat(5);
    rig.standin.remove("sg_g", [2]);
    rig.standin.remove_for("alice", "sg_g", [3]);
    rig.standin.set(|switches| switches.arrival = Arrival::Unreadable);
    rig.chat(1);
    let request = || paged(json!({ "recvID": "g" }), 1, 9);
    ensure!(found(&rig, request()).await?.0 == 4, "the one deleted by herself is there");
    rig.standin.arrive();
    ensure!(found(&rig, request()).await?.0 == 5, "arrived");
    // A user's token is enough.
    let answer = rig.with(&rig.standin.token("c_d"), PATH, &request()).await?;
    ensure!(answer["data"]["chatLogsNum"] == 5, "{answer}");
    Ok(())
}
