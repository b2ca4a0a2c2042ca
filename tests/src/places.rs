//! Where built things are, and how they get built when they are not.

use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The folder the programs are built into, e.g. `target/debug`: that of the running test.
pub fn build_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let exe = std::env::current_exe().expect("a process knows its program");
        let dir = exe.parent().expect("a program lies in a folder");
        if dir.ends_with("deps") { dir.parent().expect("deps lies in a folder").to_owned() } else { dir.to_owned() }
    })
}

/// A folder beside the builds for what tests fetch, e.g. `target/fetched`; kept between runs.
pub fn fetched_dir() -> Result<PathBuf> {
    let dir = build_dir().parent().context("builds lie in a folder")?.join("fetched");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A program of the workspace, built if it is not there. `make test` builds everything before.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = build_dir().join(name);
    if !path.exists() {
        build()?;
    }
    ensure!(path.exists(), "{} was not built", path.display());
    Ok(path)
}

/// The shared library of a plugin.
pub fn plugin(name: &str) -> Result<PathBuf> {
    program(&format!("libstele_{name}.so"))
}

fn build() -> Result<()> {
    static BUILT: OnceLock<bool> = OnceLock::new();
    let done = *BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--workspace", "--lib", "--bins"]);
        if build_dir().ends_with("release") {
            command.arg("--release");
        }
        command.current_dir(crate::source_root()).stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    ensure!(done, "`cargo build --workspace` failed");
    Ok(())
}
