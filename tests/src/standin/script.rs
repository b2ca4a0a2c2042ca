//! What a stand-in does instead of answering.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// A scripted reply.
#[derive(Clone, Debug)]
pub enum Reply {
    /// HTTP 200 with this code, in the form the stand-in refuses in.
    Errcode(i64),
    /// HTTP 200 with this body.
    Body(String),
    /// This HTTP status, with a page as proxies send it.
    Status(u16),
    /// The true reply, its second half missing, under an honest length.
    Truncated,
    /// The true reply after this time.
    Delay(Duration),
    /// The true reply when the test says so.
    Held(Arc<Notify>),
    /// The connection is closed before anything is answered.
    Close,
    /// Never answered; the connection stays open.
    Silence,
}

impl Reply {
    /// Returns when a reply that is to be late may go.
    pub(super) async fn wait(&self) {
        match self {
            Self::Delay(time) => tokio::time::sleep(*time).await,
            Self::Held(go) => go.notified().await,
            _ => {}
        }
    }
}

/// Scripted replies per path; the first one left is used up by the next request of its path.
#[derive(Default)]
pub struct Script {
    queues: Mutex<HashMap<String, Vec<(Reply, u32)>>>,
}

impl Script {
    /// The next `times` requests of this path get this reply, after what is already scripted for it.
    pub fn push(&self, path: &str, reply: Reply, times: u32) {
        self.lock().entry(path.to_owned()).or_default().push((reply, times));
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn take(&self, path: &str) -> Option<Reply> {
        let mut queues = self.lock();
        let queue = queues.get_mut(path)?;
        let (reply, times) = queue.first_mut()?;
        let reply = reply.clone();
        *times = times.saturating_sub(1);
        if *times == 0 {
            queue.remove(0);
        }
        Some(reply)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<(Reply, u32)>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
