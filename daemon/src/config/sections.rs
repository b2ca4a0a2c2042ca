//! The daemon's own sections. Every key has its default here and its explanation in `config/steled.toml`; a test keeps
//! the two in step.

use super::schedule::Zone;
use super::secret::Secret;
use super::values::{unset_or_within, within, words};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use stele_archive::ArchiveError;
use stele_store::PostgresUrl;

words! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }

    /// What a commit promises.
    pub enum Durability {
        /// What is committed survives a power cut.
        Full = "full",
        /// What is committed survives a crash of the daemon; a power cut may take the latest commits, never the order.
        Normal = "normal",
    }

    /// Which search engine.
    pub enum Engine {
        /// tantivy, in the data folder.
        Embedded = "embedded",
        /// An index on a Meilisearch.
        Meilisearch = "meilisearch",
    }
}

/// What is logged when nothing else is said. The scheduler tells about each of its own steps at `info`.
const DEFAULT_LEVEL: &str = "info,tokio_cron_scheduler=warn";

section! {
    /// `[log]`: what is logged, and how.
    pub struct Log {
        /// Filter: a level, or `target=level` pairs, separated by commas.
        pub level: String = DEFAULT_LEVEL.into(), |level: &String| filter_is_valid(level);
        /// How lines look.
        pub format: LogFormat = LogFormat::Text;
    }
}

section! {
    /// `[admin]`: the daemon's own API: health, metrics, jobs, archive.
    pub struct Admin {
        /// Whether it is there.
        pub enabled: bool = true;
        /// Where it listens.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9090));
        /// Keys of which one is needed as `Authorization: Bearer …` under `/api/`. Empty: none is needed.
        pub api_keys: Vec<Secret> = Vec::new();
    }
}

section! {
    /// `[http]`: bounds of every listener.
    pub struct Http {
        /// Largest body of a request, in bytes; times `max_in_flight` it bounds what the bodies of an instance can take.
        /// Unset: as the plugin recommends, or 1 MiB; then 1 MiB times `max_in_flight` is the bound.
        pub max_body_bytes: Option<usize> = None, unset_or_within(0..=1 << 30);
        /// Largest head of a request (request line and headers), in bytes.
        pub max_header_bytes: usize = 32 << 10, within(8 << 10..=1 << 20);
        /// Most headers of a request.
        pub max_headers: usize = 100, within(10..=1000);
        /// Seconds a client may take to send the head of a request; connections that are idle, or whose client takes
        /// nothing of its answer, are closed after them, too.
        pub header_timeout_seconds: u64 = 15, within(1..=3600);
        /// Seconds from the head of a request to its answer, the body included.
        pub request_timeout_seconds: u64 = 30, within(1..=3600);
        /// Most connections of one listener; of the daemon's own API at most 256.
        pub max_connections: usize = 4096, within(1..=1_000_000);
        /// Most requests of one instance that are worked on at the same time; what exceeds them is answered 503.
        pub max_in_flight: usize = 512, within(1..=100_000);
        /// Most bytes of answers of one instance that wait for their clients to take them; what exceeds them is answered
        /// 503. One larger answer goes alone; answers of up to 64 KiB do not count.
        pub max_unsent_bytes: usize = 256 << 20, within(1 << 20..=1 << 31);
        /// Most of them that go to one address, or to one /64 of IPv6; one answer always may.
        pub max_unsent_bytes_per_caller: usize = 64 << 20, within(1 << 20..=1 << 31);
        /// Seconds requests in flight get to finish when the daemon stops.
        pub drain_seconds: u64 = 20, within(0..=3600);
    }
}

impl Http {
    /// Time a client may take to send the head of a request.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_seconds)
    }

    /// Time from the head of a request to its answer.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// Time requests in flight get to finish when the daemon stops.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

section! {
    /// `[archive]`: the database.
    pub struct Archive {
        /// Where it is, when it is in a Postgres, which several daemons may share. Unset: in a file of the data folder.
        pub url: Option<Secret> = None, |url: &Option<Secret>| url_is_valid(url.as_ref());
        /// Connections to Postgres, besides the one that commits pages and the one that listens.
        pub connections: u32 = 8, within(2..=1000);
        /// What a commit promises.
        pub durability: Durability = Durability::Full;
        /// Connections that read.
        pub readers: u32 = 4, within(1..=64);
        /// Page cache of the connection that writes, in MiB.
        pub writer_cache_mib: u32 = 64, within(1..=4096);
        /// Page cache of each connection that reads, in MiB.
        pub reader_cache_mib: u32 = 4, within(1..=4096);
    }
}

impl Archive {
    /// Connections that read.
    pub fn reading(&self) -> u32 {
        if self.url.is_some() { self.connections } else { self.readers }
    }
}

fn url_is_valid(url: Option<&Secret>) -> Result<(), String> {
    // A configuration that was printed has none; whoever uses it is told when it is opened.
    match url.filter(|url| !url.is_masked()).map(|url| PostgresUrl::new(url.expose()).check()) {
        Some(Err(ArchiveError::Invalid(text))) => Err(text),
        _ => Ok(()),
    }
}

