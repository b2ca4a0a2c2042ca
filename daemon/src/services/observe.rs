//! Log lines and measurements of plugins, in the daemon's own log and metrics.

use std::collections::BTreeSet;
use std::sync::Mutex;
use stele_host::{LogRecord, MetricRecord};
use stele_plugin_api::notify::{Level, MetricKind};

/// Series all plugins together may make; further ones are dropped, so that a label with many values does no harm.
const MAX_SERIES: usize = 2_000;
/// Labels of a series.
const MAX_LABELS: usize = 8;

/// Writes a plugin's line. A level of tracing is fixed where it is written, hence one line for each.
pub(super) fn log(instance: &str, record: &LogRecord) {
    let fields = record.fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ");
    let (part, message) = (&record.target, &record.message);
    match record.level {
        Level::Error => tracing::error!(target: "stele::plugin", instance, part, fields, "{message}"),
        Level::Warn => tracing::warn!(target: "stele::plugin", instance, part, fields, "{message}"),
        Level::Debug => tracing::debug!(target: "stele::plugin", instance, part, fields, "{message}"),
        Level::Trace => tracing::trace!(target: "stele::plugin", instance, part, fields, "{message}"),
        Level::Info | Level::Other(_) => tracing::info!(target: "stele::plugin", instance, part, fields, "{message}"),
    }
}

/// The series plugins made so far.
#[derive(Default)]
pub(super) struct Series(Mutex<BTreeSet<String>>);

impl Series {
    /// Takes a plugin's measurement, as `stele_plugin_<name>` with the instance as a label.
    pub fn take(&self, instance: &str, metric: &MetricRecord) {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !is_name(&metric.name)
            || metric.labels.len() > MAX_LABELS
            || !metric.labels.iter().all(|(name, _)| is_name(name))
        {
            tracing::debug!(instance, "dropped a measurement that is not well-formed");
            return;
        }
        let key = format!("{instance} {} {:?}", metric.name, metric.labels);
        {
            let mut known = self.0.lock().expect("no panic happens while the set is locked");
            if !known.contains(&key) && (known.len() == MAX_SERIES || !known.insert(key)) {
                return;
            }
        }
        let name = format!("stele_plugin_{}", metric.name);
        let mut labels = vec![metrics::Label::new("instance", instance.to_owned())];
        labels.extend(metric.labels.iter().map(|(name, value)| metrics::Label::new(name.clone(), value.clone())));
        match metric.kind {
            MetricKind::Counter => metrics::counter!(name, labels).increment(metric.value.max(0.0) as u64),
            MetricKind::Gauge => metrics::gauge!(name, labels).set(metric.value),
            MetricKind::Histogram => metrics::histogram!(name, labels).record(metric.value),
            MetricKind::Other(_) => {}
        }
    }
}
