//! Asks an endpoint, one request after the other.

use anyhow::{Context, Result, ensure};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::fmt;
use std::time::{Duration, Instant};
use stele_tests::client::http;

/// A request.
pub struct Request {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// The next request of a kind; it gets what was answered before, `Null` at first.
pub type Asking = Box<dyn FnMut(&mut StdRng, &Value) -> Request>;

/// A kind of request.
pub struct Row {
    /// Number of the contract, or `admin`.
    pub contract: &'static str,
    pub endpoint: &'static str,
    /// What is asked for.
    pub about: &'static str,
    /// Where in an answer the messages are, or whatever there is only in a good one, as a JSON pointer.
    pub found: &'static str,
    pub asking: Asking,
}

/// When there is enough.
#[derive(Clone, Copy)]
pub struct Limits {
    pub requests: u32,
    pub time: Duration,
}

/// How long requests took, in milliseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Times {
    pub requests: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, p50 {} ms, p99 {} ms", self.requests, self.p50_ms, self.p99_ms)
    }
}

/// Requests that are made before any is counted: a daemon that has just started opens connections and plans statements.
const BEFORE: usize = 20;

/// How long requests of a kind take, from the first byte sent to the last one read.
pub async fn measure(mut row: Row, limits: Limits) -> Result<Times> {
    let (client, mut rng) = (http(), StdRng::seed_from_u64(2));
    let (mut times, mut answer, mut found) = (Vec::new(), Value::Null, 0);
    let mut begin = Instant::now();
    while times.len() < BEFORE + limits.requests as usize && begin.elapsed() < limits.time {
        let Request { method, url, headers, body } = (row.asking)(&mut rng, &answer);
        let mut request = client.request(method.parse()?, &url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let asked = Instant::now();
        let response = request.send().await?;
        let (status, bytes) = (response.status(), response.bytes().await?);
        times.push(asked.elapsed());
        let text = || String::from_utf8_lossy(&bytes).chars().take(500).collect::<String>();
        answer = serde_json::from_slice(&bytes).with_context(text)?;
        let good = answer.pointer(row.found).filter(|found| !found.is_null());
        ensure!(status.is_success() && good.is_some(), "{url} answered {status}: {}", text());
        found += good.and_then(Value::as_array).map_or(1, Vec::len);
        if times.len() == BEFORE {
            begin = Instant::now();
        }
    }
    ensure!(found > 0, "nothing was found");
    ensure!(times.len() > BEFORE, "not even {BEFORE} requests were answered in time");
    let mut times = times.split_off(BEFORE);
    times.sort_unstable();
    let percentile = |share: f64| {
        let time = times[((times.len() - 1) as f64 * share) as usize];
        (time.as_secs_f64() * 100_000.0).round() / 100.0
    };
    Ok(Times { requests: times.len(), p50_ms: percentile(0.5), p99_ms: percentile(0.99) })
}
