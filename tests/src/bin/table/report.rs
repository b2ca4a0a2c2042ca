//! What was measured, as JSON and as tables.

use crate::ask::Times;
use crate::combination::{Engine, Store};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use stele_servers::Meili;
use stele_tests::{client::http, rates::Rates};

/// All of it.
#[derive(Serialize)]
pub struct Report {
    cores: usize,
    memory_mib: u64,
    /// Version of the server.
    pub postgres: Option<String>,
    meilisearch: Option<String>,
    pub sizes: Vec<Size>,
}

/// What was measured of archives of one size.
#[derive(Serialize)]
pub struct Size {
    pub messages: u64,
    /// Into SQLite, by four syncs at the same time.
    pub filled: Rates,
    /// By `steled migrate`, compared row by row.
    pub migrated_per_second: Option<f64>,
    pub combinations: Vec<Figures>,
}

/// What was measured of a combination.
#[derive(Serialize)]
pub struct Figures {
    store: Store,
    engine: Engine,
    /// By a daemon that begins with no index.
    pub indexed_per_second: f64,
    /// How many there are in an index that was not made in time; nothing else was measured then.
    pub indexed_only: Option<u64>,
    /// More, by a sync.
    pub synced: Option<Rates>,
    pub rows: Vec<Line>,
}

/// How long a kind of request took, or why that is not known.
#[derive(Serialize)]
pub struct Line {
    pub contract: &'static str,
    pub endpoint: &'static str,
    pub about: &'static str,
    pub times: Result<Times, String>,
}

impl Figures {
    /// Nothing yet.
    pub fn new(store: Store, engine: Engine) -> Self {
        Self { store, engine, indexed_per_second: 0.0, indexed_only: None, synced: None, rows: Vec::new() }
    }

    fn name(&self) -> String {
        let store = match self.store {
            Store::Sqlite => "SQLite",
            Store::Postgres => "Postgres",
        };
        let engine = match self.engine {
            Engine::Embedded => "embedded",
            Engine::Meilisearch => "Meilisearch",
        };
        format!("{store}, {engine}")
    }
}

impl Report {
    /// Of this machine and these servers.
    pub async fn new(meili: Option<&Meili>) -> Result<Self> {
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let kib =
            meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        let mut meilisearch = None;
        if let Some(meili) = meili {
            let asked = http().get(format!("{}/version", meili.url())).bearer_auth(meili.key()).send().await?;
            let version: Value = serde_json::from_slice(&asked.bytes().await?)?;
            meilisearch = version["pkgVersion"].as_str().map(str::to_owned);
        }
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib.unwrap_or(0u64) / 1024,
            postgres: None,
            meilisearch,
            sizes: Vec::new(),
        })
    }

    /// Kinds of requests that failed.
    pub fn failed(&self) -> usize {
        let figures = self.sizes.iter().flat_map(|size| &size.combinations);
        figures.flat_map(|figures| &figures.rows).filter(|row| row.times.is_err()).count()
    }

    /// A table for each size.
    pub fn markdown(&self) -> String {
        self.sizes.iter().map(Size::markdown).collect::<Vec<_>>().join("\n")
    }
}

impl Size {
    fn markdown(&self) -> String {
        let mut text = format!("{} messages.", self.messages);
        let mut line = |cells: &[String]| _ = write!(text, "\n| {} |", cells.join(" | "));
        let with = |first: &str, cell: &dyn Fn(&Figures) -> String| {
            let cells = self.combinations.iter().map(cell);
            std::iter::once(first.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        line(&[String::new()]);
        line(&with("", &Figures::name));
        line(&with("---", &|_| "---".to_owned()));
        line(&with("indexed from nothing, messages/s", &|figures| match figures.indexed_only {
            None => format!("{:.0}", figures.indexed_per_second),
            Some(messages) => format!("{:.0} ({messages} only)", figures.indexed_per_second),
        }));
        line(&with("a sync: stored, stored and indexed, messages/s", &|figures| {
            figures.synced.map_or("-".to_owned(), |rates| format!("{:.0}, {:.0}", rates.stored, rates.indexed))
        }));
        let rows = self.combinations.iter().map(|figures| &figures.rows).max_by_key(|rows| rows.len());
        for (at, row) in rows.into_iter().flatten().enumerate() {
            let times = |figures: &Figures| match figures.rows.get(at).map(|row| &row.times) {
                Some(Ok(times)) => format!("{:.1}, {:.1}", times.p50_ms, times.p99_ms),
                Some(Err(_)) => "failed".to_owned(),
                None => "-".to_owned(),
            };
            line(&with(&format!("{} `{}`: {}", row.contract, row.endpoint, row.about), &times));
        }
        text.push('\n');
        text
    }
}
