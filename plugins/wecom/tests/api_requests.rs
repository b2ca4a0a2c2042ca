//! Every parameter, every way to get it wrong, and the documented answer; and what right ones ask of the daemon.
#![allow(clippy::needless_pass_by_value, reason = "tables of json! values read better without ampersands")]

mod api_support;
use api_support::*;
use serde_json::{Value, json};
use stele_plugin_api::{Error, ErrorCode};

/// Codes and sentences of the contract's error table, and the HTTP status each travels with.
fn check_failure(reply: &Value, code: u16, sentence: &str, what: &str) {
    assert_eq!(reply["code"], code, "{what}: {reply}");
    assert_eq!(reply["data"], Value::Null, "{what}");
    assert!(reply["message"].as_str().expect("a text").starts_with(sentence), "{what}: {reply}");
    let keys: Vec<_> = reply.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["code", "message", "data"], "{what}");
}

fn sentence(code: u16) -> &'static str {
    match code {
        0 => "success",
        400 => "请求参数错误",
        401 => "签名验证失败",
        403 => "权限不足",
        404 => "资源不存在",
        500 => "服务器内部错误",
        1001 => "企业ID无效",
        1002 => "员工ID无效",
        1003 => "会话类型无效",
        1004 => "消息类型无效",
        1005 => "时间格式错误",
        1006 => "分页参数错误",
        other => panic!("the contract has no code {other}"),
    }
}

/// Send the endpoint's parameters with one replaced (`None`: left out), signed well.
fn check(path: &str, name: &str, value: Option<&str>, code: u16) {
    let api = Api::new(json!({}));
    let reply = api.get(path, &changed(path, &[(name, value)]));
    let what = format!("{path} {name}={:?}", value.map(|value| value.chars().take(40).collect::<String>()));
    if code == 0 {
        assert_eq!(reply["code"], 0, "{what}: {reply}");
        assert_eq!(reply["message"], "success", "{what}");
    } else {
        check_failure(&reply, code, sentence(code), &what);
        let asked = api.mock.calls();
        // Only whether somebody is known needs the archive.
        assert!(code == 1002 || asked.is_empty(), "{what}: {asked:?}");
        assert!(!asked.iter().any(|op| op.starts_with("archive.")), "{what}: {asked:?}");
    }
}

fn check_all(paths: &[&str], name: &str, cases: &[(Option<&str>, u16)]) {
    for path in paths {
        for (value, code) in cases {
            check(path, name, *value, *code);
        }
    }
}

const QUERIES: [&str; 3] = [SESSIONS, MSGS, SEARCH];

#[test]
fn ext_corp_id() {
    let long = "c".repeat(5000);
    let cases = [
        (None, 400),
        (Some(""), 400),
        (Some("corp123"), 0),
        (Some("corp999"), 1001),
        (Some("CORP123"), 1001),
        (Some("corp123/"), 1001),
        (Some("corp123\0"), 1001),
        (Some("-1"), 1001),
        (Some("企业"), 1001),
        (Some(long.as_str()), 1001),
    ];
    check_all(&QUERIES, "ext_corp_id", &cases);
}

#[test]
fn ext_staff_id() {
    let (longest, long) = ("s".repeat(64), "s".repeat(65));
    let cases = [
        (None, 400),
        (Some(""), 400),
        (Some("staff123"), 0),
        (Some("nobody"), 1002),
        (Some("STAFF123"), 1002),
        (Some("-1"), 1002),
        (Some("员工"), 1002),
        (Some("staff123\0"), 1002),
        (Some("staff123\n"), 1002),
        (Some("../corp456/x"), 1002),
        (Some(longest.as_str()), 1002),
        (Some(long.as_str()), 1002),
    ];
    check_all(&QUERIES, "ext_staff_id", &cases);
}

