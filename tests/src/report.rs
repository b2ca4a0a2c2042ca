//! Many checks against one running daemon: all are made, and all failures are told at the end.

use crate::daemon::PATIENCE;
use anyhow::{Context, Result, ensure};
use std::future::Future;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What went wrong so far.
#[derive(Default)]
pub struct Report {
    failures: Vec<String>,
    checks: usize,
}

impl Report {
    /// Makes a check and remembers its failure.
    pub async fn check(&mut self, what: &str, check: impl Future<Output = Result<()>>) {
        self.checks += 1;
        if let Err(error) = check.await {
            self.failures.push(format!("{what}: {error:#}"));
        }
    }

    /// Remembers the outcome of a check.
    pub fn add(&mut self, what: &str, outcome: Result<()>) {
        self.checks += 1;
        if let Err(error) = outcome {
            self.failures.push(format!("{what}: {error:#}"));
        }
    }

    /// Sends bytes that are no HTTP, and HTTP that ends in the middle: what comes of each is a refusal, or nothing. `path` takes posts,
    /// and what they bring begins so.
    pub async fn check_broken(&mut self, address: &str, path: &str, begins: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n");
        let rows = [
            ("no HTTP", format!("\u{0}\u{1}\u{2} {path}\r\n\r\n")),
            ("two lengths", format!("{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}")),
            ("a length below 0", format!("{head}Content-Length: -1\r\n\r\n")),
            (
                "a length and chunks",
                format!("{head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            ),
            ("chunks that are none", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
            ("a body that ends early", format!("{head}Content-Length: 1000\r\n\r\n{begins}")),
        ];
        for (what, bytes) in rows {
            self.check(what, is_refused(address, bytes.as_bytes())).await;
        }
    }

    /// Panics with all failures, if there are any.
    pub fn finish(self, context: &str) {
        assert!(self.checks > 0, "nothing was checked");
        let (count, checks) = (self.failures.len(), self.checks);
        assert!(count == 0, "{count} of {checks} checks failed:\n{}\n{context}", self.failures.join("\n"));
    }
}

async fn is_refused(address: &str, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("it stays open")?.ok();
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    Ok(())
}
