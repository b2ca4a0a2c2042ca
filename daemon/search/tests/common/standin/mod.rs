//! A stand-in for Meilisearch: as much of its API, its filters and its tasks as the engine uses, in the shapes a real v1.50 answers with,
//! and the failures a real one has when it is not asked to.

mod filter;
mod search;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::task::JoinHandle;

/// What an answer is instead of the right one.
#[derive(Clone, Debug)]
pub enum Fault {
    /// None: this request is answered as it should be.
    Pass,
    /// This status, and seconds to come again after, and nothing done.
    Status(u16, Option<u32>),
    /// No answer.
    Silence,
    /// The right status and no JSON.
    Garbage,
    /// This status, and all is done.
    Lost(u16),
}

/// What a task ends with instead of success.
#[derive(Clone, Debug)]
pub enum End {
    Canceled,
    /// Code and type of its error.
    Failed(&'static str, &'static str),
    /// Done, and the server does not know it afterwards.
    Forgotten,
    /// It does not end until [`Standin::go_on`].
    Stuck,
}

#[derive(Debug, Default)]
pub struct Index {
    pub settings: Value,
    pub documents: BTreeMap<String, Value>,
}

#[derive(Debug, Default)]
pub struct Server {
    pub indexes: BTreeMap<String, Index>,
    pub tasks: Vec<Value>,
    stuck: Vec<(usize, Work)>,
    /// The next requests, that for tasks aside, meet these.
    pub faults: VecDeque<Fault>,
    /// The next tasks that bring documents end so.
    pub ends: VecDeque<End>,
    /// So do the next requests that begin with this, method and path.
    pub aimed: Vec<(&'static str, Fault)>,
    /// A task of this type does not end until [`Standin::go_on`].
    pub stalled: Option<&'static str>,
    /// This index is deleted right before the next documents come.
    pub vanishing: Option<String>,
    /// Searches for this do not end.
    pub endless: Option<String>,
    /// The key is limited to indexes: no task is shown that is of none.
    pub limited: bool,
    /// Documents that hold this make their task fail.
    pub refused: Option<String>,
    /// Names the server does not know are its tasks' types.
    pub newer: bool,
    /// How often somebody asked for a task that does not end.
    pub waited: usize,
    /// Method and path of every request, what asks for tasks aside.
    pub requests: Vec<String>,
    /// The key it wants.
    pub key: Option<String>,
    /// An index the key may not use.
    pub forbidden: Option<String>,
}

#[derive(Debug)]
enum Work {
    Documents(String, Vec<Value>),
    Create(String),
    Delete(String),
    /// A single document.
    Remove(String, String),
    Settings(String, Value),
    Swap(String, String),
}

/// A stand-in that listens until it is dropped.
pub struct Standin {
    pub url: String,
    server: Arc<Mutex<Server>>,
    listening: JoinHandle<()>,
}

impl Standin {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub async fn start_at(address: &str) -> Self {
        let server: Arc<Mutex<Server>> = Arc::default();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(server.clone());
        let listening = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, server, listening }
    }

    pub fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Another version wrote this into a document of the index `stele`.
    pub fn change(&self, document: &str, change: &Value) {
        let mut server = self.server();
        let mark = server.indexes.get_mut("stele").unwrap().documents.get_mut(document).unwrap();
        for (key, value) in change.as_object().unwrap() {
            mark[key] = value.clone();
        }
    }

