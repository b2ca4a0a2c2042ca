//! Meilisearch: no package carries it, so it is one that is there already.

use crate::process::{Process, command};
use crate::{free_address, on_the_path};
use anyhow::Result;
use std::{env, path::PathBuf};
use tempfile::TempDir;

/// The key of one that is started here.
const KEY: &str = "a-master-key-of-tests";

/// A Meilisearch.
#[derive(Debug)]
pub struct Meili {
    url: String,
    key: String,
    own: Option<Own>,
}

/// One that was started here.
#[derive(Debug)]
struct Own {
    program: PathBuf,
    address: String,
    // Before the folder: it ends first.
    process: Option<Process>,
    folder: TempDir,
}

impl Meili {
    /// The one at `MEILI_URL` (with the key `MEILI_KEY`), or one that is started, out of a `meilisearch` on the path. `None` where there
    /// is neither.
    pub fn find() -> Result<Option<Self>> {
        if let Ok(url) = env::var("MEILI_URL") {
            return Ok(Some(Self { url, key: env::var("MEILI_KEY").unwrap_or_default(), own: None }));
        }
        let Some(program) = on_the_path("meilisearch") else { return Ok(None) };
        let mut own = Own { program, address: free_address()?, process: None, folder: TempDir::new()? };
        own.start()?;
        Ok(Some(Self { url: format!("http://{}", own.address), key: KEY.to_owned(), own: Some(own) }))
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A key that may do everything; empty where none is needed.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Ends it as by a power failure, to be [started again](Self::start_again). Whether it could be: one that was there stays.
    pub fn stop(&mut self) -> bool {
        self.own.as_mut().is_some_and(|own| own.process.take().is_some())
    }

    /// Starts it again with what it has, where it was.
    pub fn start_again(&mut self) -> Result<()> {
        self.own.as_mut().map_or(Ok(()), Own::start)
    }
}

impl Own {
    fn start(&mut self) -> Result<()> {
        let mut server = command(&self.program, "KILL");
        server.args(["--http-addr", &self.address, "--no-analytics", "--env", "production", "--master-key", KEY]);
        server.arg("--db-path").arg(self.folder.path().join("data")).current_dir(self.folder.path());
        self.process = Some(Process::start(server, &self.folder.path().join("log"), "starting service")?);
        Ok(())
    }
}
