//! An OpenIM on loopback, as the real one is at HTTP (reference/openim.md), what it does by its version and its defects
//! behind [`Switches`]. What is worth knowing of it:
//!
//! * Its checks of headers come before the look at the path: 3.8.0 answers `/auth/get_admin_token` with 1001, not 404.
//! * `/group/get_groups` gives the newest group first, and no dismissed one.
//! * History that is too old is cut off, so that a pull begins later than it was asked; what was deleted one by one leaves
//!   placeholders.
//! * The event of a revoke is in the channel beside the pair of who revoked and who received, which need not be the
//!   conversation's own: an admin's revoke of a single chat is not beside that chat.

mod auth;
mod hook;
mod people;
mod pull;
mod search;
mod store;
mod write;

pub use auth::Ended;
pub use hook::Told;
pub use store::{Revoked, Row, Say, pair, text_of, twin};

use super::script::{Reply, Script};
use anyhow::{Context, Result};
use auth::{Caller, Tokens};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use store::{Group, Store, User};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// Largest body of a request that is read.
const MAX_BODY: usize = 16 << 20;

/// The servers that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V380,
    V383,
    Head,
}

/// When what is sent can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    AtOnce,
    /// Its number is given out; its place is a placeholder until [`OpenimStandin::arrive`].
    Unreadable,
    /// It has no number until [`OpenimStandin::arrive`].
    Queued,
}

/// Its settings, and what does not come as it should.
#[derive(Clone, Debug)]
pub struct Switches {
    /// What tokens are signed with, and admins' are given for.
    pub secret: String,
    pub admins: Vec<String>,
    /// How long new tokens are good.
    pub token_seconds: i64,
    /// HEAD: requests an admin's token still serves after a newer one took its place; the real server gives it 5 minutes.
    pub ousted_requests: u32,
    pub arrival: Arrival,
    /// Where webhooks go: the command becomes the last segment of the path.
    pub webhook: Option<String>,
    /// Sends ask the webhook first.
    pub before_hooks: bool,
    /// HEAD: `afterMsgSaveDB` is told, too.
    pub save_hooks: bool,
    /// The next webhooks are not sent.
    pub lose_hooks: u32,
}

/// An OpenIM. Ends when dropped.
pub struct OpenimStandin {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Replies to give instead of true ones, by path. Unless it is a refusal, what was asked for is done all the same.
    pub script: Arc<Script>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What an OpenIM held at a time.
#[derive(Clone, Debug)]
pub struct Snapshot(Store);

struct Shared {
    version: Version,
    script: Arc<Script>,
    state: Mutex<Held>,
    hooks: mpsc::Sender<hook::Event>,
}

#[derive(Default)]
struct Held {
    store: Store,
    switches: Switches,
    tokens: Tokens,
    calls: HashMap<String, usize>,
    /// To be told to the webhook.
    news: Vec<hook::Event>,
    told: Vec<Told>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            secret: "openIM123".to_owned(),
            admins: vec!["imAdmin".to_owned()],
            token_seconds: 90 * 24 * 60 * 60,
            ousted_requests: 100,
            arrival: Arrival::AtOnce,
            webhook: None,
            before_hooks: false,
            save_hooks: false,
            lose_hooks: 0,
        }
    }
}

/// A request whose caller may make it.
struct Question<'a> {
    version: Version,
    caller: Caller,
    operation: &'a str,
    body: Value,
}

/// An error as OpenIM tells it.
struct Refused {
    code: i64,
    name: String,
    detail: String,
    /// It was found before a service was asked.
    is_local: bool,
}

impl Refused {
    fn new(code: i64, name: &str, detail: &str) -> Self {
        Self { code, name: name.to_owned(), detail: detail.to_owned(), is_local: false }
    }

    fn args(detail: &str) -> Self {
        Self::new(1001, "ArgsError", detail)
    }

    fn permission(detail: &str) -> Self {
        Self::new(1002, "NoPermissionError", detail)
    }

    fn not_found(detail: &str) -> Self {
        Self::new(1004, "RecordNotFoundError", detail)
    }

