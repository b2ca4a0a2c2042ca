//! Every type of reference/wecom-archive.md §2.2, and the quirks of §2.3.

// Every argument is a literal, and reads best as one.
#![allow(clippy::needless_pass_by_value)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A message of this type between two people, with these fields beside the common envelope.
fn message(msgtype: &str, fields: Value) -> Vec<u8> {
    let mut message = json!({
        "msgid": "1_1700000000101_external", "action": "send", "from": "zhang", "tolist": ["wmABC"], "roomid": "",
        "msgtime": 1_700_000_000_101_i64, "msgtype": msgtype,
    });
    let object = message.as_object_mut().expect("it is an object");
    object.extend(fields.as_object().expect("fields are an object").clone());
    message.to_string().into_bytes()
}

/// Kind, text and files (`kind:id:name:size`) of a message.
fn read_back(plaintext: &[u8]) -> (String, String, Vec<String>) {
    let plain = Plain::parse(plaintext).expect("the message is JSON");
    let files = plain.files().into_iter().map(|file| {
        let size = file.size.map_or_else(String::new, |size| size.to_string());
        format!("{}:{}:{}:{size}", file.kind, file.sdkfileid, file.name.unwrap_or_default())
    });
    (plain.kind().into_owned(), plain.text(), files.collect())
}

fn check(msgtype: &str, fields: Value, text: &str, files: &[&str]) {
    let plaintext = message(msgtype, fields.clone());
    let (kind, found, media) = read_back(&plaintext);
    assert_eq!((kind.as_str(), found.as_str()), (msgtype, text), "{fields}");
    assert_eq!(media, files, "{fields}");
}

fn check_body(msgtype: &str, fields: Value, body: &Value) {
    let object = body_object(&message(msgtype, fields)).expect("the message is JSON");
    assert_eq!(serde_json::from_str::<Value>(object.get()).expect("a body is JSON"), *body, "{msgtype}");
}

