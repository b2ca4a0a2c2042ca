//! Configuration: one TOML file, `STELE_` variables over it, and every mistake reported at once with its place.
//!
//! # How it is read
//!
//! figment merges the sources (defaults < file < environment); each value remembers the source it came from. Sections are
//! structs declared with [`section!`](reader), which gives each its `Default`, its list of keys and a reader. The reader
//! takes every key on its own, so that one wrong value hides no other, and asks `toml_edit` for the line and column of the
//! offending value. serde's derive stops at the first error and does not know places, which is why it is not used here.
//!
//! # Variables
//!
//! `STELE_JOBS__CONCURRENCY=2` is `concurrency` of `[jobs]`; `STELE_INSTANCE__HQ__LISTEN=127.0.0.1:9003` is `listen` of
//! the instance named `hq` (a `-` or `.` of the name becomes `_`). Values are written as in TOML; text needs no quotes. Empty text makes a key as if
//! nobody had set it, the file included.
//!
//! # Secrets
//!
//! In `[instance.config]`, `admin.api_keys`, `search.key`, `media.link_key`, the keys of `[media.s3]` and what NATS is shown in
//! `[cluster]` a table `{ file = "path" }` stands for the content of
//! that file and `{ env = "NAME" }` for that variable. What is secret is masked in `Debug` and in [`Config::to_toml`].

#[macro_use]
mod reader;
mod cluster;
mod environment;
mod instance;
mod media;
mod places;
mod plugin;
mod problem;
mod schedule;
mod secret;
mod sections;
mod values;

pub use cluster::Cluster;
pub use environment::{PREFIX, ReadFile, Surroundings};
pub use instance::{Carrier, Instance, InstanceDirectory, InstanceLimits, InstanceMedia, InstanceSync, Tls};
pub use media::{ContentStore, Media, S3};
pub use plugin::PluginConfig;
pub use problem::{ConfigErrors, Place, Problem};
pub use schedule::{Cron, Zone};
pub use secret::Secret;
pub use sections::{Admin, Archive, Durability, Engine, Http, Jobs, Live, Log, LogFormat, Plugins, Search};

use environment::Environment;
use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use places::Places;
use reader::Reader;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The commented file that documents every key with its default.
pub const DEFAULT_FILE: &str = include_str!("../../../config/steled.toml");

/// Where the daemon keeps its archive when nothing else is said.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/stele";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Folder of the archive, the search index and the files.
    pub data_dir: PathBuf,
    /// `[log]`
    pub log: Log,
    /// `[admin]`
    pub admin: Admin,
    /// `[http]`
    pub http: Http,
    /// `[archive]`
    pub archive: Archive,
    /// `[search]`
    pub search: Search,
    /// `[jobs]`
    pub jobs: Jobs,
    /// `[media]`
    pub media: Media,
    /// `[live]`
    pub live: Live,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[plugins]`
    pub plugins: Plugins,
    /// `[[instance]]`
    #[serde(rename = "instance")]
    pub instances: Vec<Instance>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: DEFAULT_DATA_DIR.into(),
            log: Log::default(),
            admin: Admin::default(),
            http: Http::default(),
            archive: Archive::default(),
            search: Search::default(),
            jobs: Jobs::default(),
            media: Media::default(),
            live: Live::default(),
            cluster: Cluster::default(),
            plugins: Plugins::default(),
            instances: Vec::new(),
        }
    }
}

impl Config {
    /// Keys of the top level.
    pub const KEYS: &'static [&'static str] = &[
        "data_dir", "log", "admin", "http", "archive", "search", "jobs", "media", "live", "cluster", "plugins",
        "instance",
    ];

    /// The configuration of this file (defaults alone when `None`) under the variables of the process.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        Self::load_in(file, &Surroundings::process())
    }

    /// The same in surroundings that are handed in.
    pub fn load_in(file: Option<&Path>, surroundings: &Surroundings) -> Result<Self, ConfigErrors> {
        let text = match file {
            None => String::new(),
            Some(path) => match (surroundings.read_file)(path) {
                Ok(text) => text,
                Err(error) => return Err(ConfigErrors::of_file(path, &format!("cannot be read: {error}"))),
            },
        };
        Self::parse(file, &text, surroundings)
    }

    /// The configuration of this text, which is that of `file`.
    pub fn parse(file: Option<&Path>, text: &str, surroundings: &Surroundings) -> Result<Self, ConfigErrors> {
        let places = Places::parse(file, text)?;
        let variables = Environment::of(surroundings);
        let figment = Figment::new().merge(Toml::string(text)).merge(variables.without_instances());
        let overrides = Figment::new().merge(variables.instances_only());
        let all_of = |figment: &Figment| {
            let value = figment.find_value("").map_err(|error| ConfigErrors::of_whole(file, &error.to_string()))?;
            Ok::<_, ConfigErrors>(value.into_dict().unwrap_or_default())
        };
        let (mut dict, for_instances) = (all_of(&figment)?, all_of(&overrides)?);
        let mut reader = Reader::new(&places, surroundings, Environment::is_source_in(&[&figment, &overrides]));
        instance::overlay(&mut dict, &for_instances, &mut reader);
        let config = Self::read(&dict, &mut reader);
        instance::cross_check(&config, &mut reader);
        media::cross_check(&config, &mut reader);
        cluster::cross_check(&config, &mut reader);
        reader.finish(config)
    }

    fn read(dict: &Dict, reader: &mut Reader<'_>) -> Self {
        let mut config = Self::default();
        reader.field(dict, "data_dir", &mut config.data_dir, &[&values::not_empty]);
        reader.field(dict, "log", &mut config.log, &[]);
        reader.field(dict, "admin", &mut config.admin, &[]);
        reader.field(dict, "http", &mut config.http, &[]);
        reader.field(dict, "archive", &mut config.archive, &[]);
        reader.field(dict, "search", &mut config.search, &[]);
        reader.field(dict, "jobs", &mut config.jobs, &[]);
        reader.field(dict, "media", &mut config.media, &[]);
        reader.field(dict, "live", &mut config.live, &[]);
        reader.field(dict, "cluster", &mut config.cluster, &[]);
        reader.field(dict, "plugins", &mut config.plugins, &[]);
        if let Some(Value::Dict(..)) = dict.get("instance") {
            reader.problem_at("instance", "expected an array of tables: write [[instance]]");
        } else {
            reader.field(dict, "instance", &mut config.instances, &[]);
        }
        reader.unknown_keys(dict, Self::KEYS);
        config
    }

    /// The effective configuration as TOML, secrets masked.
    pub fn to_toml(&self) -> String {
        toml_edit::ser::to_string_pretty(self).expect("a configuration holds only what TOML can say")
    }
}

/// Where the file of a plugin lies: `plugin` is a path, or a name that is looked for in the plugin folders.
pub fn find_plugin(plugin: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    if plugin.contains('/') || plugin.ends_with(".so") {
        return Path::new(plugin).is_file().then(|| PathBuf::from(plugin));
    }
    let file = format!("libstele_{}.so", plugin.replace('-', "_"));
    folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file())
}