    /// A service that fell over.
    fn panic(version: Version, text: &str) -> Self {
        match version {
            Version::Head => Self::new(500, "panic error", text),
            Version::V383 => Self::new(2, text, ""),
            Version::V380 => Self::new(500, "grpc service msg down", ""),
        }
    }

    fn local(self) -> Self {
        Self { is_local: true, ..self }
    }

    fn envelope(&self, version: Version) -> Value {
        let Self { code, name, detail, is_local } = self;
        let full = format!("{code} {name} {detail}");
        let full = full.trim_end();
        let (message, detail) = match (version, is_local) {
            (Version::Head, _) => (name.as_str(), detail.as_str()),
            (Version::V383, true) => (name.as_str(), ""),
            (Version::V383, false) | (Version::V380, true) => (name.as_str(), full),
            (Version::V380, false) => (full, full),
        };
        json!({ "errCode": code, "errMsg": message, "errDlt": detail })
    }
}

/// The answer: `data`, or the error. `Null` is an answer without fields.
type Answer = Result<Value, Refused>;

impl OpenimStandin {
    /// Serves on a free port; the default admin is a user.
    pub async fn start(version: Version) -> Result<Self> {
        let script = Arc::new(Script::default());
        let (hooks, events) = mpsc::channel(hook::QUEUE);
        let shared = Arc::new(Shared { version, script: Arc::clone(&script), state: Mutex::default(), hooks });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
        });
        let telling = tokio::spawn(hook::run(Arc::clone(&shared), events));
        let standin = Self { addr, script, shared, tasks: vec![serving, telling] };
        standin.add_account("imAdmin", "imAdmin", 2);
        Ok(standin)
    }

    /// Scheme and authority of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes its settings.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.lock().switches);
    }

    /// The `number`th call of this path from now on, the next being 1, gets this reply.
    pub fn fail(&self, path: &str, number: u32, reply: Reply) {
        if number > 1 {
            self.script.push(path, Reply::Delay(Duration::ZERO), number - 1);
        }
        self.script.push(path, reply, 1);
    }

    /// Registers a user, or changes the nickname.
    pub fn add_user(&self, user: &str, nickname: &str) {
        self.add_account(user, nickname, 0);
    }

    /// Registers an account: 0 ordinary, 2 admin, 3 for notifications.
    pub fn add_account(&self, user: &str, nickname: &str, level: i32) {
        let Held { store, switches, .. } = &mut *self.shared.lock();
        if level == 2 && !switches.admins.iter().any(|admin| admin == user) {
            switches.admins.push(user.to_owned());
        }
        let created = i64::try_from(store.make()).unwrap_or_default();
        let new = User { nickname: String::new(), face_url: format!("https://x.example/{user}.png"), level, created };
        nickname.clone_into(&mut store.users.entry(user.to_owned()).or_insert(new).nickname);
    }

    /// Makes a group, the first member its owner; nothing is said in it. Its conversation begins with the first message.
    pub fn add_group(&self, group: &str, name: &str, members: &[&str]) {
        let store = &mut self.shared.lock().store;
        let created = i64::try_from(store.make()).unwrap_or_default();
        let members: Vec<_> = members.iter().map(|&member| member.to_owned()).collect();
        let owner = members.first().cloned().unwrap_or_default();
        let face_url = format!("https://x.example/{group}.png");
        let new = Group { name: name.to_owned(), face_url, owner, members, dismissed: false, created };
        store.groups.insert(group.to_owned(), new);
    }

    /// Somebody comes into a group, and nothing is said about it.
    pub fn join(&self, group: &str, user: &str) {
        self.shared.lock().store.join(group, user);
    }

    /// Somebody leaves a group, and nothing is said about it.
    pub fn leave(&self, group: &str, user: &str) {
        self.shared.lock().store.leave(group, user);
    }

    /// Ends a group; its conversation stays.
    pub fn dismiss(&self, group: &str) {
        if let Some(group) = self.shared.lock().store.groups.get_mut(group) {
            group.dismissed = true;
        }
    }

    /// Sends a message as if a client had, and returns its conversation and number; 0 while it has none.
    pub fn say(&self, said: Say) -> (String, i64) {
        let state = &mut *self.shared.lock();
        let row = state.store.row(said);
        let conversation = row.conversation.clone();
        let seq = write::accept(state, self.shared.version, row, "say");
        self.shared.tell(state);
        (conversation, seq)
    }

    /// What was sent late arrives.
    pub fn arrive(&self) {
        let state = &mut *self.shared.lock();
        write::arrive(state, self.shared.version);
        self.shared.tell(state);
    }

    /// Revokes a message; who is an admin need not have sent it.
    pub fn revoke(&self, conversation: &str, seq: i64, user: &str) -> Result<()> {
        let state = &mut *self.shared.lock();
        write::revoke_row(state, conversation, seq, user).map_err(|refused| anyhow::anyhow!(refused.name))?;
        self.shared.tell(state);
        Ok(())
    }

    /// Deletes messages for everybody: placeholders are left.
    pub fn remove(&self, conversation: &str, seqs: impl IntoIterator<Item = i64>) {
        if let Some(conversation) = self.shared.lock().store.conversations.get_mut(conversation) {
            seqs.into_iter().for_each(|seq| conversation.remove(seq));
        }
    }

    /// Deletes messages for one user.
    pub fn remove_for(&self, user: &str, conversation: &str, seqs: impl IntoIterator<Item = i64>) {
        write::delete_for(&mut self.shared.lock().store, user, conversation, seqs);
    }

    /// The server's retention deletes everything up to a number, and nobody can read before it any more.
    pub fn forget(&self, conversation: &str, up_to: i64) {
        if let Some(conversation) = self.shared.lock().store.conversations.get_mut(conversation) {
            conversation.rows.retain(|seq, _| *seq > up_to);
            conversation.min = conversation.min.max(up_to + 1);
        }
    }

    /// Numbers are skipped, as after Redis was lost: the newest number is one that no message has.
    pub fn jump(&self, conversation: &str, by: i64) {
        self.shared.lock().store.conversations.entry(conversation.to_owned()).or_default().max += by;
    }

    /// All that it holds.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared.lock().store.clone())
    }

    /// Goes back to what it held then. What is made from now on is not what was made before.
    pub fn restore(&self, Snapshot(store): &Snapshot) {
        let state = &mut *self.shared.lock();
        let made = state.store.made;
        state.store = Store { made, ..store.clone() };
    }

    /// Loses all messages and conversations; users and groups stay.
    pub fn wipe(&self) {
        let state = &mut *self.shared.lock();
        state.store.conversations.clear();
        state.store.owned.clear();
        state.store.queue.clear();
    }

    /// Every message that is stored in a chat, revoked ones with their originals: what a complete archive holds.
    pub fn rows(&self) -> BTreeMap<String, Vec<Row>> {
        let state = self.shared.lock();
        let chats = state.store.conversations.iter().filter(|(id, _)| !store::is_twin(id));
        chats.map(|(id, conversation)| (id.clone(), conversation.rows.values().cloned().collect())).collect()
    }

    /// The newest number of a conversation, as far as it is given out.
    pub fn max_seq(&self, conversation: &str) -> i64 {
        self.shared.lock().store.conversations.get(conversation).map_or(0, |conversation| conversation.max)
    }

    /// How often a path was asked for.
    pub fn calls(&self, path: &str) -> usize {
        self.shared.lock().calls.get(path).copied().unwrap_or(0)
    }

    /// How many tokens were given out.
    pub fn tokens(&self) -> usize {
        self.shared.lock().tokens.count
    }

    /// Ends every token that was given out.
    pub fn end_tokens(&self, ended: Ended) {
        self.shared.lock().tokens.end(ended);
    }

    /// A token as another program gets one for this admin.
    pub fn token(&self, user: &str) -> String {
        let state = &mut *self.shared.lock();
        let platform = if state.is_admin(user) { 10 } else { 5 };
        let given = auth::issue(state, self.shared.version, user, platform);
        given["token"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends this body to the webhook, as this command.
    pub async fn hook(&self, command: &str, body: &Value) -> Result<Told> {
        let url = self.shared.lock().switches.webhook.clone().context("no webhook is set")?;
        let event = hook::Event { command: command.to_owned(), key: None, body: body.clone() };
        hook::post(&url, &event).await
    }

    /// What the webhook was told, with its answers, in order.
    pub fn told(&self) -> Vec<Told> {
        self.shared.lock().told.clone()
    }
}

impl Drop for OpenimStandin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Held {
    fn is_admin(&self, user: &str) -> bool {
        self.switches.admins.iter().any(|admin| admin == user)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what is to be told to the webhook. What does not fit into the queue is dropped.
    fn tell(&self, state: &mut Held) {
        let news = std::mem::take(&mut state.news);
        if state.switches.webhook.is_none() {
            return;
        }
        for event in news {
            if state.switches.lose_hooks > 0 {
                state.switches.lose_hooks -= 1;
                continue;
            }
            let _ = self.hooks.try_send(event);
        }
    }

    /// Whose request it is; of some paths nobody's.
    fn caller(&self, path: &str, headers: &HeaderMap) -> Result<Caller, Refused> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header("operationID").is_empty() {
            return Err(Refused::args("header must have operationID").local());
        }
        let open: &[&str] = match self.version {
            Version::V380 => &["/user/user_register", "/auth/user_token", "/auth/parse_token"],
            _ => &["/auth/get_admin_token", "/auth/parse_token"],
        };
        if open.iter().any(|open| path.starts_with(open)) {
            return Ok(Caller::default());
        }
        match header("token") {
            "" => Err(Refused::args("header must have token").local()),
            token => auth::open(&mut self.lock(), self.version, token),
        }
    }
}

/// What serves a path.
type Serve = fn(&mut Held, &Question<'_>) -> Answer;

fn route(version: Version, path: &str) -> Option<Serve> {
    Some(match path {
        "/auth/get_admin_token" if version != Version::V380 => auth::admin_token,
        "/auth/user_token" if version == Version::V380 => auth::any_token,
        "/auth/get_user_token" => auth::user_token,
        "/auth/parse_token" => auth::parse_token,
        "/auth/force_logout" => auth::force_logout,
        "/user/user_register" => people::register,
        "/user/get_users" => people::users,
        "/user/get_users_info" => people::users_info,
        "/user/get_all_users_uid" => people::user_ids,
        "/group/create_group" => people::create_group,
        "/group/get_groups" => people::groups,
        "/group/get_groups_info" => people::groups_info,
        "/group/get_full_group_member_user_ids" => people::members,
        "/group/quit_group" => people::quit,
        "/group/kick_group" => people::kick,
        "/conversation/get_full_conversation_ids" => pull::conversation_ids,
        "/msg/newest_seq" => pull::newest,
        "/msg/get_conversations_has_read_and_max_seq" => pull::max_seqs,
        "/msg/pull_msg_by_seq" => pull::pull,
        "/msg/get_server_time" => pull::server_time,
        "/msg/search_msg" => search::search,
        "/msg/send_msg" => write::send,
        "/msg/revoke_msg" => write::revoke,
        "/msg/delete_msgs" => write::delete,
        "/msg/delete_msg_phsical_by_seq" => write::delete_physically,
        "/msg/clear_conversation_msg" => write::clear,
        "/msg/user_clear_all_msg" => write::clear_all,
        _ => return None,
    })
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path().to_owned();
    *shared.lock().calls.entry(path.clone()).or_default() += 1;
    if parts.method == Method::OPTIONS {
        return with_headers(StatusCode::OK, "\"Options Request!\"".to_owned());
    }
    let scripted = shared.script.take(&path);
    if let Some(Reply::Errcode(code)) = scripted {
        return answered(shared.version, Err(Refused::new(code, "scripted", "")));
    }
    let (status, text) = match truth(&shared, &parts.method, &path, &parts.headers, &body).await {
        Some(answer) => (StatusCode::OK, rendered(shared.version, answer)),
        None => (StatusCode::NOT_FOUND, "404 page not found".to_owned()),
    };
    match scripted {
        Some(Reply::Body(text)) => with_headers(StatusCode::OK, text),
        Some(Reply::Status(500)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Reply::Status(429)) => {
            let text = json!({ "errCode": 429, "errMsg": "rate limit", "errDlt": "" }).to_string();
            with_headers(StatusCode::TOO_MANY_REQUESTS, text)
        }
        Some(Reply::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "<html><body>nginx</body></html>").into_response()
        }
        Some(Reply::Truncated) => with_headers(status, text.chars().take(text.chars().count() / 2).collect()),
        Some(late @ (Reply::Delay(_) | Reply::Held(_))) => {
            late.wait().await;
            with_headers(status, text)
        }
        Some(Reply::Close) => {
            // A body that fails: the connection is cut in the middle of the reply.
            let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut by the script")) });
            Response::new(Body::from_stream(cut))
        }
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Errcode(_)) | None => with_headers(status, text),
    }
}