section! {
    /// `[search]`: the index.
    pub struct Search {
        /// Which engine.
        pub engine: Engine = Engine::Embedded;
        /// Address of the Meilisearch, if that is the engine.
        pub url: Option<String> = None, address_of_a_server;
        /// Its key, for the index and the one with `-new` behind: documents, indexes, search, settings, stats and tasks.
        pub key: Option<Secret> = None;
        /// Name of the index on it.
        pub index: String = "stele".into(), name_of_an_index;
        /// Seconds it may take for an answer.
        pub timeout_seconds: u64 = 10, within(1..=300);
        /// Messages of a commit at most. Unset: 100,000; of Meilisearch 30,000.
        pub commit_messages: Option<usize> = None, unset_or_within(1..=10_000_000);
        /// Milliseconds messages may wait for others to be committed with. They are found all the same meanwhile.
        pub commit_milliseconds: u64 = 1000, within(0..=60_000);
        /// Threads that build the index.
        pub threads: usize = 2, within(1..=16);
        /// Memory each of them collects in, in MiB; used while there is much to take in, free otherwise.
        pub memory_mib: usize = 64, within(16..=2048);
        /// Hours between two comparisons of archive and index; an index that differs is rebuilt.
        pub reconcile_hours: u64 = 6, within(1..=720);
    }
}

section! {
    /// `[jobs]`: what runs by itself. Instances may differ in `[instance.sync]` and `[instance.directory]`.
    pub struct Jobs {
        /// Zone of cron patterns.
        pub zone: Zone = Zone(chrono_tz::UTC);
        /// Runs of one instance at the same time; files are fetched beside them.
        pub concurrency: usize = 4, within(1..=256);
        /// Messages asked for per page.
        pub page_limit: u32 = 1000, within(1..=10_000);
        /// Seconds a plugin may take for one page.
        pub page_timeout_seconds: u64 = 120, within(1..=3600);
        /// Seconds to wait after a first failure; doubled with every further one.
        pub retry_min_seconds: u64 = 5, within(1..=86_400);
        /// Longest wait after failures, in seconds.
        pub retry_max_seconds: u64 = 900, within(1..=86_400);
        /// Seconds a job's lease lasts without being renewed.
        pub lease_seconds: u64 = 60, within(5..=3600);
    }
}

section! {
    /// `[live]`: delivery to those who listen.
    pub struct Live {
        /// Most listeners of one instance; what exceeds them is answered 503.
        pub max_sessions: usize = 20_000, within(1..=1_000_000);
        /// Most messages that wait for one listener; who takes too little is dropped and can come back for what it missed.
        pub queue: usize = 256, within(4..=65_536);
        /// Most bytes that wait for one listener; one larger message may wait alone. Listeners share what they all get.
        pub queue_bytes: usize = 4 << 20, within(1 << 10..=1 << 30);
        /// Seconds between two signs of life to a listener.
        pub heartbeat_seconds: u64 = 15, within(1..=3600);
    }
}

section! {
    /// `[plugins]`: where plugins are found, and how they are supervised.
    pub struct Plugins {
        /// Folders in which a plugin named `x` is looked for as `libstele_x.so`, and in which, or deeper, the file of any plugin has to
        /// lie. Empty: the folder of the program, and `../lib/stele/plugins` seen from there.
        pub dirs: Vec<PathBuf> = Vec::new();
        /// Whether a plugin may be loaded that others could replace.
        pub allow_writable: bool = false;
        /// Seconds an instance gets to say hello before the daemon counts as degraded.
        pub start_timeout_seconds: u64 = 20, within(1..=600);
        /// Seconds an instance gets to say goodbye.
        pub stop_timeout_seconds: u64 = 10, within(1..=600);
        /// Seconds an instance may answer nothing at all, though it is asked for its health three times, before it counts as one
        /// that hangs: its process is ended, and started again.
        pub silence_seconds: u64 = 135, within(3..=3600);
        /// Largest frame, in MiB.
        pub max_frame_mib: u32 = 64, within(1..=1024);
    }
}

impl Plugins {
    /// The folders of plugins.
    pub fn folders(&self) -> Vec<PathBuf> {
        if !self.dirs.is_empty() {
            return self.dirs.clone();
        }
        let program = std::env::current_exe().ok();
        let beside = program.as_deref().and_then(std::path::Path::parent);
        beside.map(|folder| vec![folder.to_owned(), folder.join("../lib/stele/plugins")]).unwrap_or_default()
    }
}

/// What is wrong is told without the address, which may hold a password.
fn address_of_a_server(url: &Option<String>) -> Result<(), String> {
    let Some(url) = url else { return Ok(()) };
    match url::Url::parse(url) {
        Ok(read) if !read.username().is_empty() || read.password().is_some() => {
            Err("must not hold a secret, since it is logged: write it as search.key".into())
        }
        Ok(read)
            if matches!(read.scheme(), "http" | "https") && read.host_str().is_some_and(|host| !host.is_empty()) =>
        {
            match read.query().or(read.fragment()) {
                Some(_) => Err("must not hold a query or fragment".into()),
                None => Ok(()),
            }
        }
        _ => Err("expected an address such as \"http://127.0.0.1:7700\"".into()),
    }
}

impl Search {
    /// What an operator should know of the way to the server: the key and every text take it.
    pub fn in_clear(&self) -> Option<String> {
        let url = url::Url::parse(self.url.as_deref()?).ok()?;
        let is_clear = self.engine == Engine::Meilisearch && url.scheme() == "http" && !super::media::is_loopback(&url);
        let host = url.host_str().unwrap_or_default();
        is_clear.then(|| format!("search.url: what goes to {host} by http, texts and key, can be read on its way"))
    }
}

/// The engine uses the name with `-new` behind as well; the server takes 400 bytes.
fn name_of_an_index(name: &String) -> Result<(), String> {
    if name.ends_with("-new") {
        return Err(format!("must not end in -new, as an index does while it is being built; is {name:?}"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=200).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("must be 1 to 200 of a-z, A-Z, 0-9, - and _, is {name:?}"))
}

fn filter_is_valid(level: &str) -> Result<(), String> {
    match tracing_subscriber::EnvFilter::try_new(level) {
        Ok(_) if !level.trim().is_empty() => Ok(()),
        _ => Err(format!("expected a level (error, warn, info, debug, trace) or target=level pairs, found {level:?}")),
    }
}
