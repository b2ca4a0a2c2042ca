//! The archive's contract, kept by every backend.

mod common;
mod database;

use async_trait::async_trait;
use common::options;
use std::sync::Arc;
use stele_archive::Archive;
use stele_archive::contract::{Backend, Factory};
use stele_store::{PostgresArchive, PostgresOptions, SqliteArchive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    stele_archive::contract::run_all(&Files).await;
}

#[test]
fn sqlite_does_what_the_model_does() {
    stele_archive::contract::model::run(&Files, 64);
}

#[test]
fn sqlite_finds_every_page_of_a_long_history() {
    stele_archive::contract::model::run_deep(&Files, 1_000);
}

/// Makes archives in files.
struct Files;

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

#[test]
fn postgres_keeps_the_contract() {
    let Some(databases) = databases() else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(stele_archive::contract::run_all(&databases));
}

#[test]
fn postgres_does_what_the_model_does() {
    let Some(databases) = databases() else { return };
    stele_archive::contract::model::run(&databases, 12);
}

#[test]
fn postgres_finds_every_page_of_a_long_history() {
    let Some(databases) = databases() else { return };
    stele_archive::contract::model::run_deep(&databases, 500);
}

/// Makes archives in databases.
struct Databases;

/// Unless there is no server.
fn databases() -> Option<Databases> {
    database::database().map(|_| Databases)
}

#[async_trait]
impl Factory for Databases {
    async fn fresh(&self) -> Box<dyn Backend> {
        let options = database::options(&database::database().expect("there is a server"));
        let archive = Arc::new(PostgresArchive::open(&options).await.expect("opens"));
        Box::new(Database { archive, options })
    }
}

struct Database {
    archive: Arc<PostgresArchive>,
    options: PostgresOptions,
}

#[async_trait]
impl Backend for Database {
    fn archive(&self) -> Arc<dyn Archive> {
        self.archive.clone()
    }

    async fn restart(&mut self) {
        self.archive.close().await.expect("closes");
        self.archive = Arc::new(PostgresArchive::open(&self.options).await.expect("opens again"));
    }
}
