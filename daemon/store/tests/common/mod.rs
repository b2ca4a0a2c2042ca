//! Archives in throw-away folders.

use async_trait::async_trait;
use std::sync::Arc;
use stele_archive::Archive;
use stele_archive::contract::{Backend, Factory};
use stele_store::{Durability, Options, SqliteArchive};

/// Fast enough for thousands of small commits.
pub fn options() -> Options {
    Options { durability: Durability::Normal, ..Options::default() }
}

/// Makes archives in files.
pub struct Files;

#[async_trait]
impl Factory for Files {
    async fn fresh(&self) -> Box<dyn Backend> {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = SqliteArchive::open(&folder.path().join("archive.db"), &options()).await.expect("opens");
        Box::new(File { archive: Arc::new(archive), folder })
    }
}

struct File {
    archive: Arc<SqliteArchive>,
    folder: tempfile::TempDir,
}

#[async_trait]
impl Backend for File {
    fn archive(&self) -> Arc<dyn Archive> {
        self.archive.clone()
    }

    async fn restart(&mut self) {
        self.archive.close().await.expect("closes");
        let path = self.folder.path().join("archive.db");
        self.archive = Arc::new(SqliteArchive::open(&path, &options()).await.expect("opens again"));
    }
}
