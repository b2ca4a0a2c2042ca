//! What is found of which content.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn check(content_type: i32, content: &Value, expected: &[&str]) {
    assert_eq!(readable(content_type, &content.to_string()), expected.join("\n"), "{content_type} {content}");
}

#[test]
fn texts() {
    check(101, &json!({ "content": "hello" }), &["hello"]);
    check(101, &json!({ "text": "hello" }), &["hello"]);
    check(101, &json!({ "content": "" }), &[]);
    check(101, &json!({ "said": "elsewhere" }), &["elsewhere"]);
    check(101, &json!({ "content": 5 }), &["5"]);
    check(110, &json!({ "data": [12.5, "Ann", true, null] }), &["12.5", "Ann", "true"]);
    check(118, &json!({ "content": "# Plan\nship **v1**" }), &["Plan", "ship v1"]);
    let entities = json!([{ "type": "url", "offset": 0, "length": 3, "url": "http://x" }, { "type": "b" }]);
    check(117, &json!({ "text": "see x", "messageEntityList": entities }), &["see x", "http://x"]);
}

#[test]
fn people_are_called_by_their_names() {
    let infos = json!([
        { "atUserID": "u_1", "groupNickname": "Ann" }, { "atUserID": "u_10", "groupNickname": "Bob" },
        { "atUserID": "u_2", "groupNickname": "" },
    ]);
    let content = json!({
        "text": "@u_10 and @u_1, @u_2 @AtAllTag: mail a@b.c @", "atUserList": ["u_10", "u_1", "AtAllTag"], "atUsersInfo": infos,
    });
    check(106, &content, &["@Bob and @Ann, @u_2 @everyone: mail a@b.c @"]);
    let quoting = json!({ "text": "@x", "quoteMessage": { "contentType": 101, "textElem": { "content": "why" } } });
    check(106, &quoting, &["@x", "why"]);
}

#[test]
fn files_are_found_by_name() {
    let picture =
        json!({ "sourcePicture": { "uuid": "a/b/cat.png", "url": "http://x/cat.png?sign=1", "type": "png" } });
    check(102, &picture, &["cat.png"]);
    check(102, &json!({ "sourcePicture": { "uuid": "u1", "url": "http://x/y/" } }), &["u1", "y"]);
    check(103, &json!({ "uuid": "u1", "sourceUrl": "http://x/v.mp3", "duration": 3 }), &[]);
    check(104, &json!({ "videoUrl": "http://x/film.mp4", "videoPath": "C:\\v\\film.mp4" }), &["film.mp4"]);
    check(105, &json!({ "fileName": "报价.xlsx", "sourceUrl": "http://x/1", "uuid": "u" }), &["报价.xlsx"]);
    check(105, &json!({ "name": "elsewhere.pdf" }), &["elsewhere.pdf"]);
}

#[test]
fn cards_places_and_what_apps_send() {
    check(108, &json!({ "userID": "u_1", "nickname": "Ann", "faceURL": "http://x" }), &["Ann", "u_1"]);
    check(109, &json!({ "description": "Bund", "longitude": 121.5, "latitude": 31.2 }), &["Bund"]);
    check(109, &json!({ "description": "{\"name\":\"Bund\",\"addr\":\"Shanghai\"}" }), &["Bund", "Shanghai"]);
    let custom = json!({ "data": "{\"order\":{\"title\":\"shoes\"}}", "description": "an order", "extension": "vip" });
    check(110, &custom, &["an order", "shoes", "vip"]);
    check(119, &json!({ "data": "plain", "extension": "" }), &["plain"]);
    check(115, &json!({ "index": 3, "data": "smile" }), &["smile"]);
}

#[test]
fn messages_within_messages() {
    let quoted =
        json!({ "contentType": 101, "sendID": "u_2", "senderNickname": "Bob", "textElem": { "content": "when?" } });
    check(114, &json!({ "text": "tomorrow", "quoteMessage": quoted }), &["tomorrow", "when?"]);
    let messages = json!([
        quoted,
        { "contentType": 105, "content": "{\"fileName\":\"a.pdf\"}" },
        { "contentType": 101, "content": "plain" },
        { "contentType": 107, "mergeElem": { "title": "inner", "multiMessage": [{ "contentType": 101, "content": "{\"content\":\"deep\"}" }] } },
        { "contentType": 999, "sendID": "u_3", "strangeElem": { "x": ["odd"] } },
        { "contentType": 103, "soundElem": { "uuid": "u" } },
        null, 7, [],
    ]);
    let content = json!({ "title": "Ann and Bob", "abstractList": ["Bob: when?"], "multiMessage": messages });
    check(107, &content, &["Ann and Bob", "Bob: when?", "when?", "a.pdf", "plain", "inner", "deep", "odd"]);
    check(107, &json!({ "messages": ["elsewhere"] }), &["elsewhere"]);
}