#[test]
fn session_type() {
    let cases = [
        (None, 400),
        (Some(""), 400),
        (Some("internal"), 0),
        (Some("external"), 0),
        (Some("group"), 0),
        (Some("room"), 0),
        (Some("Group"), 1003),
        (Some("1"), 1003),
        (Some("内部"), 1003),
        (Some("group "), 1003),
    ];
    check_all(&[SESSIONS], "session_type", &cases);
    for (word, kind) in [("internal", "direct"), ("external", "external"), ("group", "group"), ("room", "group")] {
        let api = Api::new(json!({}));
        api.get(SESSIONS, &changed(SESSIONS, &[("session_type", Some(word))]));
        assert_eq!(api.asked("conversation.list").expect("asked")["kind"], kind, "{word}");
    }
}

#[test]
fn name() {
    let (longest, long) = ("张".repeat(1000), "张".repeat(1001));
    let cases = [
        (Some(""), 0),
        (Some("张"), 0),
        (Some("100%_\\"), 0),
        (Some(longest.as_str()), 0),
        (Some(long.as_str()), 400),
        (Some("张\0"), 0),
    ];
    check_all(&[SESSIONS], "name", &cases);
    let api = Api::new(json!({}));
    api.get(SESSIONS, &changed(SESSIONS, &[("name", Some("100%_"))]));
    assert_eq!(api.asked("conversation.list").expect("asked")["name"], "100%_");
    api.get(SESSIONS, &changed(SESSIONS, &[("name", Some(""))]));
    assert_eq!(api.asked("conversation.list").expect("asked").get("name"), None);
}

#[test]
fn peers() {
    let (longest, long) = ("p".repeat(128), "p".repeat(129));
    let cases = [
        (None, 400),
        (Some(""), 400),
        (Some("customer456"), 0),
        (Some("stranger"), 0),
        (Some("客户"), 0),
        (Some(longest.as_str()), 0),
        (Some("x\0"), 400),
        (Some("x\ty"), 400),
        (Some(long.as_str()), 400),
    ];
    check_all(&[MSGS], "receiver_id", &cases);
    check_all(&[SEARCH], "ext_peer_id", &cases);
}

#[test]
fn a_peer_is_a_person_or_a_room() {
    let cases = [
        ("customer456", Some("corp123/d/customer456/staff123")),
        ("wrROOM", Some("corp123/g/wrROOM")),
        ("oddroom", Some("corp123/g/oddroom")),
        ("wrOTHER", None),
        ("stranger", None),
        ("wrSTRANGER", None),
        ("customer456/x", None),
        ("../g/wrROOM", None),
        ("wrROOM#x", None),
    ];
    for (peer, conversation) in cases {
        for (path, name, op) in [(MSGS, "receiver_id", "archive.query"), (SEARCH, "ext_peer_id", "archive.search")] {
            let api = Api::new(json!({}));
            let reply = api.get(path, &changed(path, &[(name, Some(peer))]));
            assert_eq!(
                reply,
                json!({ "code": 0, "message": "success", "data": { "items": [], "total": 0 } }),
                "{peer}"
            );
            let asked = api.asked(op).map(|query| query["conversation"].clone());
            assert_eq!(asked, conversation.map(Value::from), "{path} {peer}");
        }
    }
}

#[test]
fn keyword() {
    let (longest, long) = ("字".repeat(1000), "字".repeat(1001));
    let cases = [
        (None, 400),
        (Some(""), 400),
        (Some("字"), 0),
        (Some(" "), 0),
        (Some("%"), 0),
        (Some("*"), 0),
        (Some("\"a\" OR b:c"), 0),
        (Some("👍🏽"), 0),
        (Some(longest.as_str()), 0),
        (Some(long.as_str()), 400),
        (Some("a\0b"), 0),
    ];
    check_all(&[SEARCH], "keyword", &cases);
    let api = Api::new(json!({}));
    api.get(SEARCH, &changed(SEARCH, &[("keyword", Some(" a*b%_ "))]));
    assert_eq!(api.asked("archive.search").expect("asked")["text"], " a*b%_ ", "literally");
}

