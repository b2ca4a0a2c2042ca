//! What clients of the gateway get wrong, by mistake or on purpose: refused clearly, in the protocol's shape; and after all of
//! it what was sent before is still there, listeners have heard everything, and service goes on.

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt, future::try_join_all};
use serde_json::{Value, json};
use stele_tests::{
    daemon::{Daemon, PATIENCE, Site, wait_for},
    gateway::{Api, Claims, Gateway, KEY, jwt, site, token},
    live::{Call, Carrier, Listener, sse, ws},
    report::Report,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

/// A gateway with somebody who listens all the time.
struct Scene {
    site: Site,
    daemon: Daemon,
    gateway: Gateway,
    api: Api,
    conversation: String,
    witnesses: Vec<Listener>,
    sent: Vec<String>,
}

impl Scene {
    async fn new(instance: &str, sections: &str) -> Result<Self> {
        let mut gateway = Gateway::new("gateway", "poll_seconds = 1")?;
        gateway.instance = instance.into();
        let site = site(std::slice::from_ref(&gateway), sections)?;
        let (daemon, api) = (site.start().await?, gateway.api());
        let conversation = api.create(0, &["alice", "bob"]).await?;
        let opening = [Carrier::Ws, Carrier::Sse].map(|carrier| {
            let (address, token) = (gateway.listen.clone(), token("alice", carrier as u32));
            async move { Listener::open(carrier, &Call::notify(&address, carrier, &token, None)).await }
        });
        let witnesses = try_join_all(opening).await?;
        Ok(Self { site, daemon, gateway, api, conversation, witnesses, sent: Vec::new() })
    }

    /// Bob says something; the answer comes.
    async fn say(&mut self, content: &str) -> Result<String> {
        let id = self.api.send(&token("bob", 1), &self.conversation, content).await?;
        self.sent.push(id.clone());
        Ok(id)
    }

    fn notify(&self, carrier: Carrier, person: &str, platform: u32) -> Call {
        Call::notify(&self.gateway.listen, carrier, &token(person, platform), None)
    }

    /// A WebSocket of carol's, who is in no conversation.
    async fn socket(&self) -> Result<ws::Socket> {
        ws::connect(&self.notify(Carrier::Ws, "carol", 1)).await
    }

    /// It still works, and nothing is missing.
    async fn verify(mut self) -> Result<()> {
        let last = self.say("the last one").await?;
        for witness in &self.witnesses {
            let heard = witness.hears_id(&last).await.with_context(|| self.site.log_tail())?.ids();
            ensure!(heard == self.sent, "{:?} heard {} of {}", witness.carrier, heard.len(), self.sent.len());
        }
        let history = self.api.history(&token("alice", 1), &self.conversation).await?;
        let ids: Vec<_> = history.iter().skip(1).filter_map(|message| message["MsgId"].as_str()).collect();
        ensure!(ids == self.sent, "{} of {} are there", ids.len(), self.sent.len());
        ensure!(self.daemon.stop().await?.success(), "{}", self.site.log_tail());
        Ok(())
    }
}

/// Tokens that are none, and what is wrong with them.
fn bad_tokens() -> Vec<(&'static str, String)> {
    let good = Claims::new("alice", 1);
    let signed = |claims: Value| jwt("HS256", &claims, KEY);
    let never_ending = Claims { exp: None, ..good.clone() };
    let (head, rest) = token("alice", 1).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default();
    // Joined here, so that it is found nowhere.
    let known = ["config", "Config", "Jwt", "Key"].join(".");
    vec![
        ("another key", jwt("HS256", &good, "another key, as long as that of the tests")),
        ("the key everybody knows", jwt("HS256", &good, &known)),
        ("no key", jwt("HS256", &good, "")),
        ("no algorithm", jwt("none", &good, KEY)),
        ("no algorithm, in capitals", jwt("NONE", &good, KEY)),
        ("an algorithm of key pairs", jwt("RS256", &good, KEY)),
        ("an algorithm nobody knows", jwt("HS1024", &good, KEY)),
        ("expired", jwt("HS256", &Claims::lasting("alice", 1, -1), KEY)),
        ("long expired", jwt("HS256", &Claims::lasting("alice", 1, -86_400 * 365), KEY)),
        ("without an end", jwt("HS256", &never_ending, KEY)),
        ("its end is a text", signed(json!({ "sid": "alice", "platform": 1, "exp": "never" }))),
        ("its end is beyond numbers", signed(json!({ "sid": "alice", "platform": 1, "exp": -1e300 }))),
        (
            "not valid yet",
            signed(json!({ "sid": "alice", "platform": 1, "exp": 9_999_999_999_u64, "nbf": 9_999_999_000_u64 })),
        ),
        ("a platform out of range", jwt("HS256", &Claims::new("alice", 256), KEY)),
        ("a platform that is a text", signed(json!({ "sid": "alice", "platform": "1", "exp": 9_999_999_999_u64 }))),
        ("a session that is a number", signed(json!({ "sid": 7, "platform": 1, "exp": 9_999_999_999_u64 }))),
        ("nobody", jwt("HS256", &Claims::new("", 1), KEY)),
        ("a list", signed(json!([]))),
        ("other claims under a good signature", format!("{head}.e30.{}", rest.rsplit('.').next().unwrap_or_default())),
        ("two parts", format!("{head}.{}", rest.split('.').next().unwrap_or_default())),
        ("four parts", format!("{head}.{rest}.x")),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(20_000)),
    ]
}

