//! What this daemon knows of a job.

use super::due::{Due, due, set_right};
use super::plan::KindPlan;
use stele_archive::model::Micros;
use stele_archive::{JobRecord, Lease, Outcome, RunId, RunReport};

/// A job.
pub(super) struct Entry {
    pub(super) record: JobRecord,
    pub(super) plan: KindPlan,
    pub(super) jitter: Micros,
    pub(super) running: bool,
    /// Somebody asked for a run while one went on: what they are after may have come after the run looked.
    pub(super) again: bool,
    /// Somebody asked for a run, and the job table did not answer: the next attempt is theirs.
    pub(super) asked: bool,
    /// A lease of ours that could not be given back.
    pub(super) kept: Option<Lease>,
    /// The end of a run that could not be written down.
    pub(super) unwritten: Option<Ended>,
    /// It is due by its pattern, or to be tried again, and waits for its turn: nobody runs it yet.
    pub(super) waits: bool,
    /// It is not tried before this is over, whatever the job table says.
    pub(super) pause: Option<Pause>,
}

/// Why a job is not tried again at once.
pub(super) struct Pause {
    pub(super) until: Micros,
    /// `None`: another daemon ran it.
    pub(super) fault: Option<Fault>,
}

/// The archive did not answer, so that nothing but this daemon knows of an attempt that came to nothing.
pub(super) struct Fault {
    /// Attempts in a row.
    pub(super) failures: u32,
    pub(super) error: String,
}

/// How a run ended.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) run: RunId,
    pub(super) outcome: Outcome,
    pub(super) report: RunReport,
    pub(super) at: Micros,
}

impl Entry {
    pub(super) fn new(record: JobRecord, plan: KindPlan, jitter: Micros) -> Self {
        Self {
            record,
            plan,
            jitter,
            running: false,
            again: false,
            asked: false,
            kept: None,
            unwritten: None,
            waits: false,
            pause: None,
        }
    }

    /// What keeps this daemon from running it, if so.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.pause.as_ref()?.fault.as_ref()
    }

    pub(super) fn is_paused(&self, now: Micros) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until > now)
    }

    /// What is due of it now.
    pub(super) fn due(&mut self, now: Micros) -> Option<Due> {
        let schedule = self.plan.schedule.as_ref();
        set_right(&mut self.record, schedule, now);
        match &self.pause {
            Some(_) => (!self.is_paused(now)).then_some(Due { trigger: "retry", at: None }),
            None => due(&self.record, schedule, self.jitter, now),
        }
    }
}
