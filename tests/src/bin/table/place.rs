//! Where the archive of one size is, and how it is filled.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use stele_tests::{
    crowd::PROTOCOLS,
    daemon::Site,
    places,
    rates::{self, Rates},
    settings::Settings,
};

/// A folder with an archive in SQLite.
pub struct Place {
    folder: PathBuf,
    pub messages: u64,
}

/// Written behind the archive, when it is whole.
const FILLED: &str = "filled.json";
/// Messages of a page while it is filled.
const PAGE: u32 = 5_000;

impl Place {
    /// That of an archive of this size within a folder.
    pub fn new(folder: &Path, messages: u64) -> Result<Self> {
        let folder = std::path::absolute(folder)?.join(messages.to_string());
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, messages })
    }

    /// The data folder of a daemon whose archive is in SQLite.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Fills the archive, unless that was done before; returns how fast it was.
    pub async fn filled(&self) -> Result<Rates> {
        let note = self.folder.join(FILLED);
        if let Ok(rates) = fs::read(&note) {
            return serde_json::from_slice(&rates).with_context(|| note.display().to_string());
        }
        if self.data().exists() {
            fs::remove_dir_all(self.data())?;
        }
        let share = self.messages / PROTOCOLS.len() as u64;
        let names = PROTOCOLS.map(|(name, _)| name);
        let instances: Vec<_> = names.iter().map(|name| firehose(name, share, Some(name))).collect::<Result<_>>()?;
        let site = self.site(Settings { sections: instances.join("\n"), ..Settings::empty() })?;
        let daemon = site.start().await?;
        let rates = rates::sync(&site, &names, share * PROTOCOLS.len() as u64).await?;
        ensure!(daemon.stop().await?.success(), "{}", site.log_tail());
        fs::write(note, serde_json::to_vec(&rates)?)?;
        Ok(rates)
    }

    /// Moves it into a database. The file stays good for a daemon.
    pub async fn migrate(&self, url: &str) -> Result<()> {
        let sections = format!("[archive]\nurl = \"{url}\"");
        let site = self.site(Settings { sections, ..Settings::empty() })?;
        site.run(&["migrate"]).await?;
        site.run(&["migrate", "--abandon"]).await?;
        Ok(())
    }

    fn site(&self, settings: Settings) -> Result<Site> {
        let mut site = Site::new(|_| Ok(settings))?;
        site.settings.sections.push_str(&format!("\n[log]\nlevel = \"warn\"\n[jobs]\npage_limit = {PAGE}\n"));
        site.settings.data_dir = self.data();
        Ok(site)
    }
}

/// An instance whose source costs nothing.
pub fn firehose(name: &str, messages: u64, protocol: Option<&str>) -> Result<String> {
    let plugin = places::build_dir().join("examples").join("libfirehose.so");
    ensure!(plugin.exists(), "the firehose is not built: cargo build --release --workspace --examples");
    let protocol = protocol.map(|protocol| format!("protocol = \"{protocol}\"")).unwrap_or_default();
    Ok(format!(
        "[[instance]]\nname = \"{name}\"\nplugin = {plugin:?}\n[instance.sync]\nenabled = false\n[instance.config]\n\
         messages = {messages}\n{protocol}\n"
    ))
}
