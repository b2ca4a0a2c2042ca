//! Log lines and measurements of plugins, in the daemon's own log and metrics.
//!
//! A plugin is not trusted with either: what it sends is cut, cleaned of what could forge a line, and bounded in number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Instant;
use stele_host::{LineRate, LogRecord, MetricRecord, Passage, harmless};
use stele_plugin_api::notify::{Level, MAX_LOG_TEXT, MetricKind};

/// Longest name: of a part, a field, a metric, a label. In bytes.
const MAX_NAME: usize = 64;
/// Fields of a line that are kept; all together have at most [`MAX_LOG_TEXT`] bytes.
const MAX_FIELDS: usize = 32;
/// Series a plugin may make; further ones are dropped, so that a label with many values does no harm.
const MAX_SERIES: usize = 500;
/// Labels of a series.
const MAX_LABELS: usize = 8;
/// Longest value of a label, in bytes.
const MAX_LABEL_VALUE: usize = 128;
/// The label that says whose series it is.
const INSTANCE: &str = "instance";

/// The lines of plugins.
#[derive(Default)]
pub(super) struct Lines(Mutex<BTreeMap<String, LineRate>>);

impl Lines {
    /// Writes a line of an instance's plugin, unless it says too much.
    pub fn take(&self, instance: &str, plugin: &str, record: &LogRecord) {
        if !is_wanted(&record.level) {
            return;
        }
        let passage = {
            let mut rates = self.0.lock().expect("no panic happens while the rates are locked");
            rates.entry(instance.to_owned()).or_default().pass(Instant::now(), size(record))
        };
        match passage {
            Passage::Passes { left_out } => {
                if left_out > 0 {
                    let lines = left_out;
                    tracing::info!(target: "stele::plugin", instance, plugin, lines, "lines of the plugin were left out");
                }
                write(instance, plugin, &Line::of(record), &record.level);
            }
            Passage::Closes => {
                let what = "the plugin logs too much; further lines are left out";
                tracing::warn!(target: "stele::plugin", instance, plugin, "{what}");
            }
            Passage::LeftOut => {}
        }
    }
}

/// What is written of a record.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    part: Option<String>,
    fields: Option<String>,
    message: String,
}

impl Line {
    fn of(record: &LogRecord) -> Self {
        let mut fields = String::new();
        for (name, value) in record.fields.iter().take(MAX_FIELDS) {
            let gap = if fields.is_empty() { "" } else { " " };
            // Writing to a text does not fail.
            let _ = write!(fields, "{gap}{}={:?}", harmless(name, MAX_NAME), harmless(value, MAX_LOG_TEXT));
            if fields.len() > MAX_LOG_TEXT {
                break;
            }
        }
        if record.fields.len() > MAX_FIELDS {
            let _ = write!(fields, " … {} more", record.fields.len() - MAX_FIELDS);
        }
        let unless_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            part: unless_empty(harmless(&record.target, MAX_NAME)),
            fields: unless_empty(harmless(&fields, MAX_LOG_TEXT)),
            message: harmless(&record.message, MAX_LOG_TEXT),
        }
    }
}

/// About how many bytes are written of a record.
fn size(record: &LogRecord) -> usize {
    let fields = record.fields.iter().take(MAX_FIELDS).map(|(name, value)| name.len() + value.len()).sum::<usize>();
    record.message.len().min(MAX_LOG_TEXT) + fields.min(MAX_LOG_TEXT)
}

/// Whether a line of this level is written at all: what nobody sees does not count.
fn is_wanted(level: &Level) -> bool {
    match level {
        Level::Error => tracing::enabled!(target: "stele::plugin", tracing::Level::ERROR),
        Level::Warn => tracing::enabled!(target: "stele::plugin", tracing::Level::WARN),
        Level::Debug => tracing::enabled!(target: "stele::plugin", tracing::Level::DEBUG),
        Level::Trace => tracing::enabled!(target: "stele::plugin", tracing::Level::TRACE),
        Level::Info | Level::Other(_) => tracing::enabled!(target: "stele::plugin", tracing::Level::INFO),
    }
}

/// A level of tracing is fixed where it is written, hence one line for each.
fn write(instance: &str, plugin: &str, line: &Line, level: &Level) {
    let (part, fields, message) = (line.part.as_deref(), line.fields.as_deref(), &line.message);
    match level {
        Level::Error => tracing::error!(target: "stele::plugin", instance, plugin, part, fields, "{message}"),
        Level::Warn => tracing::warn!(target: "stele::plugin", instance, plugin, part, fields, "{message}"),
        Level::Debug => tracing::debug!(target: "stele::plugin", instance, plugin, part, fields, "{message}"),
        Level::Trace => tracing::trace!(target: "stele::plugin", instance, plugin, part, fields, "{message}"),
        Level::Info | Level::Other(_) => {
            tracing::info!(target: "stele::plugin", instance, plugin, part, fields, "{message}")
        }
    }
}

