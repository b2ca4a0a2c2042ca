//! A caller of contracts 003 and 004.

use crate::client::http;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::net::IpAddr;

/// After every id.
const BEYOND: &str = "ZZZZZ-ZZZZ-ZZZZ-ZZZ";

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Reply {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// `code` of the envelope; -1 when there is none.
    pub fn code(&self) -> i64 {
        self.json()["code"].as_i64().unwrap_or(-1)
    }

    /// `data` of a success.
    pub fn data(self) -> Result<Value> {
        ensure!(self.status == 200 && self.code() == 0, "{} {}", self.status, self.text);
        Ok(self.json()["data"].take())
    }

    /// Fails unless it is an error of this code in the documents' shape: status 200, `code`, `error`, and no more.
    pub fn is_refusal(&self, code: i64) -> Result<()> {
        let reply = self.json();
        let keys: Vec<_> = reply.as_object().into_iter().flat_map(|reply| reply.keys().map(String::as_str)).collect();
        ensure!(self.status == 200 && keys == ["code", "error"], "{} {}", self.status, self.text);
        ensure!(self.code() == code, "not {code}: {}", self.text);
        ensure!(reply["error"].as_str().is_some_and(|error| !error.is_empty()), "it says why: {}", self.text);
        Ok(())
    }
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub id: String,
    pub conversation: String,
    pub from: String,
    pub content: String,
}

/// The API at an address.
#[derive(Clone, Debug)]
pub struct Api {
    /// Host and port.
    pub address: String,
    http: reqwest::Client,
}

impl Api {
    /// The API at this address.
    pub fn new(address: &str) -> Self {
        Self { address: address.into(), http: http() }
    }

    /// The API at this address, for a caller whose own address is this one.
    pub fn from(caller: [u8; 4], address: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::from(caller)).build()?;
        Ok(Self { address: address.into(), http })
    }

    /// A POST of these bytes.
    pub async fn post_bytes(&self, path: &str, token: &str, body: Vec<u8>) -> Result<Reply> {
        let mut request = self.http.post(format!("http://{}{path}", self.address)).body(body);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.send().await?;
        Ok(Reply { status: response.status().as_u16(), text: response.text().await? })
    }

    /// A POST of this JSON; no header without a token.
    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Result<Reply> {
        self.post_bytes(path, token, body.to_string().into_bytes()).await
    }

    async fn data(&self, path: &str, token: &str, body: Value) -> Result<Value> {
        self.post(path, token, &body).await?.data().with_context(|| format!("{path} with {body}"))
    }

    /// `/inner/get_token`.
    pub async fn token(&self, session: &str, platform: u8) -> Result<String> {
        let data = self.data("/inner/get_token", "", json!({ "session": session, "platform": platform })).await?;
        Ok(data.as_str().context("a token is a text")?.to_owned())
    }

    /// `/inner/create_conversation`: its id.
    pub async fn create(&self, kind: u8, sessions: &[&str]) -> Result<String> {
        let body = json!({ "conversation_type": kind, "sessions": sessions });
        let data = self.data("/inner/create_conversation", "", body).await?;
        Ok(data["ConversationId"].as_str().context("no ConversationId")?.to_owned())
    }

    /// `/inner/join_conversation`.
    pub async fn add(&self, conversation: &str, sessions: &[&str]) -> Result<()> {
        let body = json!({ "conversation_id": conversation, "sessions": sessions });
        self.data("/inner/join_conversation", "", body).await.map(drop)
    }

    /// `/inner/kickout_conversation`.
    pub async fn kick(&self, conversation: &str, sessions: &[&str]) -> Result<()> {
        let body = json!({ "conversation_id": conversation, "sessions": sessions });
        self.data("/inner/kickout_conversation", "", body).await.map(drop)
    }

    /// `/send_msg`, whatever it answers.
    pub async fn try_send(&self, token: &str, conversation: &str, content: &str) -> Result<Reply> {
        let body = json!({ "conversation_id": conversation, "status": 0, "type": 1, "content": content });
        self.post("/send_msg", token, &body).await
    }

    /// `/send_msg`: the id of the message.
    pub async fn send(&self, token: &str, conversation: &str, content: &str) -> Result<String> {
        let data = self.try_send(token, conversation, content).await?.data()?;
        Ok(data["MsgID"].as_str().context("no MsgID")?.to_owned())
    }

    /// Every message of a conversation, oldest first.
    pub async fn history(&self, token: &str, conversation: &str) -> Result<Vec<Value>> {
        let texts = self.history_texts(token, conversation).await?;
        texts.iter().map(|text| Ok(serde_json::from_str(text)?)).collect()
    }

    /// The same, each as it is written.
    pub async fn history_texts(&self, token: &str, conversation: &str) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "Msg")]
            messages: Vec<Box<RawValue>>,
        }
        let body = json!({ "conversation_id": conversation, "start_msg_id": "", "end_msg_id": BEYOND, "desc": false });
        let reply = self.post("/get_conversation_msg_by_range", token, &body).await?;
        let answer: Answer = serde_json::from_str(&reply.text).with_context(|| reply.text.clone())?;
        Ok(answer.data.messages.iter().map(|message| message.get().to_owned()).collect())
    }
}