#[test]
fn msg_type() {
    let long = "text".repeat(1000);
    let cases = [
        (Some(""), 0),
        (Some("Text"), 1004),
        (Some("texts"), 1004),
        (Some("1"), 1004),
        (Some("文本"), 1004),
        (Some("text,image"), 1004),
        (Some("text\0"), 1004),
        (Some(long.as_str()), 1004),
    ];
    check_all(&[MSGS], "msg_type", &cases);
    for kind in stele_wecom::content::kinds::KNOWN {
        check(MSGS, "msg_type", Some(kind.name), 0);
    }
    let kinds = [
        ("text", json!(["text"])),
        ("doc", json!(["docmsg"])),
        ("recall", json!(["revoke"])),
        ("meetingvoicecall", json!(["meeting_voice_call", "meetingvoicecall"])),
        ("meeting_voice_call", json!(["meeting_voice_call", "meetingvoicecall"])),
    ];
    for (word, expected) in kinds {
        let api = Api::new(json!({}));
        api.get(MSGS, &changed(MSGS, &[("msg_type", Some(word))]));
        assert_eq!(api.asked("archive.query").expect("asked")["kinds"], expected, "{word}");
    }
}

#[test]
fn dates() {
    let cases = [
        (Some(""), 0),
        (Some("2024-01-31"), 0),
        (Some("2024-02-29"), 0),
        (Some("2024-01-31 23:59:59"), 0),
        (Some("0001-01-01"), 0),
        (Some("9999-12-31"), 0),
        (Some("2023-02-29"), 1005),
        (Some("2024-13-01"), 1005),
        (Some("2024-00-01"), 1005),
        (Some("2024-1-1"), 1005),
        (Some("2024/01/31"), 1005),
        (Some("20240131"), 1005),
        (Some("2024-01-31T00:00:00"), 1005),
        (Some("2024-01-31 24:00:00"), 1005),
        (Some("2024-01-31 00:00"), 1005),
        (Some("2024-01-31 "), 1005),
        (Some(" 2024-01-31"), 1005),
        (Some("-2024-01-31"), 1005),
        (Some("+2024-01-31"), 1005),
        (Some("12024-01-31"), 1005),
        (Some("２０２４-01-31"), 1005),
        (Some("2024-01-31\0"), 1005),
        (Some("1706659200"), 1005),
        (Some("yesterday"), 1005),
    ];
    check_all(&[MSGS], "send_at_start", &cases);
    check_all(&[MSGS], "send_at_end", &cases);
}

#[test]
fn a_range_of_dates_is_in_order() {
    let cases = [
        ("2024-01-01", "2024-01-31", 0),
        ("2024-01-01", "2024-01-01", 0),
        ("2024-01-02", "2024-01-01", 1005),
        ("2024-01-01 12:00:00", "2024-01-01", 0),
        ("2024-01-01 12:00:00", "2024-01-01 12:00:00", 0),
        ("2024-01-01 12:00:01", "2024-01-01 12:00:00", 1005),
    ];
    for (start, end, code) in cases {
        let api = Api::new(json!({}));
        let params = changed(MSGS, &[("send_at_start", Some(start)), ("send_at_end", Some(end))]);
        assert_eq!(api.get(MSGS, &params)["code"], code, "{start} to {end}");
    }
    let api = Api::new(json!({ "time_zone": "Asia/Shanghai" }));
    let params = changed(MSGS, &[("send_at_start", Some("2024-01-01")), ("send_at_end", Some("2024-01-31"))]);
    api.get(MSGS, &params);
    let asked = api.asked("archive.query").expect("asked");
    assert_eq!(asked["since"], 1_704_038_400_000_000_i64, "2023-12-31T16:00:00Z");
    assert_eq!(asked["until"], 1_706_716_800_000_000_i64, "2024-01-31T16:00:00Z");
}

