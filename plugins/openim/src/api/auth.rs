//! Tokens: `/auth/get_admin_token` and `/auth/parse_token` (reference/openim.md §3.5).

use super::{Api, Call};
use crate::answer::{self, Failure};
use serde_json::json;
use stele_plugin_api::ops::HttpReply;

impl Api {
    /// `POST /auth/get_admin_token`.
    pub(super) async fn get_admin_token(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let (secret, user_id) = (call.fields.text("secret")?, call.fields.text("userID")?);
        if user_id.is_empty() {
            return Err(call.fields.wrong("userID", "is empty"));
        }
        if !self.tokens.is_secret(&secret) {
            return Err(Failure::no_permission("secret invalid"));
        }
        if !self.is_admin(&user_id) {
            let admins = self.config.admins.join(" ");
            let wrong = format!("userID is error., userID={user_id}, adminUserID=[{admins}]");
            return Err(Failure::args(wrong));
        }
        let token = self.tokens.issue(&user_id, self.now());
        let token = token.ok_or_else(|| Failure::internal("the token cannot be signed"))?;
        Ok(answer::data(&json!({ "token": token, "expireTimeSeconds": self.tokens.lifetime() })))
    }

    /// `POST /auth/parse_token`.
    pub(super) async fn parse_token(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let caller = self.tokens.check(&call.fields.text("token")?, self.now())?;
        let told = json!({
            "userID": caller.user_id, "platformID": caller.platform_id, "expireTimeSeconds": caller.expires,
        });
        Ok(answer::data(&told))
    }
}
