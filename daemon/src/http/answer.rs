//! What the daemon answers itself, in the shape of the protocol.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use std::time::Duration;
use stele_plugin_api::ops::Description;

/// The shape when a protocol asks for none.
const DEFAULT_TEMPLATE: &str = r#"{"code":{status},"message":"{message}"}"#;

/// Renders the daemon's own errors.
#[derive(Clone, Debug)]
pub struct Answers {
    template: String,
    headers: HeaderMap,
}

impl Default for Answers {
    fn default() -> Self {
        Self { template: DEFAULT_TEMPLATE.to_owned(), headers: HeaderMap::new() }
    }
}

impl Answers {
    /// By this template, without headers of its own.
    pub fn new(template: &str) -> Self {
        Self { template: template.to_owned(), ..Self::default() }
    }

    /// As a plugin describes them; what is no header is left out.
    pub fn of(description: &Description) -> Self {
        let shape = description.error_template.as_deref().map_or_else(Self::default, Self::new);
        let headers = description.error_headers.iter();
        let headers = headers.filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?)));
        Self { headers: headers.collect(), ..shape }
    }

    /// An answer with this status and sentence.
    pub fn render(&self, status: StatusCode, message: &str) -> Response<Body> {
        let quoted = serde_json::Value::from(message).to_string();
        let escaped = &quoted[1..quoted.len() - 1];
        let text = self.template.replace("{status}", status.as_str()).replace("{message}", escaped);
        let content_type = match text.starts_with(['{', '[']) {
            true => "application/json; charset=utf-8",
            false => "text/plain; charset=utf-8",
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response.headers_mut().clone_from(&self.headers);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    /// The same, telling when to try again (whole seconds, rounded up, at least one).
    pub fn render_with_retry(&self, status: StatusCode, message: &str, after: Duration) -> Response<Body> {
        let mut response = self.render(status, message);
        let seconds = after.as_millis().div_ceil(1000).max(1);
        let value = HeaderValue::from_str(&seconds.to_string()).expect("digits are a header value");
        response.headers_mut().insert(header::RETRY_AFTER, value);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_template_shapes_the_answer() {
        for (template, message, content_type, expected) in [
            (None, "too \"many\"\n", "application/json; charset=utf-8", r#"{"code":429,"message":"too \"many\"\n"}"#),
            (
                Some(r#"{"errcode":{status},"errmsg":"{message}"}"#),
                "请求过多",
                "application/json; charset=utf-8",
                r#"{"errcode":429,"errmsg":"请求过多"}"#,
            ),
            (None, "\"quoted\"", "application/json; charset=utf-8", r#"{"code":429,"message":"\"quoted\""}"#),
            (Some("error {status}: {message}"), "no", "text/plain; charset=utf-8", "error 429: no"),
        ] {
            let answers = template.map_or_else(Answers::default, Answers::new);
            let response =
                answers.render_with_retry(StatusCode::TOO_MANY_REQUESTS, message, Duration::from_millis(1001));
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
            assert_eq!(response.headers()[header::RETRY_AFTER], "2");
            let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
            assert_eq!(body, expected);
        }
    }
}