#[test]
fn anchors() {
    let cases = [
        (Some(""), 0),
        (Some("0"), 0),
        (Some("42"), 0),
        (Some("9223372036854775807"), 0),
        (Some("9223372036854775808"), 400),
        (Some("99999999999999999999999"), 400),
        (Some("-1"), 400),
        (Some("+1"), 400),
        (Some("1.0"), 400),
        (Some("msg001"), 400),
        (Some(" 1"), 400),
        (Some("１"), 400),
        (Some("1\0"), 400),
    ];
    check_all(&[MSGS], "max_id", &cases);
    check_all(&[MSGS], "min_id", &cases);
}

/// What a query of messages becomes.
fn check_query(settings: Value, changes: &[(&str, &str)], expected: Value) {
    let api = Api::new(settings);
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, Some(*value))).collect();
    assert_eq!(api.get(MSGS, &changed(MSGS, &changes))["code"], 0, "{changes:?}");
    let asked = api.asked("archive.query").expect("asked");
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(asked.get(name).unwrap_or(&Value::Null), value, "{name} of {changes:?}");
    }
}

#[test]
fn anchors_and_orders_become_one_query() {
    let old = || json!({ "anchor_ascending": true });
    let plain = || json!({});
    check_query(plain(), &[], json!({ "order": "sent_at", "descending": true, "after": null, "before": null }));
    check_query(plain(), &[("max_id", "7")], json!({ "after": 7, "before": null, "descending": true }));
    check_query(plain(), &[("min_id", "7")], json!({ "after": null, "before": 7, "descending": true }));
    check_query(
        plain(),
        &[("max_id", "7"), ("min_id", "9"), ("page", "2")],
        json!({ "after": 7, "before": 9, "offset": 20 }),
    );
    check_query(old(), &[], json!({ "descending": true }));
    check_query(old(), &[("max_id", "7")], json!({ "descending": false }));
    check_query(old(), &[("min_id", "7")], json!({ "descending": false }));
    check_query(old(), &[("min_id", "7"), ("sort_type", "desc")], json!({ "descending": true }));
    check_query(plain(), &[("sort_type", "asc")], json!({ "order": "sent_at", "descending": false }));
    for (word, order) in [("id", "id"), ("msg_time", "sent_at"), ("msgtime", "sent_at"), ("seq", "seq")] {
        check_query(plain(), &[("sort_field", word)], json!({ "order": order, "descending": true }));
    }
}

#[test]
fn sorting() {
    let fields = [
        (Some(""), 0),
        (Some("id"), 0),
        (Some("msg_time"), 0),
        (Some("msgtime"), 0),
        (Some("seq"), 0),
        (Some("MSG_TIME"), 400),
        (Some("content_text"), 400),
        (Some("id; drop table message"), 400),
        (Some("`id`"), 400),
        (Some("\0"), 400),
        (Some("1"), 400),
    ];
    check_all(&[MSGS], "sort_field", &fields);
    let types =
        [(Some(""), 0), (Some("asc"), 0), (Some("desc"), 0), (Some("ASC"), 400), (Some("up"), 400), (Some("-1"), 400)];
    check_all(&[MSGS], "sort_type", &types);
}

#[test]
fn paging() {
    let cases = [
        (Some(""), 0),
        (Some("0"), 0),
        (Some("1"), 0),
        (Some("007"), 0),
        (Some("4294967295"), 0),
        (Some("4294967296"), 1006),
        (Some("99999999999999999999"), 1006),
        (Some("-1"), 1006),
        (Some("-0"), 1006),
        (Some("+1"), 1006),
        (Some("1.5"), 1006),
        (Some("1e3"), 1006),
        (Some("0x10"), 1006),
        (Some(" 1"), 1006),
        (Some("abc"), 1006),
        (Some("１"), 1006),
        (Some("1\0"), 1006),
    ];
    check_all(&QUERIES, "page", &cases);
    check_all(&QUERIES, "page_size", &cases);
}

