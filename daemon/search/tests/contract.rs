//! The embedded engine passes the suite.

use async_trait::async_trait;
use std::sync::Arc;
use stele_search::contract::Fixture;
use stele_search::{EmbeddedIndex, EmbeddedOptions, SearchIndex};
use tempfile::TempDir;

struct Embedded(TempDir);

impl Embedded {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }
}

#[async_trait]
impl Fixture for Embedded {
    async fn open(&self) -> Arc<dyn SearchIndex> {
        Arc::new(EmbeddedIndex::open(self.0.path(), EmbeddedOptions::default()).expect("the index opens"))
    }
}

stele_search::search_index_contract!(Embedded::new());
