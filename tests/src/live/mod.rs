//! Listeners of a gateway's `/notify`, as clients write them: WebSocket, server-sent events, long polls.

mod poll;
pub mod sse;
pub mod ws;

use crate::daemon::PATIENCE;
use anyhow::{Context, Result, bail};
use tokio::{sync::watch, task::AbortHandle};

/// How a listener is spoken to: the `protoc` of `/notify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Ws,
    Sse,
    Poll,
}

impl Carrier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Poll];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// Whom to listen as, and where.
#[derive(Clone, Debug)]
pub struct Call {
    /// Host and port.
    pub address: String,
    /// Path and query as they are, e.g. `/notify?protoc=ws`.
    pub path: String,
    /// The token of the header; empty for none.
    pub token: String,
}

impl Call {
    /// `/notify`, from what comes or from after the message of this id.
    pub fn notify(address: &str, carrier: Carrier, token: &str, since: Option<&str>) -> Self {
        let since = since.map(|id| format!("&since={id}")).unwrap_or_default();
        let path = format!("/notify?protoc={}{since}", carrier.word());
        Self { address: address.into(), path, token: token.into() }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}{}", self.address, self.path)
    }
}

/// An event as it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The `id` of a server-sent event.
    pub id: Option<String>,
    /// The `event` of a server-sent event.
    pub event: Option<String>,
    /// Text of the WebSocket message, `data` of the event, body of the poll's answer.
    pub text: String,
    /// The MsgId; empty if it is no message.
    pub msg_id: String,
}

impl Heard {
    fn text(text: String) -> Self {
        let mut heard = Self { id: None, event: None, text, msg_id: String::new() };
        heard.msg_id = heard.message()["MsgId"].as_str().unwrap_or_default().to_owned();
        heard
    }

    /// The message; `Null` if it is no JSON.
    pub fn message(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A WebSocket's close frame.
    Closed { code: u16, reason: String },
    /// The end of the stream, in order.
    Over,
    /// An answer that delivers nothing.
    Answered { status: u16, text: String },
    /// Anything else.
    Broken(String),
}

/// What a connection has brought so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// In the order of arrival.
    pub heard: Vec<Heard>,
    /// Pings, comment lines, empty polls.
    pub beats: u64,
    /// What was said in comment lines of a stream.
    pub comments: Vec<String>,
    /// How it ended, when it has.
    pub end: Option<End>,
}

impl Log {
    /// The ids of what was heard, in order.
    pub fn ids(&self) -> Vec<String> {
        self.heard.iter().map(|heard| heard.msg_id.clone()).collect()
    }
}

/// A connection that listens. It is cut when this is dropped.
pub struct Listener {
    /// How it is spoken to.
    pub carrier: Carrier,
    log: watch::Receiver<Log>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Listens; returns once whatever is sent from now on must arrive.
    pub async fn open(carrier: Carrier, call: &Call) -> Result<Self> {
        let (sender, log) = watch::channel(Log::default());
        let task = match carrier {
            Carrier::Ws => tokio::spawn(ws::listen(ws::connect(call).await?, sender)),
            Carrier::Sse => tokio::spawn(sse::listen(sse::connect(call).await?, sender)),
            Carrier::Poll => tokio::spawn(poll::listen(call.clone(), sender)),
        };
        let listener = Self { carrier, log, task: task.abort_handle() };
        if carrier == Carrier::Poll {
            // Nothing says that a poll is being waited on but the answer to an earlier one of its session.
            listener.until("answer to the first poll", |log| log.beats > 0 || !log.heard.is_empty()).await?;
        }
        Ok(listener)
    }

    /// What it has heard so far.
    pub fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// Waits until what it has heard is as wanted.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&Log) -> bool) -> Result<Log> {
        let mut log = self.log.clone();
        let seen = tokio::time::timeout(PATIENCE, log.wait_for(|log| wanted(log) || log.end.is_some())).await;
        match seen {
            Ok(Ok(log)) if wanted(&log) => Ok(log.clone()),
            Ok(Ok(log)) => bail!("no {what} before its end {:?}, after {} events", log.end, log.heard.len()),
            Ok(Err(_)) => bail!("no {what}: the listener has ended"),
            Err(_) => bail!("no {what} within {PATIENCE:?}, after {} events", self.log.borrow().heard.len()),
        }
    }

    /// Waits until it has heard so many messages.
    pub async fn hears(&self, count: usize) -> Result<Log> {
        self.until(&format!("{count} messages"), |log| log.heard.len() >= count).await
    }

    /// Waits until it has heard the message of this id.
    pub async fn hears_id(&self, id: &str) -> Result<Log> {
        self.until(&format!("message {id}"), |log| log.heard.iter().any(|heard| heard.msg_id == id)).await
    }

    /// Waits for its end.
    pub async fn ends(&self) -> Result<End> {
        self.until("end", |log| log.end.is_some()).await?.end.context("it has ended")
    }
}
