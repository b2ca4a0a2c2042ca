//! Listeners and fronts, with a backend that is no plugin.

mod stopping;
mod tls;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_plugin_api::ops::{Description, HttpReply, HttpRequest};
use stele_plugin_api::{Error, ErrorCode};
use steled::config::Http;
use steled::http::{Backend, Bounds, Front, Listener, Mounts, Running, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// More bytes than the buffers of a connection take.
const LARGE: usize = 64 << 20;

/// Answers by path; remembers what it was asked.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<HttpRequest>>,
    entered: Notify,
    go_on: Notify,
    finished: AtomicBool,
}

#[async_trait]
impl Backend for Fake {
    fn name(&self) -> String {
        "fake".into()
    }

    async fn handle(&self, request: HttpRequest, _deadline: Duration) -> Result<HttpReply, Error> {
        let path = request.path.clone();
        let body = request.body.clone();
        self.asked.lock().unwrap().push(request);
        let fail = |code| Err(Error::new(code, "topsecret detail"));
        match path.as_str() {
            "/slow" => {
                self.entered.notify_one();
                self.go_on.notified().await;
                self.finished.store(true, Ordering::SeqCst);
            }
            "/never" => std::future::pending().await,
            "/large" => return Ok(HttpReply { status: 200, body: vec![0; LARGE].into(), ..HttpReply::default() }),
            "/panic" => panic!("a backend that panics"),
            "/unavailable" => {
                return Err(Error::new(ErrorCode::Unavailable, "topsecret").retry_after(Duration::from_secs(7)));
            }
            "/deadline" => return fail(ErrorCode::Deadline),
            "/internal" => return fail(ErrorCode::Internal),
            "/unsupported" => return fail(ErrorCode::Unsupported),
            "/odd" => return Ok(HttpReply { status: 42, ..HttpReply::default() }),
            _ => {}
        }
        let headers =
            [("content-type", "text/plain"), ("x-own", "1"), ("connection", "close"), ("content-length", "999")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let body = if body.is_empty() { path.into() } else { body };
        Ok(HttpReply { status: 200, headers, body, ..HttpReply::default() })
    }
}

struct Site {
    fake: Arc<Fake>,
    mounts: Arc<Mounts>,
    front: Arc<Front>,
    running: Running,
    client: reqwest::Client,
}

fn http() -> Http {
    Http {
        max_body_bytes: Some(1000),
        request_timeout_seconds: 1,
        header_timeout_seconds: 1,
        max_in_flight: 2,
        ..Http::default()
    }
}

async fn site_with(http: Http, bounds: impl FnOnce(&mut Bounds), tls: Option<Arc<Tls>>) -> Site {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fake = Arc::new(Fake::default());
    let mut limits = Bounds::from(&http);
    bounds(&mut limits);
    let media = Router::new().route("/media/{md5}/{name}", get(|uri: http::Uri| async move { uri.to_string() }));
    let front = Front::new("hq", fake.clone(), media, limits);
    front.describe(&Description {
        error_template: Some(r#"{"errcode":{status},"errmsg":"{message}"}"#.into()),
        error_headers: vec![
            ("x-open".into(), "*".into()),
            ("no header".into(), "x".into()),
            ("x-no".into(), "\n".into()),
        ],
        default_rate: Some(1000),
        ..Description::default()
    });
    let mounts = Arc::new(Mounts::default());
    let front = Arc::new(front);
    mounts.mount("", Arc::clone(&front));
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).await.unwrap();
    let running = listener.serve(mounts.clone(), &http);
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
    Site { fake, mounts, front, running, client }
}

async fn site() -> Site {
    site_with(http(), |_| {}, None).await
}

impl Site {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    async fn check(&self, path: &str, status: u16, body: &str) -> reqwest::Response {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let headers = response.headers().clone();
        assert_eq!(response.text().await.unwrap(), body, "{path}");
        let mut kept = http::Response::new("");
        *kept.headers_mut() = headers;
        kept.into()
    }
}

#[tokio::test]
async fn a_request_reaches_the_plugin_as_it_came() {
    let site = site().await;
    let response = site
        .client
        .post(site.url("/a%20b/%E4%BA%A7?x=%E4%BA%A7&x=&y"))
        .header("X-Request-Id", "caller-7")
        .header("X-Twice", "1")
        .header("X-Twice", "2")
        .body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "caller-7");
    assert_eq!(response.headers()["x-own"], "1");
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.text().await.unwrap(), "hello");
    let asked = site.fake.asked.lock().unwrap();
    let request = &asked[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/a%20b/%E4%BA%A7");
    assert_eq!(request.query.as_deref(), Some("x=%E4%BA%A7&x=&y"));
    assert_eq!(request.remote, "127.0.0.1");
    assert_eq!(request.request_id, "caller-7");
    assert_eq!(request.base_url, format!("http://{}", site.running.address()));
    let twice: Vec<_> = request.headers.iter().filter(|(name, _)| name == "x-twice").map(|(_, v)| v.as_str()).collect();
    assert_eq!(twice, ["1", "2"]);
}

