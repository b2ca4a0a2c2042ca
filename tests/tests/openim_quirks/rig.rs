//! A stand-in, and a caller of it.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stele_tests::{
    client,
    standin::openim::{OpenimStandin, Say, Version},
};

/// All versions.
pub const ALL: [Version; 3] = [Version::V380, Version::V383, Version::Head];

/// An answer.
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| self.text.clone())
    }
}

/// A stand-in with an admin, and a caller with the admin's token.
pub struct Rig {
    pub standin: OpenimStandin,
    pub token: String,
    http: reqwest::Client,
}

impl Rig {
    /// With users `alice`, `bob` and `c_d`, and a group `g` of the three.
    pub async fn new(version: Version) -> Result<Self> {
        let standin = OpenimStandin::start(version).await?;
        for user in ["alice", "bob", "c_d"] {
            standin.add_user(user, &user.to_uppercase());
        }
        standin.add_group("g", "The group", &["alice", "bob", "c_d"]);
        let token = standin.token("imAdmin");
        Ok(Self { standin, token, http: client::http() })
    }

    /// A request with these headers and this body.
    pub async fn raw(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        let mut request = self.http.post(format!("{}{path}", self.standin.url())).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = request.send().await?;
        let content_type = reply.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        Ok(Answer { status: reply.status().as_u16(), content_type, text: reply.text().await? })
    }

    /// The envelope of an answer to whoever has this token.
    pub async fn with(&self, token: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.raw(path, &[("operationID", "op"), ("token", token)], &body.to_string()).await?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text);
        answer.json()
    }

    /// The envelope of an answer to the admin.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        self.with(&self.token, path, body).await
    }

    /// What the admin is answered.
    pub async fn data(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.ask(path, body).await?;
        ensure!(answer["errCode"] == 0, "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The whole answer to a pull of one range.
    pub async fn pull(&self, user: &str, conversation: &str, range: (i64, i64), num: i64) -> Result<Value> {
        let range = json!({ "conversationID": conversation, "begin": range.0, "end": range.1, "num": num });
        self.data("/msg/pull_msg_by_seq", &json!({ "userID": user, "order": 0, "seqRanges": [range] })).await
    }

    /// The messages of a pull of one range.
    pub async fn pulled(&self, user: &str, conversation: &str, range: (i64, i64), num: i64) -> Result<Vec<Value>> {
        let answer = self.pull(user, conversation, range, num).await?;
        let part = if conversation.starts_with("n_") { "notificationMsgs" } else { "msgs" };
        Ok(answer[part][conversation]["Msgs"].as_array().cloned().unwrap_or_default())
    }

    /// Alice tells the group something, `times` times.
    pub fn chat(&self, times: usize) {
        (0..times).for_each(|number| drop(self.standin.say(Say::group("alice", "g", &format!("text {number}")))));
    }
}

/// The numbers of messages.
pub fn seqs(rows: &[Value]) -> Vec<i64> {
    rows.iter().filter_map(|row| row["seq"].as_i64()).collect()
}

/// The text in a pulled message.
pub fn content(row: &Value) -> Result<Value> {
    let decoded = STANDARD.decode(row["content"].as_str().context("a content")?)?;
    Ok(serde_json::from_slice(&decoded)?)
}
