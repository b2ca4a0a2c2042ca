//! Reading settings one by one, so that one mistake hides no other.

use super::Config;
use super::environment::{PREFIX, Surroundings};
use super::places::{Places, Step, dotted};
use super::problem::{ConfigErrors, Place, Problem};
use figment::value::{Dict, Value};

/// Largest edit distance at which a known key is suggested for an unknown one.
const NEAR_MISS: usize = 3;

/// A check of a value that was read: `Err` says what it must be.
pub type Check<'c, T> = &'c dyn Fn(&T) -> Result<(), String>;

/// Something that can be read from a value of the configuration.
pub trait Setting: Sized {
    /// Reads it. `None` when a problem was reported instead.
    fn read(value: &Value, reader: &mut Reader<'_>) -> Option<Self>;
}

/// Where the reader is, and what it found wrong.
pub struct Reader<'a> {
    places: &'a Places,
    pub surroundings: &'a Surroundings,
    from_variable: Box<dyn Fn(&Value) -> bool + 'a>,
    path: Vec<Step>,
    /// How the instances are spelled in variables, by index.
    pub instance_variables: Vec<String>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub fn new(
        places: &'a Places,
        surroundings: &'a Surroundings,
        from_variable: impl Fn(&Value) -> bool + 'a,
    ) -> Self {
        let from_variable = Box::new(from_variable);
        let (path, instance_variables, problems) = (Vec::new(), Vec::new(), Vec::new());
        Self { places, surroundings, from_variable, path, instance_variables, problems }
    }

