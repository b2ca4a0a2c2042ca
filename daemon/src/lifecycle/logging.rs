//! Log lines: to standard error, as text or JSON, with a filter that a reload can change.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// Changes the filter of a running daemon.
#[derive(Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on.
    pub fn set(&self, level: &str) {
        // The filter was checked when the configuration was read, and the subscriber lives as long as the process.
        if let Ok(filter) = EnvFilter::try_new(level) {
            let _ = self.0.reload(filter);
        }
    }
}

/// Begins to log. `None` when something in this process does already.
pub fn begin(log: &Log) -> Option<LogFilter> {
    let (filter, handle) =
        reload::Layer::new(EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info")));
    // The journal has its own time.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let text = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<_> + Send + Sync> = match log.format {
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
        LogFormat::Text if in_journal => text.without_time().boxed(),
        LogFormat::Text => text.boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().ok()?;
    Some(LogFilter(handle))
}
