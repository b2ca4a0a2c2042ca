//! A store with an index: it is indexed, asked, and synced into.

use crate::ask::{self, Limits};
use crate::place::{Place, firehose};
use crate::report::{Figures, Line};
use crate::rows::{self, Addresses};
use anyhow::{Result, ensure};
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stele_servers::Meili;
use stele_tests::{
    corp::{CorpFolder, CorpSpec},
    crowd::PROTOCOLS,
    daemon::Site,
    gateway::Gateway,
    openim::Openim,
    rates,
    settings::Settings,
    wukongim::Wukongim,
};

/// Where the archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    Sqlite,
    Postgres,
}

/// What the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Embedded,
    Meilisearch,
}

/// Both, and where they are.
pub struct Combination<'s> {
    pub store: Store,
    /// The database of a store that is in one.
    pub database: Option<&'s str>,
    /// The server of an index that is in one.
    pub meili: Option<&'s Meili>,
}

/// Between two looks at the index.
const LOOK: Duration = Duration::from_millis(50);

impl Combination<'_> {
    /// Everything about it.
    pub async fn measure(&self, place: &Place, limits: Limits, within: Duration, synced: u64) -> Result<Figures> {
        let folder = tempfile::tempdir()?;
        // A source that nobody has heard of yet: what the archive knows is not stored again.
        let more = format!("more-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
        let (site, addresses) =
            self.site(place, &CorpFolder::empty(&CorpSpec::recent(0), folder.path())?, &more, synced)?;
        let mut figures = Figures::new(self.store, self.engine());
        eprintln!("{:?} with {:?}", self.store, self.engine());
        let indexed = self.index(&site, within).await?;
        figures.indexed_per_second = indexed.per_second;
        if indexed.messages < place.messages {
            eprintln!("only {} messages are indexed within {within:?}", indexed.messages);
            figures.indexed_only = Some(indexed.messages);
            return Ok(figures);
        }
        let daemon = site.start().await?;
        for row in rows::all(&addresses, place.messages) {
            let (contract, endpoint, about) = (row.contract, row.endpoint, row.about);
            // One that fails does not take the others with it.
            let times = ask::measure(row, limits).await.map_err(|error| format!("{error:#}"));
            match &times {
                Ok(times) => eprintln!("{contract} {endpoint}, {about}: {times}"),
                Err(error) => eprintln!("{contract} {endpoint}, {about}: failed: {error}"),
            }
            figures.rows.push(Line { contract, endpoint, about, times });
        }
        figures.synced = Some(rates::sync(&site, &[&more], synced).await?);
        ensure!(daemon.stop().await?.success(), "{}", site.log_tail());
        Ok(figures)
    }

    fn engine(&self) -> Engine {
        if self.meili.is_some() { Engine::Meilisearch } else { Engine::Embedded }
    }

    /// A daemon of all protocols over what was archived of them, and of one more source.
    fn site(&self, place: &Place, corp: &CorpFolder, more: &str, synced: u64) -> Result<(Site, Addresses)> {
        let gateway = Gateway::new(PROTOCOLS[1].0, "")?;
        let wukongim = Wukongim::new(PROTOCOLS[2].0, "")?;
        let openim = Openim::new(PROTOCOLS[3].0, "")?;
        let mut sections = vec!["[log]\nlevel = \"warn\"\n[jobs]\npage_limit = 5000".to_owned()];
        sections.extend(self.database.map(|url| format!("[archive]\nurl = \"{url}\"")));
        sections.extend(self.meili.map(|meili| {
            let (url, key) = (meili.url(), meili.key());
            format!("[search]\nengine = \"meilisearch\"\nurl = \"{url}\"\nkey = \"{key}\"\nindex = \"{more}\"")
        }));
        sections.extend([gateway.toml(), wukongim.toml(), openim.toml(), firehose(more, synced, None)?]);
        let mut site = Site::new(|dir| {
            let mut settings = Settings::of(corp, dir, "", "");
            settings.instance = "rate_limit = 0".to_owned();
            settings.media = false;
            settings.sections = sections.join("\n");
            Ok(settings)
        })?;
        if self.database.is_none() {
            site.settings.data_dir = place.data();
        }
        let addresses = Addresses {
            wecom: site.settings.listen.clone(),
            gateway: gateway.listen,
            wukongim: wukongim.listen,
            openim: openim.listen,
            admin: site.settings.admin.clone(),
        };
        Ok((site, addresses))
    }

    /// Has the daemon make the index from nothing.
    async fn index(&self, site: &Site, within: Duration) -> Result<Indexed> {
        let known = site.settings.data_dir.join("index");
        if known.exists() {
            fs::remove_dir_all(known)?;
        }
        let (daemon, begin) = (site.start().await?, Instant::now());
        let messages = site.stat("messages").await?;
        let mut indexed = rates::indexed(site).await?;
        while indexed < messages && begin.elapsed() < within {
            tokio::time::sleep(LOOK).await;
            indexed = rates::indexed(site).await?;
        }
        let per_second = indexed as f64 / begin.elapsed().as_secs_f64();
        ensure!(daemon.stop().await?.success(), "{}", site.log_tail());
        Ok(Indexed { messages: indexed, per_second })
    }
}

/// How far indexing came.
struct Indexed {
    messages: u64,
    per_second: f64,
}
