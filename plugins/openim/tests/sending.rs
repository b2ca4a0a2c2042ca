//! `/msg/send_msg` and `/msg/revoke_msg`.

mod support;

use serde_json::{Value, json};
use stele_openim::message::MsgData;
use stele_plugin_api::ErrorCode;
use stele_plugin_api::ops::ArchiveAppend;
use support::{NOW, Site};

const SEND: &str = "/msg/send_msg";
const REVOKE: &str = "/msg/revoke_msg";
/// 2020-01-01T00:00:00Z, in milliseconds.
const LONG_AGO: i64 = 1_577_836_800_000;

/// A text to a group, changed by these fields; `null` takes one out.
fn message(changes: &Value) -> Value {
    let mut message = json!({
        "sendID": "u_1", "groupID": "team", "senderNickname": "Ann", "senderFaceURL": "http://x/ann.png", "senderPlatformID": 5,
        "content": { "content": "hello" }, "contentType": 101, "sessionType": 3, "ex": "mine",
    });
    for (name, value) in changes.as_object().expect("changes are an object") {
        message[name] = value.clone();
    }
    message
}

fn picture() -> Value {
    let image =
        json!({ "uuid": "u/cat.png", "type": "png", "size": 1, "width": 1, "height": "2", "url": "http://x/cat.png" });
    json!({ "sourcePicture": image, "bigPicture": image, "snapshotPicture": image })
}

#[tokio::test]
async fn a_message_is_stored_when_it_is_answered() {
    let site = Site::new(json!({}));
    let sent = site.ask(SEND, &message(&json!({}))).await;
    let keys: Vec<_> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["serverMsgID", "clientMsgID", "sendTime"]);
    assert_eq!(sent["sendTime"], NOW / 1000);
    let stored = site.stored();
    let row = &stored.messages[0];
    assert_eq!(
        (row.native_id.as_str(), row.client_id.as_deref()),
        (sent["serverMsgID"].as_str().unwrap(), sent["clientMsgID"].as_str())
    );
    assert!(row.native_id.len() == 32 && row.native_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!((row.conversation.as_str(), row.seq, row.sender.as_str()), ("sg_team", 1, "u_1"));
    assert_eq!((row.sent_at, row.kind.as_str(), row.text.as_str()), (NOW, "101", "hello"));
    assert_eq!(
        (&stored.labels[&row.native_id], &stored.recipients[&row.native_id]),
        (&vec!["to:team".to_owned(), "session:3".to_owned()], &vec![])
    );
    let body: Value = serde_json::from_slice(&row.body).unwrap();
    let expected = json!({
        "sendID": "u_1", "recvID": "", "groupID": "team", "clientMsgID": sent["clientMsgID"], "serverMsgID": sent["serverMsgID"],
        "senderPlatformID": 5, "senderNickname": "Ann", "senderFaceURL": "http://x/ann.png", "sessionType": 3, "msgFrom": 200,
        "contentType": 101, "content": "eyJjb250ZW50IjoiaGVsbG8ifQ==", "sendTime": NOW / 1000, "createTime": NOW / 1000,
        "status": 2, "isRead": false, "options": {}, "offlinePushInfo": null, "atUserIDList": null, "attachedInfo": "",
        "ex": "mine",
    });
    assert_eq!(body, expected);
    assert_eq!(MsgData::of(row).seq, 1);
}

#[tokio::test]
async fn every_session_is_a_conversation() {
    let site = Site::new(json!({}));
    let two = json!({ "sessionType": 1, "recvID": "u_2" });
    let system = json!({ "sessionType": 4, "recvID": "u_2", "groupID": null });
    let announced = json!({ "notificationName": "Billing", "notificationType": 1, "text": "paid", "mixType": 0 });
    let announcement = json!({ "contentType": 1400, "sessionType": 1, "recvID": "u_2", "content": announced });
    for changes in [two, system, announcement] {
        site.ask(SEND, &message(&changes)).await;
    }
    let stored = site.stored();
    let told: Vec<_> = stored
        .messages
        .iter()
        .map(|row| (row.conversation.as_str(), row.text.as_str(), stored.labels[&row.native_id].join(" ")))
        .collect();
    let expected = [
        ("si_u_1_u_2", "hello", "to:u_2 session:1".to_owned()),
        ("sn_u_1_u_2", "hello", "to:u_2 session:4".to_owned()),
        ("sn_u_1_u_2", "Billing\npaid", "to:u_2 session:4".to_owned()),
    ];
    assert_eq!(told, expected);
    assert!(stored.recipients.values().all(|recipients| recipients == &["u_2"]));
    let announced = MsgData::of(&stored.messages[2]);
    let detail: Value = serde_json::from_str(&announced.content).unwrap();
    assert!(detail["detail"].as_str().unwrap().starts_with("{\"notificationName\":\"Billing\""), "{detail}");
    assert_eq!(announced.group_id, "", "a group is not whom it is for");
}

