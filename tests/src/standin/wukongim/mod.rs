//! A WuKongIM on loopback, v2 or v3, as the real one is (reference/wukongim.md §2 to §11), its defects behind [`Switches`].
//! Of v3 there is what an archive needs: sending, and the manager API.

mod notify;
mod store;
mod v2;
mod v3;

pub use store::{Row, Say, pair};

use super::script::{Reply, Script};
use anyhow::Result;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use store::Store;
use tokio::{net::TcpListener, task::JoinHandle};

/// Largest body of a request that is read.
const MAX_BODY: usize = 16 << 20;
/// What the manager's login of v3 hands out.
const ACCESS_TOKEN: &str = "access-token-of-the-stand-in";

/// The lines of the server that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
}

/// What it does wrong, or not as it comes.
#[derive(Clone, Debug)]
pub struct Switches {
    /// v2: the first message that is read forwards has lost the flags of its header.
    pub headless: bool,
    /// The next sends are answered, and not stored.
    pub lose_sends: u32,
    /// Reads of its channel before a new message is in it. v2: sends are stored after they are answered.
    pub late_reads: u64,
    /// Channels, by stored id, that cannot be read.
    pub unreadable: BTreeSet<String>,
    /// Channels, by stored id, of which a status and a text are answered instead of messages.
    pub refused: BTreeMap<String, (u16, String)>,
    /// v2: channels, by stored id, that are listed as if nothing was in them: the node that leads them is away.
    pub led_elsewhere: BTreeSet<String>,
    /// Value of the header `token`: `managerToken` of v2.
    pub token: Option<String>,
    /// Name and password of the manager of v3.
    pub manager: Option<(String, String)>,
    /// Where webhooks go; the query is put behind it.
    pub webhook: Option<String>,
    /// The next calls of webhooks are not made.
    pub lose_notifies: u32,
    /// Every call of a webhook is made twice.
    pub repeat_notifies: bool,
}

/// A WuKongIM. Ends when dropped.
pub struct WukongimStandin {
    /// Where its API listens.
    pub addr: SocketAddr,
    /// Where its manager listens.
    pub manager_addr: SocketAddr,
    /// Replies to give instead of true ones, by path. Unless it is a refusal, what was asked for is done all the same.
    pub script: Arc<Script>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    version: Version,
    script: Arc<Script>,
    state: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    store: Store,
    switches: Switches,
    calls: HashMap<String, usize>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            headless: true,
            lose_sends: 0,
            late_reads: 0,
            unreadable: BTreeSet::new(),
            refused: BTreeMap::new(),
            led_elsewhere: BTreeSet::new(),
            token: None,
            manager: None,
            webhook: None,
            lose_notifies: 0,
            repeat_notifies: false,
        }
    }
}

/// A request whose caller may make it.
struct Question<'a> {
    method: &'a Method,
    path: &'a str,
    query: BTreeMap<String, String>,
    body: &'a [u8],
}

impl Question<'_> {
    /// A parameter of the query; empty where there is none.
    fn text(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The same as a number; 0 where it is none.
    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }
}

/// Status and body.
type Answer = (StatusCode, String);

impl WukongimStandin {
    /// Serves on two free ports.
    pub async fn start(version: Version) -> Result<Self> {
        let script = Arc::new(Script::default());
        let shared = Arc::new(Shared { version, script: Arc::clone(&script), state: Mutex::default() });
        let api = TcpListener::bind(("127.0.0.1", 0)).await?;
        let manager = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (addr, manager_addr) = (api.local_addr()?, manager.local_addr()?);
        let serve = |listener: TcpListener, is_manager: bool| {
            let router = Router::new().fallback(handle).with_state((Arc::clone(&shared), is_manager));
            tokio::spawn(async move {
                axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
            })
        };
        let notifying = tokio::spawn(notify::run(Arc::clone(&shared)));
        let tasks = vec![serve(api, false), serve(manager, true), notifying];
        Ok(Self { addr, manager_addr, script, shared, tasks })
    }

    /// Scheme and authority of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Scheme and authority of the manager.
    pub fn manager_url(&self) -> String {
        format!("http://{}", self.manager_addr)
    }

