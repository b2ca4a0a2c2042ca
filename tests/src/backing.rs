//! What a daemon keeps its archive and its index in: every combination of them answers the same.

use anyhow::{Context, Result, bail};
use std::{
    env,
    fmt::{self, Display, Formatter},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};
use stele_servers::{Durability, Meili, Postgres, skip::skip};

/// The variable that names the backing of sites that were given none: `sqlite` or `postgres`, and after a `+` `embedded` or
/// `meilisearch`. So every suite can run on each.
const VARIABLE: &str = "STELE_TEST_BACKING";

/// Where the archive is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// A file in the data folder.
    #[default]
    Sqlite,
    /// A database of its own on a real Postgres.
    Postgres,
}

/// Where the index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// In the data folder.
    #[default]
    Embedded,
    /// An index of its own on a real Meilisearch.
    Meilisearch,
}

/// Both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Of the archive.
    pub store: Store,
    /// Of the index.
    pub engine: Engine,
}

/// The servers of this process, if they can be had; they end with it.
static POSTGRES: LazyLock<Result<Postgres, String>> =
    LazyLock::new(|| Postgres::start(Durability::None).map_err(|error| format!("{error:#}")));
static MEILISEARCH: LazyLock<Result<Meili, String>> = LazyLock::new(|| match Meili::find() {
    Ok(found) => found.ok_or_else(|| "there is no MEILI_URL, and no meilisearch on the path".to_owned()),
    Err(error) => Err(format!("{error:#}")),
});

impl Backing {
    /// Every combination that can be had here; says which cannot.
    pub fn all() -> Vec<Self> {
        let mut there = Vec::new();
        for store in [Store::Sqlite, Store::Postgres] {
            for engine in [Engine::Embedded, Engine::Meilisearch] {
                let backing = Self { store, engine };
                match backing.lacks() {
                    None => there.push(backing),
                    Some(why) => skip(&backing.to_string(), why),
                }
            }
        }
        there
    }

    /// Why it cannot be had here, if so.
    pub fn lacks(self) -> Option<&'static str> {
        let no_store = if self.store == Store::Postgres { POSTGRES.as_ref().err() } else { None };
        let no_engine = if self.engine == Engine::Meilisearch { MEILISEARCH.as_ref().err() } else { None };
        no_store.or(no_engine).map(String::as_str)
    }

    /// What sites get that are given none.
    pub fn usual() -> Result<Self> {
        match env::var(VARIABLE) {
            Ok(name) => Self::named(&name).with_context(|| format!("{VARIABLE} is {name:?}")),
            Err(_) => Ok(Self::default()),
        }
    }

    fn named(name: &str) -> Result<Self> {
        let (store, engine) = name.split_once('+').unwrap_or((name, "embedded"));
        let store = match store {
            "sqlite" => Store::Sqlite,
            "postgres" => Store::Postgres,
            _ => bail!("there is no store {store:?}"),
        };
        let engine = match engine {
            "embedded" => Engine::Embedded,
            "meilisearch" => Engine::Meilisearch,
            _ => bail!("there is no engine {engine:?}"),
        };
        Ok(Self { store, engine })
    }

    /// The settings of a new, empty one, as variables of the daemon.
    pub fn settings(self) -> Result<Vec<(&'static str, String)>> {
        static INDEXES: AtomicU64 = AtomicU64::new(0);
        let mut settings = Vec::new();
        if self.store == Store::Postgres {
            let postgres = POSTGRES.as_ref().map_err(|why| anyhow::anyhow!("no Postgres: {why}"))?;
            settings.push(("STELE_ARCHIVE__URL", postgres.database()?));
        }
        if self.engine == Engine::Meilisearch {
            let meili = MEILISEARCH.as_ref().map_err(|why| anyhow::anyhow!("no Meilisearch: {why}"))?;
            // A Meilisearch that was there may have those of other runs.
            let number = INDEXES.fetch_add(1, Ordering::Relaxed);
            settings.extend([
                ("STELE_SEARCH__ENGINE", "meilisearch".to_owned()),
                ("STELE_SEARCH__URL", meili.url().to_owned()),
                ("STELE_SEARCH__INDEX", format!("stele-test-{}-{number}", std::process::id())),
            ]);
            if !meili.key().is_empty() {
                settings.push(("STELE_SEARCH__KEY", meili.key().to_owned()));
            }
        }
        Ok(settings)
    }
}

impl Display for Backing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let store = match self.store {
            Store::Sqlite => "SQLite",
            Store::Postgres => "Postgres",
        };
        let engine = match self.engine {
            Engine::Embedded => "the embedded index",
            Engine::Meilisearch => "Meilisearch",
        };
        write!(f, "{store} with {engine}")
    }
}
