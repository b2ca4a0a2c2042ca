//! What one side tells without being answered: log records and metrics, from plugin to daemon.

use serde::{Deserialize, Serialize};

/// Name of the notify that carries a [`LogRecord`].
pub const LOG: &str = "log";

/// Name of the notify that carries a [`MetricRecord`].
pub const METRIC: &str = "metric";

/// Bytes a log message, or the value of a field, is cut to.
pub const MAX_LOG_TEXT: usize = 8 * 1024;

open_enum! {
    /// How much a log record matters.
    Level {
        /// Something an operator must act on.
        Error = "error",
        /// Something an operator should look at.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// What a developer looks for.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

open_enum! {
    /// How values of a metric add up.
    MetricKind {
        /// Values are increments.
        Counter = "counter",
        /// The last value counts.
        Gauge = "gauge",
        /// Values are observations.
        Histogram = "histogram",
    }
}

/// One line of a plugin's log. Never carries a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// How much it matters.
    pub level: Level,
    /// Part of the plugin it comes from, e.g. `sync`.
    #[serde(default)]
    pub target: String,
    /// One sentence, lower case, no final stop.
    #[serde(default)]
    pub message: String,
    /// Named values, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// One value of a plugin's metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Name in snake case, with its unit, e.g. `vendor_calls_total`.
    pub name: String,
    /// How values add up.
    pub kind: MetricKind,
    /// The value.
    #[serde(default)]
    pub value: f64,
    /// Names and values that tell series apart; few different values each. `instance` is the daemon's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
}

/// Cuts a text to [`MAX_LOG_TEXT`] bytes, at a character.
#[cfg(feature = "sdk")]
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > MAX_LOG_TEXT {
        let end = (0..=MAX_LOG_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
