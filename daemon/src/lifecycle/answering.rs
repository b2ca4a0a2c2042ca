//! Whether the archive answers, asked all the time, so that a load balancer need not find out by requests that fail.

use std::sync::Mutex;
use std::time::Duration;
use stele_archive::{Archive, Result};
use tokio::time::Instant;

/// Pause between two questions.
const EVERY: Duration = Duration::from_secs(2);
/// Time an answer may take. Longer than a busy archive takes, whose requests wait for a connection one after the other: where all
/// daemons are busy it would do no good to take them out.
const ANSWER: Duration = Duration::from_secs(5);
/// Time without an answer after which the daemon is not ready any more.
const OUT: Duration = Duration::from_secs(10);

/// Whether the archive answers.
#[derive(Debug, Default)]
pub struct Answering {
    silence: Mutex<Option<Silence>>,
}

#[derive(Clone, Debug)]
struct Silence {
    since: Instant,
    why: String,
}

impl Answering {
    /// Asks until it is dropped.
    pub async fn watch(&self, archive: &dyn Archive) {
        loop {
            self.ask(async { archive.last_rev().await.map(drop) }).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn ask(&self, question: impl Future<Output = Result<()>>) {
        let since = Instant::now();
        let why = match tokio::time::timeout(ANSWER, question).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", ANSWER.as_secs())),
        };
        let mut silence = self.silence.lock().expect("no panic happens while it is locked");
        match (&*silence, &why) {
            (None, Some(why)) => tracing::error!(why, "the archive does not answer"),
            (Some(_), None) => tracing::info!("the archive answers again"),
            _ => {}
        }
        *silence = why.map(|why| Silence { since: silence.as_ref().map_or(since, |silence| silence.since), why });
    }

    /// What is not well with the archive.
    pub fn finding(&self) -> Option<String> {
        let silence = self.silence.lock().expect("no panic happens while it is locked");
        silence.as_ref().map(|silence| format!("the archive does not answer: {}", silence.why))
    }

    /// Whether it has not answered for so long that others should be asked.
    pub fn is_out(&self) -> bool {
        let silence = self.silence.lock().expect("no panic happens while it is locked");
        silence.as_ref().is_some_and(|silence| silence.since.elapsed() >= OUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stele_archive::ArchiveError;

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_told_at_once_and_counts_after_ten_seconds() {
        let answering = Answering::default();
        let state = || (answering.finding(), answering.is_out());
        answering.ask(async { Ok(()) }).await;
        assert_eq!(state(), (None, false));
        answering.ask(std::future::pending()).await;
        let told = Some("the archive does not answer: no answer within 5 s".to_owned());
        assert_eq!(state(), (told.clone(), false));
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!(state(), (told.clone(), false));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(state(), (told, true));
        // Another reason goes on with the same silence.
        answering.ask(async { Err(ArchiveError::Invalid("odd".to_owned())) }).await;
        let (told, is_out) = state();
        assert!(told.is_some_and(|told| told.ends_with("odd")) && is_out);
        answering.ask(async { Ok(()) }).await;
        assert_eq!(state(), (None, false));
        answering.ask(async { Err(ArchiveError::Invalid("odd".to_owned())) }).await;
        assert!(!answering.is_out(), "it begins anew");
    }
}
