//! Full-text search over the archive: a message is found by any substring of its text, and by nothing else.
//!
//! # Parts
//!
//! - [`fold`] says what counts as the same text, and argues why nothing can be missed.
//! - [`SearchIndex`] is what an engine must do. [`EmbeddedIndex`] is the engine that needs nothing installed, [`MeiliIndex`] one on a
//!   Meilisearch.
//! - The [`Tailer`] follows the archive and keeps an index in step with it; rebuilds it when it is damaged or asked to.
//! - The [`Searcher`] answers: it adds what is stored but not indexed yet, checks every row against its stored text, marks
//!   where the query occurs ([`highlights`]), and helps itself while the engine is down.
//!
//! An index holds nothing the archive does not have. It can be deleted at any time.
//!
//! # Another engine
//!
//! Implement [`SearchIndex`], run the suite of `contract` (feature `contract`) against it.
#![warn(missing_docs)]

#[cfg(feature = "contract")]
pub mod contract;
mod embedded;
mod error;
pub mod fold;
mod highlight;
mod index;
mod meilisearch;
mod overlay;
mod rank;
mod searcher;
mod tailer;

pub use embedded::{EmbeddedIndex, EmbeddedOptions};
pub use error::{IndexError, SearchError, TailError};
pub use highlight::{Snippet, highlights, snippet};
pub use index::{IndexHealth, IndexPage, IndexQuery, Rebuild, SearchIndex, Sort, Watermark, Wished};
pub use meilisearch::{MeiliIndex, MeiliOptions};
pub use rank::{Rank, Top, relevance};
pub use searcher::{MAX_WINDOW, SearchHit, SearchPage, SearchRequest, Searcher, Within};
pub use tailer::{Reconciliation, ReindexProgress, TailStatus, Tailer, TailerOptions};
