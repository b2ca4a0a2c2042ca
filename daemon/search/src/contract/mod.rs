//! What every engine must pass (feature `contract`).
//!
//! [`search_index_contract!`](crate::search_index_contract) makes one test of each case:
//!
//! ```text
//! stele_search::search_index_contract!(MyFixture::new());
//! ```
//!
//! Beside the suite: the scanned list that tells what is right ([`expected`]), texts that make engines stumble ([`text`]),
//! and an archive in memory ([`MemoryArchive`]).

mod cases;
mod memory;
mod model;
mod texts;

pub use cases::*;
pub use memory::MemoryArchive;
pub use model::{day_counts, expected};
pub use texts::{substrings, text};

use crate::SearchIndex;
use async_trait::async_trait;
use std::sync::Arc;

/// An engine to be tested, and what it keeps between restarts.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The engine. Called again after the one before was dropped: a restart.
    async fn open(&self) -> Arc<dyn SearchIndex>;

    /// Rounds of each property; fewer where a commit is slow.
    fn rounds(&self) -> u32 {
        24
    }
}

/// Tests of all cases. The argument gives a fixture that keeps nothing yet.
#[macro_export]
macro_rules! search_index_contract {
    ($fixture:expr) => {
        $crate::search_index_contract!(@ $fixture;
            begins_empty, survives_a_restart, passes_over_what_it_has, takes_in_empty_texts, filters, orders_and_pages, finds_the_first_of_many, finds_any_of_many,
            takes_queries_literally, finds_every_substring, agrees_with_a_scan, counts_days, begins_anew,
            rebuilds_beside, tells_of_progress, is_sound_and_can_be_condemned);
    };
    (@ $fixture:expr; $($case:ident),+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $crate::contract::$case(&$fixture).await;
        })+
    };
}
