//! Live delivery over real sockets: a real archive, and a backend that is no plugin.

use async_trait::async_trait;
use axum::Router;
use futures::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_archive::{Archive, Clock, Commit, InstanceId, Rev, StoredMessage, Stream, SystemClock};
use stele_plugin_api::Error;
use stele_plugin_api::model::{Conversation, Message, Page};
use stele_plugin_api::ops::{Description, HttpReply, HttpRequest, LiveCarrier, LiveEvent, Subscription};
use stele_store::SqliteArchive;
use steled::config::{self, Http};
use steled::http::{Backend, Bounds, Front, Listener, Mounts, Running, Tls};
use steled::live::{Archived, Hubs, Options, Renderer, Unrendered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Subscribes whoever asks, by its query: `protoc`, `person`, and the optional `session`, `since`, `wait` and `expires`
/// (milliseconds). Renders a message as its text and a line feed.
#[derive(Default)]
struct Fake {
    is_away: AtomicBool,
    rendered: Mutex<Vec<String>>,
}

#[async_trait]
impl Backend for Fake {
    fn name(&self) -> String {
        "fake".into()
    }

    async fn handle(&self, request: HttpRequest, _: Duration) -> Result<HttpReply, Error> {
        let query = request.query.unwrap_or_default();
        let all: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let get = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let Some(carrier) = get("protoc") else { return Ok(HttpReply { status: 200, ..HttpReply::default() }) };
        let person = get("person").unwrap_or_default();
        let expires_at = get("expires").map(|ms| SystemClock.now() + ms.parse::<i64>().unwrap() * 1000);
        let subscription = Subscription {
            carrier: LiveCarrier::from(carrier.as_str()),
            session: get("session").unwrap_or_else(|| person.clone()),
            person,
            since: get("since").map(|rev| rev.parse().unwrap()),
            wait_ms: get("wait").map_or(0, |ms| ms.parse().unwrap()),
            expires_at,
        };
        let content_type = if carrier == "sse" { "text/event-stream" } else { "application/json" };
        let headers = vec![("content-type".into(), content_type.into()), ("x-own".into(), "1".into())];
        Ok(HttpReply { status: 200, headers, subscription: Some(subscription), ..HttpReply::default() })
    }
}

#[async_trait]
impl Renderer for Fake {
    async fn render(&self, messages: &[StoredMessage]) -> Result<Vec<Option<LiveEvent>>, Unrendered> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Unrendered::Away(Error::unavailable("away")));
        }
        self.rendered.lock().unwrap().extend(messages.iter().map(|message| message.native_id.clone()));
        let event = |message: &StoredMessage| {
            let (id, data) = (message.native_id.clone(), format!("{}\n", message.text));
            Some(LiveEvent { id, name: "message".into(), data })
        };
        Ok(messages.iter().map(event).collect())
    }
}

