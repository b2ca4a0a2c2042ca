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
