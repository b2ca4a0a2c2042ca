//! A caller of contract 001.

use crate::client::http;
use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Reply {
    /// What a success says.
    pub fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        ensure!(self.status == 200, "{} {}", self.status, self.text);
        serde_json::from_str(&self.text).with_context(|| self.text.clone())
    }

    /// Fails unless it is an error of this status in the API's shape: `msg`, `status`, and no more.
    pub fn is_refusal(&self, status: u16) -> Result<()> {
        let seen = || format!("{} {}", self.status, self.text);
        let reply: Value = serde_json::from_str(&self.text).with_context(seen)?;
        let keys: Vec<_> = reply.as_object().into_iter().flat_map(|reply| reply.keys().map(String::as_str)).collect();
        ensure!(keys == ["msg", "status"] && reply["status"] == self.status, "not the shape of an error: {}", seen());
        ensure!(self.status == status, "not {status}: {}", seen());
        ensure!(reply["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "it does not say why: {}", seen());
        Ok(())
    }
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sent {
    pub message_id: u64,
    pub message_seq: u64,
    pub client_msg_no: String,
}

/// A message that is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    pub message_id: u64,
    pub message_seq: u64,
    pub client_msg_no: String,
    pub from_uid: String,
    pub channel_id: String,
    pub channel_type: u8,
    pub target_uid: String,
    pub timestamp: i64,
    pub payload: String,
    pub setting: u8,
    pub expire: u32,
}

/// `/channel/messagesync`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Page {
    pub start_message_seq: u64,
    pub end_message_seq: u64,
    pub more: u8,
    pub messages: Vec<Message>,
}

/// The API at an address.
#[derive(Clone, Debug)]
pub struct Api {
    /// Host and port.
    pub address: String,
    http: reqwest::Client,
    token: Option<String>,
}

impl Api {
    /// The API at this address.
    pub fn new(address: &str) -> Self {
        Self { address: address.into(), http: http(), token: None }
    }

    /// The same, with this token in every request.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Any request.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Reply> {
        let mut request =
            self.http.request(method.parse()?, format!("http://{}{path}", self.address)).body(body.into());
        if let Some(token) = &self.token {
            request = request.header("token", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        Ok(Reply { status: response.status().as_u16(), text: response.text().await? })
    }

    /// A POST of this JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.request("POST", path, &[], body.to_string()).await
    }

    /// A GET of this path and query.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.request("GET", path, &[], "").await
    }

    /// `/message/send`
    pub async fn send(&self, message: &Value) -> Result<Sent> {
        self.post("/message/send", message).await?.read()
    }

    /// `/channel/messagesync`
    pub async fn sync(&self, query: &Value) -> Result<Page> {
        self.post("/channel/messagesync", query).await?.read()
    }
}

/// A payload as it travels.
pub fn encoded(payload: &[u8]) -> String {
    STANDARD.encode(payload)
}
