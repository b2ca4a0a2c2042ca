//! What clients of WuKongIM's API get wrong, by mistake or on purpose: refused clearly, in the API's shape and with the status it
//! is sent with; and after all of it the archive is what it was, and service goes on.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_tests::{
    daemon::{Daemon, Site},
    report::Report,
    wukongim::{Api, Reply, Wukongim, site},
};

const SEND: &[&str] = &["/message/send", "/stream/open", "/message/sendbatch"];
const PUT: &[&str] = &["/message/send", "/message/sendbatch"];
const MESSAGES: &[&str] = &["/messages"];
const MESSAGE: &[&str] = &["/message"];
const SYNC: &[&str] = &["/channel/messagesync"];
const READ: &[&str] = &["/messages", "/message", "/channel/messagesync"];
const ALL: &[&str] =
    &["/message/send", "/stream/open", "/message/sendbatch", "/messages", "/message", "/channel/messagesync"];
const CLOSE: &[&str] = &["/stream/close"];
const LAST: &[&str] = &["/channel/max_message_seq"];
const SEARCH: &[&str] = &["/cluster/messages"];

/// A good body of each endpoint that looks at one. That of the batch is a list.
fn good(endpoint: &str) -> Value {
    let message = json!({
        "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "client_msg_no": "bad", "from_uid": "mallory",
        "channel_id": "team", "channel_type": 2, "payload": "SGVsbG8gV29ybGQ=",
    });
    match endpoint {
        "/message/send" | "/stream/open" | "/message/sendbatch" => message,
        "/messages" => {
            json!({ "login_uid": "alice", "channel_id": "team", "channel_type": 2, "message_seqs": [1] })
        }
        "/message" => json!({ "login_uid": "alice", "channel_id": "team", "channel_type": 2, "client_msg_no": "n1" }),
        "/stream/close" => json!({ "stream_no": "x" }),
        _ => json!({ "login_uid": "alice", "channel_id": "team", "channel_type": 2 }),
    }
}

