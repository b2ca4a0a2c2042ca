//! The archive API as the real vendor library calls it: a CONNECT proxy that ends TLS with a certificate of its own
//! (the library verifies none), and answers `gettoken`, `getchatdata` and `getchatmediadata`.

use super::script::{Reply, Script};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

/// Largest head or body of a request, bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// One envelope as `getchatdata` delivers it.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub seq: u64,
    /// The whole object, as JSON text.
    pub json: String,
}

/// A request that reached the stand-in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `host:port` of the CONNECT.
    pub target: String,
    /// `Proxy-Authorization` of the CONNECT.
    pub proxy_authorization: Option<String>,
    /// Path without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The body, when it is JSON.
    pub body: Value,
    /// The `Range` header, as media calls send it.
    pub range: Option<String>,
}

/// The stand-in. Ends when dropped.
pub struct ArchiveStandin {
    /// Where it listens; the vendor library's proxy argument is `http://<addr>`.
    pub addr: SocketAddr,
    /// Replies to give instead of true ones, by path (`/cgi-bin/message/getchatdata`); `CONNECT` is one, too.
    pub script: Arc<Script>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    secret: String,
    /// `user:pass` callers of the proxy need.
    credentials: Option<String>,
    envelopes: Mutex<Vec<Envelope>>,
    generation: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    script: Arc<Script>,
    tls: TlsAcceptor,
}

impl ArchiveStandin {
    /// Serves these envelopes, ascending by seq, to whoever knows the secret.
    pub async fn start(secret: &str, envelopes: Vec<Envelope>, credentials: Option<&str>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let script = Arc::new(Script::default());
        let shared = Arc::new(Shared {
            secret: secret.into(),
            credentials: credentials.map(str::to_owned),
            envelopes: Mutex::new(envelopes),
            generation: AtomicU64::new(1),
            seen: Mutex::default(),
            script: script.clone(),
            tls: acceptor()?,
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                // A connection that fails is the other side's matter: the library gave up on it.
                tokio::spawn(async move { shared.proxy(stream).await.ok() });
            }
        });
        Ok(Self { addr, script, shared, task })
    }

    /// The proxy argument.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The requests of this path so far.
    pub fn seen_at(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path == path).collect()
    }

    /// Makes every token given out so far worthless.
    pub fn expire_tokens(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an envelope behind the others.
    pub fn push(&self, envelope: Envelope) {
        lock(&self.shared.envelopes).push(envelope);
    }
}

impl Drop for ArchiveStandin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn acceptor() -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(vec!["qyapi.weixin.qq.com".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The head of a request: its first line, its headers, and what was read beyond it.
struct Head {
    line: String,
    headers: Vec<(String, String)>,
    rest: Vec<u8>,
}

impl Head {
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self> {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let (line, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
                let headers = rest.split("\r\n").filter_map(|header| header.split_once(':'));
                let headers =
                    headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
                return Ok(Self { line: line.to_owned(), headers, rest: bytes[end + 4..].to_vec() });
            }
            if bytes.len() > MAX_REQUEST || stream.read_buf(&mut bytes).await? == 0 {
                bail!("no head of a request");
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    async fn body(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
        let length: usize = self.header("content-length").unwrap_or("0").parse()?;
        let mut body = std::mem::take(&mut self.rest);
        while body.len() < length.min(MAX_REQUEST) {
            if stream.read_buf(&mut body).await? == 0 {
                bail!("the body is shorter than announced");
            }
        }
        Ok(body)
    }
}

impl Shared {
    async fn proxy(&self, mut stream: TcpStream) -> Result<()> {
        let head = Head::read(&mut stream).await?;
        let target = head.line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let target = target.context("only CONNECT is served")?.to_owned();
        let given = head.header("proxy-authorization").map(str::to_owned);
        match self.script.take("CONNECT") {
            Some(Reply::Close) => return Ok(()),
            Some(Reply::Silence) => std::future::pending().await,
            Some(late) => late.wait().await,
            None => {}
        }
        if let Some(credentials) = &self.credentials {
            use base64::{Engine, engine::general_purpose::STANDARD};
            if given.as_deref() != Some(&format!("Basic {}", STANDARD.encode(credentials))) {
                let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
                return Ok(stream.write_all(refusal).await?);
            }
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        let mut stream = self.tls.accept(stream).await?;
        let mut head = Head::read(&mut stream).await?;
        let body = head.body(&mut stream).await?;
        let url = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = url.split_once('?').unwrap_or((&url, ""));
        let seen = Seen {
            target,
            proxy_authorization: given,
            path: path.to_owned(),
            query: query.to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            range: head.header("range").map(str::to_owned),
        };
        let truth = self.truth(&seen);
        let scripted = self.script.take(path);
        lock(&self.seen).push(seen);
        reply(&mut stream, truth, scripted).await
    }

    fn truth(&self, seen: &Seen) -> String {
        let generation = self.generation.load(Ordering::Relaxed);
        let token = format!("token{generation}");
        let parameter = |name: &str| {
            seen.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
        };
        let refuse = |code: i64| json!({ "errcode": code, "errmsg": format!("refused {code}") }).to_string();
        match seen.path.as_str() {
            "/cgi-bin/gettoken" if parameter("corpsecret") != Some(&self.secret) => refuse(40_001),
            "/cgi-bin/gettoken" => {
                json!({ "errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": 7200 }).to_string()
            }
            _ if parameter("access_token") != Some(&token) => refuse(42_001),
            "/cgi-bin/message/getchatdata" => {
                let (seq, limit) = (seen.body["seq"].as_u64().unwrap_or(0), seen.body["limit"].as_u64().unwrap_or(0));
                let envelopes = lock(&self.envelopes);
                let rows: Vec<_> = envelopes
                    .iter()
                    .filter(|envelope| envelope.seq > seq)
                    .take(usize::try_from(limit).unwrap_or(0))
                    .map(|envelope| envelope.json.as_str())
                    .collect();
                format!(r#"{{"errcode":0,"errmsg":"ok","chatdata":[{}]}}"#, rows.join(","))
            }
            // What a good reply looks like is not established: its bytes are encrypted under the key of the file id.
            "/cgi-bin/message/getchatmediadata" => refuse(301_048),
            _ => refuse(40_058),
        }
    }
}

async fn reply(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    truth: String,
    scripted: Option<Reply>,
) -> Result<()> {
    let (status, body) = match scripted {
        None => (200, truth),
        Some(Reply::Errcode(code)) => {
            (200, json!({ "errcode": code, "errmsg": format!("refused {code}") }).to_string())
        }
        Some(Reply::Body(text)) => (200, text),
        Some(Reply::Status(status)) => (status, "<html><body>nginx</body></html>".to_owned()),
        Some(Reply::Truncated) => (200, truth.chars().take(truth.chars().count() / 2).collect()),
        Some(late @ (Reply::Delay(_) | Reply::Held(_))) => {
            late.wait().await;
            (200, truth)
        }
        Some(Reply::Close) => return Ok(()),
        Some(Reply::Silence) => std::future::pending().await,
    };
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
