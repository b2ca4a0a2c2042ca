//! Mistakes of a configuration, and how they are shown.

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

/// All mistakes of a configuration, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl ConfigErrors {
    pub(super) fn of_file(file: &Path, message: &str) -> Self {
        let place = Place::File(file.to_owned());
        Self(vec![Problem { place, key: String::new(), message: message.to_owned() }])
    }

    /// What plugins find wrong with their part of the file: instance by index, key within `config`, sentence. `Ok` when that
    /// is nothing.
    ///
    /// # Errors
    ///
    /// All of them, each where its key stands, or where the nearest table around it does.
    pub fn of_plugins(file: Option<&Path>, mistakes: Vec<(usize, Mistake)>) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }
        // The file was read a moment ago; should it be gone by now, the keys still tell.
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let places = Places::parse(file, &text)?;
        let mut problems: Vec<Problem> = mistakes
            .into_iter()
            .map(|(index, Mistake { key, message })| {
                let dot = if key.is_empty() { "" } else { "." };
                let key = format!("instance[{index}].config{dot}{key}");
                Problem { place: places.key(&steps_of(&key)), key, message }
            })
            .collect();
        problems.sort();
        Err(Self(problems))
    }

    pub(super) fn of_whole(file: Option<&Path>, message: &str) -> Self {
        let place = file.map_or(Place::Defaults, |file| Place::File(file.to_owned()));
        Self(vec![Problem { place, key: String::new(), message: message.to_owned() }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {} in the configuration", if count == 1 { "error" } else { "errors" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}
