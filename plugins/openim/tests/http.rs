//! What holds for every endpoint: paths, headers, tokens and errors.

mod support;

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use stele_openim::Openim;
use stele_openim::api::router::ENDPOINTS;
use stele_openim::token::Tokens;
use stele_plugin_api::Plugin;
use stele_plugin_api::testing::MockHost;
use support::{NOW, SECRET, Site, body, header, request};

const DAY: i64 = 86_400_000_000;

#[tokio::test]
async fn paths_and_methods() {
    let site = Site::new(json!({}));
    let answer = async |method, path| {
        let reply = site.send(request(method, path, &[], "")).await;
        let told = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "*"),
            ("access-control-allow-headers", "*"),
            ("access-control-max-age", "172800"),
        ];
        assert!(told.iter().all(|(name, value)| header(&reply, name) == Some(value)), "{method} {path}");
        (
            reply.status,
            String::from_utf8(reply.body.to_vec()).unwrap(),
            header(&reply, "content-type").unwrap().to_owned(),
        )
    };
    for (method, path) in [("GET", "/auth/parse_token"), ("POST", "/msg/nothing"), ("POST", "/docs"), ("GET", "/")] {
        let expected = (404, "404 page not found".to_owned(), "text/plain; charset=utf-8".to_owned());
        assert_eq!(answer(method, path).await, expected, "{method} {path}");
    }
    let options = (200, "\"Options Request!\"".to_owned(), "application/json".to_owned());
    assert_eq!(answer("OPTIONS", "/auth/parse_token").await, options);
    let (status, page, content_type) = answer("GET", "/docs").await;
    assert_eq!((status, content_type.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.contains("POST /auth/get_admin_token"), "{page}");
    let (status, said, content_type) = answer("POST", "/auth/parse%5Ftoken?x=1").await;
    let expected = r#"{"errCode":1001,"errMsg":"ArgsError","errDlt":"header must have operationID"}"#;
    assert_eq!((status, said.as_str(), content_type.as_str()), (200, expected, "application/json"));
}

/// Headers and body of a request, and the three parts of the error it gets.
type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, [&'c str; 3]);

#[tokio::test]
async fn who_calls_is_looked_at_before_what_is_asked() {
    let site = Site::new(json!({}));
    let token = |secret: &str, user_id: &str, at: i64| {
        let config = json!({ "secret": secret });
        Tokens::of(&serde_json::from_value(config).unwrap()).issue(user_id, at).unwrap()
    };
    let (other, old) = (token("another secret", "imAdmin", NOW), token(SECRET, "imAdmin", NOW - 90 * DAY));
    let user = token(SECRET, "u_1", NOW);
    let cases: [Case<'_>; 11] = [
        (&[], "", ["1001", "ArgsError", "header must have operationID"]),
        (&[("operationid", ""), ("token", &site.token)], "", ["1001", "ArgsError", "header must have operationID"]),
        (&[("operationid", "op")], "", ["1001", "ArgsError", "header must have token"]),
        (&[("operationid", "op"), ("token", "")], "", ["1001", "ArgsError", "header must have token"]),
        (&[("operationid", "op"), ("authorization", &site.token)], "", ["1001", "ArgsError", "header must have token"]),
        (&[("operationid", "op"), ("token", "x")], "", ["1503", "TokenMalformedError", ""]),
        (&[("operationid", "op"), ("token", &other)], "", ["1505", "signature is invalid", ""]),
        (&[("operationid", "op"), ("token", &old)], "", ["1501", "TokenExpiredError", ""]),
        (&[("operationid", "op"), ("token", &user)], "", ["1002", "NoPermissionError", "user u_1 is not admin userID"]),
        (&[("operationid", "op"), ("token", &site.token)], "", ["1001", "ArgsError", "the body is empty"]),
        (
            &[("operationid", "op"), ("token", &site.token)],
            "[]",
            ["1001", "ArgsError", "the body has to be a JSON object"],
        ),
    ];
    let guarded: Vec<_> = ENDPOINTS.iter().filter(|endpoint| !endpoint.open).map(|endpoint| endpoint.path).collect();
    assert!(guarded.contains(&"/msg/search_msg") && guarded.contains(&"/msg/send_msg"), "{guarded:?}");
    for path in guarded {
        for (headers, sent, [code, msg, dlt]) in &cases {
            let reply = site.send(request("POST", path, headers, sent)).await;
            let expected = format!(r#"{{"errCode":{code},"errMsg":"{msg}","errDlt":"{dlt}"}}"#);
            assert_eq!(
                (reply.status, String::from_utf8_lossy(&reply.body).as_ref()),
                (200, expected.as_str()),
                "{path}"
            );
        }
    }
    assert!(site.stored().messages.is_empty());
}

#[tokio::test]
async fn a_client_begins_with_the_secret() {
    let site = Site::new(json!({ "admins": ["imAdmin", "archive"], "token_days": 2 }));
    let post = async |path, sent: Value| {
        body(&site.send(request("POST", path, &[("operationid", "op-1")], &sent.to_string())).await)
    };
    let issued = post("/auth/get_admin_token", json!({ "secret": SECRET, "userID": "archive" })).await;
    assert_eq!((&issued["errCode"], &issued["data"]["expireTimeSeconds"]), (&json!(0), &json!(172_800)));
    let token = &issued["data"]["token"];
    let parsed = post("/auth/parse_token", json!({ "token": token })).await;
    let expected = json!({ "userID": "archive", "platformID": 10, "expireTimeSeconds": NOW / 1_000_000 + 172_800 });
    assert_eq!(parsed, json!({ "errCode": 0, "errMsg": "", "errDlt": "", "data": expected }));
    let refused = |answer: Value| (answer["errCode"].as_i64().unwrap(), answer["errDlt"].as_str().unwrap().to_owned());
    for (sent, expected) in [
        (json!({ "secret": "x", "userID": "archive" }), (1002, "secret invalid")),
        (json!({ "userID": "archive" }), (1002, "secret invalid")),
        (json!({ "secret": "x", "userID": "" }), (1001, "userID is empty")),
        (json!({}), (1001, "userID is empty")),
        (
            json!({ "secret": SECRET, "userID": "eve" }),
            (1001, "userID is error., userID=eve, adminUserID=[imAdmin archive]"),
        ),
        (json!({ "secret": 7 }), (1001, "secret has to be a string")),
    ] {
        let answer = refused(post("/auth/get_admin_token", sent).await);
        assert_eq!((answer.0, answer.1.as_str()), expected);
    }
    assert_eq!(refused(post("/auth/parse_token", json!({ "token": "x" })).await), (1503, String::new()));
    site.clock.store(NOW + 2 * DAY, Ordering::Relaxed);
    assert_eq!(refused(post("/auth/parse_token", json!({ "token": token })).await), (1501, String::new()));
}

#[tokio::test]
async fn what_it_is_and_what_it_needs() {
    let mock = MockHost::new();
    let config = json!({ "secret": "openIM123" });
    let plugin = Openim::open(serde_json::from_value(config).unwrap(), mock.host()).await.expect("it opens");
    let description = plugin.describe();
    assert_eq!((description.name.as_str(), description.default_listen.as_deref()), ("openim", Some("127.0.0.1:10002")));
    assert_eq!(description.default_max_body, Some(16 << 20), "as a real server");
    let health = plugin.health().await.unwrap();
    assert!(health.ok && health.findings[0].starts_with("the secret is the one every OpenIM is delivered with"));
}