/// The true answer; none where there is no such path.
async fn truth(shared: &Arc<Shared>, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Option<Answer> {
    if method != Method::POST {
        return None;
    }
    // The headers are looked at before the path.
    let caller = match shared.caller(path, headers) {
        Ok(caller) => caller,
        Err(refused) => return Some(Err(refused)),
    };
    let serve = route(shared.version, path)?;
    let body = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Null) => Value::Object(Map::new()),
        Ok(body @ Value::Object(_)) => body,
        Ok(_) => return Some(Err(Refused::new(1001, "json: cannot unmarshal into Go value", "").local())),
        Err(error) => return Some(Err(Refused::new(1001, &error.to_string(), "").local())),
    };
    let operation = headers.get("operationID").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let question = Question { version: shared.version, caller, operation, body };
    if path == "/msg/send_msg"
        && let Err(refused) = hook::before(shared, &question).await
    {
        return Some(Err(refused));
    }
    let state = &mut *shared.lock();
    let answer = serve(state, &question);
    shared.tell(state);
    Some(answer)
}

fn answered(version: Version, answer: Answer) -> Response {
    with_headers(StatusCode::OK, rendered(version, answer))
}

fn rendered(version: Version, answer: Answer) -> String {
    let envelope = match answer {
        Ok(Value::Null) => json!({ "errCode": 0, "errMsg": "", "errDlt": "" }),
        Ok(data) => json!({ "errCode": 0, "errMsg": "", "errDlt": "", "data": data }),
        Err(refused) => refused.envelope(version),
    };
    go(&envelope)
}

