//! A quick-im-core on loopback, as the real one is (reference/gateway.md), with its defects behind [`Switches`]. Its pushes
//! are left out: whoever archives does not use them.

mod answers;
pub mod msgid;
mod store;
pub mod token;

pub use store::{GREETING, Row, Sent};

use super::script::{Reply, Script};
use answers::{INNER, INVALID, PUBLIC, Question, answer};
use anyhow::Result;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use store::Store;
use tokio::{net::TcpListener, task::JoinHandle};

/// Largest body of a request that is read.
const MAX_BODY: usize = 16 << 20;
/// Life of a token in seconds.
const TOKEN_LIFE: i64 = 86_400;

/// The two states of the server that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Times are integers.
    Src,
    /// Times are text.
    SrcOld,
}

/// What it does wrong.
#[derive(Clone, Debug)]
pub struct Switches {
    /// What it is. The rows the other version wrote it cannot read, or not right.
    pub version: Version,
    /// Integer times have their microseconds padded to three digits instead of six.
    pub unpadded: bool,
    /// History has times in whole milliseconds.
    pub rounded: bool,
    /// Stored messages take type, sender and text from the message before where their own are empty.
    pub inherits: bool,
    /// Who joins is not routed to, and check_joined does not know of it.
    pub forgetful_join: bool,
    /// Rows the calls with an order can sort; with more they fail.
    pub sortable: usize,
    /// Calls of the history before a new message is in it.
    pub late_calls: u32,
    /// Every new message gets the id of the one before.
    pub colliding: bool,
    /// What tokens are signed with. The real one always uses [`token::FIXED_KEY`].
    pub key: String,
    /// Whether the callers of inner routes are on the allowlist.
    pub inner: bool,
}

impl Switches {
    /// As a server of this version is.
    pub fn of(version: Version) -> Self {
        Self {
            version,
            unpadded: true,
            rounded: true,
            inherits: true,
            forgetful_join: true,
            sortable: 100_000,
            late_calls: 0,
            colliding: false,
            key: token::FIXED_KEY.to_owned(),
            inner: true,
        }
    }
}

/// A quick-im-core. Ends when dropped.
pub struct GatewayStandin {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Replies to give instead of true ones, by path. Unless it is a refusal, what was asked for is done all the same.
    pub script: Arc<Script>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    script: Arc<Script>,
    state: Mutex<Held>,
}

struct Held {
    store: Store,
    switches: Switches,
    calls: HashMap<String, usize>,
    created: u64,
}

impl GatewayStandin {
    /// Serves on a free port.
    pub async fn start(version: Version) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let script = Arc::new(Script::default());
        let switches = Switches::of(version);
        let state = Held { store: Store::default(), switches, calls: HashMap::new(), created: 0 };
        let shared = Arc::new(Shared { script: Arc::clone(&script), state: Mutex::new(state) });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
        });
        Ok(Self { addr, script, shared, task })
    }

    /// Scheme and authority.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes what it does wrong.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.lock().switches);
    }

    /// Adds a conversation with these members.
    pub fn converse(&self, id: &str, kind: u8, members: &[&str]) {
        let members: Vec<String> = members.iter().map(|member| (*member).to_owned()).collect();
        self.shared.lock().store.create(id, kind, &members);
    }

    /// Loses its Redis: nobody is routed to, and check_joined knows nobody, until the next message.
    pub fn lose_redis(&self) {
        self.shared.lock().store.lose_redis();
    }

    /// Stores a message and returns its id.
    pub fn say(&self, sent: &Sent<'_>) -> String {
        let state = &mut *self.shared.lock();
        state.store.put(sent, &state.switches)
    }

    /// Stores a message under this id.
    pub fn say_as(&self, id: &str, sent: &Sent<'_>) {
        let state = &mut *self.shared.lock();
        state.store.put_as(id.to_owned(), sent, &state.switches);
    }

    /// Puts any JSON where a message belongs, in the place of this id.
    pub fn put_raw(&self, conversation: &str, id: &str, json: &str) {
        let state = &mut *self.shared.lock();
        state.store.put_raw(conversation, id, json, state.switches.version);
    }

    /// Everything it stores of a conversation, in the order of the ids, with what history answers for it now.
    pub fn rows(&self, conversation: &str) -> Vec<(Row, String)> {
        let state = self.shared.lock();
        let rows = state.store.conversations.get(conversation).into_iter().flat_map(|found| found.rows.values());
        rows.map(|row| (row.clone(), row.json(&state.switches))).collect()
    }

    /// How often a path was asked for.
    pub fn calls(&self, path: &str) -> usize {
        self.shared.lock().calls.get(path).copied().unwrap_or(0)
    }
}