    /// Changes what it does wrong.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.lock().switches);
    }

    /// Stores a message in the channel of this type and stored id, as if somebody had sent it, and returns its id.
    pub fn say(&self, kind: u8, id: &str, said: &Say<'_>) -> i64 {
        let state = &mut *self.shared.lock();
        state.store.put(kind, id, said, &state.switches)
    }

    /// What the stream says that this message begins (v2), and whether it has ended.
    pub fn stream(&self, id: i64, said: &str, has_ended: bool) {
        self.shared.lock().store.streams.insert(id, (said.to_owned(), has_ended));
    }

    /// Loses a stored message; the numbers of the others stay.
    pub fn lose(&self, kind: u8, id: &str, seq: u64) {
        if let Some(channel) = self.shared.lock().store.channels.get_mut(&(kind, id.to_owned())) {
            channel.rows.remove(&seq);
        }
    }

    /// Loses a channel with all its messages: what is said there from now on is numbered from 1.
    pub fn wipe(&self, kind: u8, id: &str) {
        self.shared.lock().store.channels.remove(&(kind, id.to_owned()));
    }

    /// Makes all channels as old as this one.
    pub fn created_at_once(&self, kind: u8, id: &str) {
        let state = &mut *self.shared.lock();
        if let Some(at) = state.store.channels.get(&(kind, id.to_owned())).map(|channel| channel.created_at) {
            state.store.channels.values_mut().for_each(|channel| channel.created_at = at);
        }
    }

    /// Every channel that exists, with what it stores, by number.
    pub fn channels(&self) -> BTreeMap<(u8, String), Vec<Row>> {
        let state = self.shared.lock();
        let all = state.store.channels.iter();
        all.map(|(key, channel)| (key.clone(), channel.rows.values().cloned().collect())).collect()
    }

    /// How often a path was asked for.
    pub fn calls(&self, path: &str) -> usize {
        self.shared.lock().calls.get(path).copied().unwrap_or(0)
    }

    /// Sends this body to the webhook, as an event of this name.
    pub async fn notify(&self, event: &str, body: &Value) -> Result<StatusCode> {
        let address = self.shared.lock().switches.webhook.clone().unwrap_or_default();
        notify::post(&address, event, body).await
    }
}

impl Drop for WukongimStandin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn truth(&self, question: &Question<'_>, headers: &HeaderMap, is_manager: bool) -> Answer {
        let state = &mut *self.lock();
        match self.version {
            Version::V2 => {
                let token = headers.get("token").and_then(|token| token.to_str().ok());
                if state.switches.token.as_deref().is_some_and(|wanted| token != Some(wanted)) {
                    return (StatusCode::UNAUTHORIZED, String::new());
                }
                v2::answer(state, question)
            }
            Version::V3 if is_manager => {
                let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                let bearer = given.and_then(|given| given.strip_prefix("Bearer "));
                let may = state.switches.manager.is_none() || bearer == Some(ACCESS_TOKEN);
                v3::manage(state, question, may)
            }
            Version::V3 => v3::answer(state, question),
        }
    }

    /// How this version refuses.
    fn refusal(&self, code: i64) -> Answer {
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        match self.version {
            Version::V2 => v2::refused("由剧本拒绝"),
            Version::V3 => {
                let body = json!({ "error": "scripted", "message": "scripted" });
                (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.to_string())
            }
        }
    }
}

async fn handle(State((shared, is_manager)): State<(Arc<Shared>, bool)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path().to_owned();
    *shared.lock().calls.entry(path.clone()).or_default() += 1;
    let scripted = shared.script.take(&path);
    if let Some(Reply::Errcode(code)) = scripted {
        return answered(shared.refusal(code));
    }
    let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let query = pairs.into_owned().collect();
    let question = Question { method: &parts.method, path: &path, query, body: &body };
    let (status, text) = shared.truth(&question, &parts.headers, is_manager);
    match scripted {
        Some(Reply::Body(text)) => answered((StatusCode::OK, text)),
        Some(Reply::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "<html><body>nginx</body></html>").into_response()
        }
        Some(Reply::Truncated) => answered((status, text.chars().take(text.chars().count() / 2).collect())),
        Some(late @ (Reply::Delay(_) | Reply::Held(_))) => {
            late.wait().await;
            answered((status, text))
        }
        Some(Reply::Close) => {
            // A body that fails: the connection is cut in the middle of the reply.
            let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut by the script")) });
            Response::new(Body::from_stream(cut))
        }
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Errcode(_)) | None => answered((status, text)),
    }
}

/// What is answered instead of the messages of a channel, if so.
fn refusal(state: &Held, stored: &str) -> Option<Answer> {
    let (status, text) = state.switches.refused.get(stored)?;
    Some((StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY), text.clone()))
}

/// A forwarding node labels JSON as text: who reads it looks at the content.
fn answered((status, text): Answer) -> Response {
    (status, [("content-type", "text/plain; charset=utf-8")], text).into_response()
}

/// As gin answers what it does not know.
fn not_found() -> Answer {
    (StatusCode::NOT_FOUND, "404 page not found".to_owned())
}

fn ok(value: &Value) -> Answer {
    (StatusCode::OK, value.to_string())
}

/// The object in a body; fields of the wrong type are for whoever reads them.
fn object(body: &[u8]) -> Option<Value> {
    // What follows the first value is ignored.
    serde_json::Deserializer::from_slice(body).into_iter::<Value>().next()?.ok().filter(Value::is_object)
}

/// A field; of the wrong type it is an error, and missing it is the default.
fn field<T: serde::de::DeserializeOwned + Default>(object: &Value, name: &str) -> Option<T> {
    match &object[name] {
        Value::Null => Some(T::default()),
        value => serde_json::from_value(value.clone()).ok(),
    }
}