#[test]
fn the_page_that_is_answered_is_told() {
    let cases = [
        (None, None, 1, 20, 0),
        (Some("0"), Some("0"), 1, 20, 0),
        (Some("3"), None, 3, 20, 40),
        (Some("2"), Some("50"), 2, 50, 50),
        (Some("2"), Some("100"), 2, 100, 100),
        (Some("2"), Some("101"), 2, 100, 100),
        (Some("1"), Some("5000"), 1, 100, 0),
        (Some("4294967295"), Some("100"), 4_294_967_295_u64, 100, 429_496_729_400_u64),
    ];
    for (page, page_size, told, size, offset) in cases {
        let api = Api::new(json!({}));
        let reply = api.get(SESSIONS, &changed(SESSIONS, &[("page", page), ("page_size", page_size)]));
        let pager = json!({ "page": told, "page_size": size, "total_rows": 0 });
        let data = json!({ "items": [], "total": 0, "page": told, "page_size": size, "pager": pager });
        assert_eq!(reply["data"], data, "{page:?} {page_size:?}");
        for (path, op) in [(SESSIONS, "conversation.list"), (MSGS, "archive.query"), (SEARCH, "archive.search")] {
            api.get(path, &changed(path, &[("page", page), ("page_size", page_size)]));
            let asked = api.asked(op).expect("asked");
            assert_eq!(
                (&asked["offset"], &asked["limit"]),
                (&json!(offset), &json!(size)),
                "{op} {page:?} {page_size:?}"
            );
        }
    }
}

/// Parameters an endpoint does not know are signed, and otherwise ignored.
#[test]
fn unknown_parameters() {
    for path in QUERIES {
        for value in ["", "1", "张\0三", "a&b=c"] {
            check(path, "utm_source", Some(value), 0);
            let unsigned = format!("{}&utm_source={}", signed_query(&needed(path)), form(value));
            assert_eq!(Api::new(json!({})).send_query(path, &unsigned)["code"], 401, "{path}");
        }
    }
}

#[test]
fn queries_that_cannot_be_read() {
    let long = format!("keyword={}", "a".repeat(20_000));
    let many = (0..70).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
    let suffixes = [
        "keyword=%ff",
        "keyword=%E4%BA",
        "keyword=%c0%80",
        "keyword=%ed%a0%80",
        "%ff=1",
        "keyword=%",
        "keyword=%4",
        "keyword=%zz",
        "keyword=%+1",
        "keyword=%%34",
        "ext_corp_id=corp123&ext_corp_id=corp123",
        "ext_corp_id=corp123&ext%5Fcorp_id=corp456",
        "a&a",
        "signature=1&signature=2",
        long.as_str(),
        many.as_str(),
    ];
    for path in QUERIES {
        for query in suffixes {
            let reply = Api::new(json!({})).send_query(path, query);
            check_failure(&reply, 400, "请求参数错误", &query.chars().take(40).collect::<String>());
        }
        // A duplicate is refused even when everything is signed.
        let twice = format!("{}&ext_staff_id=staff123", signed_query(&needed(path)));
        check_failure(&Api::new(json!({})).send_query(path, &twice), 400, "请求参数错误", "signed twice");
    }
}

#[test]
fn empty_pairs_and_bare_names_are_harmless() {
    let signature = hmac_hex(KEY, &raw_text(&changed(SESSIONS, &[("flag", Some(""))])));
    let query = format!("&&{}&flag&&signature={signature}&", query(&needed(SESSIONS)));
    assert_eq!(Api::new(json!({})).send_query(SESSIONS, &query)["code"], 0);
}