async fn tokens(scene: &Scene, report: &mut Report) {
    let body = json!({ "conversation_id": scene.conversation });
    for (what, token) in bad_tokens() {
        report
            .check(what, async {
                for path in ["/check_joined_conversation", "/get_conversation_last_30_msg", "/send_msg"] {
                    scene.api.post(path, &token, &body).await?.is_refusal(10_101)?;
                    let path = format!("{path}?token={token}");
                    scene.api.post(&path, "", &body).await?.is_refusal(10_101)?;
                }
                for carrier in Carrier::ALL {
                    let url = format!("http://{}/notify?protoc={}", scene.gateway.listen, carrier.word());
                    let request =
                        stele_tests::client::http().get(url).header("authorization", format!("Bearer {token}"));
                    let (status, text) = request.send().await.map(|answer| (answer.status(), answer.text()))?;
                    let text = text.await?;
                    ensure!(
                        status == 200 && text == "{\"code\":10101,\"error\":\"invalid token\"}\n",
                        "{status} {text}"
                    );
                }
                let call = Call { token: token.clone(), ..scene.notify(Carrier::Ws, "alice", 1) };
                let (status, text) = ws::try_connect(&call).await?.err().context("it listens")?;
                ensure!(status == 200 && text.contains("10101"), "{status} {text}");
                Ok(())
            })
            .await;
    }
    for algorithm in ["HS256", "HS384", "HS512"] {
        report
            .check(algorithm, async {
                let good = jwt(algorithm, &Claims::new("alice", 255), KEY);
                let data = scene.api.post("/check_joined_conversation", &good, &body).await?.data()?;
                ensure!(data == json!({ "Joined": true }), "{data}");
                Ok(())
            })
            .await;
    }
}