#[tokio::test]
async fn what_is_said_of_a_message_is_kept() {
    let site = Site::new(json!({}));
    let changes = json!({
        "sendTime": LONG_AGO, "notOfflinePush": true, "offlinePushInfo": { "title": "t", "desc": "d" }, "contentType": 106,
        "content": { "text": "@u_2 hi", "atUserList": ["u_2"], "more": { "kept": true } },
    });
    let sent = site.ask(SEND, &message(&changes)).await;
    assert_eq!(sent["sendTime"], LONG_AGO);
    let row = site.stored().messages[0].clone();
    let kept = MsgData::of(&row);
    assert_eq!((row.sent_at, kept.create_time), (LONG_AGO * 1000, NOW / 1000));
    assert_eq!(
        (&kept.options, &kept.offline_push_info),
        (&json!({ "offlinePush": false }), &changes["offlinePushInfo"])
    );
    assert_eq!(kept.at_user_id_list, json!(["u_2"]));
    assert_eq!(serde_json::from_str::<Value>(&kept.content).unwrap(), changes["content"]);
    // Names of fields are read whatever their case, and what is unknown is passed over.
    site.ask(SEND, &json!({ "SENDID": "u_1", "recvid": "u_2", "SessionType": 1, "contenttype": 101, "Content": { "Text": "x" }, "?": 1 })).await;
    assert_eq!(site.stored().messages.len(), 2);
}

#[tokio::test]
async fn what_is_for_those_who_are_online_is_not_stored() {
    let site = Site::new(json!({}));
    let sent = site.ask(SEND, &message(&json!({ "isOnlineOnly": true }))).await;
    assert!(sent["serverMsgID"].is_string());
    assert!(site.stored().messages.is_empty());
}

