//! The figures of a hub. Those that are counted often are looked up once.

use super::session::{Carrier, End};
use metrics::{Counter, Gauge, Histogram};
use std::time::Duration;

/// The figures of a hub.
pub(super) struct Meters {
    instance: String,
    sessions: [Gauge; Carrier::ALL.len()],
    delivered: Counter,
    delay: Histogram,
}

impl Meters {
    pub fn new(instance: &str) -> Self {
        let label = || instance.to_owned();
        let sessions = Carrier::ALL.map(
            |carrier| metrics::gauge!("stele_live_sessions", "instance" => label(), "carrier" => carrier.as_str()),
        );
        Self {
            sessions,
            delivered: metrics::counter!("stele_live_delivered_total", "instance" => label()),
            delay: metrics::histogram!("stele_live_delay_seconds", "instance" => label()),
            instance: label(),
        }
    }

    pub fn began(&self, carrier: Carrier) {
        self.sessions[carrier as usize].increment(1.0);
    }

    pub fn ended(&self, carrier: Carrier, end: End) {
        self.sessions[carrier as usize].decrement(1.0);
        let (instance, reason) = (self.instance.clone(), end.as_str());
        metrics::counter!("stele_live_ended_total", "instance" => instance, "reason" => reason).increment(1);
    }

    /// A carrier took an event.
    pub fn delivered(&self) {
        self.delivered.increment(1);
    }

    /// So many events that were for a session did not reach it, or were for nobody.
    pub fn dropped(&self, reason: &'static str, events: usize) {
        if events > 0 {
            let instance = self.instance.clone();
            metrics::counter!("stele_live_dropped_total", "instance" => instance, "reason" => reason)
                .increment(events as u64);
        }
    }

    /// Time from a commit to the queues.
    pub fn delay(&self, time: Duration) {
        self.delay.record(time.as_secs_f64());
    }
}