#[test]
fn every_type_has_its_text_and_its_files() {
    check("text", json!({"text": {"content": "您好，有什么可以帮您？"}}), "您好，有什么可以帮您？", &[]);
    check("image", json!({"image": {"md5sum": "00", "filesize": 9, "sdkfileid": "F1"}}), "", &["image:F1::9"]);
    check("revoke", json!({"revoke": {"pre_msgid": "99_1"}}), "", &[]);
    check("agree", json!({"agree": {"userid": "wmABC", "agree_time": 1_700_000_000_000_i64}}), "", &[]);
    check("disagree", json!({"disagree": {"userid": "wmABC", "disagree_time": 1}}), "", &[]);
    check("disagree", json!({"agree": {"userid": "wmABC", "agree_time": 1}}), "", &[]);
    check(
        "voice",
        json!({"voice": {"md5sum": "00", "voice_size": 100, "play_length": 3, "sdkfileid": "F2"}}),
        "",
        &["voice:F2::100"],
    );
    check("video", json!({"video": {"filesize": 7, "play_length": 3, "sdkfileid": "F3"}}), "", &["video:F3::7"]);
    check("card", json!({"card": {"corpname": "微信联系人", "userid": "wmX"}}), "微信联系人", &[]);
    check(
        "location",
        json!({"location": {"longitude": 116.5, "latitude": 39.9, "address": "海淀区", "title": "中关村", "zoom": 15}}),
        "中关村\n海淀区",
        &[],
    );
    check(
        "emotion",
        json!({"emotion": {"type": 1, "width": 9, "height": 9, "imagesize": 33, "sdkfileid": "F4"}}),
        "",
        &["emotion:F4::33"],
    );
    check(
        "file",
        json!({"file": {"filename": "报价.pdf", "fileext": "pdf", "filesize": 2048, "sdkfileid": "F5"}}),
        "报价.pdf",
        &["file:F5:报价.pdf:2048"],
    );
    check(
        "file",
        json!({"file": {"filename": "合同", "fileext": "docx", "filesize": "12", "sdkfileid": "F6"}}),
        "合同",
        &["file:F6:合同.docx:12"],
    );
    check(
        "link",
        json!({"link": {"title": "标题", "description": "说明", "link_url": "https://a.example", "image_url": "https://b.example"}}),
        "标题\n说明",
        &[],
    );
    check(
        "weapp",
        json!({"weapp": {"title": "开始", "description": "介绍", "username": "gh@app", "displayname": "小程序"}}),
        "开始\n介绍\n小程序",
        &[],
    );
    check("todo", json!({"todo": {"title": "会议纪要", "content": "明天发出"}}), "会议纪要\n明天发出", &[]);
    check(
        "vote",
        json!({"vote": {"votetitle": "去哪", "voteitem": ["山", "海"], "votetype": 101, "voteid": "V"}}),
        "去哪\n山\n海",
        &[],
    );
    check("vote", json!({"votetitle": "去哪", "voteitem": ["山"], "votetype": 101, "voteid": "V"}), "去哪\n山", &[]);
    check(
        "collect",
        json!({"collect": {"room_name": "群", "creator": "li", "create_time": "2024-01-01", "title": "登记",
            "details": [{"id": 1, "ques": "姓名", "type": "Text"}, {"id": 2, "ques": "日期", "type": "Date"}]}}),
        "登记\n姓名\n日期",
        &[],
    );
    check(
        "redpacket",
        json!({"redpacket": {"type": 1, "wish": "恭喜发财", "totalcnt": 2, "totalamount": 300}}),
        "恭喜发财",
        &[],
    );
    check("external_redpacket", json!({"redpacket": {"type": 1, "wish": "大吉", "totalcnt": 2}}), "大吉", &[]);
    check(
        "meeting",
        json!({"meeting": {"topic": "周会", "starttime": 1, "endtime": 2, "address": "三楼", "remarks": "带电脑",
            "meetingtype": 101, "meetingid": 18_446_744_073_709_551_615_u64, "status": 1}}),
        "周会\n三楼\n带电脑",
        &[],
    );
    check(
        "meeting_notification",
        json!({"info": {"meeting_id": 1, "notification_type": 1, "content": "会议开始"}}),
        "会议开始",
        &[],
    );
    check(
        "docmsg",
        json!({"doc": {"title": "周报", "link_url": "https://d.example", "doc_creator": "li"}}),
        "周报",
        &[],
    );
    check("markdown", json!({"info": {"content": "# 通知\n**今天**放假"}}), "通知\n今天放假", &[]);
    check(
        "news",
        json!({"info": {"item": [{"title": "甲", "description": "乙", "url": "u", "picurl": "p"}, {"title": "丙"}]}}),
        "甲\n丙\n乙",
        &[],
    );
    check(
        "calendar",
        json!({"calendar": {"title": "评审", "creatorname": "张", "attendeename": ["李", "王"], "starttime": 1,
            "endtime": 2, "place": "五楼", "remarks": "准时"}}),
        "评审\n五楼\n准时\n张\n李\n王",
        &[],
    );
    check(
        "meeting_voice_call",
        json!({"voiceid": "V1", "meeting_voice_call": {"endtime": 1_700_000_300, "sdkfileid": "F7",
            "demofiledata": [{"filename": "演示.pptx", "demooperator": "li", "starttime": 1, "endtime": 2}],
            "sharescreendata": [{"share": "li", "starttime": 1, "endtime": 2}]}}),
        "演示.pptx",
        &["meeting_voice_call:F7::"],
    );
    check("meeting_voice_call", json!({"meetingvoicecall": {"sdkfileid": "F7"}}), "", &["meeting_voice_call:F7::"]);
    check(
        "voip_doc_share",
        json!({"voipid": "P", "voip_doc_share": {"filename": "共享.docx", "filesize": 5, "sdkfileid": "F8"}}),
        "共享.docx",
        &["voip_doc_share:F8:共享.docx:5"],
    );
    check("voiptext", json!({"info": {"callduration": 10, "invitetype": 1}}), "", &[]);
    check(
        "sphfeed",
        json!({"sphfeed": {"feed_type": 4, "sph_name": "视频号", "feed_desc": "新品"}}),
        "视频号\n新品",
        &[],
    );
    check("qydiskfile", json!({"info": {"filename": "微盘.xlsx"}}), "微盘.xlsx", &[]);
}

