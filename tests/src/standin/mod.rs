//! WeCom on loopback: its directory APIs over plain HTTP, and its archive API behind a proxy that ends TLS, as the real
//! vendor library needs it (reference/wecom-archive.md §7). And a quick-im-core ([`gateway`]), a WuKongIM ([`wukongim`]) and an
//! OpenIM ([`openim`]).

mod answers;
mod archive;
mod directory;
pub mod gateway;
pub mod openim;
mod script;
pub mod wukongim;

pub use archive::{ArchiveStandin, Envelope, Seen};
pub use directory::DirectoryStandin;
pub use script::{Reply, Script};

use crate::skip::skip;

/// Of upstreams to test with, where `None` is a real one, those that are stand-ins; says that the others are left out.
pub fn only_standins<V>(mut upstreams: Vec<Option<V>>, what: &str) -> Vec<Option<V>> {
    upstreams.retain(|upstream| {
        if upstream.is_none() {
            skip(what, "it needs the switches of a stand-in");
        }
        upstream.is_some()
    });
    upstreams
}
