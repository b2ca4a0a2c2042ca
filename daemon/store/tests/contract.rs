//! The archive's contract, kept by the SQLite backend.

mod common;

use common::Files;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    stele_archive::contract::run_all(&Files).await;
}

#[test]
fn sqlite_does_what_the_model_does() {
    stele_archive::contract::model::run(&Files, 64);
}