#[tokio::test]
async fn contents_are_checked_by_their_type() {
    let site = Site::new(json!({}));
    let video = json!({
        "videoUrl": "u", "videoType": "mp4", "videoSize": 1, "duration": 1, "snapshotUrl": "s", "snapshotWidth": 1, "snapshotHeight": 1,
    });
    let announced = json!({ "notificationName": "n", "notificationType": 1, "text": "t" });
    for (content_type, content) in [
        (101, json!({ "text": "as the contract has it" })),
        (101, json!({ "content": 7 })),
        (102, picture()),
        (103, json!({ "sourceUrl": "u", "duration": "3" })),
        (104, video.clone()),
        (105, json!({ "sourceUrl": "u", "fileName": "f", "fileSize": 1 })),
        (106, json!({ "atUserList": [] })),
        (110, json!({ "data": "{}" })),
        (114, json!({})),
        (118, json!({ "content": "# x" })),
        (1400, announced.clone()),
    ] {
        let changes = json!({ "contentType": content_type, "content": content, "recvID": "u_2" });
        site.ask(SEND, &message(&changes)).await;
    }
    let without = |mut content: Value, name: &str| {
        content.as_object_mut().unwrap().remove(name);
        content
    };
    let with = |mut content: Value, name: &str, value: Value| {
        content[name] = value;
        content
    };
    let named: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
    let mut odd_picture = picture();
    odd_picture["bigPicture"]["width"] = json!(0);
    for (content_type, content, wrong) in [
        (101, json!({}), "content.content is missing or empty"),
        (101, json!({ "content": "" }), "content.content is missing or empty"),
        (101, json!({ "content": {} }), "content.content is missing or empty"),
        (101, json!("hello"), "content has to be an object"),
        (101, json!(null), "content is missing"),
        (102, json!({}), "content.sourcePicture.type is missing or empty"),
        (102, odd_picture, "content.bigPicture.width is missing or 0"),
        (103, json!({ "sourceUrl": "u", "duration": 0 }), "content.duration has to be at least 1"),
        (104, without(video, "snapshotUrl"), "content.snapshotUrl is missing or empty"),
        (105, json!({ "sourceUrl": "u", "fileName": "f" }), "content.fileSize is missing or 0"),
        (106, json!({ "text": "x" }), "content.atUserList is missing"),
        (106, json!({ "atUserList": "u_2" }), "content.atUserList has to be a list"),
        (106, json!({ "atUserList": named }), "content.atUserList names more than 1000"),
        (110, json!({ "data": "" }), "content.data is missing or empty"),
        (118, json!({}), "content.content is missing or empty"),
        (1400, without(announced.clone(), "text"), "content.text is missing or empty"),
        (1400, with(announced.clone(), "mixType", json!(6)), "content.mixType has to be 0 to 5"),
        (1400, with(announced, "fileElem", json!({})), "content.fileElem.sourceUrl is missing or empty"),
        (107, json!({ "title": "x" }), "unsupported content type, contentType=107"),
        (0, json!({}), "unsupported content type, contentType=0"),
    ] {
        let changes = json!({ "contentType": content_type, "content": content, "recvID": "u_2" });
        let expected = (1001, wrong.to_owned());
        assert_eq!(site.refused(SEND, &message(&changes)).await, expected, "{content_type} {content}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let site = Site::new(json!({}));
    let long = "x".repeat(251);
    for (changes, wrong) in [
        (json!({ "sendID": null }), "sendID is missing or empty"),
        (json!({ "sendID": 7 }), "sendID has to be a string"),
        (json!({ "sendID": long }), "sendID has more than 250 bytes"),
        (json!({ "groupID": "" }), "groupID is missing or empty"),
        (json!({ "sessionType": 1 }), "recvID is missing or empty"),
        (json!({ "sessionType": 4 }), "recvID is missing or empty"),
        (json!({ "sessionType": 2 }), "unknown sessionType 2"),
        (json!({ "sessionType": null }), "unknown sessionType 0"),
        (json!({ "sessionType": "3" }), "sessionType has to be an int32"),
        (json!({ "contentType": "101" }), "contentType has to be an int32"),
        (json!({ "sendTime": -1 }), "sendTime has to be milliseconds since 1970"),
        (json!({ "sendTime": NOW }), "sendTime has to be milliseconds since 1970"),
        (json!({ "sendTime": "2026-04-09" }), "sendTime has to be an int64"),
        (json!({ "isOnlineOnly": "yes" }), "isOnlineOnly has to be true or false"),
        (json!({ "offlinePushInfo": "x" }), "offlinePushInfo has to be an object"),
        (json!({ "ex": {} }), "ex has to be a string"),
    ] {
        assert_eq!(site.refused(SEND, &message(&changes)).await, (1001, wrong.to_owned()), "{changes}");
    }
    assert!(site.stored().messages.is_empty());
}

#[tokio::test]
async fn what_was_not_stored_is_not_said_to_be() {
    let site = Site::new(json!({}));
    site.stored().failures = vec![ErrorCode::Invalid];
    assert_eq!(site.refused(SEND, &message(&json!({}))).await, (500, "the archive failed".to_owned()));
    // Where the outcome is not known, the same is tried once more.
    site.stored().failures = vec![ErrorCode::Unavailable];
    site.ask(SEND, &message(&json!({}))).await;
    let appends = site.mock.requests::<ArchiveAppend>();
    assert_eq!((appends.len(), &appends[1]), (3, &appends[2]));
    assert_eq!(site.stored().messages.len(), 1);
    // Two that say the same are two.
    site.ask(SEND, &message(&json!({}))).await;
    assert_eq!(site.stored().messages.len(), 2);
}

#[tokio::test]
async fn a_message_is_taken_back_once() {
    let site = Site::new(json!({}));
    site.ask(SEND, &message(&json!({}))).await;
    let revoke = |seq: i64| json!({ "conversationID": "sg_team", "seq": seq, "userID": "u_9" });
    for (sent, expected) in [
        (json!({ "conversationID": "sg_team", "seq": 1 }), (1001, "userID is missing or empty")),
        (json!({ "userID": "u_9", "seq": 1 }), (1001, "conversationID is missing or empty")),
        (revoke(-1), (1001, "seq is invalid")),
        (revoke(0), (1001, "seq is invalid")),
        (revoke(2), (1004, "msg not found")),
        (json!({ "conversationID": "sg_other", "seq": 1, "userID": "u_9" }), (1004, "msg not found")),
    ] {
        let (code, wrong) = site.refused(REVOKE, &sent).await;
        assert_eq!((code, wrong.as_str()), expected, "{sent}");
    }
    let answer = site.post(REVOKE, &revoke(1)).await;
    assert_eq!(answer, json!({ "errCode": 0, "errMsg": "", "errDlt": "" }));
    let row = site.stored().messages[0].clone();
    assert_eq!((row.revoked_at, row.revoked_by.as_deref(), row.text.as_str()), (Some(NOW), Some("u_9"), "hello"));
    assert_eq!(site.refused(REVOKE, &revoke(1)).await, (1404, String::new()));
}
