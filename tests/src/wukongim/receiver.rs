//! Who receives webhooks.

use crate::daemon::PATIENCE;
use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// A receiver on loopback, which answers as it is told and remembers in which order it was asked.
pub struct Receiver {
    /// Where it is.
    pub url: String,
    told: mpsc::UnboundedReceiver<Told>,
    status: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

/// What it was sent.
#[derive(Clone, Debug)]
pub struct Told {
    /// The query.
    pub query: String,
    /// The header that signs.
    pub signature: Option<String>,
    /// The body as it came.
    pub text: String,
}

impl Told {
    /// The body.
    pub fn body(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.text)?)
    }

    /// Ids of the messages of one `msg.notify`.
    pub fn ids(&self) -> Result<Vec<u64>> {
        ensure!(self.query.ends_with("event=msg.notify"), "{self:?}");
        let body = self.body()?;
        let ids = body.as_array().context("a list")?.iter().map(|told| told["message_id"].as_u64().context("an id"));
        ids.collect()
    }
}

type Shared = (mpsc::UnboundedSender<Told>, Arc<AtomicU16>);

impl Receiver {
    /// Serves on a free port, and answers 200.
    pub async fn start() -> Result<Self> {
        let (tell, told) = mpsc::unbounded_channel();
        let status = Arc::new(AtomicU16::new(200));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/hooks", listener.local_addr()?);
        let router = Router::new().fallback(take).with_state((tell, Arc::clone(&status)));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
        });
        Ok(Self { url, told, status, task })
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What it is sent next.
    pub async fn next(&mut self) -> Result<Told> {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await.context("it is told nothing")?;
        told.context("the receiver is gone")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State((tell, status)): State<Shared>, uri: Uri, headers: HeaderMap, text: String) -> StatusCode {
    let signature = headers.get("x-stele-signature").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let query = uri.query().unwrap_or_default().to_owned();
    // Nobody looks any more when the test is over.
    let _ = tell.send(Told { query, signature, text });
    StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap_or(StatusCode::BAD_GATEWAY)
}