    /// What is stuck ends well.
    pub fn go_on(&self) {
        let mut server = self.server();
        server.stalled = None;
        for (number, work) in std::mem::take(&mut server.stuck) {
            let result = server.work(work);
            server.tasks[number] = ended(server.tasks[number].clone(), result);
        }
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

type Refusal = (&'static str, &'static str, String);

fn invalid(code: &'static str, message: impl Into<String>) -> Refusal {
    (code, "invalid_request", message.into())
}

fn ended(mut task: Value, result: Result<(), Refusal>) -> Value {
    match result {
        Ok(()) => task["status"] = json!("succeeded"),
        Err((code, kind, message)) => {
            task["status"] = json!("failed");
            task["error"] =
                json!({"message": message, "code": code, "type": kind, "link": "https://docs.meilisearch.com"});
        }
    }
    task
}

async fn answer(
    State(server): State<Arc<Mutex<Server>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().trim_matches('/').to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let fault = {
        let mut server = server.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let is_task = parts[0] == "tasks";
        if !is_task {
            server.requests.push(format!("{method} /{path}"));
        }
        let wanted = server.key.as_ref().map(|key| format!("Bearer {key}"));
        if wanted.is_some_and(|wanted| headers.get(header::AUTHORIZATION).is_none_or(|given| *given != *wanted)) {
            let error = json!({"message": "The provided API key is invalid.", "code": "invalid_api_key", "type": "auth", "link": ""});
            return (StatusCode::FORBIDDEN, axum::Json(error)).into_response();
        }
        if parts.len() > 1 && server.forbidden.as_deref() == Some(parts[1]) {
            let error = json!({"message": "The provided API key is invalid.", "code": "invalid_api_key", "type": "auth", "link": ""});
            return (StatusCode::FORBIDDEN, axum::Json(error)).into_response();
        }
        let request = format!("{method} /{path}");
        let aimed = server.aimed.iter().position(|(what, _)| request.starts_with(what));
        let is_endless = parts[0] == "multi-search"
            && server.endless.as_ref().is_some_and(|text| String::from_utf8_lossy(&body).contains(text));
        match aimed {
            _ if is_task => None,
            _ if is_endless => Some(Fault::Silence),
            Some(at) => Some(server.aimed.remove(at).1),
            None => server.faults.pop_front(),
        }
    };
    match fault {
        Some(Fault::Silence) => std::future::pending::<()>().await,
        Some(Fault::Status(status, wait)) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), "not now").into_response();
            if let Some(wait) = wait {
                response.headers_mut().insert(header::RETRY_AFTER, wait.into());
            }
            return response;
        }
        _ => {}
    }
    let mut server = server.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let result = server.handle(&method, &parts, &body);
    let status = match (&result, &method) {
        (Ok(_), &Method::GET) => StatusCode::OK,
        (Ok(_), _) if parts[0] == "multi-search" || parts.last() == Some(&"fetch") => StatusCode::OK,
        (Ok(_), _) => StatusCode::ACCEPTED,
        (Err((code, ..)), _) if code.ends_with("not_found") => StatusCode::NOT_FOUND,
        (Err(_), _) => StatusCode::BAD_REQUEST,
    };
    match fault {
        Some(Fault::Garbage) => return (status, "<html>a proxy").into_response(),
        Some(Fault::Lost(status)) => return (StatusCode::from_u16(status).unwrap(), "a proxy").into_response(),
        _ => {}
    }
    let value = result.unwrap_or_else(|(code, kind, message)| {
        json!({"message": message, "code": code, "type": kind, "link": "https://docs.meilisearch.com/errors"})
    });
    (status, axum::Json(value)).into_response()
}

const NOW: &str = "2026-11-22T01:01:24.273677378Z";

impl Server {
    fn handle(&mut self, method: &Method, parts: &[&str], body: &[u8]) -> Result<Value, Refusal> {
        let json =
            || serde_json::from_slice::<Value>(body).map_err(|error| invalid("malformed_payload", error.to_string()));
        match (method.as_str(), parts) {
            ("GET", ["tasks", number]) => {
                let number: usize = number.parse().map_err(|_| invalid("invalid_task_uids", "no number"))?;
                let is_hidden = |task: &Value| task.is_null() || self.limited && task["type"] == "indexSwap";
                let known = self.tasks.get(number).filter(|task| !is_hidden(task));
                let mut task =
                    known.cloned().ok_or_else(|| invalid("task_not_found", format!("Task `{number}` not found.")))?;
                self.waited += usize::from(task["status"] == "processing");
                if self.newer {
                    task["type"] = json!("somethingNewer");
                }
                Ok(task)
            }
            ("POST", ["indexes"]) => {
                Ok(self.enqueue("indexCreation", Work::Create(json()?["uid"].as_str().unwrap().into())))
            }
            ("POST", ["swap-indexes"]) => {
                let names = &json()?[0]["indexes"];
                let name = |at: usize| names[at].as_str().unwrap().to_owned();
                Ok(self.enqueue("indexSwap", Work::Swap(name(0), name(1))))
            }
            ("POST", ["multi-search"]) => {
                let queries = json()?["queries"].as_array().cloned().unwrap_or_default();
                let answers: Result<Vec<Value>, Refusal> = queries.iter().map(|query| self.search(query)).collect();
                Ok(json!({"results": answers?}))
            }
            ("DELETE", ["indexes", uid, "documents", id]) => {
                Ok(self.enqueue("documentDeletion", Work::Remove((*uid).into(), (*id).into())))
            }
            ("DELETE", ["indexes", uid]) => Ok(self.enqueue("indexDeletion", Work::Delete((*uid).into()))),
            ("PATCH", ["indexes", uid, "settings"]) => {
                Ok(self.enqueue("settingsUpdate", Work::Settings((*uid).into(), json()?)))
            }
            ("POST", ["indexes", uid, "documents", "fetch"]) => {
                let unknown = || invalid("index_not_found", format!("Index `{uid}` not found."));
                let index = self.indexes.get(*uid).ok_or_else(unknown)?;
                let (ids, limit) = (json()?["ids"].take(), json()?["limit"].as_u64().unwrap_or(20) as usize);
                let found = ids.as_array().unwrap().iter().filter_map(|id| index.documents.get(id.as_str().unwrap()));
                let results: Vec<&Value> = found.take(limit).collect();
                Ok(json!({"results": results, "offset": 0, "limit": limit, "total": results.len()}))
            }
            ("POST", ["indexes", uid, "documents"]) => {
                if let Some(name) = self.vanishing.take() {
                    self.indexes.remove(&name);
                }
                let lines = std::str::from_utf8(body).unwrap().lines();
                let documents = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
                Ok(self.enqueue("documentAdditionOrUpdate", Work::Documents((*uid).into(), documents)))
            }
            ("GET", ["indexes", uid, rest @ ..]) => {
                let unknown = || invalid("index_not_found", format!("Index `{uid}` not found."));
                let index = self.indexes.get(*uid).ok_or_else(unknown)?;
                match rest {
                    [] => Ok(
                        json!({"uid": uid, "createdAt": NOW, "updatedAt": "2026-01-01T00:00:00Z", "primaryKey": "id"}),
                    ),
                    ["settings"] => Ok(index.settings.clone()),
                    ["stats"] => Ok(
                        json!({"numberOfDocuments": index.documents.len(), "isIndexing": false, "fieldDistribution": {}}),
                    ),
                    ["documents", id] => {
                        let missing = || invalid("document_not_found", format!("Document `{id}` not found."));
                        index.documents.get(*id).cloned().ok_or_else(missing)
                    }
                    _ => Err(invalid("not_found", "no such route")),
                }
            }
            _ => Err(invalid("not_found", "no such route")),
        }
    }