/// Bodies of `/send_msg`, and the code they are refused with. What nobody reads is not looked into, however deep it is.
fn bad_bodies() -> Vec<(&'static str, Vec<u8>, i64)> {
    let nested =
        |open: &str, close: &str| [open.repeat(20_000), "1".into(), close.repeat(20_000)].concat().into_bytes();
    vec![
        ("empty", Vec::new(), 10_001),
        ("no JSON", b"conversation_id=1".to_vec(), 10_001),
        ("cut", br#"{"conversation_id":"a"#.to_vec(), 10_001),
        ("a list", b"[]".to_vec(), 10_001),
        ("bytes that are no text", vec![0xff, 0xfe, 0x00], 10_001),
        ("deep lists", nested("[", "]"), 10_001),
        ("deep objects", nested("{\"a\":", "}"), 10_002),
        ("deep in a field nobody reads", [b"{\"a\":".to_vec(), nested("[", "]"), b"}".to_vec()].concat(), 10_002),
        ("a number too large", br#"{"conversation_id":"a","type":1e99}"#.to_vec(), 10_001),
        ("nulls and quotes", b"{\"conversation_id\":\"\0\"}".to_vec(), 10_001),
        ("half a megabyte of blanks", vec![b' '; 512 << 10], 10_001),
    ]
}

async fn bodies(scene: &Scene, report: &mut Report) {
    let good = token("bob", 1);
    for (what, body, code) in bad_bodies() {
        report.check(what, async { scene.api.post_bytes("/send_msg", &good, body).await?.is_refusal(code) }).await;
    }
    report
        .check("four MiB", async {
            let body = json!({ "conversation_id": scene.conversation, "content": "x".repeat(4 << 20) });
            // Refused, or cut off while it is sent.
            let Ok(reply) = scene.api.post("/send_msg", &good, &body).await else { return Ok(()) };
            let keys: Vec<_> = reply.json().as_object().context("an object")?.keys().cloned().collect();
            ensure!(
                keys == ["code", "error"] && reply.status < 500 && reply.code() > 0,
                "{} {}",
                reply.status,
                reply.text
            );
            Ok(())
        })
        .await;
    let names =
        ["x".repeat(37), "x".repeat(100_000), "\u{0}".into(), "'; DROP TABLE messages; --".into(), "../..".into()];
    for name in names {
        report
            .check(&format!("a conversation named {:.30?}", name), async {
                scene.api.try_send(&good, &name, "x").await?.is_refusal(10_002)?;
                let body = json!({ "conversation_id": name });
                scene.api.post("/join_conversation", &good, &body).await?.is_refusal(10_002)
            })
            .await;
    }
}

/// A frame of a client: its first byte, and its payload under a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Bytes after the upgrade, and the close codes that answer them; none: the connection ends.
fn bad_frames() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    const PROTOCOL: &[u16] = &[1002];
    let huge = [vec![0x81, 0xff], (u64::MAX >> 1).to_be_bytes().to_vec(), vec![0; 4]].concat();
    vec![
        ("without a mask", vec![0x81, 1, b'a'], PROTOCOL),
        ("a reserved opcode", frame(0x83, b"a"), PROTOCOL),
        ("reserved bits", frame(0xf1, b"a"), PROTOCOL),
        ("a control frame in parts", frame(0x09, b"a"), PROTOCOL),
        ("a long control frame", frame(0x89, &[b'a'; 126]), PROTOCOL),
        ("a part of nothing", frame(0x80, b"a"), PROTOCOL),
        ("text that is none", frame(0x81, &[0xff, 0xfe]), &[1007]),
        ("a message in a message", [frame(0x01, b"a"), frame(0x81, b"b")].concat(), PROTOCOL),
        ("a length beyond everything", huge, &[1009]),
        ("a megabyte", frame(0x81, &vec![b'a'; 1 << 20]), &[1009]),
        ("a megabyte in parts", [frame(0x01, b""), frame(0x00, &[b'a'; 1000]).repeat(1000)].concat(), &[1009, 1008]),
        ("a flood of messages", frame(0x81, b"a").repeat(10_000), &[1008]),
        ("a flood of pings", frame(0x89, b"a").repeat(10_000), &[1008]),
        ("a bad close code", frame(0x88, &999_u16.to_be_bytes()), &[1002]),
        ("half a close code", frame(0x88, &[3]), PROTOCOL),
        ("goodbye", frame(0x88, &1000_u16.to_be_bytes()), &[1000]),
        ("no WebSocket at all", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100), &[]),
    ]
}

