//! What the API asks of the daemon, and what it tells it.

mod api_support;
use api_support::*;
use serde_json::{Value, json};
use stele_plugin_api::{Error, ErrorCode};

/// Calls cost time: whoever has conversations is known without asking.
#[test]
fn an_answer_takes_few_calls() {
    let cases = [
        (MSGS, "receiver_id", "customer456", vec!["conversation.get", "archive.query"]),
        (SEARCH, "ext_peer_id", "customer456", vec!["conversation.get", "archive.search"]),
        (MSGS, "receiver_id", "wrROOM", vec!["conversation.get", "conversation.takes_part", "archive.query"]),
        (SESSIONS, "session_type", "external", vec!["conversation.list", "person.get"]),
    ];
    for (path, name, value, calls) in cases {
        let api = Api::new(json!({}));
        api.get(path, &changed(path, &[(name, Some(value))]));
        assert_eq!(api.mock.calls(), calls, "{path} {value}");
    }
    let api = Api::with(json!({}), |_, _| Ok(json!({ "rows": [], "total": 7 })));
    api.get(SESSIONS, &changed(SESSIONS, &[("page", Some("9"))]));
    assert_eq!(api.mock.calls(), ["conversation.list"]);
}

#[test]
fn a_page_of_too_much_is_to_be_asked_for_in_smaller_ones() {
    let api = Api::with(json!({}), |op, request| match op {
        "conversation.list" | "archive.query" | "archive.search" => Err(Error::new(ErrorCode::TooLarge, "too much")),
        _ => daemon(op, request),
    });
    let told = json!({ "code": 1006, "message": "分页参数错误：page_size 过大，请减小后重试", "data": null });
    for path in [SESSIONS, MSGS, SEARCH] {
        assert_eq!(api.get(path, &needed(path)), told, "{path}");
    }
}

/// 100 requests a second, and the daemon's own errors in the contract's shape.
#[test]
fn what_the_daemon_is_told() {
    use stele_wecom::api::{DEFAULT_RATE, ERROR_TEMPLATE};
    assert_eq!(DEFAULT_RATE, 100);
    let filled = ERROR_TEMPLATE.replace("{status}", "429").replace("{message}", "too many requests");
    let filled: Value = serde_json::from_str(&filled).expect("the template is JSON");
    assert_eq!(filled, json!({ "code": 429, "message": "too many requests", "data": null }));
}