/// The series plugins made so far, by instance.
#[derive(Default)]
pub(super) struct Series(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Series {
    /// Takes a plugin's measurement, as `stele_plugin_<name>` with the instance as a label.
    pub fn take(&self, instance: &str, metric: &MetricRecord) {
        // The label of the instance is ours: a plugin cannot speak for another one.
        let is_label = |name: &str| name != INSTANCE && is_name(name);
        if !is_name(&metric.name)
            || metric.labels.len() > MAX_LABELS
            || !metric.labels.iter().all(|(name, _)| is_label(name))
        {
            tracing::debug!(instance, "dropped a measurement that is not well-formed");
            return;
        }
        let own: Vec<(String, String)> =
            metric.labels.iter().map(|(name, value)| (name.clone(), harmless(value, MAX_LABEL_VALUE))).collect();
        if !self.admit(instance, format!("{} {own:?}", metric.name)) {
            return;
        }
        let name = format!("stele_plugin_{}", metric.name);
        let mut labels = vec![metrics::Label::new(INSTANCE, instance.to_owned())];
        labels.extend(own.into_iter().map(|(name, value)| metrics::Label::new(name, value)));
        match metric.kind {
            MetricKind::Counter => metrics::counter!(name, labels).increment(metric.value.max(0.0) as u64),
            MetricKind::Gauge => metrics::gauge!(name, labels).set(metric.value),
            MetricKind::Histogram => metrics::histogram!(name, labels).record(metric.value),
            MetricKind::Other(_) => {}
        }
    }

    /// Whether this is a series of the instance, or may become one.
    fn admit(&self, instance: &str, series: String) -> bool {
        let mut known = self.0.lock().expect("no panic happens while the series are locked");
        let known = known.entry(instance.to_owned()).or_default();
        known.contains(&series) || (known.len() < MAX_SERIES && known.insert(series))
    }
}

/// Whether a series or a label may have this name.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: &str, message: &str, fields: &[(&str, &str)]) -> LogRecord {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogRecord { level: Level::Info, target: target.into(), message: message.into(), fields }
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let line = Line::of(&record("", "hello", &[]));
        assert_eq!(line, Line { part: None, fields: None, message: "hello".into() });
        let line = Line::of(&record("sync", "hello", &[("a", "1"), ("b", "产品 \"x\"")]));
        assert_eq!((line.part.as_deref(), line.fields.as_deref()), (Some("sync"), Some(r#"a="1" b="产品 \"x\"""#)));
    }

    #[test]
    fn a_line_is_bounded_and_cannot_look_like_two() {
        let huge = "产\n".repeat(2_000_000);
        let mut fields = vec![("na\nme", huge.as_str())];
        fields.extend([("a", "1"); 10_000]);
        let line = Line::of(&record(&huge, &huge, &fields));
        let texts = [line.part.unwrap(), line.fields.unwrap(), line.message];
        for (text, bound) in texts.iter().zip([MAX_NAME, MAX_LOG_TEXT, MAX_LOG_TEXT]) {
            // A replaced character has two bytes more than the one it replaces.
            assert!(text.len() <= 3 * bound && text.ends_with('…') && !text.contains('\n'), "{} bytes", text.len());
        }
        let many: Vec<_> = (0..40).map(|_| ("a", "1")).collect();
        assert!(Line::of(&record("", "", &many)).fields.unwrap().ends_with(r#"a="1" … 8 more"#));
    }

    #[test]
    fn series_are_bounded_for_each_instance() {
        let series = Series::default();
        let admitted = (0..2 * MAX_SERIES).filter(|n| series.admit("a", n.to_string())).count();
        assert_eq!(admitted, MAX_SERIES);
        assert!(series.admit("a", "0".into()) && series.admit("b", "0".into()));
    }

    #[test]
    fn a_plugin_names_no_instance() {
        let series = Series::default();
        let known = || series.0.lock().expect("nothing panicked").get("a").map_or(0, BTreeSet::len);
        for (label, expected) in [("instance", 0), ("Kind", 0), ("kind", 1)] {
            let labels = vec![(label.to_owned(), "b".to_owned())];
            let kind = MetricKind::Gauge;
            series.take("a", &MetricRecord { name: "depth".into(), kind, value: 1.0, labels });
            assert_eq!(known(), expected, "{label}");
        }
    }
}