async fn frames(scene: &Scene, report: &mut Report) {
    for (what, bytes, codes) in bad_frames() {
        report
            .check(what, async {
                let mut socket = scene.socket().await?;
                // It may be refused before all of it is sent.
                socket.get_mut().write_all(&bytes).await.ok();
                let mut code = None;
                let reading = async {
                    while let Some(Ok(message)) = socket.next().await {
                        if let Message::Close(frame) = message {
                            code = Some(frame.map_or(1005, |frame| u16::from(frame.code)));
                        }
                    }
                };
                timeout(PATIENCE, reading).await.context("the connection stays open")?;
                // The reset of a connection whose bytes nobody reads any more can overtake the close frame.
                ensure!(codes.is_empty() || code.is_none_or(|code| codes.contains(&code)), "closed with {code:?}");
                ensure!(bytes.len() > 1000 || codes.is_empty() || code.is_some(), "closed without a word");
                Ok(())
            })
            .await;
    }
    report
        .check("a little talk harms nobody", async {
            let mut socket = ws::connect(&scene.notify(Carrier::Ws, "bob", 3)).await?;
            for text in ["hello", "", "{\"ack\":1}"] {
                socket.send(Message::text(text)).await?;
            }
            socket.send(Message::binary(vec![0xff; 100])).await?;
            socket.send(Message::Ping(b"there?".to_vec().into())).await?;
            let answer = timeout(PATIENCE, socket.next()).await?.context("it is closed")??;
            ensure!(answer == Message::Pong(b"there?".to_vec().into()), "{answer:?}");
            Ok(())
        })
        .await;
    report
        .check("half a frame, then silence", async {
            let mut socket = scene.socket().await?;
            socket.get_mut().write_all(&[0x81, 0xfe, 0x10]).await?;
            socket.get_mut().shutdown().await?;
            let mut rest = Vec::new();
            timeout(PATIENCE, socket.get_mut().read_to_end(&mut rest)).await.context("it stays open")?.ok();
            Ok(())
        })
        .await;
}