#[test]
fn records_inside_of_records_are_followed() {
    let inner = json!({"title": "里层", "item": [
        {"type": "ChatRecordText", "msgtime": 1_700_000_000, "content": "{\"content\":\"内层话\"}"},
        {"type": "ChatRecordFile", "msgtime": 1, "content": "{\"filename\":\"a.txt\",\"filesize\":3,\"sdkfileid\":\"N1\"}"}]});
    let outer = json!({"chatrecord": {"title": "聊天记录", "item": [
        {"type": "ChatRecordText", "msgtime": 1, "content": "{\"content\":\"第一句\"}", "from_chatroom": false},
        {"type": "ChatRecordImage", "msgtime": 1, "content": "{\"filesize\":9,\"sdkfileid\":\"N2\"}"},
        {"type": "ChatRecordMixed", "msgtime": 1, "content": json!({"item": [
            {"type": "text", "content": "{\"content\":\"看图\"}"},
            {"type": "image", "content": "{\"sdkfileid\":\"N3\"}"}]}).to_string()},
        {"type": "ChatRecordChatrecord", "msgtime": 1, "content": inner.to_string()},
        {"type": "ChatRecordText", "content": "不是 JSON"},
        {"type": "ChatRecordFuture", "content": "{\"headline\":\"新的\"}"}]}});
    check(
        "chatrecord",
        outer,
        "聊天记录\n第一句\n看图\n里层\n内层话\na.txt\n不是 JSON\n新的",
        &["image:N2::9", "image:N3::", "file:N1:a.txt:3"],
    );
    check(
        "mixed",
        json!({"mixed": {"item": [{"type": "text", "content": "{\"content\":\"看图\"}"},
            {"type": "image", "content": "{\"filesize\":9,\"sdkfileid\":\"M1\"}"}]}}),
        "看图",
        &["image:M1::9"],
    );
}

#[test]
fn nesting_without_end_is_cut() {
    let mut content = json!({"content": "底"}).to_string();
    for level in 0..40 {
        content =
            json!({"title": format!("层{level}"), "item": [{"type": "ChatRecordChatrecord", "content": content}]})
                .to_string();
        if content.len() > 1 << 20 {
            break;
        }
    }
    let fields = json!({"chatrecord": serde_json::from_str::<Value>(&content).expect("it was made as JSON")});
    let (_, text, _) = read_back(&message("chatrecord", fields));
    assert!(!text.contains('底') && text.lines().count() == MAX_DEPTH + 1, "{text}");
}

#[test]
fn unknown_types_are_searched_by_all_their_strings() {
    check(
        "solitaire",
        json!({"solitaire": {"subject": "午餐", "entries": [{"who": "li", "what": "米饭"}], "count": 2,
            "pic": {"sdkfileid": "U1", "md5sum": "0123456789ABCDEF0123456789abcdef"}}}),
        "午餐\nli\n米饭",
        &["solitaire:U1::"],
    );
    check("note", json!({"info": {"words": "记一下"}}), "记一下", &[]);
    check("future", json!({"headline": "顶层", "nested": "{\"deep\":\"里面\"}"}), "顶层\n里面", &[]);
    check("future", json!({"future": "只有字"}), "只有字", &[]);
}

