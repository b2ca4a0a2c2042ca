//! The variables of the environment, and the files a configuration refers to.

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

/// What the variables of the daemon begin with.
pub const PREFIX: &str = "STELE_";

/// Variables that begin like settings and are none.
const NOT_SETTINGS: &[&str] = &["STELE_CONFIG", "STELE_DEMO_KIT"];

/// Largest file a configuration may refer to, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Name of the source in figment's metadata.
const SOURCE: &str = "environment";

/// Reads a file as text.
pub type ReadFile = Box<dyn Fn(&Path) -> io::Result<String> + Send + Sync>;

/// What a configuration is read in; handed in, so that tests need neither variables nor files of the machine.
pub struct Surroundings {
    /// All variables.
    pub variables: BTreeMap<String, String>,
    /// Reads a file as text.
    pub read_file: ReadFile,
}

impl Surroundings {
    /// Those of the process. Variables that are not UTF-8 are left out.
    pub fn process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, read_file: Box::new(read_file) }
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// The settings among the variables.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// Key (`jobs__concurrency`) to text.
    settings: BTreeMap<String, String>,
}

impl Environment {
    pub fn of(surroundings: &Surroundings) -> Self {
        let settings = surroundings
            .variables
            .iter()
            .filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()))
            .filter_map(|(name, text)| Some((name.strip_prefix(PREFIX)?.to_ascii_lowercase(), text.clone())))
            .collect();
        Self { settings }
    }

    /// All but those of instances.
    pub fn without_instances(&self) -> Self {
        self.part(|key| !key.starts_with("instance__"))
    }

    /// Those of instances: `instance.<name>.…`.
    pub fn instances_only(&self) -> Self {
        self.part(|key| key.starts_with("instance__"))
    }

    /// Tells whether a value of one of these figments came from a variable.
    pub fn is_source_in<'a>(figments: &[&'a Figment]) -> impl Fn(&Value) -> bool + use<'a> {
        let figments = figments.to_vec();
        move |value| {
            figments.iter().any(|figment| figment.get_metadata(value.tag()).is_some_and(|source| source.name == SOURCE))
        }
    }

    fn part(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let settings = self
            .settings
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect();
        Self { settings }
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named(SOURCE)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut dict = Dict::new();
        for (key, text) in &self.settings {
            let path: Vec<&str> = key.split("__").collect();
            insert(&mut dict, &path, value_of(text));
        }
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// A value as TOML writes it; anything else is text.
fn value_of(text: &str) -> Value {
    let parsed = Toml::from_str::<Dict>(&format!("value = {text}")).ok();
    parsed.filter(|dict| dict.len() == 1).and_then(|mut dict| dict.remove("value")).unwrap_or_else(|| text.into())
}

fn insert(dict: &mut Dict, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        dict.insert((*first).to_owned(), value);
        return;
    }
    let entry = dict.entry((*first).to_owned()).or_insert_with(|| Dict::new().into());
    if !matches!(entry, Value::Dict(..)) {
        *entry = Dict::new().into();
    }
    if let Value::Dict(_, inner) = entry {
        insert(inner, rest, value);
    }
}
