//! Paths, methods, headers, tokens, addresses: what comes before an endpoint.

mod support;

use serde_json::json;
use stele_plugin_api::Plugin;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{HttpReply, HttpRequest, LiveCarrier, MessageView, RenderRequest, Subscription};
use support::{INVALID, INVALID_TOKEN, NOT_ALLOWED, NOW, Site, UNSUPPORTED, header, request};

fn body(reply: &HttpReply) -> &str {
    std::str::from_utf8(&reply.body).expect("answers are text")
}

fn with(mut request: HttpRequest, headers: &[(&str, &str)]) -> HttpRequest {
    request.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    request
}

#[tokio::test]
async fn paths_and_methods_are_answered_as_the_original_does() {
    let site = Site::new(json!({}));
    let root = site.send(request("GET", "/", "")).await;
    assert_eq!((root.status, body(&root), header(&root, "content-type")), (200, "quick-im", Some("application/json")));
    let check = async |method: &str, path: &str, status: u16, expected: &[(&str, &str)], text: &str| {
        let reply = site.send(request(method, path, "{}")).await;
        assert_eq!((reply.status, body(&reply)), (status, text), "{method} {path}");
        for (name, value) in expected {
            assert_eq!(header(&reply, name), Some(*value), "{method} {path}");
        }
    };
    let text = ("content-type", "text/plain; charset=utf-8");
    check("POST", "/nothing", 404, &[text], "404 page not found\n").await;
    check("GET", "/send_msg", 405, &[text, ("allow", "OPTIONS, POST")], "Method Not Allowed\n").await;
    check("POST", "/notify", 405, &[text, ("allow", "GET, OPTIONS")], "Method Not Allowed\n").await;
    check("POST", "//send_msg/?token=x", 307, &[("location", "/send_msg?token=x")], "").await;
    check("GET", "/NOTIFY", 301, &[("location", "/notify")], "").await;
    let mounted = HttpRequest { base_url: "https://chat.example/im".into(), ..request("POST", "/Send_Msg", "") };
    assert_eq!(header(&site.send(mounted).await, "location"), Some("/im/send_msg"));
}

