//! Where built things are, and how they get built when they are not.

use anyhow::{Result, ensure};
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};
pub use stele_servers::{build_dir, fetched_dir};

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

/// The shared library of a plugin among the examples of this crate, built if it is not there.
pub fn example(name: &str) -> Result<PathBuf> {
    let path = build_dir().join("examples").join(format!("lib{name}.so"));
    if !path.exists() {
        cargo(&["build", "--quiet", "--package", "stele-tests", "--example", name])?;
    }
    ensure!(path.exists(), "{} was not built", path.display());
    Ok(path)
}

fn build() -> Result<()> {
    static BUILT: OnceLock<bool> = OnceLock::new();
    let arguments = ["build", "--quiet", "--workspace", "--lib", "--bins"];
    ensure!(*BUILT.get_or_init(|| cargo(&arguments).is_ok()), "`cargo build --workspace` failed");
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments);
    if build_dir().ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(crate::source_root()).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(())
}
