//! Messages of an answer, which has to fit into a frame (64 MiB) and into memory.

use super::Api;
use super::reply::ApiError;
use crate::message::Object;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::time::Duration;
use stele_plugin_api::ops::MessageView;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Largest answer, in bytes.
pub const MAX_BYTES: usize = 32 << 20;
/// An answer is large from so many bytes on.
const LARGE: usize = 1 << 20;
/// Large answers put together at the same time: a bound on memory.
const MAX_LARGE: usize = 2;
/// How long one waits for its turn, which leaves time to be answered in.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Room for large answers.
pub struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(MAX_LARGE))
    }
}

/// A message as it is written, and what it is found by.
pub struct Shown {
    /// The archive's id of it.
    pub id: i64,
    /// Its id.
    pub native_id: String,
    /// Its number in the channel.
    pub seq: i64,
    /// The sender's own id of it.
    pub client_id: String,
    json: Box<RawValue>,
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Messages of an answer.
pub struct Answer<'a> {
    /// In the order in which they came.
    pub shown: Vec<Shown>,
    room: &'a Room,
    taken: Option<SemaphorePermit<'a>>,
    bytes: usize,
}

impl<'a> Answer<'a> {
    /// Without any message.
    pub fn new(api: &'a Api) -> Self {
        Self { shown: Vec::new(), room: &api.room, taken: None, bytes: 0 }
    }

    /// Adds a message that is shown like this. Says whether there was room for it: there always is for the first one.
    ///
    /// # Errors
    ///
    /// 429 where too many large answers are put together for too long.
    pub async fn add(&mut self, message: &MessageView, object: &Object<'_>) -> Result<bool, ApiError> {
        // Who sends does not wait until a reader's thousands of messages are written.
        yield_now().await;
        let json = to_raw_value(object).expect("plain values can be written");
        let bytes = self.bytes + json.get().len();
        if bytes > MAX_BYTES && !self.shown.is_empty() {
            return Ok(false);
        }
        if bytes > LARGE && self.taken.is_none() {
            let turn = timeout(MAX_WAIT, self.room.0.acquire()).await.ok().and_then(Result::ok);
            self.taken = Some(turn.ok_or_else(ApiError::too_much)?);
        }
        self.bytes = bytes;
        let client_id = message.client_id.clone().unwrap_or_default();
        self.shown.push(Shown {
            id: message.id,
            native_id: message.native_id.clone(),
            seq: message.seq,
            client_id,
            json,
        });
        Ok(true)
    }

    /// Takes back what has this number, which is not whole in the answer.
    ///
    /// # Errors
    ///
    /// 400 where the answer has nothing else: nobody could go on from it.
    pub fn end_before(&mut self, seq: i64) -> Result<(), ApiError> {
        let last = self.shown.iter().rposition(|message| message.seq != seq).ok_or_else(ApiError::too_large)?;
        self.shown.truncate(last + 1);
        Ok(())
    }
}