/// As `curl` sends what is typed.
#[test]
fn a_query_may_be_unescaped() {
    let text = raw_text(&needed(SEARCH));
    let api = Api::new(json!({}));
    assert_eq!(api.send_query(SEARCH, &format!("{text}&signature={}", hmac_hex(KEY, &text)))["code"], 0);
    assert_eq!(api.asked("archive.search").expect("asked")["text"], "产品介绍");
}

#[test]
fn routes() {
    let cases = [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/api/v1/chat-msg"),
        ("GET", "/api/v1/chat-msg/"),
        ("GET", "/api/v1/chat-msg/sessions/"),
        ("GET", "//api/v1/chat-msg/sessions"),
        ("GET", "/api/v2/chat-msg/sessions"),
        ("GET", "/api/v1/chat-msg/%73essions"),
        ("GET", "/api/v1/chat-msg/../chat-msg/sessions"),
        ("POST", SESSIONS),
        ("PUT", SESSIONS),
        ("DELETE", MSGS),
        ("POST", SEARCH),
        ("GET", SYNC),
        ("OPTIONS", SYNC),
        ("POST", stele_wecom::api::AVATAR_PATH),
    ];
    for (method, path) in cases {
        let api = Api::new(json!({}));
        let reply = api.send(request(method, path, &signed_query(&needed(SESSIONS))));
        assert_eq!(reply.status, 404, "{method} {path}");
        assert_eq!(body(&reply), json!({ "code": 404, "message": "资源不存在", "data": null }), "{method} {path}");
    }
}

#[test]
fn the_common_avatar_needs_no_signature() {
    let reply = Api::new(json!({})).send(request("GET", stele_wecom::api::AVATAR_PATH, ""));
    assert_eq!(reply.status, 200);
    assert!(reply.headers.contains(&("content-type".into(), "image/svg+xml".into())));
    assert!(reply.body.starts_with(b"<svg ") && reply.body.ends_with(b"</svg>"));
}

