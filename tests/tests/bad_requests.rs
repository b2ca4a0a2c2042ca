//! Every parameter of contract 000, wrong in every way a client gets it wrong, each with its documented answer. Nothing
//! answers 5xx, and nothing that is not signed learns anything.

use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use stele_tests::{
    client::{Client, Style, canonical, hmac_hex, quote_plus, sign},
    corp::{CorpFolder, CorpSpec},
    daemon::Site,
    report::Report,
    settings::{API_KEY, Settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A good request of each endpoint.
const GOOD: [(&str, &[(&str, &str)]); 3] = [
    ("sessions", &[("ext_staff_id", "staff123"), ("session_type", "external"), ("ext_corp_id", "corp123")]),
    ("session-msgs", &[("ext_staff_id", "staff123"), ("receiver_id", "customer456"), ("ext_corp_id", "corp123")]),
    (
        "search",
        &[
            ("keyword", "产品介绍"),
            ("ext_staff_id", "staff123"),
            ("ext_peer_id", "customer456"),
            ("ext_corp_id", "corp123"),
        ],
    ),
];

/// Endpoints a row is about.
const ALL: &[&str] = &["sessions", "session-msgs", "search"];
const SESSIONS: &[&str] = &["sessions"];
const MESSAGES: &[&str] = &["session-msgs"];
const SEARCH: &[&str] = &["search"];

/// Endpoints, parameter, its value (`None`: left out), and the code that answers it when everything else is right and
/// the request is rightly signed.
const TABLE: &[(&[&str], &str, Option<&str>, i64)] = &[
    (ALL, "ext_corp_id", None, 400),
    (ALL, "ext_corp_id", Some(""), 400),
    (ALL, "ext_corp_id", Some("corp999"), 1001),
    (ALL, "ext_corp_id", Some("CORP123"), 1001),
    (ALL, "ext_corp_id", Some("corp123 "), 1001),
    (ALL, "ext_corp_id", Some("corp123/staff123"), 1001),
    (ALL, "ext_corp_id", Some("corp123' OR '1'='1"), 1001),
    (ALL, "ext_staff_id", None, 400),
    (ALL, "ext_staff_id", Some(""), 400),
    (ALL, "ext_staff_id", Some("nobody-knows-me"), 1002),
    (ALL, "ext_staff_id", Some("staff123'; DROP TABLE messages; --"), 1002),
    (ALL, "page", Some("abc"), 1006),
    (ALL, "page", Some("-1"), 1006),
    (ALL, "page", Some("1.5"), 1006),
    (ALL, "page", Some("1e9"), 1006),
    (ALL, "page", Some("0x10"), 1006),
    (ALL, "page", Some("99999999999999999999999999"), 1006),
    (ALL, "page", Some("0"), 0),
    (ALL, "page", Some(""), 0),
    (ALL, "page", Some("4294967295"), 0),
    (ALL, "page_size", Some("abc"), 1006),
    (ALL, "page_size", Some("-20"), 1006),
    (ALL, "page_size", Some("20px"), 1006),
    (ALL, "page_size", Some("99999999999999999999999999"), 1006),
    (ALL, "page_size", Some("0"), 0),
    (ALL, "page_size", Some(""), 0),
    (ALL, "page_size", Some("5000"), 0),
    (ALL, "unknown", Some("value"), 0),
    (SESSIONS, "session_type", None, 400),
    (SESSIONS, "session_type", Some(""), 400),
    (SESSIONS, "session_type", Some("EXTERNAL"), 1003),
    (SESSIONS, "session_type", Some("1"), 1003),
    (SESSIONS, "session_type", Some("外部"), 1003),
    (SESSIONS, "name", Some(""), 0),
    (SESSIONS, "name", Some("%_\\'\""), 0),
    (MESSAGES, "receiver_id", None, 400),
    (MESSAGES, "receiver_id", Some(""), 400),
    (MESSAGES, "receiver_id", Some("nobody-knows-me"), 0),
    (MESSAGES, "msg_type", Some("novel"), 1004),
    (MESSAGES, "msg_type", Some("TEXT"), 1004),
    (MESSAGES, "msg_type", Some(""), 0),
    (MESSAGES, "send_at_start", Some("2024-13-01"), 1005),
    (MESSAGES, "send_at_start", Some("2024-02-30"), 1005),
    (MESSAGES, "send_at_start", Some("01/02/2024"), 1005),
    (MESSAGES, "send_at_start", Some("2024-1-1"), 1005),
    (MESSAGES, "send_at_start", Some("1704067200000"), 1005),
    (MESSAGES, "send_at_start", Some("99999999-01-01"), 1005),
    (MESSAGES, "send_at_start", Some("昨天"), 1005),
    (MESSAGES, "send_at_start", Some(""), 0),
    (MESSAGES, "send_at_start", Some("2024-01-01 08:00:00"), 0),
    (MESSAGES, "send_at_end", Some("2024-00-10"), 1005),
    (MESSAGES, "send_at_end", Some("tomorrow"), 1005),
    (MESSAGES, "send_at_end", Some("-0001-01-01"), 1005),
    (MESSAGES, "max_id", Some("msg001"), 400),
    (MESSAGES, "max_id", Some("-"), 400),
    (MESSAGES, "max_id", Some("9223372036854775808"), 400),
    (MESSAGES, "max_id", Some("1 OR 1=1"), 400),
    (MESSAGES, "max_id", Some(""), 0),
    (MESSAGES, "max_id", Some("9223372036854775807"), 0),
    (MESSAGES, "min_id", Some("msg001"), 400),
    (MESSAGES, "min_id", Some("1.0"), 400),
    (MESSAGES, "min_id", Some("0"), 0),
    (MESSAGES, "sort_field", Some("content; DROP TABLE messages"), 400),
    (MESSAGES, "sort_field", Some("body"), 400),
    (MESSAGES, "sort_field", Some(""), 0),
    (MESSAGES, "sort_type", Some("up"), 400),
    (MESSAGES, "sort_type", Some(""), 0),
    (SEARCH, "keyword", None, 400),
    (SEARCH, "keyword", Some(""), 400),
    (SEARCH, "keyword", Some("%"), 0),
    (SEARCH, "keyword", Some("\"产品 AND 介绍\" OR *:*"), 0),
    (SEARCH, "keyword", Some("\u{0}"), 0),
    (SEARCH, "ext_peer_id", None, 400),
    (SEARCH, "ext_peer_id", Some(""), 400),
    (SEARCH, "ext_peer_id", Some("nobody-knows-me"), 0),
];

/// A request that is wrong as a whole: its query, and its code.
fn malformed() -> Vec<(&'static str, String, i64)> {
    let good = "ext_staff_id=staff123&session_type=external&ext_corp_id=corp123";
    let signature = |text: &str| hmac_hex(API_KEY, text);
    let sorted = "ext_corp_id=corp123&ext_staff_id=staff123&session_type=external";
    let right = signature(sorted);
    let mut rows = vec![
        ("unsigned", good.to_owned(), 401),
        ("empty signature", format!("{good}&signature="), 401),
        ("no hex", format!("{good}&signature=zz{}", &right[2..]), 401),
        ("cut signature", format!("{good}&signature={}", &right[..63]), 401),
        ("longer signature", format!("{good}&signature={right}00"), 401),
        ("another key", format!("{good}&signature={}", hmac_hex("another key", sorted)), 401),
        ("of another request", format!("{good}&page=2&signature={right}"), 401),
        ("of fewer parameters", format!("{good}&name=&signature={right}"), 401),
        ("signature twice", format!("{good}&signature={right}&signature={right}"), 400),
        ("nothing at all", String::new(), 401),
        ("only a signature", format!("signature={right}"), 401),
        ("upper-case hex", format!("{good}&signature={}", right.to_uppercase()), 0),
    ];
    let twice = signature("ext_corp_id=corp123&ext_corp_id=corp123&ext_staff_id=staff123&session_type=external");
    rows.push(("a parameter twice", format!("{good}&ext_corp_id=corp123&signature={twice}"), 400));
    // Bytes that are no UTF-8, cut escapes: unreadable, whatever the signature.
    for (what, value) in
        [("bad UTF-8", "%ff%fe"), ("overlong UTF-8", "%c0%af"), ("cut escape", "%e4%b"), ("bad escape", "%zz")]
    {
        let wire = signature(&format!("ext_corp_id=corp123&ext_staff_id=staff123&name={value}&session_type=external"));
        rows.push((what, format!("{good}&name={value}&signature={wire}"), 400));
    }
    let mut many = good.to_owned();
    for index in 0..200 {
        write!(many, "&p{index}=1").expect("text grows");
    }
    rows.push(("too many parameters", format!("{many}&signature={right}"), 400));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_their_answer() -> Result<()> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(80), upstream.path())?;
    let site = Site::new(|dir| {
        let mut settings = Settings::of(&folder, dir, "", "");
        settings.api_keys =
            format!(r#"[{{ key = "{API_KEY}" }}, {{ key = "key of another corp", corps = ["elsewhere"] }}]"#);
        settings.instance = "rate_limit = 0".into();
        let mut elsewhere = settings.corps[0].clone();
        elsewhere.id = "elsewhere".into();
        settings.corps.push(elsewhere);
        Ok(settings)
    })?;
    let daemon = site.start().await?;
    site.run_job("sync").await?;
    let client = site.client();
    let mut report = Report::default();
    for (endpoint, good) in GOOD {
        let answer = client.get(endpoint, good).await?;
        report.add(endpoint, answers(answer.status, answer.code(), 0, &answer.text));
        for (_, name, value, code) in TABLE.iter().filter(|(endpoints, ..)| endpoints.contains(&endpoint)) {
            let what = format!("{endpoint} with {name}={value:?}");
            report.check(&what, parameter(&client, endpoint, good, name, *value, *code)).await;
        }
        let answer = site.client_with("key of another corp").get(endpoint, good).await?;
        report.add(
            &format!("{endpoint} with the key of another corp"),
            answers(answer.status, answer.code(), 403, &answer.text),
        );
    }
    for (what, query, code) in malformed() {
        let answer = client.get_path(&format!("/api/v1/chat-msg/sessions?{query}")).await?;
        report.add(what, answers(answer.status, answer.code(), code, &answer.text));
    }
    report.check("long values", long_values(&client)).await;
    report.check("bodies of sync", sync_bodies(&site)).await;
    report.check("routes", routes(&client)).await;
    report.check("bytes that are no HTTP", raw(&site)).await;
    report
        .check("it still answers", async {
            let answer = client.get(GOOD[1].0, GOOD[1].1).await?;
            ensure!(answer.code() == 0 && answer.total() > 0, "{}", answer.text);
            Ok(())
        })
        .await;
    report.finish(&site.log_tail());
    drop(daemon);
    Ok(())
}

/// HTTP 200 with the code in the contract's envelope; never 5xx.
fn answers(status: u16, code: i64, expected: i64, text: &str) -> Result<()> {
    ensure!(status < 500, "answered {status}: {text}");
    ensure!(code == expected, "code {code} instead of {expected}: {text}");
    let reply: serde_json::Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
    let members: Vec<_> = reply.as_object().context("an object")?.keys().map(String::as_str).collect();
    ensure!(members == ["code", "message", "data"], "members {members:?}");
    ensure!(expected == 0 || reply["data"].is_null(), "an error has no data: {text}");
    ensure!(reply["message"].as_str().is_some_and(|message| !message.is_empty()), "it says what is wrong: {text}");
    Ok(())
}

async fn parameter(
    client: &Client,
    endpoint: &str,
    good: &[(&str, &str)],
    name: &str,
    value: Option<&str>,
    code: i64,
) -> Result<()> {
    let mut params: Vec<_> = good.iter().copied().filter(|(known, _)| *known != name).collect();
    params.extend(value.map(|value| (name, value)));
    let answer = client.get(endpoint, &params).await?;
    answers(answer.status, answer.code(), code, &answer.text)?;
    // The same unsigned or with another signature tells nothing of all this.
    let pairs: Vec<_> = params.iter().map(|(name, value)| format!("{name}={}", quote_plus(value))).collect();
    for signature in [String::new(), format!("&signature={}", sign(&params, "another key", Style::Raw))] {
        let path = format!("/api/v1/chat-msg/{endpoint}?{}{signature}", pairs.join("&"));
        let answer = client.get_path(&path).await?;
        answers(answer.status, answer.code(), 401, &answer.text)?;
    }
    Ok(())
}

async fn long_values(client: &Client) -> Result<()> {
    for (endpoint, good) in GOOD {
        for (name, _) in good {
            for length in [300, 5_000, 20_000] {
                let long = "长".repeat(length / 3);
                let params: Vec<_> = good
                    .iter()
                    .map(|(known, value)| (*known, if known == name { long.as_str() } else { value }))
                    .collect();
                let answer = client.get(endpoint, &params).await?;
                ensure!(
                    answer.status < 500,
                    "{endpoint} with {length} bytes of {name}: {} {}",
                    answer.status,
                    answer.text
                );
                ensure!(!answer.text.contains("长长"), "{endpoint} repeats what it got: {name}");
            }
        }
    }
    Ok(())
}

async fn sync_bodies(site: &Site) -> Result<()> {
    let client = site.client();
    let right = sign(&[("ext_corp_id", "corp123")], API_KEY, Style::Raw);
    let unknown = sign(&[("ext_corp_id", "corp999")], API_KEY, Style::Raw);
    let empty = sign(&[("ext_corp_id", "")], API_KEY, Style::Raw);
    let foreign = sign(&[("ext_corp_id", "corp123")], "key of another corp", Style::Raw);
    let none = hmac_hex(API_KEY, &canonical(&[], Style::Raw));
    let rows = [
        (String::new(), 400),
        ("{}".to_owned(), 400),
        ("[]".to_owned(), 400),
        ("null".to_owned(), 400),
        ("{\"ext_corp_id\":".to_owned(), 400),
        ("not json".to_owned(), 400),
        (format!(r#"{{"ext_corp_id":"corp123","signature":"{right}"}} trailing"#), 400),
        (format!(r#"{{"ext_corp_id":["corp123"],"signature":"{right}"}}"#), 400),
        (format!(r#"{{"ext_corp_id":{{"a":1}},"signature":"{right}"}}"#), 400),
        (format!(r#"{{"ext_corp_id":"corp123","ext_corp_id":"corp123","signature":"{right}"}}"#), 400),
        (r#"{"ext_corp_id":"corp123"}"#.to_owned(), 400),
        (r#"{"ext_corp_id":"corp123","signature":""}"#.to_owned(), 400),
        (format!(r#"{{"ext_corp_id":"corp123","signature":"{}"}}"#, right.replace('0', "1")), 400),
        (format!(r#"{{"ext_corp_id":"corp999","signature":"{unknown}"}}"#), 1001),
        (format!(r#"{{"ext_corp_id":"","signature":"{empty}"}}"#), 400),
        (format!(r#"{{"signature":"{none}"}}"#), 400),
        (format!(r#"{{"ext_corp_id":"corp123","signature":"{foreign}"}}"#), 403),
        (format!(r#"{{"ext_corp_id":"{}","signature":"{right}"}}"#, "x".repeat(50_000)), 400),
        (format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)), 400),
    ];
    for (body, code) in rows {
        let answer = client.post_sync(&body).await?;
        let shown: String = body.chars().take(80).collect();
        answers(answer.status, answer.code(), code, &answer.text).with_context(|| shown)?;
    }
    // Four MiB: refused, or cut off while they are sent.
    if let Ok(huge) = client.post_sync(&format!(r#"{{"ext_corp_id":"{}"}}"#, "x".repeat(4 << 20))).await {
        ensure!(huge.status < 500, "four MiB: {} {}", huge.status, huge.text);
        ensure!(huge.code() == 413 || huge.code() == 400, "four MiB: {}", huge.text);
    }
    let mut bytes = br#"{"ext_corp_id":""#.to_vec();
    bytes.extend([0xff, 0xfe]);
    bytes.extend(br#"","signature":"x"}"#);
    let url = format!("{}/api/v1/chat-msg/sync", client.base);
    let response = stele_tests::client::http().post(url).body(bytes).send().await?;
    let (status, text) = (response.status().as_u16(), response.text().await?);
    let code = serde_json::from_str::<serde_json::Value>(&text)?["code"].as_i64().unwrap_or(-1);
    answers(status, code, 400, &text)
}

async fn routes(client: &Client) -> Result<()> {
    let http = stele_tests::client::http();
    for path in [
        "/",
        "/api",
        "/api/v1/chat-msg",
        "/api/v1/chat-msg/",
        "/api/v1/chat-msg/session",
        "/api/v2/chat-msg/sessions",
        "/api/v1/chat-msg/sessions/1",
        "/API/V1/chat-msg/sessions",
        "/api/v1/chat-msg/../chat-msg/nothing",
        "/metrics",
        "/ready",
    ] {
        let answer = client.get_path(path).await?;
        ensure!(answer.status == 404 && answer.code() == 404, "{path}: {} {}", answer.status, answer.text);
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"] {
        let url = format!("{}/api/v1/chat-msg/sessions", client.base);
        let response = http.request(method.parse()?, url).send().await?;
        ensure!(response.status().is_client_error(), "{method}: {}", response.status());
    }
    let get = client.get_path("/api/v1/chat-msg/sync").await?;
    ensure!((400..500).contains(&get.status), "GET sync: {} {}", get.status, get.text);
    Ok(())
}

/// What is no HTTP at all ends its connection, and nothing else.
async fn raw(site: &Site) -> Result<()> {
    let long = [
        b"GET /api/v1/chat-msg/sessions?name=".to_vec(),
        vec![b'x'; 400_000],
        b" HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ]
    .concat();
    let headers = format!("GET /api/v1/chat-msg/sessions HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let requests: [&[u8]; 8] = [
        &long,
        headers.as_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS",
        b"GET /api/v1/chat-msg/sessions HTTP/1.1\r\n\r\n",
        b"GET /api/v1/chat-msg/sessions?keyword=\xe4\xba\xa7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /api/v1/chat-msg/sync HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\nConnection: close\r\n\r\n",
        b"POST /api/v1/chat-msg/sync HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        b"NONSENSE\r\n\r\n",
    ];
    for request in requests {
        let mut stream = TcpStream::connect(&site.settings.listen).await?;
        // What is too long may be refused before it has all been sent.
        stream.write_all(request).await.ok();
        stream.shutdown().await.ok();
        let mut reply = Vec::new();
        let read = stream.read_to_end(&mut reply);
        // A reset is as good an end as a reply.
        tokio::time::timeout(stele_tests::daemon::PATIENCE, read).await.context("the connection stays open")?.ok();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        ensure!(!reply.starts_with("HTTP/1.1 5"), "{:?} is answered {reply}", String::from_utf8_lossy(request));
    }
    Ok(())
}
