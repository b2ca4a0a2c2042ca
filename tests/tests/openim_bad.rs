//! What callers of OpenIM's search get wrong, by mistake or on purpose: each is answered with its exact error in the envelope; no
//! secret is logged, and service goes on.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_tests::{
    daemon::{Daemon, Site},
    gateway::{jwt, sign},
    openim::{ADMIN, Api, Openim, SECRET, claims, now, site},
    report::Report,
};

const SEARCH: &str = "/msg/search_msg";
const ARGS: (i64, &str) = (1001, "ArgsError");

/// Fields, values they must not have, and what is said of it.
const FIELDS: &[(&[&str], &str, &str)] = &[
    (
        &["sendID", "recvID", "sendTime", "keyword", "order", "cursor"],
        "[7, 1.5, true, [], {}, [\"x\"]]",
        "has to be a string",
    ),
    (
        &["contentType", "sessionType", "pagination.pageNumber", "pagination.showNumber"],
        r#"["101", "", 1.5, 101.0, 1e2, 1e99, true, [], {}, 2147483648, -2147483649, 9223372036854775808, 18446744073709551616]"#,
        "has to be an int32",
    ),
    (
        &["startTime", "endTime"],
        r#"["1775700000000", "", 1.5, 1e12, true, [], {}, 9223372036854775808, -9223372036854775809]"#,
        "has to be an int64",
    ),
    (&["pagination"], r#"[7, "x", true, [], [{}]]"#, "has to be an object"),
    (&["pagination.showNumber"], "[-1, -2147483648]", "must not be less than 0"),
    (&["startTime", "endTime"], "[-1, -9223372036854775808]", "must not be less than 0"),
    (&["order"], r#"["newest", "ASC", " asc", "asc,desc"]"#, "must be asc or desc"),
    (
        &["cursor"],
        r#"["x", " ", "1", "asc", "asc.1", "asc.x.1", "asc.1.x", "desc.1.1", "asc.01.1", "asc.1.1.", "asc.9223372036854775808.1"]"#,
        "must be empty, or the nextCursor of an answer in the same order",
    ),
];

const DATES: &[&str] = &[
    " ",
    "2026-4-9",
    "2026-04-9",
    "26-04-09",
    "2026/04/09",
    "20260409",
    "2026-02-30",
    "2025-02-29",
    "2026-13-01",
    "2026-00-10",
    "2026-01-00",
    " 2026-04-09",
    "2026-04-09 ",
    "2026-04-09T00:00:00Z",
    "-026-04-09",
    "yesterday",
    "1775700000000",
    "２０２６-04-09",
    "2026-04-09' OR 1=1",
];

/// What is no error, however odd.
const FINE: &[&str] = &[
    "null",
    "{}",
    " {} ",
    r#"{"unknown": {"deep": [[[1]]]}}"#,
    r#"{"pagination": null, "sendID": null, "cursor": null}"#,
    r#"{"PAGINATION": {"PAGENUMBER": 2147483647, "shownumber": 2147483647}}"#,
    r#"{"pagination": {"pageNumber": -2147483648, "showNumber": 0}}"#,
    r#"{"startTime": 9223372036854775807, "endTime": 1}"#,
    r#"{"contentType": -1, "sessionType": 2147483647}"#,
    r#"{"sendTime": "9999-12-31"}"#,
    r#"{"sendTime": "0000-01-01"}"#,
    r#"{"sendID": "\u0000", "recvID": "%' --"}"#,
    r#"{"sendID": "\ud83d"}"#,
    r#"{"keyword": "\u0000\n*:\"AND"}"#,
    r#"{"cursor": "asc.9223372036854775807.9223372036854775807"}"#,
];

/// A daemon with an instance.
struct Scene {
    site: Site,
    daemon: Daemon,
    api: Api,
}

impl Scene {
    async fn new(instance: &str) -> Result<Self> {
        let mut openim = Openim::new("im", "")?;
        openim.instance = instance.into();
        let site = site(std::slice::from_ref(&openim), "")?;
        Ok(Self { daemon: site.start().await?, api: openim.api(), site })
    }

    /// Service goes on, nothing was stored, and nothing secret told.
    async fn verify(self) -> Result<()> {
        let found = self.api.search(&json!({})).await?;
        ensure!(found.chat_logs_num == 0 && found.chat_logs.is_empty(), "{found:?}");
        ensure!(self.site.stat("messages").await? == 0, "something was stored");
        ensure!(self.daemon.stop().await?.success(), "{}", self.site.log_tail());
        let log = self.site.log();
        ensure!(!log.contains(SECRET) && !log.contains(&self.api.token), "the log tells a secret");
        Ok(())
    }
}

/// A body in which a field, perhaps one within another, has this value.
fn with(field: &str, value: &Value) -> Value {
    match field.split_once('.') {
        Some((outer, inner)) => json!({ outer: { inner: value } }),
        None => json!({ field: value }),
    }
}

async fn fields(api: &Api, report: &mut Report) -> Result<()> {
    for (names, values, wrong) in FIELDS {
        let values: Vec<Value> = serde_json::from_str(values).with_context(|| (*values).to_owned())?;
        for (name, value) in names.iter().flat_map(|name| values.iter().map(move |value| (name, value))) {
            let body = with(name, value).to_string();
            let told = format!("{name} {wrong}");
            let ask = async { api.post(SEARCH, body.clone()).await?.is_error(ARGS.0, ARGS.1, &told) };
            report.check(&body, ask).await;
        }
    }
    for date in DATES {
        let body = json!({ "sendTime": date }).to_string();
        let told = format!("invalid sendTime, req={date}, format=YYYY-MM-DD");
        let ask = async { api.post(SEARCH, body).await?.is_error(ARGS.0, ARGS.1, &told) };
        report.check(date, ask).await;
    }
    let told = format!("invalid sendTime, req={}, format=YYYY-MM-DD", "9".repeat(64));
    let long = json!({ "sendTime": "9".repeat(100_000) }).to_string();
    report.check("a long date", async { api.post(SEARCH, long).await?.is_error(ARGS.0, ARGS.1, &told) }).await;
    let told = "keyword cannot be searched for: the text has 1001 characters, at most 1000 can be searched for";
    let long = json!({ "keyword": "x".repeat(1001) }).to_string();
    report.check("a long keyword", async { api.post(SEARCH, long).await?.is_error(ARGS.0, ARGS.1, told) }).await;
    let told = "pagination.pageNumber must not be more than 1 with a cursor";
    let both = json!({ "cursor": "", "pagination": { "pageNumber": 2 } }).to_string();
    report.check("a cursor and a page", async { api.post(SEARCH, both).await?.is_error(ARGS.0, ARGS.1, told) }).await;
    for body in FINE {
        let ask = async {
            let data: Value = api.post(SEARCH, *body).await?.read()?;
            ensure!(data["chatLogsNum"] == 0 && data["chatLogs"] == json!([]), "{data}");
            Ok(())
        };
        report.check(body, ask).await;
    }
    Ok(())
}

/// Whole bodies that are none.
async fn bodies(api: &Api, report: &mut Report) {
    let nested = |open: &str, close: &str| [open.repeat(20_000), close.repeat(20_000)].concat().into_bytes();
    let no_json = |place| format!("the body cannot be read as JSON at line {place}");
    let rows: Vec<(&str, Vec<u8>, String)> = vec![
        ("empty", Vec::new(), "the body is empty".into()),
        ("blank", b" \n".to_vec(), no_json("2, column 0")),
        ("a form", b"sendID=u&recvID=g".to_vec(), no_json("1, column 1")),
        ("cut", br#"{"sendID":"u"#.to_vec(), no_json("1, column 12")),
        ("more behind it", b"{}}".to_vec(), no_json("1, column 3")),
        ("a number", b"7".to_vec(), "the body has to be a JSON object".into()),
        ("a text", b"\"x\"".to_vec(), "the body has to be a JSON object".into()),
        ("a list", b"[{}]".to_vec(), "the body has to be a JSON object".into()),
        ("bytes that are no text", vec![0xff, 0xfe, 0x00], no_json("1, column 1")),
        ("deep lists", nested("[", "]"), no_json("1, column 128")),
        ("deep objects", nested("{\"a\":", "}"), no_json("1, column 636")),
    ];
    for (what, body, told) in rows {
        report.check(what, async { api.post(SEARCH, body).await?.is_error(ARGS.0, ARGS.1, &told) }).await;
    }
    report
        .check("more than 16 MiB", async {
            // Refused, or cut off while it is sent.
            let Ok(reply) = api.post(SEARCH, vec![b' '; (16 << 20) + 1]).await else { return Ok(()) };
            let told: Value = serde_json::from_str(&reply.text).with_context(|| reply.text.clone())?;
            ensure!(reply.status == 413 && reply.is_open && told["errCode"] == 500, "{reply:?}");
            Ok(())
        })
        .await;
}

async fn headers(api: &Api, report: &mut Report) {
    let good = |more: Value| {
        let mut claims = claims(ADMIN);
        claims.as_object_mut().expect("claims are an object").extend(more.as_object().expect("so is this").clone());
        claims
    };
    let without = |name: &str| {
        let mut claims = claims(ADMIN);
        claims.as_object_mut().expect("claims are an object").remove(name);
        claims
    };
    let signed = |claims: &Value| jwt("HS256", claims, SECRET);
    let (head, rest) = api.token.split_once('.').expect("a token has three parts");
    let (body, signature) = rest.split_once('.').expect("a token has three parts");
    let other = signed(&claims("u_1001"));
    let other_body = other.split('.').nth(1).expect("a token has three parts");
    let (malformed, unknown) = ((1503, "TokenMalformedError"), (1505, "signature is invalid"));
    let (expired, not_yet) = ((1501, "TokenExpiredError"), (1504, "TokenNotValidYetError"));
    let rows = [
        ("no token", "x".to_owned(), malformed),
        ("two parts", format!("{head}.{body}"), malformed),
        ("four parts", format!("{}.{signature}", api.token), malformed),
        ("dots", "..".into(), malformed),
        ("a scheme", format!("Bearer {}", api.token), malformed),
        ("no base64", format!("{head}.{body}!.{signature}"), unknown),
        ("not signed", jwt("none", &claims(ADMIN), ""), malformed),
        ("a signature left out", format!("{head}.{body}."), unknown),
        ("another's claims", format!("{head}.{other_body}.{signature}"), unknown),
        ("another key", jwt("HS256", &claims(ADMIN), "another secret"), unknown),
        ("no key", jwt("HS256", &claims(ADMIN), ""), unknown),
        ("HS384", jwt("HS384", &claims(ADMIN), SECRET), unknown),
        ("HS512", jwt("HS512", &claims(ADMIN), SECRET), unknown),
        ("signed as another text", format!("{head}.{body}.{}", hex::encode(sign("HS256", "x", SECRET))), unknown),
        ("over", signed(&good(json!({ "exp": now() - 1 }))), expired),
        ("over since 1970", signed(&good(json!({ "exp": 0 }))), expired),
        ("over before", signed(&good(json!({ "exp": -1 }))), expired),
        ("not yet", signed(&good(json!({ "nbf": now() + 3600 }))), not_yet),
        ("without an end", signed(&without("exp")), malformed),
        ("an end that is a text", signed(&good(json!({ "exp": "never" }))), malformed),
        ("nobody's", signed(&without("UserID")), malformed),
        ("a number's", signed(&good(json!({ "UserID": 7 }))), malformed),
        ("no claims", signed(&json!([])), malformed),
        ("a long one", "x".repeat(8_000), malformed),
    ];
    for (what, token, (code, message)) in rows {
        let ask =
            async { request(api, &[("operationID", "op"), ("token", &token)]).await?.is_error(code, message, "") };
        report.check(&format!("a token: {what}"), ask).await;
    }
    for user in ["u_1001", "imadmin", "imAdmin ", ""] {
        let token = signed(&claims(user));
        let told = format!("user {user} is not admin userID");
        let ask = async {
            let reply = request(api, &[("operationID", "op"), ("token", &token)]).await?;
            reply.is_error(1002, "NoPermissionError", &told)
        };
        report.check(&format!("a token of {user:?}"), ask).await;
    }
    let rows: [(&[(&str, &str)], &str); 6] = [
        (&[], "header must have operationID"),
        (&[("token", "x")], "header must have operationID"),
        (&[("operationID", ""), ("token", "x")], "header must have operationID"),
        (&[("operationID", "op")], "header must have token"),
        (&[("operationID", "op"), ("token", "")], "header must have token"),
        (&[("operationID", "op"), ("authorization", &api.token)], "header must have token"),
    ];
    for (headers, told) in rows {
        let ask = async { request(api, headers).await?.is_error(ARGS.0, ARGS.1, told) };
        report.check(&format!("{headers:?}"), ask).await;
    }
}

/// A search that is wrong in its body, too: who may not is not told of that.
async fn request(api: &Api, headers: &[(&str, &str)]) -> Result<stele_tests::openim::Reply> {
    api.request("POST", SEARCH, headers, "{").await
}

async fn routes(api: &Api, report: &mut Report) {
    let headers = [("operationID", "op"), ("token", &*api.token)];
    let methods = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "PURGE"].map(|method| (method, SEARCH.to_owned()));
    let others = [
        "/",
        "/msg",
        "/msg/search_msg/",
        "//msg/search_msg",
        "/MSG/SEARCH_MSG",
        "/msg/search_msgs",
        "/msg/search_msg%00",
        "/x/..%2fmsg/search_msg",
        "/api/v1/jobs",
        "/metrics",
        "/hook/x/callbackAfterSendSingleMsgCommand",
        "/../../etc/passwd",
    ]
    .map(|path| ("POST", path.to_owned()));
    for (method, path) in methods.into_iter().chain(others) {
        let ask = async {
            let reply = api.request(method, &path, &headers, "{}").await?;
            let text = if method == "HEAD" { "" } else { "404 page not found" };
            ensure!(reply.status == 404 && reply.is_open && reply.text == text, "{reply:?}");
            Ok(())
        };
        report.check(&format!("{method} {path}"), ask).await;
    }
    for path in [SEARCH, "/nothing"] {
        let ask = async {
            let reply = api.request("OPTIONS", path, &[("origin", "https://x.example")], "").await?;
            ensure!(reply.status == 200 && reply.is_open && reply.text == "\"Options Request!\"", "{reply:?}");
            Ok(())
        };
        report.check(&format!("OPTIONS {path}"), ask).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_exactly() -> Result<()> {
    let scene = Scene::new("rate_limit = 0").await?;
    let mut report = Report::default();
    fields(&scene.api, &mut report).await?;
    bodies(&scene.api, &mut report).await;
    headers(&scene.api, &mut report).await;
    routes(&scene.api, &mut report).await;
    report.check_broken(&scene.api.address, SEARCH, "{\"sendID\":").await;
    report.finish(&scene.site.log_tail());
    scene.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_in_the_same_shape() -> Result<()> {
    let scene = Scene::new("rate_limit = 5").await?;
    let asking = (0..100).map(|_| scene.api.post(SEARCH, "{}"));
    let replies = futures::future::try_join_all(asking).await?;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
    ensure!(refused.len() > 50, "{} refused", refused.len());
    for reply in refused {
        let told: Value = serde_json::from_str(&reply.text).with_context(|| reply.text.clone())?;
        let keys: Vec<_> = told.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        ensure!(reply.status == 429 && reply.is_open && keys == ["errCode", "errMsg", "errDlt"], "{reply:?}");
    }
    ensure!(scene.daemon.stop().await?.success());
    Ok(())
}
