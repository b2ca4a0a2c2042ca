//! Does a plugin keep the rules? A kit that any plugin can be run against, in any language, over either carrier.
//!
//! Each check opens instances of its own, so that one that fails does not spoil the others. What the plugin does with real data
//! is not looked at; every plugin passes every check, or the check is skipped with a reason.
//!
//! A plugin in any language is looked at over both carriers, and in each encoding it takes, by
//!
//! ```sh
//! steled plugins check target/debug/libmine.so
//! ```
//!
//! and in a test by `stele_host::assert_conforms`. One of the SDK looks at itself, in its own process, in its own tests (the feature
//! `conformance` of this crate, among the `dev-dependencies`), with the configuration it opens with:
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
mod pipe;

use crate::codec::Encoding;
use crate::ops::MediaRequest;
use crate::peer::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use pipe::{MOST_WAITING, Pipe};

type Open = dyn Fn() -> BoxFuture<Result<Pipe, String>> + Send + Sync;

/// The plugin to look at.
#[derive(Clone)]
pub struct Subject {
    open: Arc<Open>,
    config: serde_json::Value,
    texts: Vec<String>,
    media: MediaRequest,
    encoding: Option<Encoding>,
    timeout: Duration,
}

impl Subject {
    /// A plugin whose instances `open` opens. It is given an empty configuration, its calls are answered `unsupported`, and it
    /// has ten seconds for each answer, for opening and for closing. An `open` that blocks belongs on a thread of its own, as
    /// [`Pipe::in_process`] has it: otherwise nothing can be made of one that never returns.
    pub fn new(open: impl Fn() -> BoxFuture<Result<Pipe, String>> + Send + Sync + 'static) -> Self {
        Self {
            open: Arc::new(open),
            config: serde_json::Value::Object(serde_json::Map::new()),
            texts: Vec::new(),
            media: MediaRequest::default(),
            encoding: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// A plugin of the SDK, within this process.
    #[cfg(feature = "sdk")]
    pub fn of<P: crate::Plugin>() -> Self {
        let descriptor = crate::entry::loaded::<P>();
        Self::new(move || {
            let descriptor = descriptor.clone().map_err(|error| error.to_string());
            Box::pin(Pipe::in_process(move || descriptor))
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

    /// Asked for this file where it offers files; without it for one that has no name, of which it may send nothing.
    #[must_use]
    pub fn with_media(self, media: MediaRequest) -> Self {
        Self { media, ..self }
    }

    /// Spoken to in this encoding, instead of the one of its hello. A plugin of the SDK takes both; of one that speaks JSON, which
    /// need not know MessagePack, every check is skipped then.
    #[must_use]
    pub fn speaking(self, encoding: Encoding) -> Self {
        Self { encoding: Some(encoding), ..self }
    }

    /// With this long for each answer, for opening and for closing.
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

/// The checks, in the order they were made. Of a plugin that does not open, or hangs again and again, only those that were tried.
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

    /// How many checks ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::Skip => "skip",
        };
        let separator = if self.detail.is_empty() { "" } else { ": " };
        write!(f, "{outcome} {}{separator}{}", self.name, self.detail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// What the checks found in one encoding.
#[derive(Clone, Debug)]
pub struct Run {
    /// The encoding; `None` when it did not come so far that it could be learned which it speaks.
    pub encoding: Option<Encoding>,
    /// What they found; of an encoding that it does not take, why not.
    pub report: Report,
}

fn named(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::MessagePack => "MessagePack",
        Encoding::Json => "JSON",
    }
}

/// How many checks passed, and those that did not.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { checks } = &self.report;
        let encoding = self.encoding.map_or("its own encoding", named);
        if let [Check { outcome: Outcome::Skip, detail, .. }] = &checks[..] {
            return writeln!(f, "{encoding}: skipped, {detail}");
        }
        writeln!(f, "{encoding}: {} of {} checks passed", self.report.count(Outcome::Pass), checks.len())?;
        checks.iter().filter(|check| check.outcome != Outcome::Pass).try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// Makes every check, one after the other. It ends whatever the plugin does: each check has its time, and one that hangs, or does
/// not even open, is not waited for again and again.
pub async fn run(subject: &Subject) -> Report {
    checks::all(subject).await
}

/// Makes every check in each encoding the plugin takes: in that of its hello, and in JSON also where that is MessagePack, if it answers
/// in it, as every plugin of the SDK does. One that is [spoken to](Subject::speaking) in a certain encoding is so in that one alone.
pub async fn run_each(subject: &Subject) -> Vec<Run> {
    let own = match subject.encoding {
        Some(encoding) => return vec![Run { encoding: Some(encoding), report: run(subject).await }],
        None => checks::encodings(subject).await,
    };
    let Some(taken) = own else { return vec![Run { encoding: None, report: run(subject).await }] };
    let mut runs = Vec::new();
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let report = match taken.contains(&encoding) {
            true => run(&subject.clone().speaking(encoding)).await,
            false => {
                let detail = format!("it speaks {}", taken.iter().copied().map(named).collect::<String>());
                Report { checks: vec![Check { name: "every_check", outcome: Outcome::Skip, detail }] }
            }
        };
        runs.push(Run { encoding: Some(encoding), report });
    }
    runs
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