#[tokio::test]
async fn browsers_may_ask_with_a_token_but_not_for_where_they_sit() {
    let site = Site::new(json!({}));
    let preflight = site.send(request("OPTIONS", "/send_msg", "")).await;
    assert_eq!((preflight.status, body(&preflight)), (204, ""));
    assert_eq!(header(&preflight, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&preflight, "access-control-allow-methods"), Some("OPTIONS, POST"));
    assert_eq!(header(&preflight, "access-control-allow-headers"), Some("Authorization, Content-Type, Last-Event-ID"));
    for path in ["/send_msg", "/get_joined_conversation"] {
        let reply = site.send(request("POST", path, "{}")).await;
        assert_eq!(header(&reply, "access-control-allow-origin"), Some("*"), "{path}");
    }
    for method in ["OPTIONS", "POST", "GET"] {
        let reply = site.send(request(method, "/inner/get_token", "{\"session\":\"a\"}")).await;
        assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{method}");
    }
    for (site_of_page, allowed) in [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
    {
        let asked = request("POST", "/inner/get_token", "{\"session\":\"a\"}");
        let reply = site.send(with(asked, &[("sec-fetch-site", site_of_page)])).await;
        assert_eq!(body(&reply) != NOT_ALLOWED, allowed, "{site_of_page}");
    }
    // Older browsers, and pages without TLS, say where a request comes from in this header only.
    for origin in ["http://evil.example", "http://localhost:8088", "null", ""] {
        let asked = request("POST", "/inner/get_token", "{\"session\":\"a\"}");
        let reply = site.send(with(asked, &[("origin", origin)])).await;
        assert_eq!((reply.status, body(&reply)), (200, NOT_ALLOWED), "{origin}");
    }
    let token = site.token("alice").await;
    let asked = request("POST", "/get_joined_conversation", "{}");
    let reply = site.send(with(asked, &[("origin", "http://evil.example"), ("authorization", &token)])).await;
    assert_eq!(body(&reply), "{\"code\":0,\"data\":{\"Conversations\":[]}}\n");
}

#[tokio::test]
async fn inner_routes_are_for_known_addresses() {
    let check = async |allow: &[&str], remote: &str, allowed: bool| {
        let site = Site::new(json!({ "ip_allow": allow }));
        let asked = request("POST", "/inner/get_token", "{\"session\":\"a\"}");
        let reply = site.send(HttpRequest { remote: remote.into(), ..asked }).await;
        assert_eq!((reply.status, body(&reply) != NOT_ALLOWED), (200, allowed), "{allow:?} {remote}");
    };
    let local = ["127.0.0.0/8", "::1"];
    check(&local, "127.0.0.1", true).await;
    check(&local, "::1", true).await;
    check(&local, "::ffff:127.0.0.1", true).await;
    check(&local, "10.0.0.1", false).await;
    check(&local, "2001:db8::1", false).await;
    check(&["10.0.0.7"], "10.0.0.7", true).await;
    check(&["10.0.0.7"], "10.0.0.8", false).await;
    check(&["2001:db8::/32"], "2001:db8:ffff::1", true).await;
    check(&["0.0.0.0/0"], "2001:db8::1", false).await;
    check(&["0.0.0.0/0"], "8.8.8.8", true).await;
    check(&["0.0.0.0/0"], "no address", false).await;
    check(&[], "127.0.0.1", false).await;
}

#[tokio::test]
async fn whom_a_proxy_asks_for_must_be_allowed_as_well() {
    let site = Site::new(json!({ "ip_allow": ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"] }));
    let check = async |remote: &str, headers: &[(&str, &str)], allowed: bool| {
        let asked = request("POST", "/inner/get_token", "{\"session\":\"a\"}");
        let reply = site.send(with(HttpRequest { remote: remote.into(), ..asked }, headers)).await;
        assert_eq!(body(&reply) != NOT_ALLOWED, allowed, "{remote} {headers:?}");
    };
    let local = "127.0.0.1";
    for name in ["x-forwarded-for", "x-real-ip"] {
        for inside in ["10.0.0.1", "10.0.0.1:4711", " 10.0.0.1 ", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"]
        {
            check(local, &[(name, inside)], true).await;
            check("8.8.8.8", &[(name, inside)], false).await;
        }
        for outside in
            ["8.8.8.8", "8.8.8.8:80", "::ffff:8.8.8.8", "::1", "", "unknown", "10.0.0.1;", "10.0.0", "10.0.0.1:"]
        {
            check(local, &[(name, outside)], false).await;
        }
    }
    check(local, &[("x-forwarded-for", "10.0.0.1, ::ffff:10.0.0.2,10.0.0.3")], true).await;
    check(local, &[("x-forwarded-for", "10.0.0.1, 8.8.8.8")], false).await;
    check(local, &[("x-forwarded-for", "8.8.8.8, 10.0.0.1")], false).await;
    check(local, &[("x-forwarded-for", "10.0.0.1,")], false).await;
    check(local, &[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "8.8.8.8")], false).await;
    check(local, &[("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "8.8.8.8")], false).await;
    for inside in
        ["for=10.0.0.1", "For=\"10.0.0.1:80\"; proto=https;by=8.8.8.8", "for=10.0.0.1, for=\"[2001:db8::1]:80\""]
    {
        check(local, &[("forwarded", inside)], true).await;
        check("8.8.8.8", &[("forwarded", inside)], false).await;
    }
    for outside in [
        "for=8.8.8.8",
        "for=10.0.0.1, for=8.8.8.8",
        "for=10.0.0.1;for=8.8.8.8",
        "for=unknown",
        "for=_hidden",
        "proto=https",
        "for=10.0.0.1;x=\", for=8.8.8.8",
        "for=",
        "",
    ] {
        check(local, &[("forwarded", outside)], false).await;
    }
}

#[tokio::test]
async fn a_token_is_found_where_it_may_be() {
    let site = Site::new(json!({}));
    let token = site.token("alice").await;
    let check = async |path: String, headers: &[(&str, &str)], holds: bool| {
        let reply = site.send(with(request("POST", &path, "{}"), headers)).await;
        assert_eq!(body(&reply) != INVALID_TOKEN, holds, "{path} {}", headers.len());
    };
    let path = || "/get_joined_conversation".to_owned();
    check(path(), &[("authorization", &format!("Bearer {token}"))], true).await;
    check(path(), &[("authorization", &token)], true).await;
    check(path(), &[("authorization", &format!("bearer {token}"))], false).await;
    check(path(), &[("authorization", &format!("Bearer  {token}"))], false).await;
    check(format!("{}?token={token}", path()), &[], true).await;
    check(format!("{}?a=b&token={token}&token=x", path()), &[], true).await;
    check(format!("{}?token={token}", path()), &[("authorization", "")], true).await;
    check(format!("{}?token={token}", path()), &[("authorization", "wrong")], false).await;
    check(format!("{}?Token={token}", path()), &[], false).await;
    site.clock.store(NOW + 86_400_000_000, std::sync::atomic::Ordering::Relaxed);
    check(path(), &[("authorization", &token)], false).await;
}

#[tokio::test]
async fn a_listener_is_handed_to_the_daemon() {
    let site = Site::new(json!({ "greeting": "", "poll_seconds": 7 }));
    let token = site.token("alice").await;
    let expires_at: Option<Micros> = Some(NOW + 86_400_000_000);
    let subscribed = |carrier: LiveCarrier, since: Option<i64>| {
        let (person, session) = ("alice".to_owned(), "alice/1".to_owned());
        Some(Subscription { carrier, person, session, since, wait_ms: 7000, expires_at })
    };
    let listen = async |protocol: &str, more: &str, headers: &[(&str, &str)]| {
        let path = format!("/notify?token={token}&protoc={protocol}{more}");
        site.send(with(request("GET", &path, ""), headers)).await
    };
    let reply = listen("ws", "", &[]).await;
    assert_eq!((reply.status, reply.subscription), (200, subscribed(LiveCarrier::WebSocket, None)));
    let reply = listen("sse", "", &[]).await;
    assert_eq!((reply.status, header(&reply, "content-type")), (200, Some("text/event-stream")));
    assert_eq!(header(&reply, "cache-control"), Some("no-cache"));
    assert_eq!(header(&reply, "access-control-allow-origin"), Some("*"));
    assert_eq!(reply.subscription, subscribed(LiveCarrier::Sse, None));
    let reply = listen("poll", "", &[]).await;
    assert_eq!((reply.status, header(&reply, "content-type")), (200, Some("application/json")));
    assert_eq!(reply.subscription, subscribed(LiveCarrier::Poll, None));

    for wrong in ["", "WS", "http", "ws%20"] {
        let reply = listen(wrong, "", &[]).await;
        assert_eq!((reply.status, body(&reply), reply.subscription.clone()), (200, UNSUPPORTED, None), "{wrong}");
        assert_eq!(header(&reply, "content-type"), Some("application/json"));
    }
    let reply = site.send(request("GET", "/notify?protoc=none", "")).await;
    assert_eq!((reply.status, body(&reply)), (200, INVALID_TOKEN), "the token comes first");

    let conversation = site.conversation(&["alice"]).await;
    let (one, two) = (site.say(&token, &conversation, "1").await, site.say(&token, &conversation, "2").await);
    for carrier in [LiveCarrier::Sse, LiveCarrier::Poll] {
        let protocol = carrier.as_str().to_owned();
        let reply = listen(&protocol, &format!("&since={one}"), &[]).await;
        assert_eq!(reply.subscription, subscribed(carrier.clone(), Some(101)));
        let reply = listen(&protocol, "&since=EDTZL-QJ22-247Q-S2K", &[]).await;
        assert_eq!((body(&reply), reply.subscription.clone()), (INVALID, None), "nobody knows it");
        assert_eq!(listen(&protocol, "&since=", &[]).await.subscription, subscribed(carrier, None));
    }
    let reply = listen("sse", &format!("&since={one}"), &[("last-event-id", &two)]).await;
    assert_eq!(reply.subscription, subscribed(LiveCarrier::Sse, Some(102)), "the header is newer");
    for unknown in ["EDTZL-QJ22-247Q-S2K", "x"] {
        let reply = listen("sse", &format!("&since={one}"), &[("last-event-id", unknown)]).await;
        assert_eq!(reply.subscription, subscribed(LiveCarrier::Sse, None), "a browser would give up for good");
    }
    let reply = listen("sse", &format!("&since={one}"), &[("last-event-id", "")]).await;
    assert_eq!(reply.subscription, subscribed(LiveCarrier::Sse, Some(101)));
    let reply = listen("poll", "", &[("last-event-id", &two)]).await;
    assert_eq!(reply.subscription, subscribed(LiveCarrier::Poll, None));
}

#[tokio::test]
async fn listeners_get_the_bare_message() {
    let site = Site::new(json!({}));
    let message = |kind: &str, body: &'static str| MessageView {
        native_id: "EDTZL-QJ22-247Q-S2K".into(),
        conversation: "11111111-2222-3333-4444-555555555555".into(),
        sender: "alice".into(),
        sent_at: NOW + 1000,
        kind: kind.into(),
        text: "hello\n<world>".into(),
        body: body.into(),
        ..MessageView::default()
    };
    let messages = vec![message("1", r#"{"Status":2,"Type":1,"SendTime":170000000050000}"#), message("joined", "{}")];
    let rendered = site.gateway.live_render(RenderRequest { messages }).await.unwrap();
    let shown = |status: i32, kind: i32| {
        format!(
            "{{\"MsgId\":\"EDTZL-QJ22-247Q-S2K\",\"ConversationID\":\"11111111-2222-3333-4444-555555555555\",\"FromSession\":\"alice\",\"SendTime\":1700000000001000,\"Status\":{status},\"Type\":{kind},\"Content\":\"hello\\n\\u003cworld\\u003e\"}}\n"
        )
    };
    for (event, expected) in rendered.events.into_iter().zip([shown(2, 1), shown(0, 0)]) {
        let event = event.expect("listeners get every message");
        assert_eq!((event.id.as_str(), event.name.as_str()), ("EDTZL-QJ22-247Q-S2K", "message"));
        assert_eq!(event.data, expected);
    }
}

#[tokio::test]
async fn what_is_risky_is_told() {
    let quiet = Site::new(json!({})).gateway.health().await.unwrap();
    assert_eq!((quiet.ok, quiet.findings.len()), (true, 0));
    let known = ["config", "Config", "Jwt", "Key"].join(".");
    let settings = json!({ "membership": false, "jwt_keys": [known], "allow_known_key": true });
    let told = Site::new(settings).gateway.health().await.unwrap();
    assert_eq!((told.ok, told.findings.len()), (true, 2));
    assert!(!format!("{told:?}").contains(&known));
    let described = Site::new(json!({})).gateway.describe();
    assert_eq!(described.default_listen.as_deref(), Some("127.0.0.1:8088"));
    let template =
        described.error_template.unwrap().replace("{status}", "429").replace("{message}", "too many requests");
    assert_eq!(template, "{\"code\":429,\"error\":\"too many requests\"}\n");
    assert_eq!(described.operations.len(), 3);
}
