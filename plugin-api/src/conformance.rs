//! Does a plugin keep the rules? A kit that any plugin can be run against, in any language, over either carrier.
//!
//! Each check opens instances of its own, so that one that fails does not spoil the others. What the plugin does with real data
//! is not looked at; every plugin passes every check, or the check is skipped with a reason.
//!
//! A plugin in any language is looked at in a process of its own, and with `--in-process` without one, by
//!
//! ```sh
//! steled plugins check target/debug/libmine.so
//! ```
//!
//! and one of the SDK in its own tests as well (the feature `conformance` of this crate, among the `dev-dependencies`), with the
//! configuration it opens with:
//!
//! ```
//! # use stele_plugin_api::{Host, Plugin, Result, ops::Description};
//! # struct Mine;
//! # impl Plugin for Mine {
//! #     type Config = serde_json::Value;
//! #     const NAME: &'static str = "mine";
//! #     const VERSION: &'static str = "1";
//! #     async fn open(_: serde_json::Value, _: Host) -> Result<Self> { Ok(Self) }
//! #     fn describe(&self) -> Description { Description { name: "mine".into(), ..Description::default() } }
//! # }
//! stele_plugin_api::conformance::assert_conforms::<Mine>(serde_json::json!({ "greeting": "hi" }));
//! ```
//!
//! The kit knows frames and nothing of how they travel: it is given a way to open an instance as a [`Pipe`].

mod checks;
mod link;

use crate::abi::{AbiError, Descriptor};
use crate::codec::Encoding;
use crate::frame::Frame;
use crate::peer::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use tokio::sync::mpsc;

/// An open instance, before hello.
pub struct Pipe {
    /// Sends a frame to it.
    pub post: Box<dyn Fn(Frame) + Send + Sync>,
    /// Sends a frame and counts the releases of its payload and body; `None` when the carrier cannot tell (a child process).
    pub post_counted: Option<Box<dyn Fn(Frame) -> Arc<AtomicU32> + Send + Sync>>,
    /// The frames it sends.
    pub frames: mpsc::UnboundedReceiver<Frame>,
    /// Closes it; says what went wrong, e.g. that it crashed.
    pub close: Box<dyn FnOnce() -> BoxFuture<Result<(), String>> + Send>,
}

impl Pipe {
    /// Opens an instance of a library of this process.
    ///
    /// # Errors
    ///
    /// When the plugin refuses to open.
    pub fn in_process(descriptor: &Descriptor) -> Result<Self, AbiError> {
        let (sender, frames) = mpsc::unbounded_channel();
        let plugin = Arc::new(descriptor.open(move |frame| drop(sender.send(frame)))?);
        let (posting, counting) = (plugin.clone(), plugin.clone());
        Ok(Self {
            post: Box::new(move |frame| posting.post(frame)),
            post_counted: Some(Box::new(move |frame| {
                let releases = Arc::default();
                counting.post_counted(frame, &releases);
                releases
            })),
            frames,
            close: Box::new(move || {
                Box::pin(async move {
                    let closing = tokio::task::spawn_blocking(move || plugin.close());
                    closing.await.map_err(|_| "close panicked".to_owned())
                })
            }),
        })
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

type Open = dyn Fn() -> BoxFuture<Result<Pipe, String>> + Send + Sync;

/// The plugin to look at.
#[derive(Clone)]
pub struct Subject {
    open: Arc<Open>,
    config: serde_json::Value,
    texts: Vec<String>,
    encoding: Option<Encoding>,
    timeout: Duration,
}

impl Subject {
    /// A plugin whose instances `open` opens. It is given an empty configuration, its calls are answered `unsupported`, and it
    /// has ten seconds for each answer.
    pub fn new(open: impl Fn() -> BoxFuture<Result<Pipe, String>> + Send + Sync + 'static) -> Self {
        Self {
            open: Arc::new(open),
            config: serde_json::Value::Object(serde_json::Map::new()),
            texts: Vec::new(),
            encoding: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// A plugin of the SDK, within this process.
    #[cfg(feature = "sdk")]
    pub fn of<P: crate::Plugin>() -> Self {
        let descriptor = crate::entry::loaded::<P>();
        Self::new(move || {
            let pipe = descriptor.clone().and_then(|descriptor| Pipe::in_process(&descriptor));
            Box::pin(std::future::ready(pipe.map_err(|error| error.to_string())))
        })
    }

    /// With this configuration, with which it must open.
    #[must_use]
    pub fn with_config(self, config: serde_json::Value) -> Self {
        Self { config, ..self }
    }

    /// With text at these places of it that may stand for a number or a truth value, see [`Hello::texts`].
    ///
    /// [`Hello::texts`]: crate::hello::Hello::texts
    #[must_use]
    pub fn with_texts(self, texts: Vec<String>) -> Self {
        Self { texts, ..self }
    }

    /// Spoken to in this encoding, instead of the one of its hello. A plugin of the SDK takes both; of one that speaks JSON, which
    /// need not know MessagePack, every check is skipped then.
    #[must_use]
    pub fn speaking(self, encoding: Encoding) -> Self {
        Self { encoding: Some(encoding), ..self }
    }

    /// With this long for each answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rule is kept.
    Pass,
    /// The rule is broken.
    Fail,
    /// It could not be tried.
    Skip,
}

/// A rule, and whether it is kept.
#[derive(Clone, Debug)]
pub struct Check {
    /// Short stable name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub detail: String,
}

/// All checks, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no rule is broken.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.outcome != Outcome::Fail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, outcome, detail } in &self.checks {
            let outcome = match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "FAIL",
                Outcome::Skip => "skip",
            };
            let separator = if detail.is_empty() { "" } else { ": " };
            writeln!(f, "{outcome} {name}{separator}{detail}")?;
        }
        Ok(())
    }
}

/// Makes every check, one after the other.
pub async fn run(subject: &Subject) -> Report {
    checks::all(subject).await
}

/// Makes every check on a plugin of the SDK within this process, in both encodings. `config` is what it opens with.
///
/// # Panics
///
/// With the report, when the plugin breaks a rule.
#[cfg(feature = "sdk")]
pub fn assert_conforms<P: crate::Plugin>(config: serde_json::Value) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().expect("threads for a runtime can be had");
    let subject = Subject::of::<P>().with_config(config);
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let report = runtime.block_on(run(&subject.clone().speaking(encoding)));
        assert!(report.passed(), "{} in {encoding:?}:\n{report}", P::NAME);
    }
}
