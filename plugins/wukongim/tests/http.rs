//! What holds for every endpoint: paths, methods, the token, and browsers.

mod support;

use serde_json::{Value, json};
use stele_plugin_api::ops::HttpRequest;
use stele_plugin_api::{ErrorCode, Plugin};
use stele_wukongim::Wukongim;
use stele_wukongim::api::router::ENDPOINTS;
use support::{Site, body, header, request};

#[tokio::test]
async fn it_is_there() {
    let site = Site::new(json!({}));
    let reply = site.send(request("GET", "/health", "")).await;
    assert_eq!((reply.status, body(&reply)), (200, json!({ "status": "ok" })));
    assert_eq!(header(&reply, "content-type"), Some("application/json; charset=utf-8"));
    let health = site.plugin.health().await.expect("it answers");
    assert!(health.ok && health.findings[0].starts_with("there is no token"), "{health:?}");
}

#[tokio::test]
async fn the_page_tells_of_every_endpoint() {
    let site = Site::new(json!({ "token": "s3cr3t" }));
    let reply = site.send(request("GET", "/docs", "")).await;
    assert_eq!((reply.status, header(&reply, "content-type")), (200, Some("text/html; charset=utf-8")));
    let page = String::from_utf8(reply.body.to_vec()).expect("a page is text");
    for endpoint in ENDPOINTS {
        assert!(page.contains(&format!("<code>{} {}</code>", endpoint.method, endpoint.path)), "{}", endpoint.path);
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_same_shape() {
    let site = Site::new(json!({}));
    for (method, path) in
        [("GET", "/"), ("POST", "/nothing"), ("GET", "/health/"), ("OPTIONS", "/nothing"), ("GET", "health")]
    {
        let reply = site.send(request(method, path, "")).await;
        let expected = json!({ "msg": "there is nothing at this path", "status": 404 });
        assert_eq!((reply.status, body(&reply)), (404, expected), "{method} {path}");
    }
    for endpoint in ENDPOINTS {
        let reply = site.send(request("DELETE", endpoint.path, "")).await;
        let expected = json!({ "msg": format!("this path takes {}", endpoint.method), "status": 405 });
        assert_eq!((reply.status, body(&reply)), (405, expected), "{}", endpoint.path);
        assert_eq!(header(&reply, "allow"), Some(&*format!("{}, OPTIONS", endpoint.method)));
        assert_eq!(header(&reply, "access-control-allow-origin"), Some("*"));
    }
    let described = site.plugin.describe();
    assert_eq!(described.error_headers, [("access-control-allow-origin".to_owned(), "*".to_owned())]);
    let template = described.error_template.expect("there is one");
    let filled = template.replace("{status}", "503").replace("{message}", "away");
    assert_eq!(serde_json::from_str::<Value>(&filled).unwrap(), json!({ "msg": "away", "status": 503 }));
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_configured() {
    let site = Site::new(json!({ "token": "s3cr3t" }));
    let with = |path: &str, method: &str, headers: &[(&str, &str)]| HttpRequest {
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..request(method, path, "")
    };
    let denied = json!({ "msg": "the token is missing or wrong", "status": 401 });
    for endpoint in ENDPOINTS {
        for headers in [
            &[("authorization", "Bearer s3cr3t")][..],
            &[("authorization", "bearer s3cr3t")],
            &[("authorization", "s3cr3t")],
            &[("token", "s3cr3t")],
            &[("authorization", "Bearer of something else"), ("token", "s3cr3t")],
        ] {
            assert_ne!(site.send(with(endpoint.path, endpoint.method, headers)).await.status, 401, "{headers:?}");
        }
        for headers in [&[][..], &[("authorization", "")], &[("token", "s3cr3")], &[("authorization", "Basic s3cr3t")]]
        {
            let reply = site.send(with(endpoint.path, endpoint.method, headers)).await;
            if ["/health", "/docs"].contains(&endpoint.path) {
                assert_eq!(reply.status, 200, "{}", endpoint.path);
            } else {
                assert_eq!((reply.status, body(&reply)), (401, denied.clone()), "{} {headers:?}", endpoint.path);
            }
        }
        let reply = site.send(with(endpoint.path, "OPTIONS", &[])).await;
        assert_eq!(reply.status, 204, "{}", endpoint.path);
        assert_eq!(header(&reply, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&reply, "access-control-allow-headers"), Some("Authorization, Content-Type, Token"));
    }
}

#[tokio::test]
async fn configurations_are_checked() {
    let mock = stele_plugin_api::testing::MockHost::new();
    let plugin = Wukongim::open(serde_json::from_value(json!({})).unwrap(), mock.host()).await.expect("it opens");
    let description = plugin.describe();
    assert_eq!(
        (description.name.as_str(), description.default_listen.as_deref()),
        ("wukongim", Some("127.0.0.1:5001"))
    );
    assert_eq!(description.secret_paths, ["/hook/"]);
    let error = plugin.sync_discover(stele_plugin_api::ops::Empty {}).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported);
}

#[tokio::test]
async fn what_is_deprecated_is_answered_as_by_a_server_that_has_it_switched_off() {
    let site = Site::new(json!({}));
    for sent in ["", "{}", "not JSON"] {
        let synced = site.send(request("POST", "/message/sync", sent)).await;
        assert_eq!((synced.status, body(&synced)), (200, json!([])));
        let acknowledged = site.send(request("POST", "/message/syncack", sent)).await;
        assert_eq!((acknowledged.status, body(&acknowledged)), (200, json!({ "status": 200 })));
    }
}
