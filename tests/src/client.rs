//! A client of contract 000 that signs as the contract's sample clients do.

use anyhow::{Context, Result};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeMap;

/// How the text to sign is joined: the contract's two samples disagree (reference/wecom-archive.md §8-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Raw values, as the JavaScript sample.
    Raw,
    /// `urlencode`, as the Python sample.
    UrlEncoded,
}

/// What Python's `quote_plus` leaves as it is.
const QUOTE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b' ');

/// Python's `quote_plus`.
pub fn quote_plus(text: &str) -> String {
    utf8_percent_encode(text, QUOTE).to_string().replace(' ', "+")
}

/// HMAC-SHA256 in lower-case hex.
pub fn hmac_hex(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The text that is signed: all parameters, sorted by name.
pub fn canonical(params: &[(&str, &str)], style: Style) -> String {
    let sorted: BTreeMap<_, _> = params.iter().copied().collect();
    let pairs: Vec<_> = sorted
        .into_iter()
        .map(|(name, value)| match style {
            Style::Raw => format!("{name}={value}"),
            Style::UrlEncoded => format!("{}={}", quote_plus(name), quote_plus(value)),
        })
        .collect();
    pairs.join("&")
}

/// The signature of these parameters.
pub fn sign(params: &[(&str, &str)], key: &str, style: Style) -> String {
    hmac_hex(key, &canonical(params, style))
}

/// Path and query of a signed GET.
pub fn signed_path(endpoint: &str, params: &[(&str, &str)], key: &str, style: Style) -> String {
    let signature = sign(params, key, style);
    let pairs: Vec<_> =
        params.iter().map(|(name, value)| format!("{}={}", quote_plus(name), quote_plus(value))).collect();
    format!("/api/v1/chat-msg/{endpoint}?{}&signature={signature}", pairs.join("&"))
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
    /// `retry-after`, when there is one.
    pub retry_after: Option<String>,
}

impl Answer {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// `code` of the body; -1 when there is none.
    pub fn code(&self) -> i64 {
        self.json()["code"].as_i64().unwrap_or(-1)
    }

    /// `data.items`.
    pub fn items(&self) -> Vec<Value> {
        self.json()["data"]["items"].as_array().cloned().unwrap_or_default()
    }

    /// `data.total`; -1 when there is none.
    pub fn total(&self) -> i64 {
        self.json()["data"]["total"].as_i64().unwrap_or(-1)
    }

    async fn of(response: reqwest::Response) -> Result<Self> {
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { status, retry_after, text: response.text().await.context("the reply has no text")? })
    }
}

/// A caller with a key.
#[derive(Clone)]
pub struct Client {
    /// Scheme and authority of the listener.
    pub base: String,
    /// The caller's key.
    pub key: String,
    /// How it joins what it signs.
    pub style: Style,
    http: reqwest::Client,
}

impl Client {
    /// A client of this listener.
    pub fn new(base: &str, key: &str) -> Self {
        Self { base: base.into(), key: key.into(), style: Style::Raw, http: http() }
    }

    /// The same caller, joining what it signs in another way.
    #[must_use]
    pub fn with_style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// A signed query of an endpoint (`sessions`, `session-msgs`, `search`).
    pub async fn get(&self, endpoint: &str, params: &[(&str, &str)]) -> Result<Answer> {
        self.get_path(&signed_path(endpoint, params, &self.key, self.style)).await
    }

    /// A GET of this path and query, as it is.
    pub async fn get_path(&self, path: &str) -> Result<Answer> {
        Answer::of(self.http.get(format!("{}{path}", self.base)).send().await?).await
    }

    /// `POST sync` for a corp.
    pub async fn sync(&self, corp: &str) -> Result<Answer> {
        let signature = sign(&[("ext_corp_id", corp)], &self.key, self.style);
        self.post_sync(&serde_json::json!({ "ext_corp_id": corp, "signature": signature }).to_string()).await
    }

    /// `POST sync` with this body.
    pub async fn post_sync(&self, body: &str) -> Result<Answer> {
        let request = self.http.post(format!("{}/api/v1/chat-msg/sync", self.base));
        Answer::of(request.header("content-type", "application/json").body(body.to_owned()).send().await?).await
    }

    /// Every row of a query, page by page, as a client would read them; fails unless the total is that of the rows.
    pub async fn all(&self, endpoint: &str, params: &[(&str, &str)]) -> Result<Vec<Value>> {
        const PAGE: usize = 100;
        let mut rows = Vec::new();
        for page in 1.. {
            let page = page.to_string();
            let mut params = params.to_vec();
            params.extend([("page", page.as_str()), ("page_size", "100")]);
            let answer = self.get(endpoint, &params).await?;
            anyhow::ensure!(answer.code() == 0, "{endpoint} answered {}", answer.text);
            let items = answer.items();
            let done = items.len() < PAGE;
            rows.extend(items);
            if done {
                anyhow::ensure!(answer.total() == rows.len() as i64, "total {} of {} rows", answer.total(), rows.len());
                break;
            }
        }
        Ok(rows)
    }
}

/// An HTTP client that ignores proxies of the environment.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without options")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of reference/wecom-archive.md §3.1.
    #[test]
    fn signs_like_the_samples() {
        let search = [
            ("keyword", "产品介绍"),
            ("ext_staff_id", "staff123"),
            ("ext_peer_id", "customer456"),
            ("ext_corp_id", "corp123"),
            ("page", "1"),
            ("page_size", "20"),
        ];
        let raw = "482e2caff8fe8433e642ac505f92abfec9311695e1295c930132d271487b346f";
        assert_eq!(sign(&search, "secret_key", Style::Raw), raw);
        let encoded = "9029005d14314aad92a56c1cc2765609d28a3c5388284c3a74639e8b6ca946e6";
        assert_eq!(sign(&search, "secret_key", Style::UrlEncoded), encoded);
        let odd = [
            ("keyword", "a b/c+d~e*"),
            ("ext_staff_id", "staff123"),
            ("ext_peer_id", "customer456"),
            ("ext_corp_id", "corp123"),
        ];
        let encoded = "d35eb422e92d1d1e49a8ffbed1336791ae89ab5df61fbd5e25f1cced6ef977e1";
        assert_eq!(sign(&odd, "secret_key", Style::UrlEncoded), encoded);
    }
}