#[tokio::test]
async fn a_request_without_a_good_id_gets_one() {
    let site = site().await;
    for given in ["", "a b", "x\"y", &"x".repeat(129)] {
        let response = site.client.get(site.url("/")).header("x-request-id", given).send().await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let parsed: uuid::Uuid = id.parse().unwrap();
        assert_eq!(parsed.get_version_num(), 7, "given {given:?}");
    }
}

#[tokio::test]
async fn errors_have_the_shape_of_the_protocol_and_tell_nothing() {
    let site = site().await;
    for (path, status, body) in [
        ("/panic", 500, r#"{"errcode":500,"errmsg":"internal error"}"#),
        ("/internal", 500, r#"{"errcode":500,"errmsg":"internal error"}"#),
        ("/odd", 500, r#"{"errcode":500,"errmsg":"internal error"}"#),
        ("/deadline", 504, r#"{"errcode":504,"errmsg":"this took too long"}"#),
        ("/never", 504, r#"{"errcode":504,"errmsg":"this took too long"}"#),
        ("/unsupported", 404, r#"{"errcode":404,"errmsg":"this instance serves no HTTP"}"#),
    ] {
        site.check(path, status, body).await;
    }
    let response = site.check("/unavailable", 503, r#"{"errcode":503,"errmsg":"not available now"}"#).await;
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.headers()["x-open"], "*", "what the plugin's answers carry");
    assert!(!response.headers().contains_key("x-no"));
}

#[tokio::test]
async fn a_plugin_recommends_how_large_bodies_are() {
    const MIB: usize = 1 << 20;
    for (configured, in_flight, recommended, limit) in [
        (None, 8, None, MIB),
        (None, 8, Some(2 * MIB), 2 * MIB),
        (None, 8, Some(1000), 1000),
        // All of them share what requests in flight could take, so no single one is larger than that.
        (None, 2, Some(8 * MIB), 2 * MIB),
        (Some(1000), 8, Some(2 * MIB), 1000),
        (Some(2 * MIB), 8, Some(1000), 2 * MIB),
    ] {
        let bounds = |bounds: &mut Bounds| (bounds.max_body_bytes, bounds.max_in_flight) = (configured, in_flight);
        let site = site_with(Http { request_timeout_seconds: 60, ..http() }, bounds, None).await;
        let default_max_body = recommended.map(|bytes| bytes as u64);
        site.front.describe(&Description { default_max_body, ..Description::default() });
        let status = async |bytes| {
            site.client.post(site.url("/")).body("x".repeat(bytes)).send().await.unwrap().status().as_u16()
        };
        let case = format!("{configured:?} {in_flight} {recommended:?}");
        assert_eq!((status(limit).await, status(limit + 1).await), (200, 413), "{case}");
    }
}

#[tokio::test]
async fn a_body_is_bounded_whether_it_is_announced_or_not() {
    let site = site().await;
    let expected = r#"{"errcode":413,"errmsg":"the body is larger than 1000 bytes"}"#;
    let announced = site.client.post(site.url("/")).body("x".repeat(1001)).send().await.unwrap();
    assert_eq!((announced.status().as_u16(), announced.text().await.unwrap().as_str()), (413, expected));
    let chunks = (0..11).map(|_| Ok::<_, std::io::Error>("x".repeat(100)));
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let streamed = site.client.post(site.url("/")).body(stream).send().await.unwrap();
    assert_eq!((streamed.status().as_u16(), streamed.text().await.unwrap().as_str()), (413, expected));
    let fits = site.client.post(site.url("/")).body("x".repeat(1000)).send().await.unwrap();
    assert_eq!(fits.status(), 200);
}

#[tokio::test]
async fn a_head_is_bounded() {
    let site = site().await;
    let ask = async |bytes: usize| {
        let (begin, end) = ("GET /x?y=z HTTP/1.1\r\nHost: here\r\nX-Long: ", "\r\n\r\n");
        let head = format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len()));
        let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    let most = Http::default().max_header_bytes;
    assert_eq!(ask(most).await, "HTTP/1.1 200");
    for bytes in [most + 1, 40_000, 100_000] {
        assert_eq!(ask(bytes).await, "HTTP/1.1 431", "{bytes}");
    }
}

#[tokio::test]
async fn a_caller_beyond_its_rate_is_told_when_to_come_back() {
    let site = site_with(http(), |bounds| bounds.rate_limit = Some(1), None).await;
    let mut served = 0;
    let refused = loop {
        let response = site.client.get(site.url("/")).send().await.unwrap();
        if response.status() != 200 {
            break response;
        }
        served += 1;
        assert!(served < 1000, "no limit after {served} requests");
    };
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.text().await.unwrap(), r#"{"errcode":429,"errmsg":"too many requests"}"#);
    assert_eq!(site.fake.asked.lock().unwrap().len(), served, "the plugin sees only what passed");
}

#[tokio::test]
async fn files_have_a_rate_of_their_own() {
    let site = site_with(http(), |bounds| bounds.rate_limit = Some(1), None).await;
    let file = async || site.client.get(site.url("/media/a/b")).send().await.unwrap().status().as_u16();
    for _ in 0..300 {
        assert_eq!(file().await, 200, "a page of files and more");
    }
    site.check("/", 200, "/").await;
    let mut served = 300;
    while file().await == 200 {
        served += 1;
        assert!(served < 100_000, "no limit after {served} files");
    }
    assert!(served >= 1000, "{served}");
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let site = site_with(http(), |bounds| bounds.max_in_flight = 1, None).await;
    let slow = tokio::spawn(site.client.get(site.url("/slow")).send());
    site.fake.entered.notified().await;
    let response = site.check("/", 503, r#"{"errcode":503,"errmsg":"too busy"}"#).await;
    assert_eq!(response.headers()["retry-after"], "1");
    site.fake.go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    site.check("/", 200, "/").await;
}

#[tokio::test]
async fn who_dawdles_with_a_body_takes_nobodys_place() {
    let http = Http { request_timeout_seconds: 600, ..http() };
    let site = site_with(http, |bounds| bounds.max_in_flight = 1, None).await;
    let mut dawdling = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
        stream.write_all(b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo").await.unwrap();
        dawdling.push(stream);
    }
    site.check("/", 200, "/").await;
    for mut stream in dawdling {
        stream.write_all(b"dy").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn bodies_on_their_way_share_a_bound() {
    let http = Http { request_timeout_seconds: 600, ..http() };
    let site = site_with(http, |bounds| (bounds.max_in_flight, bounds.max_body_bytes) = (1, Some(1000)), None).await;
    let send = async |bytes: usize| {
        let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
        let head = "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
        stream.write_all(&[head.as_bytes(), &vec![b'x'; bytes]].concat()).await.unwrap();
        stream
    };
    let answer = async |stream: &mut TcpStream| {
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        String::from_utf8_lossy(&head).into_owned()
    };
    let mut first = send(600).await;
    site.check("/", 200, "/").await;
    let mut second = send(600).await;
    let refused = answer(&mut second).await;
    assert_eq!(refused, "HTTP/1.1 503");
    first.write_all(&[b'x'; 400]).await.unwrap();
    assert_eq!(answer(&mut first).await, "HTTP/1.1 200");
    // What was taken is given back.
    assert_eq!(answer(&mut send(1000).await).await, "HTTP/1.1 200");
}

#[tokio::test]
async fn instances_share_a_listener_by_prefix() {
    let site = site().await;
    let other = Arc::new(Fake::default());
    let media = Router::new().route("/media/{md5}/{name}", get(|uri: http::Uri| async move { uri.to_string() }));
    site.mounts.mount("/branch", Arc::new(Front::new("branch", other.clone(), media, Bounds::from(&http()))));
    site.check("/branch/x", 200, "/x").await;
    site.check("/branch", 200, "/").await;
    site.check("/branches", 200, "/branches").await;
    assert_eq!(other.asked.lock().unwrap()[0].base_url, site.url("/branch"));
    site.check("/media/a/b%20c?expires=1&signature=2", 200, "/media/a/b%20c?expires=1&signature=2").await;
    site.check("/branch/media/a/b%20c?expires=1", 200, "/media/a/b%20c?expires=1").await;
    let before = Arc::clone(&site.front);
    site.mounts.mount("", Arc::new(Front::new("next", other.clone(), Router::new(), Bounds::from(&http()))));
    assert!(!site.mounts.unmount("", &before), "another has taken its place");
    site.mounts.mount("", Arc::clone(&before));
    assert!(site.mounts.unmount("", &before));
    site.check("/x", 404, r#"{"code":404,"message":"no instance is served under this path"}"#).await;
}

#[tokio::test]
async fn links_start_with_the_public_address() {
    let site = site_with(http(), |bounds| bounds.public_url = Some("https://chat.example.com/".into()), None).await;
    site.check("/", 200, "/").await;
    assert_eq!(site.fake.asked.lock().unwrap()[0].base_url, "https://chat.example.com");
}

#[tokio::test]
async fn a_host_that_is_none_does_not_end_up_in_links() {
    let site = site().await;
    for host in ["evil/path", "user@evil", "a b"] {
        site.client.get(site.url("/")).header("host", host).send().await.unwrap();
    }
    for request in site.fake.asked.lock().unwrap().iter() {
        assert_eq!(request.base_url, site.url(""));
    }
}

/// Reads until the other side closes; panics when it does not within a generous time.
async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await;
    let _ = read.expect("the connection is closed");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let site = site().await;
    let mut silent = TcpStream::connect(site.running.address()).await.unwrap();
    let mut slow = TcpStream::connect(site.running.address()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Never: end").await.unwrap();
    let mut idle = TcpStream::connect(site.running.address()).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_to_close(&mut silent).await;
    let answer = read_to_close(&mut slow).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let answer = read_to_close(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn who_never_reads_its_answer_keeps_no_slot() {
    let site = site_with(Http { max_connections: 1, ..http() }, |_| {}, None).await;
    let mut deaf = TcpStream::connect(site.running.address()).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(20), site.check("/", 200, "/"));
    next.await.expect("the slot is free again");
    assert!(read_to_close(&mut deaf).await.len() < LARGE);
}

#[tokio::test]
async fn large_answers_on_their_way_share_a_bound() {
    let http = Http { header_timeout_seconds: 600, ..http() };
    let room = |bounds: &mut Bounds| {
        (bounds.max_unsent_bytes, bounds.max_unsent_bytes_per_caller) = (LARGE + LARGE / 2, 2 * LARGE);
    };
    let site = site_with(http, room, None).await;
    let mut deaf = TcpStream::connect(site.running.address()).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    deaf.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    // What it does not take is not there for others; small answers are.
    let refused = site.check("/large", 503, r#"{"errcode":503,"errmsg":"too busy"}"#).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    site.check("/", 200, "/").await;
    drop(deaf);
    loop {
        let answer = site.client.get(site.url("/large")).send().await.unwrap();
        match answer.status().as_u16() {
            200 => break assert_eq!(answer.bytes().await.unwrap().len(), LARGE),
            status => assert_eq!(status, 503),
        }
    }
    // One after the other there is room for any number, and a larger one than the bound goes alone.
    let site = site_with(self::http(), |bounds| bounds.max_unsent_bytes = LARGE / 2, None).await;
    for _ in 0..3 {
        let answer = site.client.get(site.url("/large")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(LARGE as u64)));
        assert_eq!(answer.bytes().await.unwrap().len(), LARGE);
    }
}

#[tokio::test]
async fn who_takes_nothing_of_large_answers_is_not_in_the_way_of_others() {
    let http = Http { header_timeout_seconds: 600, ..http() };
    for (per_caller, deaf) in [(LARGE / 2, 1), (2 * LARGE, 2)] {
        let bound = |bounds: &mut Bounds| {
            (bounds.max_unsent_bytes, bounds.max_unsent_bytes_per_caller) = (4 * LARGE, per_caller);
        };
        let site = site_with(http.clone(), bound, None).await;
        let mut held = Vec::new();
        for _ in 0..deaf {
            let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            held.push(stream);
        }
        // Its part is taken: one answer, however large, or as many as go into it. Small ones are there all the same.
        let refused = site.check("/large", 503, r#"{"errcode":503,"errmsg":"too busy"}"#).await;
        assert_eq!(refused.headers()["retry-after"], "1");
        site.check("/", 200, "/").await;
        let other = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).no_proxy();
        let answer = other.build().unwrap().get(site.url("/large")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "another address has a part of its own");
        assert_eq!(answer.bytes().await.unwrap().len(), LARGE);
        drop(held);
        while site.client.get(site.url("/large")).send().await.unwrap().status() != 200 {}
    }
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let site = site().await;
    let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("the body took too long"), "{answer}");
    assert!(site.fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn heads_are_bounded() {
    let site = site().await;
    for head in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(64 << 10)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(200)),
    ] {
        let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = read_to_close(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert!(site.fake.asked.lock().unwrap().is_empty());
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The paths in the access log since this was last asked.
    fn paths(&self) -> Vec<String> {
        let lines = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        assert!(!lines.contains("hunter2"), "{lines}");
        let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| Some(line["fields"]["path"].as_str()?.to_owned())).collect()
    }
}

#[tokio::test]
async fn the_access_log_shows_no_secret_of_a_path() {
    // Everything of this test runs on its own thread.
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE);
    let _logging = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let site = site().await;
    let get = async |path: &str| drop(site.client.get(site.url(path)).send().await.unwrap().bytes().await.unwrap());

    // A plugin that has not said yet where its secrets are.
    let young = Arc::new(Front::new("young", site.fake.clone(), Router::new(), Bounds::from(&http())));
    site.mounts.mount("/young", Arc::clone(&young));
    get("/young/hook/hunter2").await;
    young.describe(&Description { secret_paths: vec!["/hook/".into()], ..Description::default() });
    for path in ["/young/hook/hunter2/more?hunter2", "/young/%68ook/hunter2", "/young/health/x", "/young"] {
        get(path).await;
    }
    get("/hook/shown").await;
    assert!(site.mounts.unmount("", &site.front));
    get("/hook/hunter2").await;
    let shown = ["/young/…", "/hook/…", "/hook/…", "/young/health/x", "/young", "/hook/shown", "/hook/…"];
    assert_eq!(lines.paths(), shown);
}
