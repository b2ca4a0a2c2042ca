//! Configuration files for the daemon: one wecom instance in front of generated corps, and whatever else a suite adds.

use crate::corp::{CorpFolder, KEY_VERSIONS};
use std::path::{Path, PathBuf};

/// Key of the contract's sample clients.
pub const API_KEY: &str = "your_secret_key";

/// What goes into the file. The fields that are TOML text are put where their section is.
pub struct Settings {
    /// Folder of the archive.
    pub data_dir: PathBuf,
    /// Address of the instance's listener.
    pub listen: String,
    /// Address of the admin listener.
    pub admin: String,
    /// The vendor's library.
    pub library: PathBuf,
    /// The library's proxy argument.
    pub proxy: String,
    /// `[instance.config]` lines of each corp; without any there is no instance of wecom.
    pub corps: Vec<CorpSettings>,
    /// Array of TOML tables.
    pub api_keys: String,
    /// Where the directory APIs are.
    pub api_base: Option<String>,
    /// Cron pattern of the sync; `None` for on request only.
    pub sync_cron: Option<String>,
    /// Whether the directory is refreshed by itself, when there is one.
    pub directory_cron: Option<String>,
    /// Whether files are fetched.
    pub media: bool,
    /// More of `[[instance]]`, e.g. `rate_limit = 0`.
    pub instance: String,
    /// More of `[instance.config]`.
    pub config: String,
    /// More sections of the file.
    pub sections: String,
}

/// A corp in the configuration.
#[derive(Clone, Debug)]
pub struct CorpSettings {
    pub id: String,
    pub name: String,
    pub archive_secret: String,
    pub app_secret: Option<String>,
    /// Version and file of each private key.
    pub private_keys: Vec<(u32, PathBuf)>,
}

impl CorpSettings {
    /// A generated corp with all its keys.
    pub fn of(folder: &CorpFolder) -> Self {
        let private_keys = KEY_VERSIONS.into_iter().map(|version| (version, folder.key_file(version))).collect();
        Self {
            id: folder.spec.id.clone(),
            name: folder.spec.name.clone(),
            archive_secret: folder.spec.archive_secret.clone(),
            app_secret: Some(folder.spec.app_secret.clone()),
            private_keys,
        }
    }
}

impl Settings {
    /// No instance but those of [`Settings::sections`].
    pub fn empty() -> Self {
        Self {
            data_dir: PathBuf::new(),
            listen: String::new(),
            admin: String::new(),
            library: PathBuf::new(),
            proxy: String::new(),
            corps: Vec::new(),
            api_keys: "[]".into(),
            api_base: None,
            sync_cron: None,
            directory_cron: None,
            media: true,
            instance: String::new(),
            config: String::new(),
            sections: String::new(),
        }
    }

    /// One corp behind the stub library; nothing runs by itself but the fetching of files.
    pub fn of(folder: &CorpFolder, data_dir: &Path, listen: &str, admin: &str) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            listen: listen.into(),
            admin: admin.into(),
            library: crate::vendor_stub().to_owned(),
            proxy: folder.proxy(),
            corps: vec![CorpSettings::of(folder)],
            api_keys: format!(r#"[{{ key = "{API_KEY}" }}]"#),
            ..Self::empty()
        }
    }

    /// The file's text.
    pub fn toml(&self) -> String {
        let job = |name: &str, cron: &Option<String>| match cron {
            Some(cron) => format!("[instance.{name}]\nenabled = true\ncron = {}\n", quoted(cron)),
            None => format!("[instance.{name}]\nenabled = false\n"),
        };
        let mut text = format!("data_dir = {}\n\n[admin]\nlisten = {}\n", quoted(&self.data_dir), quoted(&self.admin));
        text.push_str(&format!("\n{}\n", self.sections));
        if self.corps.is_empty() {
            return text;
        }
        text.push_str("\n[[instance]]\nname = \"wecom\"\nplugin = \"wecom\"\n");
        text.push_str(&format!("listen = {}\n{}\n", quoted(&self.listen), self.instance));
        text.push_str(&job("sync", &self.sync_cron));
        text.push_str(&job("directory", &self.directory_cron));
        text.push_str(&format!("[instance.media]\nenabled = {}\n", self.media));
        text.push_str(&format!(
            "\n[instance.config]\nlibrary = {}\nproxy = {}\napi_keys = {}\n",
            quoted(&self.library),
            quoted(&self.proxy),
            self.api_keys
        ));
        if let Some(base) = &self.api_base {
            text.push_str(&format!("api_base = {}\n", quoted(base)));
        }
        text.push_str(&format!("{}\n", self.config));
        for corp in &self.corps {
            text.push_str(&format!(
                "\n[[instance.config.corp]]\nid = {}\nname = {}\narchive_secret = {}\n",
                quoted(&corp.id),
                quoted(&corp.name),
                quoted(&corp.archive_secret)
            ));
            if let Some(secret) = &corp.app_secret {
                text.push_str(&format!("app_secret = {}\n", quoted(secret)));
            }
            let keys: Vec<_> = corp
                .private_keys
                .iter()
                .map(|(version, file)| format!("{{ version = {version}, pem = {{ file = {} }} }}", quoted(file)))
                .collect();
            text.push_str(&format!("private_keys = [{}]\n", keys.join(", ")));
        }
        text
    }
}

/// A TOML string; JSON's escapes are valid in it.
pub fn quoted(text: impl AsRef<std::ffi::OsStr>) -> String {
    serde_json::to_string(&text.as_ref().to_string_lossy()).expect("text has a JSON form")
}
