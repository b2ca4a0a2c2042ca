//! The archive behind a pooler that hands each transaction whichever connection of the server is free.

mod database;

use async_trait::async_trait;
use database::{database, options};
use std::sync::Arc;
use stele_archive::contract::{Backend, Factory};
use stele_archive::{Archive, Feed, Pages};
use stele_servers::PgBouncer;
use stele_servers::skip::skip;
use stele_store::{PostgresArchive, PostgresOptions};

/// One that keeps so many prepared statements.
fn pooler(statements: u32) -> Option<PgBouncer> {
    let found = PgBouncer::find(&database()?, statements);
    let why = match found {
        Ok(Some(pooler)) => return Some(pooler),
        Ok(None) => "there is no pgbouncer on the path".to_owned(),
        Err(error) => format!("it cannot be started: {error:#}"),
    };
    skip("Postgres behind PgBouncer", &why);
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_behind_one_that_keeps_prepared_statements() {
    let Some(pooler) = pooler(200) else { return };
    stele_archive::contract::run_all(&Pooled(pooler)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_keeps_none_is_told_of() {
    let Some(pooler) = pooler(0) else { return };
    let options = options(&pooler.before(&database().expect("there is a server")).expect("an address"));
    let used = async {
        let archive = PostgresArchive::open(&options).await?;
        archive.instance("hq").await?;
        loop {
            let reads = (0..4).map(|_| archive.last_rev());
            futures::future::try_join_all(reads).await?;
        }
    };
    let refused: stele_archive::Result<()> = used.await;
    let refused = refused.expect_err("statements are lost");
    let whole = format!("{refused} {:?}", std::error::Error::source(&refused).map(ToString::to_string));
    assert!(whole.contains("max_prepared_statements"), "{whole}");
}

/// Makes archives in databases behind it.
struct Pooled(PgBouncer);

#[async_trait]
impl Factory for Pooled {
    async fn fresh(&self) -> Box<dyn Backend> {
        let url = self.0.before(&database().expect("there is a server")).expect("an address");
        let options = options(&url);
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
