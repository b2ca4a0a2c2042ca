//! Sending documents, and finding the one the server refuses.

use super::document::{Encoder, Unit};
use super::marks::{Mark, Owner, Parked};
use super::server::{Outcome, Server};
use crate::error::IndexError;
use std::collections::VecDeque;
use std::sync::Arc;
use stele_archive::FeedRow;

/// How often documents are sent again because their task was canceled.
const ATTEMPTS: usize = 3;

/// Most messages that are parked. More of them are no bad messages but something else.
const MAX_PARKED: usize = 1_000;

/// What was sent and has no outcome yet: it is waited for before anything else is sent.
#[derive(Debug, Default)]
pub struct Queue {
    task: Option<u32>,
}

/// Documents on their way into an index.
pub struct Feeding<'a> {
    pub server: &'a Server,
    pub uid: &'a str,
    /// Goes with every task.
    pub owner: &'a Owner,
    pub queue: &'a mut Queue,
}

impl Feeding<'_> {
    /// Takes in rows and this mark; returns the mark as it is in the index, with what had to be parked.
    pub async fn take_in(mut self, rows: Vec<FeedRow>, mut mark: Mark) -> Result<Mark, IndexError> {
        if let Some(task) = self.queue.task {
            // Whatever became of it: what it brought is sent again, and replaces itself.
            self.server.end(task).await?;
            self.queue.task = None;
        }
        let mut encoder = Encoder::new(Arc::new(rows), mark.life.clone());
        let mut is_sent = false;
        while !is_sent {
            let (units, back) = tokio::task::spawn_blocking(move || (encoder.group(), encoder))
                .await
                .expect("making documents does not panic");
            encoder = back;
            is_sent = encoder.is_done();
            mark.long |= units.iter().any(|unit| unit.is_long);
            self.send(units, &mut mark, is_sent).await?;
        }
        Ok(mark)
    }

    /// Sends documents, the last ones together with the mark. What is refused is cut in two until it is one message.
    async fn send(&mut self, units: Vec<Unit>, mark: &mut Mark, with_mark: bool) -> Result<(), IndexError> {
        let mut groups = VecDeque::from([units]);
        let mut lost = 0;
        while let Some(mut units) = groups.pop_front() {
            let is_last = groups.is_empty() && with_mark;
            match self.attempt(&units, is_last.then_some(&*mark)).await? {
                Outcome::Done => {}
                Outcome::Failed(reason) => return Err(IndexError::unavailable(reason)),
                Outcome::Lost(reason) => {
                    lost += 1;
                    if lost == ATTEMPTS {
                        return Err(IndexError::unavailable(reason));
                    }
                    groups.push_front(units);
                }
                Outcome::Refused(reason) if units.is_empty() => return Err(IndexError::unavailable(reason)),
                Outcome::Refused(reason) if units.len() == 1 => {
                    self.park(&units[0], mark, &reason).await?;
                    if is_last {
                        groups.push_front(Vec::new());
                    }
                }
                Outcome::Refused(_) => {
                    let later = units.split_off(units.len() / 2);
                    groups.push_front(later);
                    groups.push_front(units);
                }
            }
        }
        Ok(())
    }

    async fn attempt(&mut self, units: &[Unit], mark: Option<&Mark>) -> Result<Outcome, IndexError> {
        let others: Vec<String> = [self.owner.line()].into_iter().chain(mark.map(Mark::line)).collect();
        let task = match self.server.add(self.uid, units, &others).await? {
            Ok(task) => task,
            Err(refused) => return Ok(Outcome::Refused(refused)),
        };
        self.queue.task = Some(task);
        let outcome = self.server.end(task).await?;
        self.queue.task = None;
        Ok(outcome)
    }

    /// Leaves out a message that was refused alone, if the server takes anything at all.
    async fn park(&mut self, unit: &Unit, mark: &mut Mark, reason: &str) -> Result<(), IndexError> {
        let unavailable = |reason: String| IndexError::unavailable(reason);
        if mark.parked.len() >= MAX_PARKED {
            return Err(unavailable(format!(
                "more than {MAX_PARKED} messages are refused, the last one since {reason}"
            )));
        }
        if !matches!(self.attempt(&[], None).await?, Outcome::Done) {
            return Err(unavailable(reason.to_owned()));
        }
        tracing::error!(
            message = unit.message,
            reason,
            "the search engine refuses a message: it cannot be found by its text"
        );
        metrics::counter!("stele_search_parked_total").increment(1);
        let known = mark.parked.iter_mut().find(|parked| parked.message == unit.message);
        match known {
            Some(known) => known.day = known.day.or(unit.day),
            None => mark.parked.push(Parked { message: unit.message, day: unit.day }),
        }
        Ok(())
    }
}
