//! The embedded engine passes the suite, with the window it has and with one that most pages do not fit into.

use async_trait::async_trait;
use std::sync::Arc;
use stele_search::contract::Fixture;
use stele_search::{EmbeddedIndex, EmbeddedOptions, SearchIndex};
use tempfile::TempDir;

struct Embedded {
    folder: TempDir,
    options: EmbeddedOptions,
}

impl Embedded {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), options: EmbeddedOptions::default() }
    }

    fn with_window(window: usize) -> Self {
        Self { options: EmbeddedOptions { window, ..EmbeddedOptions::default() }, ..Self::new() }
    }
}

#[async_trait]
impl Fixture for Embedded {
    async fn open(&self) -> Arc<dyn SearchIndex> {
        Arc::new(EmbeddedIndex::open(self.folder.path(), self.options.clone()).expect("the index opens"))
    }
}

stele_search::search_index_contract!(Embedded::new());

mod with_a_small_window {
    use super::Embedded;

    stele_search::search_index_contract!(Embedded::with_window(2));
}
