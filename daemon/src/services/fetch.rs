//! `http.fetch`: the daemon's HTTP client, lent to plugins.

use std::time::Duration;
use stele_plugin_api::ops::{FetchReply, FetchRequest};
use stele_plugin_api::{Error, ErrorCode};

/// Longest time a request may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// Time a request has when it asks for none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds of the client.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Largest reply body in bytes.
    pub max_reply: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { max_reply: 16 << 20 }
    }
}

/// The client: pooled connections, TLS with the system's roots, no redirects (a token in a query must not follow one).
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    limits: FetchLimits,
}

impl HttpClient {
    /// A client within these bounds.
    pub fn new(limits: FetchLimits) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("stele/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, limits })
    }

    /// Makes one request. Errors name the host, and nothing else of the URL: its query may hold a token.
    pub async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, Error> {
        let invalid = |what: &str| Error::new(ErrorCode::Invalid, what);
        let url = reqwest::Url::parse(&request.url).map_err(|_| invalid("the URL is not absolute"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("only http and https URLs can be fetched"));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let fault = |error| fault(&host, error);
        let method: http::Method = request.method.parse().map_err(|_| invalid("not an HTTP method"))?;
        let timeout = match request.timeout_ms {
            0 => DEFAULT_TIMEOUT,
            ms => Duration::from_millis(ms).min(MAX_TIMEOUT),
        };
        let mut outgoing = self.client.request(method, url).timeout(timeout).body(request.body);
        for (name, value) in &request.headers {
            outgoing = outgoing.header(name, value);
        }
        let mut reply = outgoing.send().await.map_err(fault)?;
        let status = reply.status().as_u16();
        let headers = reply
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(fault)? {
            if body.len() + chunk.len() > self.limits.max_reply {
                return Err(Error::new(
                    ErrorCode::TooLarge,
                    format!("the reply is larger than {} bytes", self.limits.max_reply),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(FetchReply { status, headers, body: body.into() })
    }
}

fn fault(host: &str, error: reqwest::Error) -> Error {
    let code = match () {
        () if error.is_timeout() => ErrorCode::Deadline,
        () if error.is_builder() => ErrorCode::Invalid,
        () => ErrorCode::Unavailable,
    };
    let error = error.without_url();
    // The last cause is the one people can do something about: refused, unknown host, a certificate.
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let cause = causes.last().map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::new(code, format!("{host}: {error}{cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_names_host_and_cause_and_nothing_else_of_the_url() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://user:hunter2@{closed}/cgi-bin/gettoken?corpsecret=hunter2");
        let request = FetchRequest { method: "GET".into(), url, ..FetchRequest::default() };
        let error = HttpClient::new(FetchLimits::default()).unwrap().fetch(request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.starts_with("127.0.0.1: ") && error.message.contains("refused"), "{error}");
        assert!(!error.message.contains("hunter2"), "{error}");
    }
}
