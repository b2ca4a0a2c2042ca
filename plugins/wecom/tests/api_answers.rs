//! Answers: the contract's examples to the letter, and what they say of every other message.
#![allow(clippy::needless_pass_by_value, reason = "tables of json! values read better without ampersands")]

mod api_support;
use api_support::*;
use serde_json::{Value, json};

/// Fields whose values are the server's own: only their type is the contract's.
const OPAQUE: [&str; 3] = ["id", "chat_msg_id", "session_id"];

/// Whether an answer is an example: the same keys in the same order, the same types, the same values. With `extras`,
/// further keys may follow the example's.
fn check_like(example: &Value, answer: &Value, extras: bool, path: &str) {
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => {
            let keys: Vec<_> = answer.keys().collect();
            let expected: Vec<_> = example.keys().collect();
            let compared = if extras { &keys[..expected.len().min(keys.len())] } else { &keys[..] };
            assert_eq!(compared, expected, "keys of {path}");
            for (key, value) in example {
                check_like(value, &answer[key], extras, &format!("{path}.{key}"));
            }
        }
        (Value::Array(example), Value::Array(answer)) => {
            assert_eq!(example.len(), answer.len(), "length of {path}");
            for (index, (example, answer)) in example.iter().zip(answer).enumerate() {
                check_like(example, answer, extras, &format!("{path}[{index}]"));
            }
        }
        (Value::String(_), Value::String(answer)) if OPAQUE.iter().any(|key| path.ends_with(&format!(".{key}"))) => {
            assert!(!answer.is_empty(), "{path}");
        }
        _ => assert_eq!(example, answer, "{path}"),
    }
}

/// Bodies are written as text in scenarios, and travel as bytes.
fn with_bytes(mut reply: Value) -> Value {
    match &mut reply {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let taken = value.take();
                *value = match taken {
                    Value::String(text) if name == "body" => json!(text.as_bytes()),
                    other => with_bytes(other),
                };
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| *element = with_bytes(element.take())),
        _ => {}
    }
    reply
}

/// Play a scenario: the contract's request against a daemon that answers as told must give the contract's reply.
fn check_scenario(scenario: &str) {
    let scenario: Value = serde_json::from_str(scenario).expect("a scenario is JSON");
    let request = &scenario["request"];
    let params: Vec<(&str, &str)> = request["parameters"]
        .as_object()
        .expect("parameters are an object")
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().expect("parameters are texts")))
        .collect();
    for extras in [false, true] {
        let daemon = with_bytes(scenario["daemon"].clone());
        let api = Api::with(json!({ "go_spellings": extras }), move |op, _| {
            Ok(daemon.get(op).unwrap_or_else(|| panic!("the scenario does not answer {op}")).clone())
        });
        let path = request["path"].as_str().expect("a path");
        let reply = match request["method"].as_str() {
            Some("GET") => api.get(path, &params),
            _ => {
                let mut body = request["parameters"].clone();
                body["signature"] = hmac_hex(KEY, &raw_text(&params)).into();
                api.post(&body.to_string())
            }
        };
        check_like(&scenario["reply"], &reply, extras, "");
    }
}

#[test]
fn the_examples_of_the_contract() {
    check_scenario(include_str!("data/contract-000/sync.json"));
    check_scenario(include_str!("data/contract-000/sessions.json"));
    check_scenario(include_str!("data/contract-000/session-msgs.json"));
    check_scenario(include_str!("data/contract-000/search.json"));
}

const DIRECT: &str = "corp123/d/customer456/staff123";

/// A stored message of this type, with this body object under the key of its type.
fn stored(kind: &str, body: &str) -> Value {
    let plain = format!(
        r#"{{"msgid":"9_1700000000123_external","action":"send","from":"staff123","tolist":["customer456"],"msgtime":1700000000123,"msgtype":"{kind}","{kind}":{body}}}"#
    );
    json!({
        "id": 42, "native_id": "corp123/9_1700000000123_external", "conversation": DIRECT, "seq": 7,
        "sender": "corp123/staff123", "sent_at": 1_700_000_000_123_456_i64, "kind": kind, "text": "",
        "body": plain.as_bytes(),
    })
}

/// The answer to a request for the messages of a conversation that holds this one.
fn answered_in(conversation_id: &'static str, receiver: &str, message: Value, settings: Value) -> Value {
    let api = Api::with(settings, move |op, request| match op {
        "archive.query" => Ok(json!({ "rows": [message], "total": 1 })),
        "conversation.get" if request["native_id"] == conversation_id => {
            Ok(conversation(conversation_id).expect("a known conversation"))
        }
        _ => daemon(op, request),
    });
    let reply = api.get(MSGS, &changed(MSGS, &[("receiver_id", Some(receiver))]));
    assert_eq!(reply["code"], 0, "{reply}");
    reply["data"]["items"][0].clone()
}

