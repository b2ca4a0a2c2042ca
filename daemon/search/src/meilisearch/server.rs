//! What is asked of the server, and what its answers mean.

use super::document::Unit;
use super::http::Wire;
use super::marks::Signs;
use super::settings;
use crate::error::IndexError;
use futures::io::Cursor;
use meilisearch_sdk::client::Client;
use meilisearch_sdk::errors::{Error, ErrorCode, ErrorType};
use meilisearch_sdk::indexes::Index;
use meilisearch_sdk::request::{HttpClient, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

/// First and longest pause between two looks at a task.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// How long a task is waited for in one go. It goes on afterwards, and is waited for again.
const TASK_PATIENCE: Duration = Duration::from_secs(60);

/// The same of an exchange of two indexes, after which there is no index to be waited with.
const SWAP_PATIENCE: Duration = Duration::from_secs(600);

/// How often an index is asked what it says of itself, where it says another thing each time.
const READS: usize = 4;

/// Name of the field a document is known by.
const PRIMARY_KEY: &str = "id";

/// The server, as one index uses it.
#[derive(Clone, Debug)]
pub struct Server {
    pub client: Client<Wire>,
    wire: Wire,
    host: String,
}

/// A task, as much of it as is needed; its type may be any, its status too.
#[derive(Debug, Deserialize)]
struct Task {
    status: String,
    error: Option<TaskError>,
}

#[derive(Debug, Deserialize)]
struct TaskError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// What has become of a task.
#[derive(Debug)]
pub enum Outcome {
    Done,
    /// It will fail again.
    Refused(String),
    /// It was not done, for no fault of its own: canceled, or forgotten by the server.
    Lost(String),
    /// The server cannot do it now.
    Failed(String),
}

impl Server {
    /// The server at this address.
    pub fn new(url: &str, key: Option<&str>, timeout: Duration) -> Result<Self, IndexError> {
        let wire = Wire::new(key, timeout).map_err(unavailable)?;
        let host = url.trim_end_matches('/').to_owned();
        // The key is the wire's affair: the client would show it.
        let client = Client::new_with_client(host.clone(), None::<String>, wire.clone());
        Ok(Self { client, wire, host })
    }

    /// Whether it takes requests and does not answer, as far as is known.
    pub fn is_silent(&self) -> bool {
        self.wire.is_silent()
    }

    /// Somebody waited in vain from then on.
    pub fn waited_in_vain(&self, since: Instant) {
        self.wire.waited_in_vain(since);
    }

    pub fn index(&self, uid: &str) -> Index<Wire> {
        self.client.index(uid)
    }

    /// What an index says of itself; `None` where there is none. `life`: the one it is likely to be in.
    pub async fn signs(&self, uid: &str, life: Option<&str>) -> Result<Option<Signs>, IndexError> {
        let mut life = life.map(str::to_owned);
        for _ in 0..READS {
            let ids = Signs::ids(life.as_deref());
            let Some(found) = self.fetch(uid, &ids).await? else { return Ok(None) };
            let signs = Signs::read(uid, found)?;
            if signs.life == life {
                return Ok(Some(signs));
            }
            life = signs.life;
        }
        Err(IndexError::unavailable("the index keeps beginning anew"))
    }

    /// Those of these documents that are there, all as they were at one moment; `None` where there is no index.
    async fn fetch(&self, uid: &str, ids: &[String]) -> Result<Option<Vec<Value>>, IndexError> {
        let url = format!("{}/indexes/{uid}/documents/fetch", self.host);
        let method = Method::Post { query: (), body: json!({"ids": ids, "limit": ids.len()}) };
        match self.wire.request::<(), Value, Fetched>(&url, method, 200).await {
            Ok(found) => Ok(Some(found.results)),
            Err(error) if is(&error, &ErrorCode::IndexNotFound) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// How many documents an index has.
    pub async fn documents(&self, uid: &str) -> Result<u64, IndexError> {
        let url = format!("{}/indexes/{uid}/stats", self.host);
        let stats: Stats =
            self.wire.request(&url, Method::<(), ()>::Get { query: () }, 200).await.map_err(unavailable)?;
        Ok(stats.number_of_documents)
    }

    /// Settings of an index; `None` where there is none.
    pub async fn settings(&self, uid: &str) -> Result<Option<Value>, IndexError> {
        let url = format!("{}/indexes/{uid}/settings", self.host);
        match self.wire.request::<(), (), Value>(&url, Method::Get { query: () }, 200).await {
            Ok(settings) => Ok(Some(settings)),
            Err(error) if is(&error, &ErrorCode::IndexNotFound) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Makes an index, if there is none, and gives it the settings it must have, where they differ. `changing` is the task that does
    /// so: it may take longer than it is waited for, or the waiting end, and then it is not sent again.
    pub async fn prepare(&self, uid: &str, changing: &mut Option<u32>) -> Result<(), IndexError> {
        if let Some(task) = *changing {
            self.outcome(task, TASK_PATIENCE).await?;
            *changing = None;
        }
        match self.settings(uid).await? {
            None => self.create(uid).await,
            Some(present) => self.change(uid, settings::differing(&settings::wanted(), &present), changing).await,
        }
    }

    /// Makes an index, after whatever was asked of the server before.
    pub async fn create(&self, uid: &str) -> Result<(), IndexError> {
        let task = self.client.create_index(uid, Some(PRIMARY_KEY)).await.map_err(unavailable)?;
        // Another daemon may have been faster: then this is refused and does no harm.
        if let Outcome::Failed(reason) | Outcome::Lost(reason) = self.outcome(task.task_uid, TASK_PATIENCE).await? {
            return Err(IndexError::unavailable(reason));
        }
        self.change(uid, settings::wanted(), &mut None).await
    }

    async fn change(&self, uid: &str, settings: Value, changing: &mut Option<u32>) -> Result<(), IndexError> {
        if settings.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(());
        }
        let url = format!("{}/indexes/{uid}/settings", self.host);
        let method = Method::Patch { query: (), body: settings };
        let task: Accepted = self.wire.request(&url, method, 202).await.map_err(unavailable)?;
        *changing = Some(task.task_uid);
        self.done(task.task_uid, TASK_PATIENCE).await?;
        *changing = None;
        Ok(())
    }

    /// Documents of messages and other documents, in one task; its number.
    pub async fn add(&self, uid: &str, units: &[Unit], others: &[String]) -> Result<Result<u32, String>, IndexError> {
        let length = units.iter().map(|unit| &unit.line).chain(others).map(|line| line.len() + 1).sum();
        let mut body = String::with_capacity(length);
        for line in units.iter().map(|unit| &unit.line).chain(others) {
            body += line;
            body.push('\n');
        }
        match self.index(uid).add_documents_ndjson(Cursor::new(body.into_bytes()), Some(PRIMARY_KEY)).await {
            Ok(task) => Ok(Ok(task.task_uid)),
            Err(Error::MeilisearchCommunication(error)) if error.status_code == 413 => Ok(Err(error.to_string())),
            Err(Error::Meilisearch(error)) if error.error_type == ErrorType::InvalidRequest => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Writes documents that are no messages. Returns when they are there.
    pub async fn write(&self, uid: &str, documents: &[String]) -> Result<(), IndexError> {
        let task = self.add(uid, &[], documents).await?.map_err(IndexError::unavailable)?;
        self.done(task, TASK_PATIENCE).await
    }

    /// Each of the two takes the other's place. Sent once, since a second exchange would undo the first; returns when the server has
    /// done what it was asked for so far, which it does in order. That says nothing of whether they were exchanged: the server shows
    /// that task to no key that is limited to indexes, and an answer may get lost. `document` is written to `one`: such a task is shown.
    pub async fn swap(&self, one: &str, other: &str, document: String) -> Result<Result<(), String>, IndexError> {
        let url = format!("{}/swap-indexes", self.host);
        let method = Method::Post { query: (), body: json!([{"indexes": [one, other]}]) };
        let asked = self.wire.once().request::<(), Value, Accepted>(&url, method, 202).await;
        let behind = self.add(one, &[], &[document]).await?.map_err(IndexError::unavailable)?;
        self.done(behind, SWAP_PATIENCE).await?;
        let task = match asked {
            Ok(task) => task.task_uid,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match self.outcome(task, SWAP_PATIENCE).await? {
            Outcome::Refused(reason) | Outcome::Failed(reason) => Err(reason),
            Outcome::Done | Outcome::Lost(_) => Ok(()),
        })
    }

    /// Deletes an index, if there is one. Returns when that is certain to happen before anything that is asked later.
    pub async fn delete(&self, uid: &str) -> Result<(), IndexError> {
        match self.client.delete_index(uid).await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, &ErrorCode::IndexNotFound) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// How long ago something last happened to an index; `None` where there is none.
    pub async fn idle(&self, uid: &str) -> Result<Option<Duration>, IndexError> {
        match self.client.get_index(uid).await {
            Ok(index) => Ok(index.updated_at.map(|at| SystemTime::from(at).elapsed().unwrap_or_default())),
            Err(error) if is(&error, &ErrorCode::IndexNotFound) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn done(&self, task: u32, patience: Duration) -> Result<(), IndexError> {
        match self.outcome(task, patience).await? {
            Outcome::Done => Ok(()),
            Outcome::Refused(reason) | Outcome::Lost(reason) | Outcome::Failed(reason) => {
                Err(IndexError::unavailable(reason))
            }
        }
    }

    /// The end of a task, waited for as long as one is.
    pub async fn end(&self, number: u32) -> Result<Outcome, IndexError> {
        self.outcome(number, TASK_PATIENCE).await
    }

    async fn outcome(&self, number: u32, patience: Duration) -> Result<Outcome, IndexError> {
        let url = format!("{}/tasks/{number}", self.host);
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_LOOK;
        loop {
            let task: Task = match self.wire.request(&url, Method::<(), ()>::Get { query: () }, 200).await {
                Ok(task) => task,
                Err(error) if is(&error, &ErrorCode::TaskNotFound) => {
                    return Ok(Outcome::Lost(format!("the server does not know task {number} any more")));
                }
                Err(error) => return Err(unavailable(error)),
            };
            match (task.status.as_str(), task.error) {
                ("succeeded", _) => return Ok(Outcome::Done),
                ("failed", Some(error)) if error.kind == "invalid_request" || error.code == "internal" => {
                    return Ok(Outcome::Refused(format!("task {number} failed: {} ({})", error.message, error.code)));
                }
                ("failed", error) => {
                    let reason =
                        error.map_or_else(String::new, |error| format!(": {} ({})", error.message, error.code));
                    return Ok(Outcome::Failed(format!("task {number} failed{reason}")));
                }
                ("canceled", _) => return Ok(Outcome::Lost(format!("task {number} was canceled"))),
                (status, _) if Instant::now() >= deadline => {
                    return Err(IndexError::unavailable(format!(
                        "the server is still busy: task {number} is {status}"
                    )));
                }
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }
}

/// How large an index is; what else is said of it depends on the server's version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    number_of_documents: u64,
}

/// Documents that were asked for.
#[derive(Debug, Deserialize)]
struct Fetched {
    results: Vec<Value>,
}

/// What the server says of something it will do.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    task_uid: u32,
}

pub fn is(error: &Error, code: &ErrorCode) -> bool {
    matches!(error, Error::Meilisearch(error) if error.error_code == *code)
}

pub fn unavailable(error: Error) -> IndexError {
    IndexError::unavailable(error)
}
