//! Mistakes of a configuration, and how they are shown.

use super::Config;
use super::places::Places;
use super::reader::steps_of;
use std::fmt;
use std::path::{Path, PathBuf};
use stele_plugin_api::Mistake;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole: it cannot be read, or the value is missing everywhere.
    File(PathBuf),
    /// A place in the file; line and column count from 1, columns in characters.
    Text {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// Nowhere: a default.
    Defaults,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Text { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Defaults => f.write_str("defaults"),
        }
    }
}

/// One mistake. Its message never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, dotted: `instance[0].sync.cron`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of a configuration.
#[derive(Debug, PartialEq)]
pub struct ConfigErrors {
    /// The mistakes, in the order of the file.
    pub problems: Vec<Problem>,
    /// What could be read, with defaults in place of what is wrong; `None` when the file is none.
    pub rest: Option<Box<Config>>,
}

impl ConfigErrors {
    pub(super) fn of_file(file: &Path, message: &str) -> Self {
        Self::of_place(Place::File(file.to_owned()), message)
    }

    pub(super) fn of_place(place: Place, message: &str) -> Self {
        let problem = Problem { place, key: String::new(), message: message.to_owned() };
        Self { problems: vec![problem], rest: None }
    }

    /// With what plugins find wrong with their part as well: instance by index, and the mistake. Each is told where its key
    /// stands, or the nearest table around it, or by its variable. What is wrong already in the daemon's eyes, and so did
    /// not reach the plugin, is not told again.
    #[must_use]
    pub fn and_of_plugins(mut self, file: Option<&Path>, config: &Config, mistakes: Vec<(usize, Mistake)>) -> Self {
        // The file was read a moment ago; should it be gone by now, the keys still tell.
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let places = Places::parse(file, &text).ok();
        let told: Vec<String> = self.problems.iter().map(|problem| problem.key.clone()).collect();
        for (index, Mistake { key, message }) in mistakes {
            let config = &config.instances[index].config;
            let dot = if key.is_empty() || key.starts_with('[') { "" } else { "." };
            let full = format!("instance[{index}].config{dot}{key}");
            let whole = format!("instance[{index}].config");
            let is_told = |told: &String| is_within(told, &full) || (is_within(told, &whole) && is_within(&full, told));
            if told.iter().any(is_told) {
                continue;
            }
            let variable = config.variable_of(&key).map(|name| Place::Variable(name.to_owned()));
            let in_file = || places.as_ref().map_or(Place::Defaults, |places| places.key(&steps_of(&full)));
            self.problems.push(Problem { place: variable.unwrap_or_else(in_file), key: full, message });
        }
        self.problems.sort();
        self
    }

    /// With mistakes at these keys as well, each told where its key stands, or the nearest table around it.
    #[must_use]
    pub fn and_at(mut self, file: Option<&Path>, wrong: Vec<(String, String)>) -> Self {
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let places = Places::parse(file, &text).ok();
        self.problems.extend(wrong.into_iter().map(|(key, message)| {
            let place = places.as_ref().map_or(Place::Defaults, |places| places.key(&steps_of(&key)));
            Problem { place, key, message }
        }));
        self.problems.sort();
        self
    }

    /// `Ok` when there are none.
    ///
    /// # Errors
    ///
    /// These.
    pub fn none(self) -> Result<(), Self> {
        if self.problems.is_empty() { Ok(()) } else { Err(self) }
    }

    pub(super) fn of_whole(file: Option<&Path>, message: &str) -> Self {
        let place = file.map_or(Place::Defaults, |file| Place::File(file.to_owned()));
        Self::of_place(place, message)
    }
}

/// Whether one key is another, or something in it.
fn is_within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{count} {} in the configuration", if count == 1 { "error" } else { "errors" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}