fn answered(message: Value) -> Value {
    answered_in(DIRECT, "customer456", message, json!({ "go_spellings": false }))
}

/// `content` is the body byte for byte, `attachments` what is expected, in this order.
fn check_body(kind: &str, body: &str, attachments: Value) {
    let item = answered(stored(kind, body));
    let content = &item["chat_msg_content"];
    assert_eq!(content["content"], body, "{kind}");
    assert_eq!(content["content_type"], kind);
    assert_eq!((&content["file_url"], &content["file_name"]), (&json!(""), &json!("")), "{kind}");
    // Compared as text, so that the order counts.
    assert_eq!(item["attachments"].to_string(), attachments.to_string(), "{kind}");
}

#[test]
fn attachments_of_the_table() {
    check_body("text", r#"{"content":"您好"}"#, Value::Null);
    check_body(
        "image",
        r#"{"sdkfileid":"f","md5sum":"m","filesize":9}"#,
        json!({ "md5sum": "m", "sdkfileid": "f", "filesize": 9 }),
    );
    check_body(
        "file",
        r#"{"md5sum":"m","filename":"报价.pdf","fileext":"pdf","filesize":2048,"sdkfileid":"f"}"#,
        json!({ "md5sum": "m", "filename": "报价.pdf", "fileext": "pdf", "filesize": 2048, "sdkfileid": "f" }),
    );
    check_body(
        "voice",
        r#"{"md5sum":"m","voice_size":7,"play_length":3,"sdkfileid":"f"}"#,
        json!({ "md5sum": "m", "voice_size": 7, "play_length": 3, "sdkfileid": "f" }),
    );
    check_body(
        "card",
        r#"{"corpname":"微信联系人","Userid":"wmX"}"#,
        json!({ "corpname": "微信联系人", "userid": "wmX" }),
    );
    check_body(
        "location",
        r#"{"longitude":116.586285,"latitude":"39.99","address":"北京","zoom":15}"#,
        json!({ "longitude": 116.586_285, "latitude": 39.99, "address": "北京", "title": "", "zoom": 15 }),
    );
    check_body(
        "emotion",
        r#"{"type":1,"width":290,"height":290,"imagesize":962604,"md5sum":"m","sdkfileid":"f"}"#,
        json!({ "type": 1, "width": 290, "height": 290, "imagesize": 962_604, "md5sum": "m", "sdkfileid": "f" }),
    );
    check_body(
        "link",
        r#"{"title":"t","description":"d","link_url":"https://a/?b=1&c","image_url":""}"#,
        json!({ "title": "t", "description": "d", "link_url": "https://a/?b=1&c", "image_url": "" }),
    );
    check_body("revoke", r#"{"pre_msgid":"8_17"}"#, json!({ "pre_msgid": "8_17" }));
}

#[test]
fn listed_fields_are_there_whatever_was_sent() {
    check_body("image", "{}", json!({ "md5sum": "", "sdkfileid": "", "filesize": 0 }));
    check_body("image", r#"{"filesize":"12","md5sum":null}"#, json!({ "md5sum": "", "sdkfileid": "", "filesize": 12 }));
    check_body("image", r#"{"filesize":"big"}"#, json!({ "md5sum": "", "sdkfileid": "", "filesize": 0 }));
    check_body("revoke", r#"{"pre_msgid":17}"#, json!({ "pre_msgid": "17" }));
    check_body("card", "[1]", json!([1]));
    check_body("image", "null", json!({ "md5sum": "", "sdkfileid": "", "filesize": 0 }));
    let mut message = stored("card", "{}");
    message["body"] = json!(&br#"{"msgid":"9_17","msgtype":"card"}"#[..]);
    assert_eq!(answered(message)["attachments"], json!({ "corpname": "", "userid": "" }));
}

#[test]
fn other_types_keep_their_body() {
    let meeting = r#"{"topic":"周会","meetingid":18446744073709551615,"starttime": 1700000000 }"#;
    let item = answered(stored("meeting", meeting));
    assert_eq!(item["chat_msg_content"]["content"], meeting);
    assert_eq!(item["attachments"]["meetingid"], json!(u64::MAX), "numbers beyond 2^53 stay exact");
    let unknown = r#"{"a":[1,2,{"b":null}]}"#;
    assert_eq!(answered(stored("hologram", unknown))["attachments"], json!({ "a": [1, 2, { "b": null }] }));
    let video = answered(stored("video", r#"{"md5sum":"m","play_length":3}"#));
    assert_eq!(video["attachments"], json!({ "md5sum": "m", "play_length": 3 }));
}

#[test]
fn bodies_under_other_keys_are_found() {
    let cases = [
        ("docmsg", r#""doc":{"title":"周报"}"#, json!({ "title": "周报" })),
        ("external_redpacket", r#""redpacket":{"wish":"恭喜"}"#, json!({ "wish": "恭喜" })),
        ("markdown", r##""info":{"content":"# 标题"}"##, json!({ "content": "# 标题" })),
        ("vote", r#""votetitle":"午饭","votetype":101"#, json!({ "votetitle": "午饭", "votetype": 101 })),
    ];
    for (kind, members, attachments) in cases {
        let mut message = stored(kind, "{}");
        message["body"] = json!(format!(r#"{{"msgid":"9_17","msgtype":"{kind}",{members}}}"#).as_bytes());
        assert_eq!(answered(message)["attachments"], attachments, "{kind}");
    }
}

#[test]
fn bodies_that_are_no_clean_json_fail_no_page() {
    let mut message = stored("text", "{}");
    message["body"] = json!(&b"{\"msgtype\":\"text\",\"text\":{\"content\":\"a\x01b\"}}"[..]);
    assert_eq!(answered(message.clone())["chat_msg_content"]["content"], r#"{"content":"a\u0001b"}"#);
    for broken in [&b""[..], b"\xff\xfe", b"[]", b"{\"msgid\":"] {
        message["body"] = json!(broken);
        let item = answered(message.clone());
        assert_eq!(item["attachments"], Value::Null);
        assert_eq!(item["tolist"], json!([]));
        assert_eq!(
            (&item["action"], &item["from"], &item["msg_type"]),
            (&json!("send"), &json!("staff123"), &json!("text"))
        );
        assert!(serde_json::from_str::<Value>(item["chat_msg_content"]["content"].as_str().expect("a text")).is_ok());
    }
}

#[test]
fn files_have_absolute_links_once_they_are_stored() {
    let media =
        |link: &str| json!([{ "handle": "corp123/a/b+c=", "kind": "image", "name": "a.jpg", "size": 9, "link": link }]);
    let mut message = stored("image", r#"{"sdkfileid":"a/b+c="}"#);
    for (link, url) in [("/files/1?sig=x", "https://example.com/files/1?sig=x"), ("", "")] {
        message["media"] = media(link);
        let content = answered(message.clone())["chat_msg_content"].clone();
        assert_eq!((&content["file_url"], &content["file_name"]), (&json!(url), &json!("a.jpg")));
        assert_eq!(content.get("files"), None);
    }
    let mut mixed = stored("mixed", r#"{"item":[]}"#);
    mixed["media"] = json!([media("/files/1")[0], media("/files/2")[0]]);
    let content = answered(mixed)["chat_msg_content"].clone();
    assert_eq!(content["file_url"], "https://example.com/files/1");
    assert_eq!(
        content["files"][1],
        json!({ "sdkfileid": "a/b+c=", "content_type": "image", "filesize": 9,
                "file_url": "https://example.com/files/2", "file_name": "a.jpg" })
    );
}

#[test]
fn links_begin_where_clients_reach_the_listener() {
    for (base_url, avatar) in [
        ("http://archive:9002", "http://archive:9002/api/v1/chat-msg/avatar.svg"),
        ("https://im.example/wecom/", "https://im.example/wecom/api/v1/chat-msg/avatar.svg"),
        ("", "/api/v1/chat-msg/avatar.svg"),
    ] {
        let row = row(conversation(DIRECT).expect("known"), Value::Null);
        let api = Api::with(json!({}), move |op, request| match op {
            "conversation.list" => Ok(json!({ "rows": [row], "total": 1 })),
            _ => daemon(op, request),
        });
        let mut request = request("GET", SESSIONS, &signed_query(&needed(SESSIONS)));
        request.base_url = base_url.into();
        assert_eq!(body(&api.send(request))["data"]["items"][0]["peer_avatar"], avatar);
    }
}

#[test]
fn ids_are_those_clients_know() {
    let mut message = stored("text", r#"{"content":"群发"}"#);
    message["native_id"] = json!("corp123/9_1700000000123_external#customer456");
    message["id"] = json!(i64::MAX);
    let item = answered(message);
    assert_eq!(item["id"], "9223372036854775807");
    assert_eq!(item["chat_msg_content"]["chat_msg_id"], item["id"]);
    assert_eq!(item["msgid"], "9_1700000000123_external", "a further copy has the id WeCom gave");
    assert_eq!((&item["from"], &item["tolist"]), (&json!("staff123"), &json!(["customer456"])));
    assert_eq!(item["msg_time"], 1_700_000_000_123_i64);
    assert_eq!(item["seq"], 7);
    // Stable, and another one for another conversation.
    let again = answered(stored("image", "{}"));
    assert_eq!(item["session_id"], again["session_id"]);
    let room = answered_in("corp123/g/wrROOM", "wrROOM", stored("text", "{}"), json!({}));
    assert_ne!(item["session_id"], room["session_id"]);
}

#[test]
fn who_has_no_name_or_picture_is_shown_all_the_same() {
    let item = answered(stored("text", "{}"));
    assert_eq!(item["sender_name"], "staff123");
    assert_eq!(item["sender_avatar"], format!("{BASE_URL}{}", stele_wecom::api::AVATAR_PATH));
}

#[test]
fn the_original_of_a_recall_stays_and_is_marked() {
    let mut message = stored("text", r#"{"content":"口误"}"#);
    assert_eq!(answered(message.clone()).get("revoked"), None);
    message["revoked_at"] = json!(1_700_000_001_000_000_i64);
    let item = answered(message);
    assert_eq!(
        (&item["revoked"], &item["chat_msg_content"]["content"]),
        (&json!(true), &json!(r#"{"content":"口误"}"#))
    );
}

#[test]
fn rooms() {
    let item = answered_in("corp123/g/wrROOM", "wrROOM", stored("text", "{}"), json!({}));
    assert_eq!((&item["session_type"], &item["room_id"]), (&json!("group"), &json!("wrROOM")));
    // The Go spellings are extras, on unless switched off.
    assert_eq!(
        (&item["roomid"], &item["msgtime"], &item["msgtype"]),
        (&item["room_id"], &item["msg_time"], &item["msg_type"])
    );
}

/// The session of a row in the list.
fn session(row: Value) -> Value {
    let api = Api::with(json!({ "go_spellings": false }), move |op, request| match op {
        "conversation.list" => Ok(json!({ "rows": [row], "total": 1 })),
        _ => daemon(op, request),
    });
    api.get(SESSIONS, &needed(SESSIONS))["data"]["items"][0].clone()
}

fn row(conversation: Value, peer: Value) -> Value {
    json!({ "conversation": conversation, "peer": peer, "last": stored("text", "{}") })
}

fn check_peer(row: Value, id: &str, name: &str, wecom_type: &str, group: &str) {
    let item = session(row);
    let peer =
        ["peer_ext_id", "peer_name", "peer_type", "group_chat_name"].map(|key| item[key].as_str().expect("a text"));
    assert_eq!(peer, [id, name, wecom_type, group]);
    assert!(!item["peer_avatar"].as_str().expect("a text").is_empty());
}

#[test]
fn the_other_side_of_a_session() {
    let external = || conversation(DIRECT).expect("known");
    let person = |id: &str, name: &str, attributes: Value| json!({ "native_id": format!("corp123/{id}"), "kind": "customer", "name": name, "avatar": "", "attributes": attributes });
    check_peer(row(external(), person("customer456", "张三", json!(r#"{"type":1}"#))), "customer456", "张三", "1", "");
    check_peer(
        row(external(), person("customer456", "", json!(r#"{"type":2,"corp":"x"}"#))),
        "customer456",
        "customer456",
        "2",
        "",
    );
    check_peer(row(external(), person("customer456", "", json!("no JSON"))), "customer456", "customer456", "", "");
    check_peer(row(external(), person("wmX", "李", Value::Null)), "wmX", "李", "1", "");
    check_peer(row(external(), person("woX", "李", Value::Null)), "woX", "李", "2", "");
    check_peer(row(external(), Value::Null), "customer456", "customer456", "", "");
    let mut internal = external();
    internal["kind"] = json!("direct");
    check_peer(row(internal, person("wmadge", "马", json!(r#"{"type":1}"#))), "wmadge", "马", "", "");
    let group = |id: &str| conversation(id).expect("known");
    check_peer(row(group("corp123/g/wrROOM"), Value::Null), "wrROOM", "项目群", "", "项目群");
    check_peer(row(group("corp123/g/oddroom"), Value::Null), "oddroom", "oddroom", "", "");
}