    /// Reads the value of a key, if there is one, and checks it.
    pub fn field<T: Setting>(&mut self, dict: &Dict, key: &'static str, into: &mut T, checks: &[Check<'_, T>]) {
        let Some(value) = dict.get(key) else { return };
        self.within(Step::Key(key.to_owned()), |reader| {
            if reader.is_unset(value) {
                return;
            }
            let Some(read) = T::read(value, reader) else { return };
            for check in checks {
                if let Err(message) = check(&read) {
                    return reader.problem(value, message);
                }
            }
            *into = read;
        });
    }

    /// Reports every key of the table that is none of these, with the one that was probably meant.
    pub fn unknown_keys(&mut self, dict: &Dict, known: &[&str]) {
        for (key, value) in dict.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let meant = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(key, known), known))
                .filter(|(distance, known)| *distance <= NEAR_MISS.min(known.len().saturating_sub(1)))
                .min();
            let message = match meant {
                Some((_, known)) => format!("unknown key; did you mean {known:?}?"),
                None => format!("unknown key; known here: {}", known.join(", ")),
            };
            self.within(Step::Key(key.clone()), |reader| {
                let place = reader.variable(value).map_or_else(|| reader.places.key(&reader.path), Place::Variable);
                reader.push(place, message);
            });
        }
    }

    /// Does something one step further in.
    pub fn within<R>(&mut self, step: Step, work: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(step);
        let result = work(self);
        self.path.pop();
        result
    }

    /// Something is wrong with the value at this place.
    pub fn problem(&mut self, value: &Value, message: impl Into<String>) {
        let place = self.variable(value).map_or_else(|| self.places.value(&self.path), Place::Variable);
        self.push(place, message.into());
    }

    /// Something is wrong with what stands under a dotted path of the file, e.g. `instance[0].listen`.
    pub fn problem_at(&mut self, path: &str, message: impl Into<String>) {
        let steps = steps_of(path);
        let place = self.places.value(&steps);
        self.problems.push(Problem { place, key: path.to_owned(), message: message.into() });
    }

    /// Whether something was found wrong under this dotted path already.
    pub fn has_problem_at(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == path)
    }

    /// Something is wrong with a variable.
    pub fn problem_of_variable(&mut self, name: String, message: impl Into<String>) {
        self.problems.push(Problem { place: Place::Variable(name), key: String::new(), message: message.into() });
    }

    /// The value has the wrong type.
    pub fn mismatch(&mut self, value: &Value, expected: &str) {
        self.problem(value, format!("expected {expected}, found {}", type_of(value)));
    }

    /// The text of the variable that is this value alone, as it was written.
    pub fn raw_variable(&self, value: &Value) -> Option<&'a str> {
        let names = self.variable_names();
        let name = names.last().filter(|_| (self.from_variable)(value) && names.len() == self.path.len())?;
        self.surroundings.variables.get(name).map(String::as_str)
    }

    /// The variable that says the value here, alone or with what is around it.
    pub fn variable_here(&self, value: &Value) -> Option<String> {
        let names = (self.from_variable)(value).then(|| self.variable_names())?;
        names.into_iter().rev().find(|name| self.surroundings.variables.contains_key(name))
    }

    /// Whether an empty variable says that the value here shall be as if nobody had set it, the file included.
    pub fn is_unset(&self, value: &Value) -> bool {
        matches!(value, Value::String(_, text) if text.is_empty()) && self.raw_variable(value).is_some()
    }

    /// The path as it is meant: what is relative in the file starts from the file's folder.
    pub fn resolve(&self, value: &Value, path: &str) -> std::path::PathBuf {
        match self.places.folder() {
            Some(folder) if !path.is_empty() && !(self.from_variable)(value) => folder.join(path),
            _ => path.into(),
        }
    }

    /// The configuration, or everything that is wrong with it.
    pub fn finish(mut self, config: Config) -> Result<Config, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(config);
        }
        self.problems.sort();
        self.problems.dedup();
        Err(ConfigErrors { problems: self.problems, rest: Some(Box::new(config)) })
    }

    fn push(&mut self, place: Place, message: String) {
        self.problems.push(Problem { place, key: dotted(&self.path), message });
    }

    /// The variable a value came from, if it came from one: the one that holds it alone, or with what is around it, or
    /// one of those that make it up.
    fn variable(&self, value: &Value) -> Option<String> {
        if !(self.from_variable)(value) {
            return None;
        }
        let last = self.variable_names().pop();
        let inner = || {
            let prefix = format!("{}__", last.as_ref()?);
            self.surroundings.variables.keys().find(|name| name.starts_with(&prefix)).cloned()
        };
        self.variable_here(value).or_else(inner).or_else(|| last.clone())
    }

    /// The names variables can have for the steps to here, as long as a variable can say the step.
    fn variable_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (depth, step) in self.path.iter().enumerate() {
            let (before, separator) = names.last().map_or((PREFIX, ""), |name| (name.as_str(), "__"));
            let name = match step {
                Step::Key(key) => key.to_ascii_uppercase(),
                Step::Index(index) if depth == 1 && before == "STELE_INSTANCE" => {
                    self.instance_variables.get(*index).cloned().unwrap_or_default()
                }
                Step::Index(_) => break,
            };
            names.push(format!("{before}{separator}{name}"));
        }
        names
    }
}

/// What the type of a value is called.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "a truth value",
        Value::Num(_, number) if number.to_f64().is_some() => "a fraction",
        Value::Num(..) => "a whole number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "an array",
    }
}

/// The steps of a dotted path.
pub(super) fn steps_of(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, index) = part.split_once('[').map_or((part, None), |(key, rest)| (key, rest.strip_suffix(']')));
        steps.push(Step::Key(key.to_owned()));
        steps.extend(index.and_then(|index| index.parse().ok()).map(Step::Index));
    }
    steps
}

/// Declares a section: a struct whose every field has a default, and may have checks.
///
/// It becomes a struct with `Default`, `Serialize`, [`Setting`] and `KEYS`, the names of its keys.
macro_rules! section {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$fmeta:meta])* pub $field:ident: $type:ty = $default:expr $(, $check:expr)*;)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $name {
            /// Names of its keys.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),+];
        }

        impl $crate::config::reader::Setting for $name {
            fn read(value: &figment::value::Value, reader: &mut $crate::config::reader::Reader<'_>) -> Option<Self> {
                let figment::value::Value::Dict(_, dict) = value else {
                    reader.mismatch(value, "a table");
                    return None;
                };
                let mut section = Self::default();
                $(reader.field(dict, stringify!($field), &mut section.$field, &[$(&$check),*]);)+
                reader.unknown_keys(dict, Self::KEYS);
                Some(section)
            }
        }
    };
}