    fn enqueue(&mut self, kind: &str, work: Work) -> Value {
        let number = self.tasks.len();
        let end = match work {
            _ if self.stalled == Some(kind) => Some(End::Stuck),
            Work::Documents(..) => self.ends.pop_front(),
            _ => None,
        };
        let mut task = json!({
            "uid": number, "batchUid": number, "indexUid": null, "status": "processing", "type": kind, "canceledBy": null,
            "details": null, "error": null, "duration": null, "enqueuedAt": NOW, "startedAt": null, "finishedAt": null,
        });
        match end {
            Some(End::Stuck) => self.stuck.push((number, work)),
            Some(End::Canceled) => task["status"] = json!("canceled"),
            Some(End::Failed(code, kind)) => task = ended(task, Err((code, kind, "out of order".into()))),
            Some(End::Forgotten) => {
                self.work(work).unwrap();
                task = Value::Null;
            }
            None => {
                let result = self.work(work);
                task = ended(task, result);
            }
        }
        self.tasks.push(task);
        json!({"taskUid": number, "indexUid": null, "status": "enqueued", "type": kind, "enqueuedAt": NOW})
    }

    fn work(&mut self, work: Work) -> Result<(), Refusal> {
        let known = |indexes: &BTreeMap<String, Index>, uid: &String| match indexes.contains_key(uid) {
            true => Ok(()),
            false => Err(invalid("index_not_found", format!("Index `{uid}` not found."))),
        };
        match work {
            Work::Create(uid) if self.indexes.contains_key(&uid) => {
                return Err(invalid("index_already_exists", format!("Index `{uid}` already exists.")));
            }
            Work::Create(uid) => drop(self.indexes.insert(uid, Index { settings: json!({}), ..Index::default() })),
            Work::Delete(uid) => {
                known(&self.indexes, &uid)?;
                self.indexes.remove(&uid);
            }
            Work::Remove(uid, id) => {
                known(&self.indexes, &uid)?;
                self.indexes.get_mut(&uid).unwrap().documents.remove(&id);
            }
            Work::Settings(uid, settings) => {
                let index = self.indexes.entry(uid).or_default();
                for (key, value) in settings.as_object().unwrap() {
                    index.settings[key] = value.clone();
                }
            }
            Work::Swap(one, other) => {
                known(&self.indexes, &one).and(known(&self.indexes, &other))?;
                let (first, second) = (self.indexes.remove(&one).unwrap(), self.indexes.remove(&other).unwrap());
                self.indexes.extend([(one, second), (other, first)]);
            }
            Work::Documents(uid, documents) => {
                let bad = |document: &Value| {
                    self.refused
                        .as_ref()
                        .is_some_and(|bad| document["x"].as_str().is_some_and(|text| text.contains(bad)))
                };
                if let Some(document) = documents.iter().find(|document| bad(document)) {
                    return Err(invalid(
                        "invalid_document_id",
                        format!("Document identifier `{}` is invalid.", document["id"]),
                    ));
                }
                let index =
                    self.indexes.entry(uid).or_insert_with(|| Index { settings: json!({}), ..Index::default() });
                for document in documents {
                    let id = document["id"].as_str().unwrap();
                    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                    assert!(id.len() <= 511 && id.bytes().all(legal), "{id}");
                    index.documents.insert(id.to_owned(), document);
                }
            }
        }
        Ok(())
    }
}
