//! A caller of contract 002.

use crate::client::http;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Whether a page of another site may read it.
    pub is_open: bool,
    /// The body.
    pub text: String,
}

impl Reply {
    /// What a success says.
    pub fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Envelope<T> {
            err_code: i64,
            err_msg: String,
            err_dlt: String,
            data: T,
        }
        ensure!(self.status == 200, "{} {}", self.status, self.text);
        let Envelope { err_code, err_msg, err_dlt, data } =
            serde_json::from_str(&self.text).with_context(|| self.text.clone())?;
        ensure!((err_code, &*err_msg, &*err_dlt) == (0, "", ""), "{}", self.text);
        Ok(data)
    }

    /// Fails unless it is exactly this error: HTTP 200, no data, and readable for all sites.
    pub fn is_error(&self, code: i64, message: &str, detail: &str) -> Result<()> {
        let expected = json!({ "errCode": code, "errMsg": message, "errDlt": detail });
        let seen = || format!("{} {}", self.status, self.text);
        let found: Value = serde_json::from_str(&self.text).with_context(seen)?;
        ensure!(self.status == 200 && self.is_open && found == expected, "not {expected}: {}", seen());
        Ok(())
    }
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sent {
    #[serde(rename = "serverMsgID")]
    pub server_msg_id: String,
    #[serde(rename = "clientMsgID")]
    pub client_msg_id: String,
    pub send_time: i64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Found {
    pub chat_logs_num: i32,
    pub chat_logs: Vec<Hit>,
    pub next_cursor: Option<String>,
}

impl Found {
    /// Ids of the messages, in order.
    pub fn ids(&self) -> Vec<&str> {
        self.chat_logs.iter().map(|hit| &*hit.chat_log.server_msg_id).collect()
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hit {
    pub is_revoked: bool,
    pub chat_log: ChatLog,
    pub highlight: Option<String>,
}

/// What tests look at of its message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatLog {
    #[serde(rename = "serverMsgID")]
    pub server_msg_id: String,
    #[serde(rename = "sendID")]
    pub send_id: String,
    #[serde(rename = "recvID")]
    pub recv_id: String,
    pub content_type: i32,
    pub session_type: i32,
    pub content: String,
    pub send_time: i64,
    pub seq: i64,
}

/// The API at an address.
#[derive(Clone, Debug)]
pub struct Api {
    /// Host and port.
    pub address: String,
    /// What it is called with.
    pub token: String,
    http: reqwest::Client,
}

impl Api {
    /// The API at this address, called with this token.
    pub fn new(address: &str, token: &str) -> Self {
        Self { address: address.into(), token: token.into(), http: http() }
    }

    /// The same with a token that is asked for, by somebody who knows the secret.
    pub async fn admitted(address: &str, secret: &str, user: &str) -> Result<Self> {
        let body = json!({ "secret": secret, "userID": user });
        let reply = Self::new(address, "").post("/auth/get_admin_token", body.to_string()).await?;
        let token = reply.read::<Value>()?["token"].as_str().context("a token")?.to_owned();
        Ok(Self::new(address, &token))
    }

    /// Any request.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Reply> {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.http.request(method.parse()?, url).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let is_open = response.headers().get("access-control-allow-origin").is_some_and(|value| value == "*");
        Ok(Reply { status: response.status().as_u16(), is_open, text: response.text().await? })
    }

    /// A POST of this body, as the documents want it.
    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Reply> {
        self.request("POST", path, &[("operationID", "op"), ("token", &self.token)], body).await
    }

    /// `/msg/search_msg`
    pub async fn search(&self, body: &Value) -> Result<Found> {
        self.post("/msg/search_msg", body.to_string()).await?.read()
    }

    /// `/msg/send_msg`
    pub async fn send(&self, message: &Value) -> Result<Sent> {
        self.post("/msg/send_msg", message.to_string()).await?.read()
    }

    /// `/user/user_register` of these people, each with a name of their own.
    pub async fn register(&self, users: &[&str]) -> Result<()> {
        let users: Vec<_> =
            users.iter().map(|user| json!({ "userID": user, "nickname": format!("{user}'s name") })).collect();
        self.done("/user/user_register", &json!({ "users": users })).await
    }

    /// `/group/create_group`
    pub async fn create_group(&self, group: &str, owner: &str, members: &[&str]) -> Result<()> {
        let info = json!({ "groupID": group, "groupName": format!("{group}'s name"), "groupType": 2 });
        let body = json!({ "ownerUserID": owner, "memberUserIDs": members, "adminUserIDs": [], "groupInfo": info });
        self.done("/group/create_group", &body).await
    }

    /// A call that is answered with no more than that it is done, or with what does not matter.
    pub async fn done(&self, path: &str, body: &Value) -> Result<()> {
        let reply = self.post(path, body.to_string()).await?;
        let answer: Value = serde_json::from_str(&reply.text).with_context(|| reply.text.clone())?;
        ensure!(reply.status == 200 && answer["errCode"] == 0, "{path}: {} {}", reply.status, reply.text);
        Ok(())
    }
}
