//! Instances of a plugin that does as it is told, and what is seen of them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};
use stele_tests::{
    client::http,
    daemon::{Daemon, Site, free_address, wait_for},
    places::build_dir,
    settings::quoted,
    source_root,
};

/// The plugin of `deeds.c`, compiled with these definitions, e.g. `SICK`, into a file of this name.
pub fn plugin(file: &str, definitions: &[&str]) -> Result<PathBuf> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    // Other tests of this process may build and load the same one: it appears whole or not at all.
    let draft = tempfile::Builder::new().prefix(file).tempfile_in(env!("CARGO_TARGET_TMPDIR"))?.into_temp_path();
    let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
    compiler
        .args("-std=c11 -Wall -Wextra -Wpedantic -Werror -fPIC -fvisibility=hidden -O1 -shared -pthread".split(' '));
    compiler.args(definitions.iter().map(|definition| format!("-D{definition}")));
    compiler.arg("-I").arg(source_root().join("plugin-api/include")).arg("-o").arg(&draft);
    compiler.arg(source_root().join("tests/tests/lifecycle/deeds.c"));
    let output = compiler.output().context("the tests need a C compiler (cc, or CC)")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    draft.persist(&out)?;
    Ok(out)
}

/// An instance of it.
pub struct Deeds {
    /// Name of the instance.
    pub name: String,
    /// Its plugin, as configured.
    pub plugin: String,
    listen: String,
    /// More of `[[instance]]`, and sections of it.
    pub more: String,
}

impl Deeds {
    /// One at a free address.
    pub fn new(name: &str, plugin: &Path, more: &str) -> Result<Self> {
        let plugin = plugin.display().to_string();
        Ok(Self { name: name.into(), plugin, listen: free_address()?, more: more.into() })
    }

    /// Its section of the configuration.
    pub fn toml(&self) -> String {
        let Self { name, plugin, listen, more } = self;
        let plugin = quoted(plugin);
        format!("[[instance]]\nname = \"{name}\"\nplugin = {plugin}\nlisten = \"{listen}\"\nrate_limit = 0\n{more}\n")
    }

    /// Asks for a deed: what it answers.
    pub async fn ask(&self, deed: &str) -> Result<String> {
        let response = http().get(format!("http://{}/{deed}", self.listen)).send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "/{deed} answered {status}: {text}");
        Ok(text)
    }
}

/// A daemon with these instances and nothing else; `sections` are more of its file.
pub fn site(sections: &str, instances: &[&Deeds]) -> Result<Site> {
    Site::of(configured(sections, instances))
}

/// The sections of such a daemon. Unless they say otherwise its plugins lie where they are, or are Stele's own.
pub fn configured(sections: &str, instances: &[&Deeds]) -> String {
    let of_instances = instances.iter().filter_map(|instance| Path::new(&instance.plugin).parent());
    let folders: Vec<String> = of_instances.chain([build_dir()]).map(quoted).collect();
    let sections = if sections.contains("dirs = ") {
        sections.to_owned()
    } else {
        let (before, after) = sections.split_once("[plugins]").unwrap_or((sections, ""));
        format!("{before}\n[plugins]\ndirs = [{}]\n{after}", folders.join(", "))
    };
    let instances: Vec<_> = instances.iter().map(|instance| instance.toml()).collect();
    format!("{sections}\n{}", instances.join("\n"))
}

/// What the daemon's API says of an instance.
pub async fn view(site: &Site, name: &str) -> Result<Value> {
    let all = site.admin("/api/v1/instances").await?;
    let mut rows = all["instances"].as_array().into_iter().flatten();
    Ok(rows.find(|row| row["name"] == name).with_context(|| format!("no {name} in {all}"))?.clone())
}

/// Waits until the daemon's API says so of an instance.
pub async fn viewed(site: &Site, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for(what, || async {
        let view = view(site, name).await.map_err(|error| error.to_string())?;
        if wanted(&view) { Ok(view) } else { Err(view.to_string()) }
    })
    .await
}

/// The process of an instance that runs.
pub async fn pid(site: &Site, name: &str) -> Result<u32> {
    let running = viewed(site, name, "process", |view| view["state"] == "running" && view["pid"].is_u64()).await?;
    Ok(u32::try_from(running["pid"].as_u64().context("no pid")?)?)
}

/// A copy of a plugin in a folder of the site, put there as a package manager does it.
pub fn install(plugin: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let file = folder.join("libstele_deeds.so");
    let draft = file.with_extension("draft");
    fs::copy(plugin, &draft)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o644))?;
    fs::rename(&draft, &file)?;
    Ok(file)
}

/// Has the daemon read its configuration again, and waits until that is done.
pub async fn reload(site: &Site, daemon: &Daemon) -> Result<()> {
    let count = || site.log().matches("configuration read again").count();
    let before = count();
    fs::write(site.config_file(), site.settings.toml())?;
    daemon.reload()?;
    wait_for("reload", || async { if count() > before { Ok(()) } else { Err(site.log_tail()) } }).await
}

/// Waits for a line of the log that has all of these.
pub async fn logged(site: &Site, words: &[&str]) -> Result<String> {
    wait_for(&words.join(", "), || async {
        let log = site.log();
        let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned).ok_or_else(|| site.log_tail())
    })
    .await
}

/// Processes that have the file loaded.
pub fn holders(file: &Path) -> Vec<u32> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    mapping(&file.display().to_string())
}

/// Processes that have a copy of the file loaded, by its name.
pub fn holders_of_copies(file: &Path) -> Vec<u32> {
    mapping(&format!("/memfd:{} (deleted)", file.file_name().unwrap_or_default().to_string_lossy()))
}

fn mapping(what: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(what));
    numbers.filter(has).collect()
}