async fn upgrades(scene: &Scene, report: &mut Report) {
    let token = token("carol", 1);
    let (key, all) =
        ("dGhlIHNhbXBsZSBub25jZQ==", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    let rows = [
        ("no key", "GET", "1.1", all.to_owned()),
        ("a short key", "GET", "1.1", format!("{all}Sec-WebSocket-Key: abc\r\n")),
        (
            "two keys and a bad version",
            "GET",
            "1.1",
            format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: {key}\r\n"
            ),
        ),
        (
            "no version",
            "GET",
            "1.1",
            format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n"),
        ),
        (
            "no connection",
            "GET",
            "1.1",
            format!("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"),
        ),
        (
            "another protocol",
            "GET",
            "1.1",
            format!("Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Key: {key}\r\n"),
        ),
        ("old HTTP", "GET", "1.0", format!("{all}Sec-WebSocket-Key: {key}\r\n")),
        ("another method", "POST", "1.1", format!("{all}Sec-WebSocket-Key: {key}\r\nContent-Length: 0\r\n")),
    ];
    for (what, method, version, headers) in rows {
        report
            .check(what, async {
                let head =
                    format!("{method} /notify?protoc=ws&token={token} HTTP/{version}\r\nHost: x\r\n{headers}\r\n");
                let mut stream = TcpStream::connect(&scene.gateway.listen).await?;
                stream.write_all(head.as_bytes()).await?;
                let mut reply = String::new();
                let mut stream = BufReader::new(stream);
                timeout(PATIENCE, stream.read_line(&mut reply)).await.context("it is not answered")??;
                let status: u16 = reply.split(' ').nth(1).unwrap_or_default().parse().with_context(|| reply.clone())?;
                ensure!((400..500).contains(&status), "{reply}");
                Ok(())
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_nothing_is_lost() -> Result<()> {
    let mut scene = Scene::new("rate_limit = 0", "").await?;
    let mut report = Report::default();
    scene.say("before").await?;
    tokens(&scene, &mut report).await;
    scene.say("after the tokens").await?;
    bodies(&scene, &mut report).await;
    scene.say(&"大".repeat(300_000)).await?;
    frames(&scene, &mut report).await;
    scene.say("after the frames").await?;
    upgrades(&scene, &mut report).await;
    report.finish(&scene.site.log_tail());
    scene.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_too_little_is_dropped_and_can_come_back() -> Result<()> {
    let mut scene = Scene::new("rate_limit = 0", "[live]\nqueue = 64\nheartbeat_seconds = 5").await?;
    let first = scene.say("first").await?;
    let conversation = scene.conversation.clone();
    scene.api.add(&conversation, &["carol"]).await?;
    // They listen, and read nothing.
    let narrow = || async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        anyhow::Ok(socket.connect(scene.gateway.listen.parse()?).await?)
    };
    let mut socket =
        ws::over(narrow().await?, &scene.notify(Carrier::Ws, "carol", 1)).await?.ok().context("refused")?;
    let mut stream = narrow().await?;
    let head = format!("GET /notify?protoc=sse&token={} HTTP/1.1\r\nHost: x\r\n\r\n", token("carol", 2));
    stream.write_all(head.as_bytes()).await?;
    stream.readable().await?;
    // More than the buffers of a connection hold.
    let large = "x".repeat(50_000);
    for number in 0..150 {
        scene.say(&format!("{number} {large}")).await?;
    }
    wait_for("two dropped listeners", || async {
        let ended = scene.site.metric("stele_live_ended_total").await.map_err(|error| error.to_string())?;
        if ended >= 2.0 { Ok(()) } else { Err(format!("{ended} ended")) }
    })
    .await?;
    let mut heard = Vec::new();
    let reading = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                heard.push(serde_json::from_str::<Value>(&text)?["MsgId"].as_str().unwrap_or_default().to_owned());
            }
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, reading).await.context("it is not closed")??;
    drop(stream);
    ensure!(heard.len() < 150 && scene.sent[1..].starts_with(&heard), "{} heard", heard.len());
    for carrier in Carrier::ALL {
        let since = Some(heard.last().unwrap_or(&first).as_str());
        let call = Call::notify(&scene.gateway.listen, carrier, &token("carol", 3 + carrier as u32), since);
        let again = Listener::open(carrier, &call).await?;
        let missed = again.hears(scene.sent.len() - 1 - heard.len()).await?.ids();
        ensure!(scene.sent[1 + heard.len()..] == missed, "{carrier:?}: {} missed", missed.len());
    }
    scene.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_listeners_as_may_be() -> Result<()> {
    let mut scene = Scene::new("rate_limit = 0", "[live]\nmax_sessions = 8").await?;
    let mut inside = Vec::new();
    for platform in 0..6 {
        inside.push(ws::connect(&scene.notify(Carrier::Ws, "carol", platform)).await?);
    }
    for carrier in Carrier::ALL {
        let call = scene.notify(carrier, "dave", 1);
        let request = stele_tests::client::http().get(format!("http://{}{}", call.address, call.path));
        let (status, text) = match carrier {
            Carrier::Ws => ws::try_connect(&call).await?.err().context("there is room")?,
            _ => {
                let answer = request.header("authorization", format!("Bearer {}", call.token)).send().await?;
                (answer.status().as_u16(), answer.text().await?)
            }
        };
        let reply: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let keys: Vec<_> = reply.as_object().context("an object")?.keys().map(String::as_str).collect();
        ensure!(status == 503 && keys == ["code", "error"] && reply["code"] != 0, "{status} {text}");
    }
    // Who has a place may take it again, and a place that is left is free.
    let again = ws::connect(&scene.notify(Carrier::Ws, "carol", 0)).await?;
    scene.say("while it is full").await?;
    drop((inside, again));
    wait_for("a free place", || async {
        ws::try_connect(&scene.notify(Carrier::Ws, "dave", 1))
            .await
            .map_err(|error| error.to_string())?
            .map(drop)
            .map_err(|(_, text)| text)
    })
    .await?;
    scene.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_passes() -> Result<()> {
    let mut scene = Scene::new("rate_limit = 0", "[http]\nmax_connections = 40\nheader_timeout_seconds = 2").await?;
    scene.say("before").await?;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(&scene.gateway.listen).await?);
    }
    // Those who say nothing are shown out, and whoever waits behind them has their turn.
    timeout(PATIENCE, scene.say("behind two hundred who say nothing")).await.context("it is not served")??;
    drop(idle);
    scene.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told() -> Result<()> {
    let mut scene = Scene::new("rate_limit = 20", "").await?;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    let bob = token("bob", 1);
    // One caller, who is not the one that everything else comes from.
    let caller = Api::from([127, 0, 0, 3], &scene.gateway.listen)?;
    let asking = (0..200).map(|number| {
        let (api, bob, conversation) = (&caller, &bob, &scene.conversation);
        async move { api.try_send(bob, conversation, &number.to_string()).await }
    });
    for reply in try_join_all(asking).await? {
        if reply.code() == 0 {
            accepted.push(reply.json()["data"]["MsgID"].as_str().context("an id")?.to_owned());
            continue;
        }
        let keys: Vec<_> = reply.json().as_object().context("an object")?.keys().cloned().collect();
        ensure!(keys == ["code", "error"] && reply.status < 500, "{} {}", reply.status, reply.text);
        refused += 1;
    }
    ensure!(refused > 100 && accepted.len() >= 20, "{refused} refused, {} accepted", accepted.len());
    accepted.sort();
    scene.sent.extend(accepted);
    // The next moment is another one.
    wait_for("a free moment", || async {
        let asked = caller.post("/get_joined_conversation", &bob, &json!({})).await;
        let reply = asked.map_err(|error| error.to_string())?;
        if reply.code() == 0 { Ok(()) } else { Err(reply.text) }
    })
    .await?;
    timeout(PATIENCE, scene.witnesses[0].hears(scene.sent.len())).await??;
    scene.verify().await
}

#[tokio::test]
async fn a_key_everybody_knows_is_refused_at_the_start() -> Result<()> {
    // Joined here, so that it is found nowhere.
    let known = ["config", "Config", "Jwt", "Key"].join(".");
    for (keys, said) in
        [(format!("[\"{known}\"]"), "everybody"), ("[]".into(), "jwt_keys"), ("[\"short\"]".into(), "32 bytes")]
    {
        let gateway = Gateway::new("gateway", "")?;
        let site = site(std::slice::from_ref(&gateway), "")?;
        let text = site.settings.toml().replace(&format!("jwt_keys = [{}]", json!(KEY)), &format!("jwt_keys = {keys}"));
        let mut command = site.command(&["check"])?;
        std::fs::write(site.config_file(), text)?;
        let output = command.output().await?;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        ensure!(!output.status.success() && told.contains(said) && !told.contains(&known), "{told}");
    }
    Ok(())
}

/// An end that says nothing would leave clients to guess.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_since_is_refused() -> Result<()> {
    let mut scene = Scene::new("rate_limit = 0", "").await?;
    scene.say("before").await?;
    for carrier in Carrier::ALL {
        for since in ["EDCZL-SY32-243Y-VWQ", "x", "%00", "0"] {
            let call = Call::notify(&scene.gateway.listen, carrier, &token("alice", 9), Some(since));
            match carrier {
                Carrier::Ws => {
                    let (status, text) = ws::try_connect(&call).await?.err().context("it listens")?;
                    ensure!(status == 200 && text.contains("10001"), "{status} {text}");
                }
                Carrier::Sse => {
                    ensure!(sse::connect(&call).await.is_err_and(|error| error.to_string().contains("10001")))
                }
                Carrier::Poll => {
                    let error = Listener::open(carrier, &call).await.err().context("it listens")?;
                    ensure!(format!("{error:#}").contains("10001"), "{error:#}");
                }
            }
        }
    }
    scene.verify().await
}
