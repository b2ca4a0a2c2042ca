//! Many checks against one running daemon: all are made, and all failures are told at the end.

use std::future::Future;

/// What went wrong so far.
#[derive(Default)]
pub struct Report {
    failures: Vec<String>,
    checks: usize,
}

impl Report {
    /// Makes a check and remembers its failure.
    pub async fn check(&mut self, what: &str, check: impl Future<Output = anyhow::Result<()>>) {
        self.checks += 1;
        if let Err(error) = check.await {
            self.failures.push(format!("{what}: {error:#}"));
        }
    }

    /// Remembers the outcome of a check.
    pub fn add(&mut self, what: &str, outcome: anyhow::Result<()>) {
        self.checks += 1;
        if let Err(error) = outcome {
            self.failures.push(format!("{what}: {error:#}"));
        }
    }

    /// Panics with all failures, if there are any.
    pub fn finish(self, context: &str) {
        assert!(self.checks > 0, "nothing was checked");
        let (count, checks) = (self.failures.len(), self.checks);
        assert!(count == 0, "{count} of {checks} checks failed:\n{}\n{context}", self.failures.join("\n"));
    }
}
