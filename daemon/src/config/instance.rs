//! `[[instance]]`: a configured plugin.

use super::Config;
use super::plugin::PluginConfig;
use super::reader::Reader;
use super::schedule::{Cron, Zone};
use super::sections::Engine;
use super::values::{not_empty, unset_or_within, within, words};
use figment::value::{Dict, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Longest name of an instance, in bytes.
const MAX_NAME_BYTES: usize = 64;

words! {
    /// How a plugin runs.
    pub enum Carrier {
        /// In a process of its own: whatever happens to it, the daemon goes on.
        Child = "child",
        /// Inside the daemon: faster, for plugins one trusts.
        InProcess = "in-process",
    }
}

section! {
    /// `[instance.tls]`: certificate and key, both or neither.
    pub struct Tls {
        /// PEM file with the certificate and its chain.
        pub cert: Option<PathBuf> = None;
        /// PEM file with the private key.
        pub key: Option<PathBuf> = None;
    }
}

section! {
    /// `[instance.sync]`: when messages are fetched.
    pub struct InstanceSync {
        /// Whether they are fetched by themselves.
        pub enabled: bool = true;
        /// When. Unset: as the plugin recommends.
        pub cron: Option<Cron> = None;
        /// Zone of the pattern. Unset: that of `[jobs]`.
        pub zone: Option<Zone> = None;
        /// Seconds within which the start is spread.
        pub jitter_seconds: u64 = 0, within(0..=86_400);
        /// Messages asked for per page. Unset: that of `[jobs]`.
        pub page_limit: Option<u32> = None, unset_or_within(1..=10_000);
    }
}

section! {
    /// `[instance.directory]`: when people and conversations are fetched.
    pub struct InstanceDirectory {
        /// Whether they are fetched by themselves.
        pub enabled: bool = true;
        /// When. Unset: as the plugin recommends.
        pub cron: Option<Cron> = None;
        /// Zone of the pattern. Unset: that of `[jobs]`.
        pub zone: Option<Zone> = None;
        /// Seconds within which the start is spread.
        pub jitter_seconds: u64 = 0, within(0..=86_400);
    }
}

section! {
    /// `[instance.media]`: files of messages.
    pub struct InstanceMedia {
        /// Whether they are fetched.
        pub enabled: bool = true;
        /// Files fetched at the same time. Unset: that of `[media]`.
        pub concurrency: Option<usize> = None, unset_or_within(1..=64);
    }
}

section! {
    /// `[instance.limits]`: what the plugin's process may take of the machine.
    pub struct InstanceLimits {
        /// MiB of memory it may hold. Unset: any number.
        pub memory_mib: Option<u64> = None, unset_or_within(16..=1 << 24);
        /// Files, sockets and pipes it may have open. Unset: as many as the daemon.
        pub open_files: Option<u64> = None, unset_or_within(64..=1 << 20);
        /// Processor time it may take, in percent of one processor. Unset: all it gets.
        pub cpu_percent: Option<u32> = None, unset_or_within(1..=100_000);
        /// Seconds that is the average of.
        pub cpu_window_seconds: u64 = 60, within(1..=3600);
        /// How much it gives way to others where processors are short: 0 (not at all) to 19.
        pub nice: u8 = 0, within(0..=19);
    }
}

section! {
    /// `[[instance]]`: a configured plugin.
    pub struct Instance {
        /// Its name: unique, and for ever, since the archive knows its messages by it.
        pub name: String = String::new(), |name: &String| name_is_valid(name);
        /// Name of the plugin, or path of its file.
        pub plugin: String = String::new(), not_empty;
        /// SHA-256 of that file, hexadecimal: no other one is loaded.
        pub sha256: Option<String> = None, sum_is_valid;
        /// How the plugin runs.
        pub carrier: Carrier = Carrier::Child;
        /// Whether it runs.
        pub enabled: bool = true;
        /// Where its clients find it. Unset: where the plugin recommends. Instances may share one with a `prefix` each.
        pub listen: Option<SocketAddr> = None;
        /// Path its requests begin with on a shared listener, e.g. `/hq`; the plugin does not see it.
        pub prefix: String = String::new(), |prefix: &String| prefix_is_valid(prefix);
        /// Address clients use, for links in answers. Unset: the `Host` they sent.
        pub public_url: Option<String> = None, url_is_valid;
        /// Requests a second one caller may make; 0 for any number. Unset: as the plugin recommends.
        pub rate_limit: Option<u32> = None, unset_or_within(0..=1_000_000);
        /// Largest body of a request, in bytes. Unset: that of `[http]`.
        pub max_body_bytes: Option<usize> = None, unset_or_within(0..=1 << 30);
        /// Certificate and key.
        pub tls: Tls = Tls::default(), both_or_neither;
        /// When messages are fetched.
        pub sync: InstanceSync = InstanceSync::default();
        /// When people and conversations are fetched.
        pub directory: InstanceDirectory = InstanceDirectory::default();
        /// Files of messages.
        pub media: InstanceMedia = InstanceMedia::default();
        /// What the plugin's process may take of the machine.
        pub limits: InstanceLimits = InstanceLimits::default();
        /// What the plugin gets.
        pub config: PluginConfig = PluginConfig::default();
    }
}

/// Puts the variables of instances over the instances of the file, by name.
pub(super) fn overlay(dict: &mut Dict, overrides: &Dict, reader: &mut Reader<'_>) {
    note_names(dict, reader);
    let Some(Value::Dict(_, overrides)) = overrides.get("instance") else { return };
    let is_set = |value: &Value| !matches!(value, Value::String(_, text) if text.is_empty());
    for (variable, value) in overrides.iter().filter(|(_, value)| is_set(value)) {
        let wanted = variable.to_ascii_uppercase();
        let index = reader.instance_variables.iter().position(|name| *name == wanted);
        match (index, dict.get_mut("instance")) {
            (Some(index), Some(Value::Array(_, instances))) => merge(&mut instances[index], value),
            _ => reader.problem_of_variable(
                format!("{}INSTANCE__{wanted}__…", super::PREFIX),
                "no [[instance]] of this name in the file",
            ),
        }
    }
}

fn note_names(dict: &Dict, reader: &mut Reader<'_>) {
    let Some(Value::Array(_, instances)) = dict.get("instance") else { return };
    reader.instance_variables = instances
        .iter()
        .map(|instance| match instance {
            Value::Dict(_, instance) => match instance.get("name") {
                Some(Value::String(_, name)) => name.to_ascii_uppercase().replace(['-', '.'], "_"),
                _ => String::new(),
            },
            _ => String::new(),
        })
        .collect();
}

fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Dict(_, under), Value::Dict(_, over)) => {
            for (key, value) in over {
                match under.get_mut(key) {
                    Some(present) => merge(present, value),
                    None => _ = under.insert(key.clone(), value.clone()),
                }
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// What no section can see alone: names and listeners that collide, required keys.
pub(super) fn cross_check(config: &Config, reader: &mut Reader<'_>) {
    if config.jobs.retry_min_seconds > config.jobs.retry_max_seconds {
        reader.problem_at("jobs.retry_min_seconds", "must not be greater than jobs.retry_max_seconds");
    }
    if config.search.engine == Engine::Meilisearch
        && config.search.url.is_none()
        && !reader.has_problem_at("search.url")
    {
        reader.problem_at("search.url", "is missing: the engine \"meilisearch\" is a server");
    }
    let admin = &config.admin;
    if admin.enabled && !admin.listen.ip().is_loopback() && admin.api_keys.is_empty() {
        reader.problem_at(
            "admin.listen",
            format!("{} is reachable from elsewhere: that needs admin.api_keys", admin.listen),
        );
    }
    let mut names = BTreeMap::new();
    let mut listeners: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
    for (index, instance) in config.instances.iter().enumerate() {
        let key = format!("instance[{index}]");
        for (field, value) in [("name", &instance.name), ("plugin", &instance.plugin)] {
            if value.is_empty() && !reader.has_problem_at(&format!("{key}.{field}")) {
                reader.problem_at(&format!("{key}.{field}"), "is missing");
            }
        }
        if instance.carrier == Carrier::InProcess && instance.limits != InstanceLimits::default() {
            let message =
                "limits hold a process of the plugin's own, and in-process it has none: use carrier = \"child\"";
            reader.problem_at(&format!("{key}.limits"), message);
        }
        if let Some(first) = names.insert(instance.name.as_str(), index)
            && !instance.name.is_empty()
        {
            let message = format!("the name {:?} is taken by instance[{first}]", instance.name);
            reader.problem_at(&format!("{key}.name"), message);
        }
        if let Some(listen) = instance.listen.filter(|listen| listen.port() != 0) {
            listeners.entry(listen).or_default().push(index);
        }
    }
    for (listen, indices) in listeners {
        check_listener(config, listen, &indices, reader);
    }
}

fn check_listener(config: &Config, listen: SocketAddr, indices: &[usize], reader: &mut Reader<'_>) {
    let mut prefixes: BTreeMap<&str, usize> = BTreeMap::new();
    for &index in indices {
        let instance = &config.instances[index];
        let first = &config.instances[indices[0]];
        if config.admin.enabled && config.admin.listen == listen {
            reader.problem_at(&format!("instance[{index}].listen"), format!("{listen} is taken by admin.listen"));
        }
        if let Some(other) = prefixes.insert(&instance.prefix, index) {
            let name = &config.instances[other].name;
            reader.problem_at(
                &format!("instance[{index}].listen"),
                format!("{listen} is taken by instance {name:?}: give each its own listen, or its own prefix"),
            );
        } else if first.tls != instance.tls {
            reader.problem_at(
                &format!("instance[{index}].tls"),
                format!("instances that share {listen} need the same tls as instance {:?}", first.name),
            );
        }
    }
}

fn name_is_valid(name: &str) -> Result<(), String> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if fits {
        return Ok(());
    }
    Err(format!("must be 1 to {MAX_NAME_BYTES} of a-z, 0-9, -, _ and ., and begin with a letter or digit; is {name:?}"))
}

fn sum_is_valid(sum: &Option<String>) -> Result<(), String> {
    match sum {
        Some(text) if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(format!("expected the 64 hexadecimal digits that `sha256sum` prints, found {text:?}"))
        }
        _ => Ok(()),
    }
}

fn prefix_is_valid(prefix: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let fits = prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains("//") && prefix.chars().all(plain);
    if prefix.is_empty() || fits { Ok(()) } else { Err(format!("expected a path such as \"/hq\", found {prefix:?}")) }
}

fn url_is_valid(url: &Option<String>) -> Result<(), String> {
    let Some(text) = url else { return Ok(()) };
    match url::Url::parse(text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty() =>
        {
            Ok(())
        }
        _ => Err(format!("expected an address such as \"https://archive.example.com\", found {text:?}")),
    }
}

fn both_or_neither(tls: &Tls) -> Result<(), String> {
    if tls.cert.is_some() == tls.key.is_some() {
        Ok(())
    } else {
        Err("cert and key belong together; one is missing".into())
    }
}

impl Instance {
    /// Certificate and key, when there are any.
    pub fn tls_files(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.tls.cert.as_ref().zip(self.tls.key.as_ref())
    }
}