#[test]
fn messages_within_messages_end_somewhere() {
    let quoting = |inner, n: usize| json!({ "text": format!("t{n}"), "quoteMessage": { "contentType": 114, "quoteElem": inner } });
    let content = (0..20).fold(json!({ "text": "t" }), quoting);
    let lines = readable(114, &content.to_string());
    assert_eq!(lines.lines().count(), MAX_DEPTH + 1, "{lines}");
    // JSON within JSON within JSON.
    let nested = (0..12).fold("in".to_owned(), |inner, _| json!({ "data": inner }).to_string());
    assert!(readable(110, &nested).contains("in"));
}

#[test]
fn notices_are_sentences() {
    let notice = |content_type, detail: Value, expected: &str| {
        check(content_type, &json!({ "detail": detail.to_string() }), &[expected]);
    };
    let (ann, bob) = (json!({ "userID": "u_1", "nickname": "Ann" }), json!({ "userID": "u_2", "nickname": "" }));
    let group = json!({ "groupID": "g", "groupName": "Ops", "notification": "No work on Friday" });
    notice(
        1509,
        json!({ "group": group, "opUser": ann, "invitedUserList": [bob, { "nickname": "Carol" }] }),
        "Ann invited u_2, Carol (Ops)",
    );
    notice(1501, json!({ "group": group, "opUser": ann, "memberList": [ann, bob] }), "Ann created the group u_2 (Ops)");
    notice(1504, json!({ "group": group, "quitUser": ann }), "Ann left the group (Ops)");
    notice(1519, json!({ "group": group, "opUser": ann }), "Ann announced (Ops): No work on Friday");
    notice(1520, json!({ "group": group, "opUser": ann }), "Ann renamed the group (Ops)");
    let both = json!({ "fromUserID": "u_1", "toUserID": "u_2" });
    notice(1201, json!({ "fromToUserID": both, "handleMsg": "welcome" }), "u_1 accepted a friend request u_2: welcome");
    // Of no known shape, or no known type.
    notice(1508, json!({ "somebody": "Dave" }), "Dave");
    notice(1399, json!({ "somebody": "Dave" }), "Dave");
    notice(2001, json!({ "key": "pay", "data": "{\"sum\":\"seven\"}" }), "pay\nseven");
    check(1504, &json!({ "detail": "not JSON" }), &["not JSON"]);
    notice(
        1400,
        json!({ "notificationName": "Billing", "text": "paid", "url": "http://x", "ex": "y" }),
        "Billing\npaid",
    );
    notice(1400, json!({ "notificationName": "Billing", "said": "paid" }), "Billing\npaid");
}

#[test]
fn some_things_are_said_to_nobody() {
    for content_type in [113, 2101, 2102, 2200] {
        check(content_type, &json!({ "detail": "{\"revokerUserID\":\"u_1\"}" }), &[]);
        assert_eq!(readable(content_type, "x"), "");
    }
}

#[test]
fn what_is_no_json_is_a_text() {
    for text in ["hello", "{", "7", "[broken", "你好"] {
        assert_eq!(readable(101, text), text);
    }
    assert_eq!(readable(101, r#"{"content":"cut \ud83d"}"#), "cut \u{fffd}");
    assert_eq!((readable(101, ""), readable(101, "\"x\"")), (String::new(), "x".to_owned()));
}

/// Any JSON, with whatever keys the shapes have.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z@/{\\[\"]{0,8}".prop_map(Value::from),
        any::<i32>().prop_map(|kind| json!({ "contentType": kind })),
    ];
    let key = prop_oneof![
        "[a-zE]{1,6}",
        proptest::sample::select(vec![
            "content",
            "text",
            "detail",
            "quoteMessage",
            "quoteElem",
            "mergeElem",
            "multiMessage",
            "abstractList",
            "title",
            "atUsersInfo",
            "atUserID",
            "groupNickname",
            "sourcePicture",
            "uuid",
            "url",
            "data",
            "description",
            "contentType",
            "opUser",
            "group",
            "memberList",
            "nickname",
            "messageEntityList",
            "videoUrl",
            "fileName",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner.clone()), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// The texts of a value, JSON in texts not read.
fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts_of).collect(),
        Value::Object(fields) => fields.values().flat_map(texts_of).collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn anything_is_read(content_type in prop_oneof![100..=122, 1200..=1710, any::<i32>()], content in any_json(), text: String) {
        readable(content_type, &content.to_string());
        readable(content_type, &json!({ "detail": content.to_string() }).to_string());
        readable(content_type, &json!({ "text": "x", "quoteMessage": content, "multiMessage": [content] }).to_string());
        readable(content_type, &text);
    }

    #[test]
    fn every_text_of_an_unknown_shape_is_found(content in any_json(), content_type in prop_oneof![Just(0), Just(121), 3000..4000]) {
        let lines = readable(content_type, &content.to_string());
        for text in texts_of(&content).into_iter().filter(|text| parsed(text).is_none()) {
            prop_assert!(lines.contains(text), "{:?} is not in {:?}", text, lines);
        }
    }
}
