//! HTTP scenarios kept as data, run on the real binary.
//!
//! A folder is a suite: `suite.json` says which plugin, which configurations (*profiles*) and which shapes of values; every
//! other file is a scenario, a list of steps with what each must be answered. How expectations are written is in
//! [`mod@pattern`]. The whole answer is compared: a member more, or another order of members, is a failure.

mod pattern;
mod run;

pub use pattern::{Shape, Shapes, Variables};
pub use run::run_all;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// `suite.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// For readers.
    pub about: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Lines of `[instance.config]` of every profile.
    pub config: Vec<String>,
    /// The configurations. Each is an instance of its own.
    pub profiles: BTreeMap<String, Profile>,
    /// Profiles of a scenario that names none.
    pub default_profiles: Vec<String>,
    /// Named shapes of values.
    pub shapes: Shapes,
    /// Values every scenario may use.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// What is expected of an answer in JSON unless its step says otherwise.
    pub json: JsonAnswers,
    /// Steps by name, for `do`.
    #[serde(default)]
    pub steps: BTreeMap<String, Step>,
    /// What the documents list: every one must be answered as documented in some scenario, in every default profile, and
    /// nothing else may be.
    pub endpoints: BTreeSet<String>,
    /// Other ways to them.
    #[serde(default)]
    pub aliases: BTreeSet<String>,
}

impl Suite {
    /// `[instance.config]` of each profile.
    pub fn configs(&self) -> impl Iterator<Item = (&String, String)> {
        self.profiles.iter().map(|(name, profile)| (name, [&self.config[..], &profile.config].concat().join("\n")))
    }
}

/// A configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// More lines of `[instance.config]`.
    #[serde(default)]
    pub config: Vec<String>,
    /// Shapes that are its own.
    #[serde(default)]
    pub shapes: Shapes,
}

/// What answers in JSON have in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonAnswers {
    /// Headers with their exact values.
    pub headers: BTreeMap<String, Value>,
    /// How the text ends.
    pub ends_with: String,
    /// Member of a success, and its value; where there is none, the HTTP status tells.
    pub success: Option<(String, Value)>,
}

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub about: String,
    /// The profiles it holds in; the suite's default ones when missing.
    pub profiles: Option<Vec<String>>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step: exactly one of `do`, `request`, `open`, `hear` and `ends`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// For readers.
    #[serde(default)]
    pub what: String,
    /// A step of the suite.
    #[serde(rename = "do")]
    pub again: Option<String>,
    /// Variables that are set before.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
    /// How many times; the variable `i` counts from 1.
    #[serde(default = "once")]
    pub repeat: u32,
    /// A request.
    pub request: Option<Request>,
    /// What it is answered.
    #[serde(default)]
    pub expect: Expect,
    /// A connection that stays open.
    pub open: Option<Open>,
    /// What an open connection hears next.
    pub hear: Option<Hear>,
    /// How an open connection ends.
    pub ends: Option<Ends>,
}

fn once() -> u32 {
    1
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `POST` when missing.
    pub method: Option<String>,
    /// Path and query, sent as they are.
    pub path: String,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON.
    pub body: Option<Value>,
    /// Any other body.
    pub text: Option<String>,
}

/// An answer. Without `body` and `text` the body is not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// 200 when missing.
    pub status: Option<u16>,
    /// `null`: must be absent.
    #[serde(default)]
    pub headers: BTreeMap<String, Value>,
    /// JSON.
    pub body: Option<Value>,
    /// The exact text.
    pub text: Option<String>,
    /// A part of the text, to see how it is escaped.
    pub contains: Option<String>,
}

/// A connection that stays open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// To call it by.
    pub name: String,
    /// `ws` or `sse`.
    pub carrier: String,
    pub path: String,
    pub token: Option<String>,
}

/// What an open connection hears next.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hear {
    pub from: String,
    /// `id` and `event` of a server-sent event.
    pub id: Option<Value>,
    pub event: Option<Value>,
    /// The message.
    pub message: Value,
}

/// How an open connection ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    pub from: String,
    /// Code of the close frame; none: the end of the stream.
    pub code: Option<u16>,
}

/// Reads a suite and its scenarios, by file name.
pub fn read(folder: &Path) -> Result<(Suite, BTreeMap<String, Scenario>)> {
    let mut scenarios = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") && name != "suite" {
            scenarios.insert(name, parse(&path)?);
        }
    }
    Ok((parse(&folder.join("suite.json"))?, scenarios))
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