struct Site {
    archive: Arc<dyn Archive>,
    instance: InstanceId,
    hubs: Arc<Hubs>,
    fake: Arc<Fake>,
    running: Running,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

fn options() -> Options {
    Options::new(&config::Live::default(), &Http::default(), &config::Archive::default())
}

fn bounds() -> Http {
    Http { request_timeout_seconds: 1, max_in_flight: 1, ..Http::default() }
}

async fn site_with(options: Options, http: Http, encrypted: bool) -> Site {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteArchive::open(&folder.path().join("a.db"), &stele_store::Options::default()).await.unwrap();
    let archive: Arc<dyn Archive> = Arc::new(store);
    let instance = archive.instance("im").await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let source = Arc::new(Archived::new(Arc::clone(&archive), Arc::clone(&clock)));
    let hubs = Arc::new(Hubs::new(source, clock, options));
    let fake = Arc::new(Fake::default());
    let hub = hubs.open("im", instance, fake.clone());
    let front = Front::new("im", fake.clone(), Router::new(), Bounds::from(&http)).with_hub(hub);
    front.describe(&Description {
        error_template: Some(r#"{"code":{status},"error":"{message}"}"#.into()),
        ..Description::default()
    });
    let mounts = Arc::new(Mounts::default());
    mounts.mount("", Arc::new(front));
    let tls = encrypted.then(|| {
        let made = rcgen::generate_simple_self_signed(vec!["h2.test".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Arc::new(Tls::load(&cert, &key).unwrap())
    });
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).await.unwrap();
    let running = listener.serve(mounts, &http);
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
    Site { archive, instance, hubs, fake, running, client, _folder: folder }
}

async fn site() -> Site {
    site_with(options(), bounds(), false).await
}

type Client = WebSocketStream<TcpStream>;

impl Site {
    async fn commit(&self, page: Page) -> Rev {
        let (instance, partition, now) = (self.instance, "", SystemClock.now());
        let commit = Commit { instance, partition, stream: Stream::Messages, from: None, page: &page, now };
        let last = self.archive.commit(commit).await.unwrap().last_rev;
        self.hubs.committed(Some(self.instance));
        last
    }

    /// Lets people into the conversation `c`.
    async fn join(&self, people: &[&str]) {
        let joined = people.iter().map(|person| (*person).to_owned()).collect();
        let conversation = Conversation { native_id: "c".into(), joined, ..Conversation::default() };
        self.commit(Page { conversations: vec![conversation], ..Page::default() }).await;
    }

    /// Says something in `c`, all of it in one page.
    async fn say(&self, texts: &[&str]) -> Rev {
        let message = |text: &&str| Message {
            native_id: uuid::Uuid::now_v7().to_string(),
            conversation: "c".into(),
            sender: "zoe".into(),
            sent_at: SystemClock.now(),
            kind: "text".into(),
            text: (*text).to_owned(),
            body: "{}".into(),
            ..Message::default()
        };
        self.commit(Page { messages: texts.iter().map(message).collect(), ..Page::default() }).await
    }

    fn url(&self, query: &str) -> String {
        format!("http://{}/notify?{query}", self.running.address())
    }

    /// A WebSocket of a person; more of the query may follow the name.
    async fn websocket(&self, person: &str) -> Client {
        let stream = TcpStream::connect(self.running.address()).await.unwrap();
        let url = format!("ws://{}/notify?protoc=websocket&person={person}", self.running.address());
        let (client, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        assert_eq!(response.status(), 101);
        client
    }

    async fn poll(&self, query: &str) -> (u16, String) {
        let response = self.client.get(self.url(&format!("protoc=poll&{query}"))).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn sse(&self, person: &str) -> Lines {
        let response = self.client.get(self.url(&format!("protoc=sse&person={person}"))).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Lines { response, unread: Vec::new(), looked: 0 }
    }
}

/// The next message, pings aside.
async fn hear(client: &mut Client) -> Frame {
    loop {
        let frame = tokio::time::timeout(PATIENCE, client.next()).await.expect("something comes");
        match frame.expect("the connection is there").expect("a frame") {
            Frame::Ping(_) => {}
            frame => return frame,
        }
    }
}

async fn hears(client: &mut Client, texts: &[&str]) {
    for text in texts {
        assert_eq!(hear(client).await, Frame::text(format!("{text}\n")));
    }
}

/// Code and reason of the close frame that comes next.
async fn closed(client: &mut Client) -> (u16, String) {
    let Frame::Close(Some(frame)) = hear(client).await else { panic!("a close frame comes") };
    // The goodbye is said by reading on.
    while let Some(Ok(_)) = tokio::time::timeout(PATIENCE, client.next()).await.expect("it is closed") {}
    (frame.code.into(), frame.reason.to_string())
}

/// What comes of server-sent events.
struct Lines {
    response: reqwest::Response,
    unread: Vec<u8>,
    /// No block ends before.
    looked: usize,
}

impl Lines {
    /// The next block, without the empty line at its end; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread[self.looked..].windows(2).position(|two| two == b"\n\n") {
                let at = std::mem::take(&mut self.looked) + at;
                let block = self.unread.drain(..at + 2).take(at).collect();
                return Some(String::from_utf8(block).expect("events are text"));
            }
            self.looked = self.unread.len().saturating_sub(1);
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("something comes");
            self.unread.extend_from_slice(&chunk.expect("the answer is whole")?);
        }
    }

    /// The data of the next events, comments aside.
    async fn hears(&mut self, texts: &[&str]) {
        for text in texts {
            let mut block = self.next().await.expect("an event");
            while block.starts_with(':') {
                block = self.next().await.expect("an event");
            }
            let (head, data) = block.split_once("\ndata: ").expect("an event has data");
            assert!(head.starts_with("id: ") && head.ends_with("\nevent: message"), "{head}");
            assert_eq!(data, *text);
        }
    }
}

#[tokio::test]
async fn each_carrier_delivers_in_order_and_each_message_is_rendered_once() {
    let site = site().await;
    site.join(&["ann", "bob", "cy"]).await;
    site.say(&["before"]).await;
    let (mut first, mut second) = (site.websocket("ann&session=1").await, site.websocket("ann&session=2").await);
    let mut stranger = site.websocket("stranger").await;
    let mut events = site.sse("bob").await;
    assert_eq!(events.response.headers()["x-accel-buffering"], "no");
    assert_eq!(events.response.headers()["cache-control"], "no-cache");
    assert_eq!(events.response.headers()["x-own"], "1");
    let polled = tokio::spawn(site.client.get(site.url("protoc=poll&person=cy")).send());
    // While all of them wait, one request at a time is worked on.
    assert_eq!(site.client.get(site.url("")).send().await.unwrap().status(), 200);
    while !matches!(site.poll("person=cy&session=probe&wait=1").await.0, 204) {}
    site.say(&["one", "two\nlines"]).await;
    site.say(&["three"]).await;
    for client in [&mut first, &mut second] {
        hears(client, &["one", "two\nlines", "three"]).await;
    }
    events.hears(&["one", "two\ndata: lines", "three"]).await;
    let polled = polled.await.unwrap().unwrap();
    assert_eq!(polled.headers()["content-type"], "application/json");
    let mut heard = vec![polled.text().await.unwrap()];
    while heard.len() < 3 {
        heard.push(site.poll("person=cy").await.1);
    }
    assert!(heard == ["one\n", "two\nlines\n", "three\n"], "{heard:?}");
    assert_eq!(site.fake.rendered.lock().unwrap().len(), 3);
    // Who is no member hears nothing, until they are.
    site.join(&["stranger"]).await;
    site.say(&["four"]).await;
    hears(&mut stranger, &["four"]).await;
}

#[tokio::test]
async fn what_was_missed_comes_first() {
    let site = site().await;
    site.join(&["ann"]).await;
    let seen = site.say(&["one"]).await;
    let texts: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    site.say(&texts).await;
    let mut client = site.websocket(&format!("ann&session=1&since={seen}")).await;
    let mut events = site.sse(&format!("ann&session=2&since={seen}")).await;
    site.say(&["last"]).await;
    hears(&mut client, &texts).await;
    hears(&mut client, &["last"]).await;
    events.hears(&texts).await;
    events.hears(&["last"]).await;
    for text in &texts[..3] {
        let query =
            if *text == "0" { format!("person=ann&session=3&since={seen}") } else { "person=ann&session=3".into() };
        assert_eq!(site.poll(&query).await, (200, format!("{text}\n")));
    }
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_told_so() {
    let site = site().await;
    let plain = site.client.get(site.url("protoc=websocket&person=ann")).send().await.unwrap();
    assert_eq!(
        (plain.status().as_u16(), plain.headers()["content-type"].to_str().unwrap()),
        (400, "text/plain; charset=utf-8")
    );
    let whole = [
        "Connection: keep-alive, Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ];
    let ask = async |method: &str, fields: &str| {
        let mut stream = TcpStream::connect(site.running.address()).await.unwrap();
        let head = format!("{method} /notify?protoc=websocket&person=ann HTTP/1.1\r\nHost: here\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    assert_eq!(ask("GET", &whole.concat()).await, "HTTP/1.1 101");
    assert_eq!(ask("POST", &whole.concat()).await, "HTTP/1.1 400");
    for field in whole {
        assert_eq!(ask("GET", &whole.concat().replace(field, "")).await, "HTTP/1.1 400", "without {field}");
    }
    assert_eq!(ask("GET", &whole.concat().replace("13", "8")).await, "HTTP/1.1 400");
}

#[tokio::test]
async fn a_later_connection_has_the_place_of_an_earlier_one() {
    let site = site().await;
    site.join(&["ann"]).await;
    let mut earlier = site.websocket("ann").await;
    let mut later = site.sse("ann").await;
    assert_eq!(closed(&mut earlier).await, (4001, "replaced by a later connection".into()));
    let mut latest = site.websocket("ann").await;
    assert_eq!(later.next().await.as_deref(), Some(": replaced by a later connection"));
    assert_eq!(later.next().await, None);
    site.say(&["one"]).await;
    hears(&mut latest, &["one"]).await;
    assert_eq!(site.poll("person=ann&wait=1").await, (204, String::new()));
    assert_eq!(closed(&mut latest).await.0, 4001);
}

#[tokio::test]
async fn a_second_poll_ends_the_first_and_a_session_outlives_its_polls() {
    let site = site().await;
    site.join(&["ann"]).await;
    assert_eq!(site.poll("person=ann&wait=1").await, (204, String::new()));
    // Nobody polls right now.
    site.say(&["one", "two"]).await;
    assert_eq!(site.poll("person=ann").await, (200, "one\n".into()));
    assert_eq!(site.poll("person=ann").await, (200, "two\n".into()));
    let first = tokio::spawn(site.client.get(site.url("protoc=poll&person=ann")).send());
    let second = async {
        loop {
            let (status, text) = site.poll("person=ann&wait=100").await;
            if status == 200 || first.is_finished() {
                return (status, text);
            }
        }
    };
    assert_eq!(second.await, (204, String::new()));
    assert_eq!(first.await.unwrap().unwrap().status(), 204);
}

#[tokio::test]
async fn a_session_ends_with_its_credential() {
    let site = site().await;
    let mut client = site.websocket("ann&expires=300").await;
    let mut events = site.sse("bob&expires=300").await;
    assert_eq!(closed(&mut client).await, (4003, "the token has expired".into()));
    assert_eq!(events.next().await.as_deref(), Some(": the token has expired"));
    assert_eq!(events.next().await, None);
    assert_eq!(site.poll("person=cy&expires=300").await, (204, String::new()));
}

#[tokio::test]
async fn what_a_client_says_is_bounded() {
    let site = site().await;
    site.join(&["ann"]).await;
    let mut client = site.websocket("ann").await;
    for _ in 0..49 {
        client.send(Frame::text("{}")).await.unwrap();
        client.send(Frame::binary(vec![0; 10])).await.unwrap();
    }
    client.send(Frame::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(hear(&mut client).await, Frame::Pong(Bytes::from_static(b"there?")));
    client.send(Frame::binary(vec![0; 64 << 10])).await.unwrap();
    site.say(&["one"]).await;
    hears(&mut client, &["one"]).await;
    client.send(Frame::text("one too many")).await.unwrap();
    assert_eq!(closed(&mut client).await, (1008, "too many messages".into()));

    let mut client = site.websocket("ann").await;
    // It may be closed before all of it was sent.
    let _ = client.send(Frame::binary(vec![0; 8 << 20])).await;
    assert_eq!(closed(&mut client).await, (1009, "the message is too large".into()));

    let mut client = site.websocket("ann").await;
    // A frame of a client that is not masked (RFC 6455 §5.1).
    client.get_mut().write_all(b"\x81\x02{}").await.unwrap();
    assert_eq!(closed(&mut client).await.0, 1002);
}

#[tokio::test]
async fn who_shows_no_sign_of_life_is_let_go() {
    let heartbeat = Duration::from_millis(200);
    let site = site_with(Options { heartbeat, ..options() }, Http { max_connections: 1, ..bounds() }, false).await;
    let mut client = site.websocket("ann").await;
    // Reading answers pings.
    for _ in 0..5 {
        let frame = tokio::time::timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame, Frame::Ping(Bytes::new()));
    }
    // Who reads nothing answers nothing: the place is needed by the next.
    let _next = tokio::time::timeout(PATIENCE, site.websocket("bob")).await.expect("there is a place");
    let mut left = Vec::new();
    client.get_mut().read_to_end(&mut left).await.unwrap();
    let close = left.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 1011_u16.to_be_bytes());
    assert!(close, "{left:?}");
}

#[tokio::test]
async fn a_stream_says_that_it_is_there_and_keeps_its_connection() {
    let sse_heartbeat = Duration::from_millis(300);
    let http = Http { header_timeout_seconds: 1, ..bounds() };
    for encrypted in [false, true] {
        let site = site_with(Options { sse_heartbeat, ..options() }, http.clone(), encrypted).await;
        site.join(&["ann"]).await;
        let scheme = if encrypted { "https" } else { "http" };
        let url = format!("{scheme}://{}/notify?protoc=sse&person=ann", site.running.address());
        let response = site.client.get(url).send().await.unwrap();
        let expected = if encrypted { reqwest::Version::HTTP_2 } else { reqwest::Version::HTTP_11 };
        assert_eq!(response.version(), expected);
        let mut lines = Lines { response, unread: Vec::new(), looked: 0 };
        // More than twice the time after which an idle connection is closed.
        for _ in 0..8 {
            assert_eq!(lines.next().await.as_deref(), Some(":"));
        }
        site.say(&["one"]).await;
        lines.hears(&["one"]).await;
        assert!(site.running.stop(PATIENCE).await);
        while let Some(block) = lines.next().await {
            assert!([":", ": the server stops"].contains(&block.as_str()), "{block}");
        }
    }
}

#[tokio::test]
async fn a_client_that_is_too_slow_loses_its_place_and_comes_back() {
    // It must take something within the time of two pings.
    let heartbeat = Duration::from_secs(1);
    let site = site_with(Options { queue: 8, heartbeat, max_sessions: 2, ..options() }, bounds(), false).await;
    site.join(&["ann", "bob"]).await;
    let (mut slow, mut quick) = (site.websocket("ann").await, site.websocket("bob").await);
    let large = "x".repeat(1 << 20);
    let mut revs = Vec::new();
    for _ in 0..40 {
        revs.push(site.say(&[large.as_str()]).await);
        hears(&mut quick, &[large.as_str()]).await;
    }
    // Its place is needed by the next.
    while site.poll("person=cy&wait=1").await.0 != 204 {}
    let mut heard = 0;
    loop {
        match hear(&mut slow).await {
            Frame::Text(_) => heard += 1,
            Frame::Close(Some(frame)) => break assert_eq!(u16::from(frame.code), 1013),
            other => panic!("{other:?}"),
        }
    }
    assert!((1..40).contains(&heard), "{heard}");
    let mut back = site.websocket(&format!("ann&session=cy&since={}", revs[heard - 1])).await;
    for _ in heard..40 {
        hears(&mut back, &[large.as_str()]).await;
    }
}

#[tokio::test]
async fn a_large_message_comes_whole() {
    let site = site().await;
    site.join(&["ann"]).await;
    let mut client = site.websocket("ann&session=1").await;
    let mut events = site.sse("ann&session=2").await;
    let polled = tokio::spawn(site.client.get(site.url("protoc=poll&person=ann&session=3")).send());
    while site.poll("person=ann&session=3&wait=50").await.0 != 204 {}
    assert_eq!(polled.await.unwrap().unwrap().status(), 204);
    for bytes in [16 << 10, (16 << 10) + 1, 3 << 20] {
        let text = "文".repeat(bytes / 3);
        site.say(&[&text, "small"]).await;
        hears(&mut client, &[&text, "small"]).await;
        events.hears(&[&text, "small"]).await;
        for text in [&*text, "small"] {
            assert!(site.poll("person=ann&session=3").await == (200, format!("{text}\n")));
        }
    }
}

#[tokio::test]
async fn a_burst_costs_nobody_their_place_who_reads() {
    let site = site_with(Options { queue: 8, ..options() }, bounds(), false).await;
    site.join(&["ann"]).await;
    let mut client = site.websocket("ann").await;
    let texts: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for page in texts.chunks(500) {
        site.say(page).await;
    }
    hears(&mut client, &texts).await;
}

#[tokio::test]
async fn a_plugin_that_is_away_delays_and_skips_nothing() {
    let site = site().await;
    site.join(&["ann"]).await;
    let mut client = site.websocket("ann").await;
    site.say(&["one"]).await;
    hears(&mut client, &["one"]).await;
    site.fake.is_away.store(true, Ordering::SeqCst);
    let seen = site.say(&["two"]).await;
    site.say(&["three"]).await;
    let mut back = site.websocket(&format!("ann&session=2&since={}", seen.0 - 1)).await;
    site.fake.is_away.store(false, Ordering::SeqCst);
    hears(&mut client, &["two", "three"]).await;
    hears(&mut back, &["two", "three"]).await;
}

#[tokio::test]
async fn listeners_are_bounded() {
    let site = site_with(Options { max_sessions: 1, ..options() }, bounds(), false).await;
    let _first = site.websocket("ann").await;
    let refused = site.client.get(site.url("protoc=sse&person=bob")).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(refused.text().await.unwrap(), r#"{"code":503,"error":"too many listeners"}"#);
    // The place is had by who replaces.
    let events = site.sse("ann").await;
    drop(events);
    // Who goes away gives it back.
    while site.client.get(site.url("protoc=poll&person=bob&wait=1")).send().await.unwrap().status() != 204 {}
}

#[tokio::test]
async fn a_websocket_keeps_the_slot_of_its_connection() {
    let site = site_with(options(), Http { max_connections: 1, ..bounds() }, false).await;
    site.join(&["ann"]).await;
    let mut client = site.websocket("ann").await;
    let mut waiting = TcpStream::connect(site.running.address()).await.unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // It is connected to the kernel alone.
    for text in ["one", "two", "three"] {
        site.say(&[text]).await;
        hears(&mut client, &[text]).await;
        assert!(waiting.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = client.next().await {}
    let mut status = [0; 12];
    tokio::time::timeout(PATIENCE, waiting.read_exact(&mut status)).await.expect("a slot is free").unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn stopping_tells_those_who_listen_and_waits_for_them_within_bounds() {
    let site = site().await;
    site.join(&["ann", "cy"]).await;
    let mut client = site.websocket("ann&session=1").await;
    let mut deaf = site.websocket("ann&session=2").await;
    let mut events = site.sse("bob").await;
    let polled = tokio::spawn(site.client.get(site.url("protoc=poll&person=cy")).send());
    while site.poll("person=cy&wait=1").await.0 != 204 || !polled.is_finished() {
        tokio::task::yield_now().await;
    }
    let polled = tokio::spawn(site.client.get(site.url("protoc=poll&person=cy&session=other")).send());
    while site.poll("person=cy&session=third&wait=50").await.0 != 204 {}
    let address = site.running.address();
    let stopping = tokio::spawn(async move { site.running.stop(Duration::from_secs(20)).await });
    assert_eq!(closed(&mut client).await, (1001, "the server stops".into()));
    assert_eq!(events.next().await.as_deref(), Some(": the server stops"));
    assert_eq!(events.next().await, None);
    assert_eq!(polled.await.unwrap().unwrap().status(), 204);
    // One that does not say goodbye is not waited for long.
    assert!(stopping.await.unwrap());
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(closed(&mut deaf).await.0, 1001);
}

#[tokio::test]
async fn stopping_cuts_off_who_takes_nothing() {
    let site = site().await;
    site.join(&["ann", "bob"]).await;
    let (mut deaf, mut quick) = (site.websocket("ann").await, site.websocket("bob").await);
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        site.say(&[large.as_str()]).await;
        hears(&mut quick, &[large.as_str()]).await;
    }
    drop(quick);
    assert!(!site.running.stop(Duration::from_millis(100)).await);
    let end = async {
        loop {
            match deaf.next().await {
                Some(Ok(Frame::Text(_))) => {}
                end => return end,
            }
        }
    };
    let end = tokio::time::timeout(PATIENCE, end).await.expect("it is closed");
    assert!(!matches!(end, Some(Ok(Frame::Close(_)))), "{end:?}");
}

#[tokio::test]
async fn an_instance_that_goes_takes_its_listeners_with_it() {
    let site = site().await;
    let mut client = site.websocket("ann").await;
    let mut events = site.sse("bob").await;
    let polled = tokio::spawn(site.client.get(site.url("protoc=poll&person=bob")).send());
    assert_eq!(events.next().await.as_deref(), Some(": replaced by a later connection"));
    site.hubs.close("im");
    assert_eq!(closed(&mut client).await, (1001, "the server stops".into()));
    assert_eq!(polled.await.unwrap().unwrap().status(), 204);
    let refused = site.client.get(site.url("protoc=poll&person=bob")).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    tokio::time::timeout(PATIENCE, site.hubs.stop()).await.expect("nothing goes on");
}
