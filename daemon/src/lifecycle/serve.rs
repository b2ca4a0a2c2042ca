//! `steled serve`: the daemon under its signals.

use super::app::{App, Mode};
use super::error::StartError;
use super::logging::LogFilter;
use super::notify;
use crate::config::{Config, ConfigErrors};
use futures::FutureExt;
use sd_notify::NotifyState;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where the configuration is read again from.
pub type ConfigSource = Box<dyn Fn() -> Result<Config, ConfigErrors> + Send>;

/// Exit code after a second signal: work was cut off, nothing committed is lost.
const CUT_OFF: i32 = 130;

/// Signals so soon after the first are the first: a terminal or a supervisor that tells a process and its group tells twice.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Runs the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again. `ready` is called once it serves; a
/// sentence of it ends the daemon.
pub async fn serve(
    config: Config,
    source: ConfigSource,
    filter: Option<LogFilter>,
    ready: impl FnOnce(&App) -> Result<(), String>,
) -> Result<(), ServeError> {
    let begun = std::time::Instant::now();
    let mut signals = Signals::listen()?;
    let mut app = App::start(config, Mode::Serve).await?;
    let watchdog = tokio::spawn(notify::watchdog(Arc::clone(&app.parts().archive), signals.stopped.clone()));
    let mut unfit = Ok(());
    tokio::select! {
        readiness = app.settled() => {
            let ms = begun.elapsed().as_millis();
            match readiness.findings.is_empty() {
                true => tracing::info!(ms, "ready"),
                false => tracing::warn!(ms, findings = readiness.findings.join("; "), "ready, but degraded"),
            }
            notify::tell(&[NotifyState::Ready, NotifyState::Status(&line(&readiness.findings))]);
            unfit = ready(&app).map_err(ServeError::Unfit);
            if unfit.is_ok() {
                signals.until_stop(&mut app, &source, filter.as_ref()).await;
            }
        }
        name = signals.stop() => tracing::info!(signal = name, "stopping before being ready"),
    }
    notify::tell(&[NotifyState::Stopping, NotifyState::Status("stopping: finishing requests and pages in flight")]);
    // A second signal ends what takes too long. The archive is crash-safe: that is what makes this allowed.
    let second = async {
        tokio::time::sleep(SAME_SIGNAL).await;
        signals.forget();
        signals.stop().await
    };
    tokio::select! {
        () = app.stop() => {}
        name = second => {
            tracing::warn!(signal = name, "stopping at once");
            std::process::exit(CUT_OFF);
        }
    }
    signals.stopped.cancel();
    let _ = watchdog.await;
    tracing::info!("stopped");
    unfit
}

fn line(findings: &[String]) -> String {
    if findings.is_empty() { "serving".to_owned() } else { format!("degraded: {}", findings.join("; ")) }
}

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be heard.
    #[error("signals cannot be heard: {0}")]
    Signals(#[from] io::Error),
    /// It runs, but not as it was to.
    #[error("{0}")]
    Unfit(String),
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stopped: tokio_util::sync::CancellationToken,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stopped: tokio_util::sync::CancellationToken::new(),
        })
    }

    /// The next signal to stop.
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Forgets signals that have come.
    fn forget(&mut self) {
        while self.stop().now_or_never().is_some() {}
    }

    async fn until_stop(&mut self, app: &mut App, source: &ConfigSource, filter: Option<&LogFilter>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::info!(signal = "SIGTERM", "stopping"),
                _ = self.interrupt.recv() => return tracing::info!(signal = "SIGINT", "stopping"),
                _ = self.hangup.recv() => {
                    // An instance that hangs makes a reload take its time; that must not keep the daemon from stopping.
                    tokio::select! {
                        () = reload(app, source, filter) => {}
                        _ = self.terminate.recv() => return tracing::info!(signal = "SIGTERM", "stopping during a reload"),
                        _ = self.interrupt.recv() => return tracing::info!(signal = "SIGINT", "stopping during a reload"),
                    }
                }
            }
        }
    }
}

async fn reload(app: &mut App, source: &ConfigSource, filter: Option<&LogFilter>) {
    let config = match source() {
        Ok(config) => config,
        Err(errors) => return tracing::error!(%errors, "keeping the configuration in use"),
    };
    // An instance that works is not given up for a mistake.
    if let Some((instance, error)) = app.refused_by(&config).await {
        return tracing::error!(instance, %error, "keeping the configuration in use: a plugin refuses the new one");
    }
    let reloading = NotifyState::monotonic_usec_now().map(|now| [NotifyState::Reloading, now]);
    reloading.iter().for_each(|states| notify::tell(states));
    if let Some(filter) = filter {
        filter.set(&config.log.level);
    }
    let (changes, need_restart) = app.reload(config).await;
    tracing::info!(
        started = changes.started.join(","),
        restarted = changes.restarted.join(","),
        stopped = changes.stopped.join(","),
        "configuration read again"
    );
    if !need_restart.is_empty() {
        tracing::warn!(sections = need_restart.join(", "), "changes of these sections need a restart");
    }
    let findings = app.overview().readiness().findings;
    notify::tell(&[NotifyState::Ready, NotifyState::Status(&line(&findings))]);
}
