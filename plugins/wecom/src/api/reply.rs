//! The envelope around every answer: `code`, `message`, `data`.

use super::errors::ApiError;
use bytes::Bytes;
use serde::Serialize;
use stele_plugin_api::ops::HttpReply;

#[derive(Serialize)]
struct Envelope<'a, T> {
    code: u16,
    message: &'a str,
    data: Option<T>,
}

/// Rows and how many there are (contract 000 §3.1, §4.1).
#[derive(Serialize)]
pub struct Rows<T> {
    /// The page; `[]` when there is none.
    pub items: Vec<T>,
    /// Exact number without paging.
    pub total: u64,
}

/// `success`, with its data.
pub fn success<T: Serialize>(data: T) -> Result<HttpReply, ApiError> {
    envelope(200, &Envelope { code: 0, message: "success", data: Some(data) })
}

/// Code 0 with a sentence of its own and no data.
pub fn done(message: &str) -> Result<HttpReply, ApiError> {
    envelope(200, &Envelope::<()> { code: 0, message, data: None })
}

/// A failure of the contract's table.
pub fn failure(error: &ApiError) -> HttpReply {
    let body = Envelope::<()> { code: error.code, message: &error.message, data: None };
    let mut reply = envelope(error.status, &body).expect("a number and a text serialise");
    if let Some(seconds) = error.retry_after_s {
        reply.headers.push(("retry-after".to_owned(), seconds.to_string()));
    }
    reply
}

fn envelope<T: Serialize>(status: u16, body: &Envelope<'_, T>) -> Result<HttpReply, ApiError> {
    let body = serde_json::to_vec(body).map_err(|_| ApiError::internal())?;
    let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
    Ok(HttpReply { status, headers, body: Bytes::from(body), ..HttpReply::default() })
}