fn sync_body(members: &str, signature: &str) -> String {
    format!(r#"{{{members},"signature":"{signature}"}}"#)
}

#[test]
fn sync_bodies() {
    let good = hmac_hex(KEY, "ext_corp_id=corp123");
    let unknown = hmac_hex(KEY, "ext_corp_id=corp999");
    let deep = format!(r#"{{"ext_corp_id":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let huge = format!(r#"{{"ext_corp_id":"{}"}}"#, "c".repeat(20_000));
    let cases = [
        (sync_body(r#""ext_corp_id":"corp123""#, &good), 0, "同步任务已启动"),
        (sync_body(r#""ext_corp_id":"\u0063orp123""#, &good), 0, "同步任务已启动"),
        (
            sync_body(
                r#""ext_corp_id":"corp123","n":1.50,"b":true"#,
                &hmac_hex(KEY, "b=true&ext_corp_id=corp123&n=1.50"),
            ),
            0,
            "同步任务已启动",
        ),
        (sync_body(r#""ext_corp_id":"corp999""#, &unknown), 1001, "企业ID无效"),
        (sync_body(r#""ext_corp_id":"corp123""#, &unknown), 400, "签名验证失败"),
        (sync_body(r#""ext_corp_id":"corp123","extra":"""#, &good), 400, "签名验证失败"),
        (sync_body(r#""ext_corp_id":123"#, &good), 400, "签名验证失败"),
        (sync_body(r#""ext_corp_id":-1"#, &hmac_hex(KEY, "ext_corp_id=-1")), 1001, "企业ID无效"),
        (sync_body(r#""ext_corp_id":"""#, &hmac_hex(KEY, "ext_corp_id=")), 400, "请求参数错误：缺少参数"),
        (sync_body(r#""other":"x""#, &hmac_hex(KEY, "other=x")), 400, "请求参数错误：缺少参数"),
        (r#"{"ext_corp_id":"corp123"}"#.to_owned(), 400, "签名验证失败"),
        (r#"{"ext_corp_id":"corp123","signature":7}"#.to_owned(), 400, "签名验证失败"),
        (r#"{"ext_corp_id":"corp123","signature":""}"#.to_owned(), 400, "签名验证失败"),
        ("{}".to_owned(), 400, "签名验证失败"),
        (String::new(), 400, "签名验证失败"),
        (sync_body(r#""ext_corp_id":"corp123","ext_corp_id":"corp123""#, &good), 400, "请求参数错误：参数重复"),
        (r#"{"signature":"a","signature":"b"}"#.to_owned(), 400, "请求参数错误：参数重复"),
        (sync_body(r#""ext_corp_id":null"#, &good), 400, "请求参数错误"),
        (sync_body(r#""ext_corp_id":["corp123"]"#, &good), 400, "请求参数错误"),
        (sync_body(r#""ext_corp_id":{"a":"corp123"}"#, &good), 400, "请求参数错误"),
        (sync_body(r#""ext_corp_id":"\ud800""#, &good), 400, "请求参数错误"),
        ("[]".to_owned(), 400, "请求参数错误"),
        ("null".to_owned(), 400, "请求参数错误"),
        ("\"text\"".to_owned(), 400, "请求参数错误"),
        ("{".to_owned(), 400, "请求参数错误"),
        ("{} {}".to_owned(), 400, "请求参数错误"),
        (deep, 400, "请求参数错误"),
        (huge, 400, "请求参数错误"),
    ];
    for (sent, code, message) in &cases {
        let api = Api::new(json!({}));
        let reply = api.post(sent);
        let what = sent.chars().take(90).collect::<String>();
        assert_eq!(reply["code"], *code, "{what}: {reply}");
        assert!(reply["message"].as_str().expect("a text").starts_with(message), "{what}: {reply}");
        assert_eq!(reply["data"], Value::Null, "{what}");
        assert_eq!(api.asked("job.start").is_some(), *code == 0, "{what}");
    }
    let mut request = request("POST", SYNC, "");
    request.body = b"{\"ext_corp_id\":\"\xff\"}".to_vec().into();
    check_failure(&body(&Api::new(json!({})).send(request)), 400, "请求参数错误", "not UTF-8");
}

#[test]
fn sync_reads_json_under_any_content_type_and_forms() {
    let signature = hmac_hex(KEY, "ext_corp_id=corp123");
    let form_type = "application/x-www-form-urlencoded; charset=utf-8";
    let json_body = sync_body(r#""ext_corp_id":"corp123""#, &signature);
    let form_body = format!("ext_corp_id=corp123&signature={signature}");
    let cases = [
        (None, json_body.as_str(), 0),
        (Some("text/plain"), &json_body, 0),
        (Some(form_type), &json_body, 0),
        (Some(form_type), &form_body, 0),
        (None, &form_body, 400),
        (Some("application/json"), &form_body, 400),
    ];
    for (content_type, sent, code) in cases {
        let mut request = request("POST", SYNC, "");
        request.query = None;
        request.headers = content_type.map(|value| ("content-type".to_owned(), value.to_owned())).into_iter().collect();
        request.body = sent.as_bytes().to_vec().into();
        assert_eq!(body(&Api::new(json!({})).send(request))["code"], code, "{content_type:?} {sent}");
    }
}

#[test]
fn sync_takes_what_stands_in_the_query_too() {
    let signature = hmac_hex(KEY, "ext_corp_id=corp123");
    let cases = [
        (format!("ext_corp_id=corp123&signature={signature}"), String::new(), 0),
        (format!("signature={signature}"), r#"{"ext_corp_id":"corp123"}"#.to_owned(), 0),
        ("x=1".to_owned(), sync_body(r#""ext_corp_id":"corp123""#, &signature), 400),
        ("ext_corp_id=corp123".to_owned(), sync_body(r#""ext_corp_id":"corp123""#, &signature), 400),
        ("ext_corp_id=%ff".to_owned(), sync_body("", &signature), 400),
    ];
    for (query, sent, code) in cases {
        let mut request = request("POST", SYNC, &query);
        request.body = sent.clone().into();
        assert_eq!(body(&Api::new(json!({})).send(request))["code"], code, "{query} {sent}");
    }
}

#[test]
fn sync_starts_one_job_of_the_corp() {
    let signature = hmac_hex(KEY, "ext_corp_id=corp456");
    let sent = sync_body(r#""ext_corp_id":"corp456""#, &signature);
    for (started, message) in [(true, "同步任务已启动"), (false, "同步任务正在运行")] {
        let api = Api::with(json!({}), move |op, _| {
            assert_eq!(op, "job.start");
            Ok(json!({ "started": started, "running": !started }))
        });
        assert_eq!(api.post(&sent), json!({ "code": 0, "message": message, "data": null }));
        assert_eq!(api.asked("job.start"), Some(json!({ "kind": "sync", "partition": "corp456" })));
    }
}

#[test]
fn faults_of_the_daemon_stay_inside() {
    let cases = [
        (ErrorCode::Internal, None, 500, "服务器内部错误", None),
        (ErrorCode::Unsupported, None, 500, "服务器内部错误", None),
        (ErrorCode::Invalid, None, 500, "服务器内部错误", None),
        (ErrorCode::Denied, None, 500, "服务器内部错误", None),
        (ErrorCode::Unavailable, None, 503, "服务暂时不可用", Some("1")),
        (ErrorCode::Cancelled, None, 503, "服务暂时不可用", Some("1")),
        (ErrorCode::Deadline, None, 503, "服务暂时不可用", Some("1")),
        (ErrorCode::RateLimited, Some(2500), 503, "服务暂时不可用", Some("3")),
    ];
    for (code, retry_after_ms, status, message, retry_after) in cases {
        let api = Api::with(json!({}), move |_, _| {
            let mut error = Error::new(code.clone(), "secret detail: /var/lib/archive.db");
            error.retry_after_ms = retry_after_ms;
            Err(error)
        });
        let post = {
            let mut post = request("POST", SYNC, "");
            post.body = sync_body(r#""ext_corp_id":"corp123""#, &hmac_hex(KEY, "ext_corp_id=corp123")).into();
            post.query = None;
            post
        };
        let gets = QUERIES.map(|path| request("GET", path, &signed_query(&needed(path))));
        for request in gets.into_iter().chain([post]) {
            let reply = api.send(request);
            assert_eq!(reply.status, status);
            check_failure(&body(&reply), 500, message, "fault");
            let told = reply.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.as_str());
            assert_eq!(told, retry_after);
            assert!(!String::from_utf8_lossy(&reply.body).contains("secret"));
        }
        assert_eq!(api.mock.logs().len(), 4, "operators are told each time");
    }
}

#[test]
fn a_sync_before_the_daemon_knows_its_jobs_is_to_be_tried_again() {
    let api = Api::with(json!({}), |_, _| Err(Error::new(ErrorCode::NotFound, "no sync job for corp123")));
    let mut post = request("POST", SYNC, "");
    post.body = sync_body(r#""ext_corp_id":"corp123""#, &hmac_hex(KEY, "ext_corp_id=corp123")).into();
    let reply = api.send(post);
    assert_eq!(reply.status, 503);
    check_failure(&body(&reply), 500, "服务暂时不可用", "no job yet");
}

#[test]
fn a_keyword_the_index_refuses_is_the_callers_fault() {
    let api = Api::with(json!({}), |op, request| match op {
        "archive.search" => Err(Error::new(ErrorCode::Invalid, "too long")),
        _ => daemon(op, request),
    });
    check_failure(&api.get(SEARCH, &needed(SEARCH)), 400, "请求参数错误：keyword", "refused keyword");
}
