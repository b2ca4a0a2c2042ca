//! The directory APIs over plain HTTP: what `api_base` of an instance points to.

use super::{
    answers::{Question, Right, answer},
    script::{Reply, Script},
};
use crate::corp::Directory;
use anyhow::Result;
use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, task::JoinHandle};

/// The directory APIs of some corps. Ends when dropped.
pub struct DirectoryStandin {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Replies to give instead of true ones, by path (`/cgi-bin/user/get`).
    pub script: Arc<Script>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    corps: RwLock<Vec<Directory>>,
    script: Arc<Script>,
    generation: AtomicU64,
    page: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl DirectoryStandin {
    /// Serves these corps on a free port.
    pub async fn start(corps: Vec<Directory>) -> Result<Self> {
        let standin = Self::bind(0).await?;
        corps.into_iter().for_each(|corp| standin.add(corp));
        Ok(standin)
    }

    /// Serves corps that are added later on this port; 0 for a free one.
    pub async fn bind(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let addr = listener.local_addr()?;
        let script = Arc::new(Script::default());
        let shared = Arc::new(Shared {
            corps: RwLock::default(),
            script: script.clone(),
            generation: AtomicU64::new(1),
            page: AtomicUsize::new(usize::MAX),
            requests: Mutex::default(),
        });
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
        });
        Ok(Self { addr, script, shared, task })
    }

    /// The value of `api_base`.
    pub fn api_base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Serves this corp, too.
    pub fn add(&self, corp: Directory) {
        self.shared.corps.write().unwrap_or_else(PoisonError::into_inner).push(corp);
    }

    /// Makes every token given out so far worthless.
    pub fn expire_tokens(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Lists have at most so many rows from now on, whatever callers ask for.
    pub fn limit_pages(&self, rows: usize) {
        self.shared.page.store(rows, Ordering::Relaxed);
    }

    /// The paths asked for so far, in order.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for DirectoryStandin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let path = uri.path();
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let truth = shared.truth(path, &query, &body).to_string();
    match shared.script.take(path) {
        None => as_json(truth),
        Some(Reply::Errcode(code)) => as_json(refusal(code).to_string()),
        Some(Reply::Body(text)) => as_json(text),
        Some(Reply::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "<html><body>nginx</body></html>").into_response()
        }
        Some(Reply::Truncated) => as_json(truth.chars().take(truth.chars().count() / 2).collect()),
        Some(late @ (Reply::Delay(_) | Reply::Held(_))) => {
            late.wait().await;
            as_json(truth)
        }
        Some(Reply::Close) => {
            // A body that fails: the connection is cut in the middle of the reply.
            let broken = broken_body();
            Response::new(broken)
        }
        Some(Reply::Silence) => std::future::pending().await,
    }
}

/// A body whose first piece is an error.
fn broken_body() -> axum::body::Body {
    let stream = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut by the script")) });
    axum::body::Body::from_stream(stream)
}

fn as_json(text: String) -> Response {
    ([("content-type", "application/json; charset=UTF-8")], text).into_response()
}

fn refusal(code: i64) -> Value {
    json!({ "errcode": code, "errmsg": format!("refused, hint: [stand-in], from ip: 203.0.113.7, code {code}") })
}

impl Shared {
    fn truth(&self, path: &str, query: &HashMap<String, String>, body: &Value) -> Value {
        if path == "/cgi-bin/gettoken" {
            return self.token(query);
        }
        let given = query.get("access_token").map(String::as_str).unwrap_or_default();
        let corps = self.corps.read().unwrap_or_else(PoisonError::into_inner);
        let Some((corp, right, generation)) = open(&corps, given) else { return refusal(40_014) };
        if generation != self.generation.load(Ordering::Relaxed) {
            return refusal(42_001);
        }
        let question = Question { path, query, body, page: self.page.load(Ordering::Relaxed) };
        match answer(corp, right, &question) {
            Ok(mut answer) => {
                answer["errcode"] = json!(0);
                answer["errmsg"] = json!("ok");
                answer
            }
            Err(code) => refusal(code),
        }
    }

    fn token(&self, query: &HashMap<String, String>) -> Value {
        let secret = query.get("corpsecret").map(String::as_str).unwrap_or_default();
        let corps = self.corps.read().unwrap_or_else(PoisonError::into_inner);
        let Some(corp) = corps.iter().find(|corp| Some(&corp.corp) == query.get("corpid")) else {
            return refusal(40_013);
        };
        let right = match secret {
            secret if secret == corp.archive_secret => "archive",
            secret if secret == corp.app_secret => "application",
            _ => return refusal(40_001),
        };
        let token = format!("{}.{right}.{}", corp.corp, self.generation.load(Ordering::Relaxed));
        json!({ "errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": 7200 })
    }
}

/// Corp, right and generation of a token.
fn open<'a>(corps: &'a [Directory], token: &str) -> Option<(&'a Directory, Right, u64)> {
    let (rest, generation) = token.rsplit_once('.')?;
    let (corp, right) = rest.rsplit_once('.')?;
    let corp = corps.iter().find(|known| known.corp == corp)?;
    let right = if right == "archive" { Right::Archive } else { Right::Application };
    Some((corp, right, generation.parse().ok()?))
}