impl Drop for GatewayStandin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status and body of a true answer.
    fn truth(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> (StatusCode, String) {
        let path = uri.path();
        if path == "/" {
            return (StatusCode::OK, "quick-im".to_owned());
        }
        let clean = format!("/{}", path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"));
        let routes = || PUBLIC.iter().chain(INNER).copied();
        let Some(route) = routes().find(|known| *known == path) else {
            let moved = routes().any(|known| known == clean.to_ascii_lowercase());
            let status = if moved { StatusCode::TEMPORARY_REDIRECT } else { StatusCode::NOT_FOUND };
            return (status, "404 page not found\n".to_owned());
        };
        match *method {
            Method::POST => {}
            Method::OPTIONS => return (StatusCode::NO_CONTENT, String::new()),
            _ => return (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned()),
        }
        let text = match self.application(route, uri, headers, body) {
            Ok(data) => format!("{{\"code\":0,\"data\":{data}}}\n"),
            Err(code) => refusal(code),
        };
        (StatusCode::OK, text)
    }

    fn application(&self, route: &'static str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<String, i64> {
        let state = &mut *self.lock();
        let now = Utc::now().timestamp_micros();
        let seconds = now.div_euclid(1_000_000);
        let key = state.switches.key.clone();
        let session = if INNER.contains(&route) {
            state.switches.inner.then(String::new).ok_or(10_003)?
        } else {
            let given = headers.get("authorization").and_then(|value| value.to_str().ok()).filter(|v| !v.is_empty());
            let query = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="));
            let given = given.map(|given| given.strip_prefix("Bearer ").unwrap_or(given)).or_else(query);
            token::open(&key, given.unwrap_or_default(), seconds).ok_or(10_101)?.0
        };
        // What follows the first value is ignored, and so is the body where none is read.
        let first = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next();
        let object = match (route, first) {
            ("/get_joined_conversation", _) | (_, Some(Ok(Value::Null))) => Map::new(),
            (_, Some(Ok(Value::Object(object)))) => object,
            _ => return Err(INVALID),
        };
        if route == "/inner/get_token" {
            let named = object.get("session").and_then(Value::as_str).unwrap_or_default();
            let platform = object.get("platform").map_or(Some(0), Value::as_u64);
            let platform = platform.and_then(|number| u8::try_from(number).ok()).ok_or(INVALID)?;
            return Ok(json!(token::mint(&key, named, platform, seconds + TOKEN_LIFE)).to_string());
        }
        state.created += 1;
        let new_id = format!("00000000-0000-4000-8000-{:012}", state.created);
        let question = Question { path: route, session: &session, body: &object, now, new_id: &new_id };
        answer(&mut state.store, &state.switches, &question)
    }
}

fn refusal(code: i64) -> String {
    let error = match code {
        10_001 => "invalid parameter",
        10_003 => "not allowed request",
        10_101 => "invalid token",
        _ => "internal service call failed",
    };
    format!("{}\n", json!({ "code": code, "error": error, "data": {} }))
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path().to_owned();
    *shared.lock().calls.entry(path.clone()).or_default() += 1;
    let scripted = shared.script.take(&path);
    if let Some(Reply::Errcode(code)) = scripted {
        return answered(StatusCode::OK, refusal(code));
    }
    let (status, text) = shared.truth(&parts.method, &parts.uri, &parts.headers, &body);
    match scripted {
        Some(Reply::Body(text)) => answered(StatusCode::OK, text),
        Some(Reply::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "<html><body>nginx</body></html>").into_response()
        }
        Some(Reply::Truncated) => answered(status, text.chars().take(text.chars().count() / 2).collect()),
        Some(late @ (Reply::Delay(_) | Reply::Held(_))) => {
            late.wait().await;
            answered(status, text)
        }
        Some(Reply::Close) => {
            // A body that fails: the connection is cut in the middle of the reply.
            let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut by the script")) });
            Response::new(Body::from_stream(cut))
        }
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Errcode(_)) | None => answered(status, text),
    }
}

fn answered(status: StatusCode, text: String) -> Response {
    (status, [("content-type", "application/json")], text).into_response()
}