fn with_headers(status: StatusCode, text: String) -> Response {
    // A path that is unknown is told as text.
    let content_type = if status == StatusCode::NOT_FOUND { "text/plain" } else { "application/json" };
    let headers = [
        ("content-type", content_type),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "*"),
        ("access-control-allow-headers", "*"),
        ("access-control-max-age", "172800"),
    ];
    (status, headers, text).into_response()
}

/// JSON as Go writes it.
fn go(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A field of an object, by Go's rules: case does not matter, what is missing or null is the default, a wrong type an error.
fn field<T: serde::de::DeserializeOwned + Default>(object: &Value, name: &str) -> Result<T, Refused> {
    let mut fields = object.as_object().into_iter().flatten();
    match fields.rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|error| Refused::new(1001, &format!("json: cannot unmarshal {name}: {error}"), "").local()),
    }
}

/// A list as Go has it in its answers: empty, it is nothing.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Null } else { Value::Array(items) }
}

/// An object that HEAD leaves out where it is empty, and others send as nothing.
fn put_map(answer: &mut Value, name: &str, map: Map<String, Value>, version: Version) {
    match (map.is_empty(), version) {
        (true, Version::Head) => {}
        (true, _) => answer[name] = Value::Null,
        (false, _) => answer[name] = Value::Object(map),
    }
}

/// The first place and the number of rows of a page in a list; numbers below 1 are refused.
fn page(body: &Value) -> Result<(usize, usize), Refused> {
    let pagination: Value = field(body, "pagination")?;
    let (number, rows): (i32, i32) = (field(&pagination, "pageNumber")?, field(&pagination, "showNumber")?);
    let checked = |value: i32, what: &str| {
        usize::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| Refused::args(what))
    };
    let (number, rows) = (checked(number, "pageNumber is invalid")?, checked(rows, "showNumber is invalid")?);
    Ok(((number - 1) * rows, rows))
}
