//! The numbers of an instance, through the `metrics` facade.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `stele_plugin_calls_total` | counter | `instance`, `op`, `outcome` (`ok` or an error code) |
//! | `stele_plugin_call_seconds` | histogram | `instance`, `op` |
//! | `stele_plugin_calls_in_flight` | gauge | `instance` |
//! | `stele_plugin_up` | gauge, 1 while running | `instance` |
//! | `stele_plugin_restarts_total` | counter, after crashes | `instance` |
//! | `stele_plugin_late_frames_total` | counter | `instance` |
//!
//! Handles are kept: looking a metric up by its labels costs as much as an in-process call.

use crate::spec::InstanceState;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Instant,
};
use stele_plugin_api::Error;

/// The metrics of one instance.
pub(crate) struct Measures {
    instance: String,
    in_flight: Gauge,
    up: Gauge,
    restarts: Counter,
    late_frames: Counter,
    /// By operation: a handful, known to the daemon's code.
    ops: RwLock<HashMap<&'static str, OpMeasures>>,
}

#[derive(Clone)]
struct OpMeasures {
    answered: Counter,
    seconds: Histogram,
}

impl Measures {
    pub(crate) fn new(instance: &str) -> Self {
        let instance = instance.to_owned();
        Self {
            in_flight: gauge!("stele_plugin_calls_in_flight", "instance" => instance.clone()),
            up: gauge!("stele_plugin_up", "instance" => instance.clone()),
            restarts: counter!("stele_plugin_restarts_total", "instance" => instance.clone()),
            late_frames: counter!("stele_plugin_late_frames_total", "instance" => instance.clone()),
            ops: RwLock::default(),
            instance,
        }
    }

    /// A call is over.
    pub(crate) fn call(&self, op: &'static str, started: Instant, error: Option<&Error>) {
        let known = self.ops.read().unwrap_or_else(PoisonError::into_inner).get(op).cloned();
        let measures = known.unwrap_or_else(|| self.first_of(op));
        measures.seconds.record(started.elapsed());
        match error {
            None => measures.answered.increment(1),
            Some(error) => self.outcome(op, error.code.as_str()).increment(1),
        }
    }

    pub(crate) fn state(&self, state: InstanceState) {
        self.up.set(if state == InstanceState::Running { 1.0 } else { 0.0 });
    }

    pub(crate) fn restarted(&self) {
        self.restarts.increment(1);
    }

    pub(crate) fn publish(&self, in_flight: usize, late_frames: u64) {
        self.in_flight.set(in_flight as f64);
        self.late_frames.absolute(late_frames);
    }

    fn first_of(&self, op: &'static str) -> OpMeasures {
        let seconds = histogram!("stele_plugin_call_seconds", "instance" => self.instance.clone(), "op" => op);
        let measures = OpMeasures { answered: self.outcome(op, "ok"), seconds };
        self.ops.write().unwrap_or_else(PoisonError::into_inner).insert(op, measures.clone());
        measures
    }

    fn outcome(&self, op: &'static str, outcome: &str) -> Counter {
        // Codes are few, but open: a plugin must not make series without end.
        let known = stele_plugin_api::ErrorCode::from(outcome);
        let outcome = match known {
            stele_plugin_api::ErrorCode::Other(_) if outcome != "ok" => "other".to_owned(),
            _ => outcome.to_owned(),
        };
        counter!("stele_plugin_calls_total", "instance" => self.instance.clone(), "op" => op, "outcome" => outcome)
    }
}