/// Endpoints, a field, and values it must not have; without it, too, where there is no value.
type Row = (&'static [&'static str], &'static str, Option<&'static str>);
const BODIES: &[Row] = &[
    (ALL, "channel_id", None),
    (ALL, "channel_id", Some(r#"["", 7, [], {}, true]"#)),
    (ALL, "channel_type", None),
    (ALL, "channel_type", Some(r#"[0, -1, 256, 2.5, 1e99, "2", [], true, 18446744073709551616]"#)),
    (SEND, "channel_id", Some(r##"["a@b", "a#b", "a&b", "team____cmd"]"##)),
    (SEND, "from_uid", Some("[7, [], {}, true]")),
    (SEND, "client_msg_no", Some("[7, [], {}, true]")),
    (SEND, "stream_no", Some("[7, [], {}, true]")),
    (SEND, "tag_key", Some("[7, [], {}, true]")),
    (SEND, "expire", Some(r#"[-1, 4294967296, 1.5, "60", true, []]"#)),
    (SEND, "subscribers", Some(r#"["bob", [7], [""], [null], {}, 7]"#)),
    (
        SEND,
        "header",
        Some(r#"[7, [], "x", {"no_persist": 2}, {"red_dot": -1}, {"sync_once": "1"}, {"no_persist": true}]"#),
    ),
    (PUT, "payload", None),
    (PUT, "payload", Some(r#"["", null, []]"#)),
    (SEND, "payload", Some(r#"["Hello", "aGk==", "aGk= ", "-_-_", 7, {}, true, [256], [-1], ["a"], "消息"]"#)),
    (READ, "login_uid", Some("[7, [], {}, true]")),
    (SYNC, "login_uid", None),
    (SYNC, "login_uid", Some(r#"["", null]"#)),
    (MESSAGES, "message_seqs", None),
    (MESSAGES, "message_seqs", Some(r#"[[], null, "1", 7, {}, ["1"], [-1], [1.5], [null], [18446744073709551616]]"#)),
    (MESSAGES, "message_ids", Some(r#"["1", 7, {}, ["x"], [""], [-1], [1.5], [null], [9223372036854775808]]"#)),
    (MESSAGES, "client_msg_nos", Some(r#"["n1", 7, {}, [7], [""], [null], [["n1"]]]"#)),
    (MESSAGE, "client_msg_no", None),
    (MESSAGE, "client_msg_no", Some(r#"["", null, 7, [], {}]"#)),
    (MESSAGE, "message_id", Some(r#"["x", "", -1, 1.5, 9223372036854775808, [], {}, true]"#)),
    (SYNC, "start_message_seq", Some(r#"[-1, 1.5, "1", 18446744073709551616, 1e99, [], true]"#)),
    (SYNC, "end_message_seq", Some(r#"[-1, 1.5, "1", 18446744073709551616, 1e99, [], true]"#)),
    (SYNC, "limit", Some(r#"[-1, 1.5, "1", 18446744073709551616, 1e99, [], true]"#)),
    (SYNC, "pull_mode", Some(r#"[-1, 2, 0.5, "0", [], true]"#)),
    (SYNC, "stream_v2", Some(r#"[-1, 2, 0.5, "0", [], true]"#)),
    (CLOSE, "stream_no", None),
    (CLOSE, "stream_no", Some(r#"["", 7, [], {}]"#)),
];

const QUERIES: &[Row] = &[
    (LAST, "channel_id", None),
    (LAST, "channel_id", Some(r#"[""]"#)),
    (LAST, "channel_type", None),
    (LAST, "channel_type", Some(r#"["", "0", "-1", "256", "two", "2.5", "+2", "0x2"]"#)),
    (SEARCH, "channel_type", Some(r#"["-1", "256", "two", "2.5", "+2", "0x2"]"#)),
    (SEARCH, "node_id", Some(r#"["x", "-1", "7", "18446744073709551616"]"#)),
    (SEARCH, "limit", Some(r#"["x", "-1", "1.5", "18446744073709551616"]"#)),
    (SEARCH, "offset_message_id", Some(r#"["x", "-1", "1.5", "9223372036854775808"]"#)),
    (SEARCH, "offset_message_seq", Some(r#"["x", "-1", "1.5", "18446744073709551616"]"#)),
    (SEARCH, "pre", Some(r#"["x", "-1", "2", "true"]"#)),
    (SEARCH, "message_id", Some(r#"["x", "-1", "1.5", "9223372036854775808"]"#)),
    (SEARCH, "payload", Some(r#"["%25", "Hello", "AAEC%2Fw", "e30", "消息"]"#)),
];

/// Whole bodies that are none.
fn bad_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |open: &str, close: &str| [open.repeat(20_000), close.repeat(20_000)].concat().into_bytes();
    vec![
        ("empty", Vec::new()),
        ("blank", b" \n".to_vec()),
        ("no JSON", b"channel_id=team&channel_type=2".to_vec()),
        ("cut", br#"{"channel_id":"te"#.to_vec()),
        ("more behind it", [good("/messages").to_string().as_bytes(), b"}"].concat()),
        ("a number", b"7".to_vec()),
        ("a text", br#""team""#.to_vec()),
        ("null", b"null".to_vec()),
        ("a list of numbers", b"[1, 2]".to_vec()),
        ("bytes that are no text", vec![0xff, 0xfe, 0x00]),
        ("a text that is none", b"{\"channel_id\":\"\xff\"}".to_vec()),
        ("half a letter", br#"{"channel_id":"\ud83d"}"#.to_vec()),
        ("deep lists", nested("[", "]")),
        ("deep objects", nested("{\"a\":", "}")),
        ("half a megabyte of blanks", vec![b' '; 512 << 10]),
    ]
}

/// A daemon with something in it.
struct Scene {
    site: Site,
    daemon: Daemon,
    api: Api,
}

impl Scene {
    async fn new(instance: &str, config: &str) -> Result<Self> {
        let mut wukongim = Wukongim::new("im", config)?;
        wukongim.instance = instance.into();
        let site = site(std::slice::from_ref(&wukongim), "")?;
        Ok(Self { daemon: site.start().await?, api: wukongim.api(), site })
    }

    /// Three messages.
    async fn fill(&self) -> Result<()> {
        for number in 1..=3 {
            let mut message = good("/message/send");
            message["client_msg_no"] = json!(format!("n{number}"));
            self.api.send(&message).await?;
        }
        Ok(())
    }

    /// Nothing came to the three messages, and the next one is the fourth.
    async fn verify(self) -> Result<()> {
        ensure!(self.site.stat("messages").await? == 3, "something was stored");
        let page = self.api.sync(&good("/channel/messagesync")).await?;
        let numbers: Vec<_> = page.messages.iter().map(|message| message.client_msg_no.as_str()).collect();
        ensure!(numbers == ["n1", "n2", "n3"], "{numbers:?}");
        let sent = self.api.send(&good("/message/send")).await?;
        ensure!(sent.message_seq == 4, "{sent:?}");
        ensure!(self.daemon.stop().await?.success(), "{}", self.site.log_tail());
        Ok(())
    }
}

/// A good body, with a field changed or left out. Of a batch the second message is the bad one.
fn with(endpoint: &str, field: &str, value: Option<&Value>) -> Value {
    let mut body = good(endpoint);
    let members = body.as_object_mut().expect("bodies are objects");
    match value {
        Some(value) => drop(members.insert(field.to_owned(), value.clone())),
        None => drop(members.remove(field)),
    }
    if endpoint == "/message/sendbatch" { json!([good(endpoint), body]) } else { body }
}

fn values(row: &Row) -> Result<Vec<Option<Value>>> {
    let Some(values) = row.2 else { return Ok(vec![None]) };
    let values: Vec<Value> = serde_json::from_str(values).with_context(|| values.to_owned())?;
    Ok(values.into_iter().map(Some).collect())
}

async fn bodies(api: &Api, report: &mut Report) -> Result<()> {
    for row in BODIES {
        for value in values(row)? {
            for endpoint in row.0 {
                let body = with(endpoint, row.1, value.as_ref());
                let what = format!("{endpoint} with {} {value:?}", row.1);
                report.check(&what, async { api.post(endpoint, &body).await?.is_refusal(400) }).await;
            }
        }
    }
    for endpoint in ALL.iter().chain(CLOSE) {
        for (what, body) in bad_bodies() {
            let ask = async { api.request("POST", endpoint, &[], body).await?.is_refusal(400) };
            report.check(&format!("{endpoint}: {what}"), ask).await;
        }
    }
    Ok(())
}

/// What is too long, or too many.
async fn sizes(api: &Api, report: &mut Report) {
    let long = json!("x".repeat(257));
    for field in ["from_uid", "channel_id", "client_msg_no", "stream_no", "tag_key"] {
        for endpoint in SEND {
            let body = with(endpoint, field, Some(&long));
            let ask = async { api.post(endpoint, &body).await?.is_refusal(400) };
            report.check(&format!("{endpoint} with a long {field}"), ask).await;
        }
    }
    let people: Vec<_> = (0..1001).map(|number| format!("u{number}")).collect();
    let seqs: Vec<_> = (0..1001).collect();
    let batch: Vec<_> = (0..1001).map(|_| good("/message/send")).collect();
    let rows = [
        ("/message/send", with("/message/send", "subscribers", Some(&json!(people)))),
        ("/message/sendbatch", json!(batch)),
        ("/message/sendbatch", json!({ "from_uid": "mallory", "subscribers": people, "payload": "aGk=" })),
        ("/message/sendbatch", json!({ "from_uid": "mallory", "subscribers": [], "payload": "aGk=" })),
        ("/message/sendbatch", json!({ "from_uid": "", "subscribers": ["bob"], "payload": "aGk=" })),
        ("/message/sendbatch", json!({ "from_uid": "mallory", "subscribers": ["bob"], "payload": "" })),
        ("/message/sendbatch", json!({ "from_uid": "mallory", "subscribers": "bob", "payload": "aGk=" })),
        ("/messages", with("/messages", "message_seqs", Some(&json!(seqs)))),
        ("/messages", with("/messages", "message_ids", Some(&json!(seqs[..1000])))),
        ("/messages", with("/messages", "client_msg_nos", Some(&json!(people)))),
        ("/message", with("/message", "client_msg_no", Some(&long))),
        ("/channel/messagesync", with("/channel/messagesync", "channel_id", Some(&json!("x".repeat(1000))))),
    ];
    for (endpoint, body) in rows {
        let what = format!("{endpoint} with {:.60}", body.to_string());
        report.check(&what, async { api.post(endpoint, &body).await?.is_refusal(400) }).await;
    }
    report
        .check("a payload of more than a MiB", async {
            let body = with("/message/send", "payload", Some(&json!("aGkh".repeat((1 << 20) / 3 + 1))));
            api.post("/message/send", &body).await?.is_refusal(400)
        })
        .await;
    report
        .check("more than 8 MiB", async {
            let body = with("/message/send", "payload", Some(&json!("aGkh".repeat(2 << 20))));
            // Refused, or cut off while it is sent.
            let Ok(reply) = api.post("/message/send", &body).await else { return Ok(()) };
            reply.is_refusal(413)
        })
        .await;
    report
        .check("a long query", async {
            let reply = api.get(&format!("/cluster/messages?payload={}", "aGkh".repeat(1000))).await?;
            reply.is_refusal(400)
        })
        .await;
}

async fn queries(api: &Api, report: &mut Report) -> Result<()> {
    let good = [("channel_id", "team"), ("channel_type", "2")];
    for row in QUERIES {
        for value in values(row)? {
            let value = value.as_ref().and_then(Value::as_str);
            let others = good.iter().filter(|(name, _)| *name != row.1).copied();
            let pairs = others.chain(value.map(|value| (row.1, value)));
            let query: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
            for path in row.0.iter().map(|path| format!("{path}?{}", query.join("&"))) {
                report.check(&path, async { api.get(&path).await?.is_refusal(400) }).await;
            }
        }
    }
    Ok(())
}

async fn routes(api: &Api, report: &mut Report) {
    let posts = ALL.iter().chain(CLOSE).chain(&["/message/sync", "/message/syncack"]).map(|path| (*path, "POST"));
    let gets = LAST.iter().chain(SEARCH).chain(&["/health", "/docs"]).map(|path| (*path, "GET"));
    for (path, right) in posts.chain(gets) {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "PURGE"].into_iter().filter(|method| *method != right) {
            let ask = async { api.request(method, path, &[], good(path).to_string()).await?.is_refusal(405) };
            report.check(&format!("{method} {path}"), ask).await;
        }
        for other in
            [format!("{path}/"), format!("/{path}"), path.to_uppercase(), format!("{path}%00"), format!("/x/..{path}x")]
        {
            let ask = async { api.request(right, &other, &[], good(path).to_string()).await?.is_refusal(404) };
            report.check(&format!("{right} {other}"), ask).await;
        }
    }
    for path in ["/", "/hook", "/api/v1/jobs", "/metrics", "/../../etc/passwd"] {
        report.check(path, async { api.get(path).await?.is_refusal(404) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_nothing_is_stored() -> Result<()> {
    let scene = Scene::new("rate_limit = 0", "").await?;
    scene.fill().await?;
    let mut report = Report::default();
    bodies(&scene.api, &mut report).await?;
    sizes(&scene.api, &mut report).await;
    queries(&scene.api, &mut report).await?;
    routes(&scene.api, &mut report).await;
    report.check_broken(&scene.api.address, "/message/send", "{\"channel_id\":").await;
    report.finish(&scene.site.log_tail());
    scene.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_done() -> Result<()> {
    let token = "the token of the tests, which no log may have";
    let scene = Scene::new("rate_limit = 0", &format!("token = \"{token}\"")).await?;
    let cut = &token[1..];
    let (bearer, basic, twice) = (format!("Bearer {cut}"), format!("Basic {token}"), format!("{token}{token}"));
    let wrong: [&[(&str, &str)]; 8] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer ")],
        &[("authorization", &bearer)],
        &[("authorization", &basic)],
        &[("token", cut)],
        &[("token", &twice)],
        &[("cookie", "token=x"), ("x-token", token)],
    ];
    let mut report = Report::default();
    let others = ["/message/sync", "/message/syncack"];
    for path in ALL.iter().chain(CLOSE).chain(&others).chain(LAST).chain(SEARCH) {
        let method = if LAST.contains(path) || SEARCH.contains(path) { "GET" } else { "POST" };
        for headers in wrong {
            let body = good(path).to_string();
            let ask = async { api_refuses(&scene.api, method, path, headers, body).await };
            report.check(&format!("{path} with {headers:?}"), ask).await;
        }
        let query = format!("{path}?token={cut}&authorization={cut}");
        let ask = async { api_refuses(&scene.api, method, &query, &[], good(path).to_string()).await };
        report.check(&query, ask).await;
    }
    report.finish(&scene.site.log_tail());
    ensure!(scene.site.stat("messages").await? == 0, "something was stored");
    let right: [(&str, String); 3] = [
        ("authorization", format!("Bearer {token}")),
        ("authorization", token.to_owned()),
        ("token", token.to_owned()),
    ];
    for (name, value) in right {
        let body = good("/message/send").to_string();
        let reply = scene.api.request("POST", "/message/send", &[(name, &value)], body).await?;
        ensure!(reply.status == 200, "{name}: {} {}", reply.status, reply.text);
    }
    ensure!(scene.daemon.stop().await?.success());
    ensure!(!scene.site.log().contains(cut), "the log has the token");
    Ok(())
}

async fn api_refuses(api: &Api, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Result<()> {
    api.request(method, path, headers, body).await?.is_refusal(401)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_in_the_same_shape() -> Result<()> {
    let scene = Scene::new("rate_limit = 5", "").await?;
    let asking = (0..100).map(|_| scene.api.get("/health"));
    let replies: Vec<Reply> = futures::future::try_join_all(asking).await?;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
    ensure!(refused.len() > 50, "{} refused", refused.len());
    refused.iter().try_for_each(|reply| reply.is_refusal(429))?;
    ensure!(scene.daemon.stop().await?.success());
    Ok(())
}
