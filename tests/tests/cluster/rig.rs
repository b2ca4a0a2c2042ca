//! Daemons on one archive: each has its own folder, and what it is configured to be.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use stele_servers::Nats;
use stele_tests::{
    backing::{Backing, Engine, Store},
    corp::{CorpFolder, CorpSpec, Story},
    daemon::{Daemon, Site},
    gateway::Gateway,
    runs::Run,
    settings::{Settings, quoted},
    skip::skip,
};

/// Seconds a lease lasts.
pub const LEASE: u64 = 5;

/// Sites of daemons with these settings on one archive in a Postgres, and with NATS at this address; `None` where there is no such
/// server, or no such engine.
pub fn sites(engine: Engine, nats: Option<&str>, daemons: Vec<Settings>) -> Result<Option<Vec<Site>>> {
    let backing = Backing { store: Store::Postgres, engine };
    if let Some(why) = backing.lacks() {
        skip("several daemons", why);
        return Ok(None);
    }
    let nats = nats.map(|nats| format!("nats = [{}]", quoted(nats))).unwrap_or_default();
    let mut sites: Vec<Site> = Vec::new();
    for (number, mut settings) in daemons.into_iter().enumerate() {
        settings.sections.push_str(&format!(
            "\n[cluster]\nname = \"d{number}\"\n{nats}\n[jobs]\nlease_seconds = {LEASE}\nretry_min_seconds = 1\n"
        ));
        let site = Site::new(|_| Ok(settings))?;
        sites.push(match sites.first() {
            Some(first) => site.beside(first),
            None => site.backed_by(backing)?,
        });
    }
    Ok(Some(sites))
}

/// A daemon and what is asked of it.
pub struct Member {
    pub site: Site,
    pub gateway: Gateway,
    /// While it runs.
    pub daemon: Option<Daemon>,
}

impl Member {
    /// Kills it.
    pub async fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("it runs")?.kill().await
    }

    /// Starts it; returns once it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.daemon = Some(self.site.start().await?);
        Ok(())
    }
}

/// Daemons on one archive, a corp whose messages they fetch, and a gateway that they are.
pub struct Cluster {
    pub members: Vec<Member>,
    pub folder: CorpFolder,
    pub story: Story,
    pub nats: Option<Nats>,
    _files: tempfile::TempDir,
}

impl Cluster {
    /// So many daemons, all ready, and a corp that may write so many messages; `None` where there is no Postgres, no such engine, or
    /// no NATS.
    pub async fn start(engine: Engine, daemons: usize, with_nats: bool, messages: usize) -> Result<Option<Self>> {
        let nats = match with_nats.then(Nats::start).transpose() {
            Ok(nats) => nats,
            Err(error) => {
                skip("several daemons with NATS", &format!("none can be started: {error:#}"));
                return Ok(None);
            }
        };
        let files = tempfile::tempdir()?;
        let spec = CorpSpec::recent(messages);
        let folder = CorpFolder::empty(&spec, &files.path().join("corp"))?;
        folder.record_calls()?;
        let gateways = (0..daemons).map(|_| Gateway::new("gateway", "")).collect::<Result<Vec<_>>>()?;
        let media = quoted(files.path().join("media"));
        let settings = gateways.iter().map(|gateway| {
            let mut settings = Settings::of(&folder, &PathBuf::new(), "", "");
            settings.instance = "rate_limit = 0".into();
            settings.config = "page_limit = 10\ncalls_per_minute = 60000".into();
            settings.sections = format!("[media]\nfolder = {media}\n{}", gateway.toml());
            settings
        });
        let url = nats.as_ref().map(Nats::url);
        let Some(sites) = sites(engine, url.as_deref(), settings.collect())? else { return Ok(None) };
        let mut members = Vec::new();
        for (site, gateway) in sites.into_iter().zip(gateways) {
            let mut member = Member { site, gateway, daemon: None };
            member.start().await?;
            members.push(member);
        }
        Ok(Some(Self { members, story: Story::new(&spec), folder, nats, _files: files }))
    }

    /// The site of this daemon.
    pub fn site(&self, number: usize) -> &Site {
        &self.members[number].site
    }

    /// The pages of the corp that were fetched and not empty, in order.
    pub fn pages(&self) -> Result<Vec<Fetched>> {
        let calls = self.folder.calls()?;
        let pages = calls.iter().filter(|call| call.starts_with("page "));
        let pages = pages.map(|page| Fetched::read(page).with_context(|| page.clone())).collect::<Result<Vec<_>>>()?;
        Ok(pages.into_iter().filter(|page| page.first <= page.last).collect())
    }

    pub async fn stop(self) -> Result<()> {
        for member in self.members {
            if let Some(daemon) = member.daemon {
                let status = daemon.stop().await?;
                ensure!(status.success(), "a daemon ended with {status}\n{}", member.site.log_tail());
            }
        }
        Ok(())
    }
}

/// The numbers of a page as the corp answered it.
#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    pub first: u64,
    pub last: u64,
}

impl Fetched {
    fn read(line: &str) -> Option<Self> {
        let number = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok());
        Some(Self { first: number("seq=")? + 1, last: number("last=")? })
    }
}

/// Most pages of a run that nobody has stored when it is cut off: one is committed, one pulled, and ahead of them the plugin has one
/// opened and one fetched.
const UNDER_WAY: usize = 4;

/// Pages that were fetched although another one had brought some of their messages before. Fails unless each run that was cut off,
/// because its daemon was killed or could not renew its lease in time, accounts for [`UNDER_WAY`] of them at most.
pub fn fetched_again(pages: &[Fetched], runs: &[Run]) -> Result<usize> {
    let is_known = |(number, page): &(usize, &Fetched)| {
        pages[..*number].iter().any(|before| before.first <= page.last && page.first <= before.last)
    };
    let again: Vec<_> = pages.iter().enumerate().filter(is_known).collect();
    let cut_off = runs.iter().filter(|run| run.outcome != "succeeded").count();
    ensure!(again.len() <= UNDER_WAY * cut_off, "{cut_off} runs were cut off, and these pages came again: {again:?}");
    Ok(again.len())
}
