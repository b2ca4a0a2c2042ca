//! What the tests of the file share.

use stele_store::{Durability, Options};

/// Fast enough for thousands of small commits.
pub fn options() -> Options {
    Options { durability: Durability::Normal, ..Options::default() }
}