#[test]
fn actions_and_missing_fields_do_not_matter() {
    let switch = br#"{"msgid":"1_2","action":"switch","time":1700000000000,"user":"zhang"}"#;
    let plain = Plain::parse(switch).expect("it is JSON");
    assert_eq!((plain.kind().as_ref(), plain.msgtime(), plain.tolist()), ("switch", Some(1_700_000_000_000), vec![]));
    assert_eq!(plain.text(), "");
    assert_eq!(body_object(switch).expect("it is JSON").get(), r#"{"time":1700000000000,"user":"zhang"}"#);

    let recall = br#"{"msgid":"2_2","action":"recall","from":"zhang","tolist":["li"],"msgtype":"revoke","revoke":{"pre_msgid":"1_1"}}"#;
    assert_eq!(Plain::parse(recall).expect("it is JSON").revokes().as_deref(), Some("1_1"));

    let empty = Plain::parse(b"{}").expect("it is JSON");
    assert_eq!((empty.kind().as_ref(), empty.msgtime(), empty.text().as_str()), ("unknown", None, ""));
    assert!(empty.files().is_empty() && empty.from().is_empty() && empty.revokes().is_none());

    for plaintext in [&b""[..], b"[]", b"42", b"\"text\"", b"\xff\xfe", b"{\"msgid\":"] {
        assert_eq!(Plain::parse(plaintext), None);
        assert!(body_object(plaintext).is_none());
    }
}

#[test]
fn receivers_come_once_and_whatever_their_shape() {
    for (tolist, expected) in [
        (json!(["li", "wang", "li", ""]), vec!["li", "wang"]),
        (json!("li"), vec!["li"]),
        (json!([7, null, {}]), vec!["7"]),
        (json!(null), vec![]),
        (json!([]), vec![]),
    ] {
        let plain = Plain::parse(&message("text", json!({ "tolist": tolist }))).expect("it is JSON");
        assert_eq!(plain.tolist(), expected);
    }
}

#[test]
fn times_come_in_either_unit() {
    for (time, expected) in [
        (json!(1_700_000_000), Some(1_700_000_000_000)),
        (json!(1_700_000_000_123_i64), Some(1_700_000_000_123)),
        (json!("1700000000123"), Some(1_700_000_000_123)),
        (json!(0), None),
        (json!(-5), None),
        (json!("soon"), None),
        (json!(1e300), None),
    ] {
        let plain = Plain::parse(&message("text", json!({ "msgtime": time }))).expect("it is JSON");
        assert_eq!(plain.msgtime(), expected, "{time}");
    }
}

#[test]
fn bodies_are_found_under_their_other_names() {
    check_body("text", json!({"text": {"content": "a"}}), &json!({"content": "a"}));
    check_body("external_redpacket", json!({"redpacket": {"wish": "a"}}), &json!({"wish": "a"}));
    check_body("docmsg", json!({"doc": {"title": "a"}}), &json!({"title": "a"}));
    check_body("markdown", json!({"info": {"content": "a"}}), &json!({"content": "a"}));
    check_body("vote", json!({"votetitle": "a", "voteid": "b"}), &json!({"votetitle": "a", "voteid": "b"}));
    check_body("card", json!({"Card": {"Userid": "a"}}), &json!({"Userid": "a"}));
}

#[test]
fn a_body_keeps_every_number_as_it_is_spelled() {
    let plaintext = br#"{"msgtype":"meeting","meeting":{"meetingid":18446744073709551616,"x":1.10,"y":1e2}}"#;
    let body = body_object(plaintext).expect("it is JSON");
    assert_eq!(body.get(), r#"{"meetingid":18446744073709551616,"x":1.10,"y":1e2}"#);
}

#[test]
fn an_md5_is_one_or_none() {
    for (md5sum, expected) in [
        ("0123456789ABCDEF0123456789abcdef", Some("0123456789abcdef0123456789abcdef")),
        ("", None),
        ("0123", None),
        ("0123456789ABCDEF0123456789abcdeg", None),
    ] {
        let plaintext = message("image", json!({"image": {"md5sum": md5sum, "sdkfileid": "F"}}));
        let files = Plain::parse(&plaintext).expect("it is JSON").files();
        assert_eq!(files[0].md5.as_deref(), expected, "{md5sum}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("item".to_owned()),
        Just("content".to_owned()),
        Just("type".to_owned()),
        Just("sdkfileid".to_owned()),
        Just("msgtype".to_owned()),
        Just("info".to_owned()),
        Just("tolist".to_owned()),
        Just("msgtime".to_owned()),
        Just("mixed".to_owned()),
        Just("chatrecord".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner.clone()), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_breaks_the_reader(value in any_json(), kind in prop::sample::select(kinds::KNOWN)) {
        for plaintext in [value.to_string().into_bytes(), message(kind.name, json!({ kind.name: value }))] {
            if let Some(plain) = Plain::parse(&plaintext) {
                let _ = (plain.kind(), plain.msgtime(), plain.tolist(), plain.text(), plain.files(), plain.revokes());
                let body = body_object(&plaintext).expect("what can be parsed has a body");
                prop_assert!(serde_json::from_str::<Value>(body.get()).is_ok());
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in any::<Vec<u8>>()) {
        prop_assert_eq!(Plain::parse(&bytes).is_some(), body_object(&bytes).is_some());
    }
}
