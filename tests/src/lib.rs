//! What Stele's end-to-end suites run against, and the suites' common tools.
//!
//! * [`vendor_stub`]: the stub of WeCom's closed library, whose network is a folder.
//! * [`corp`]: makes such folders: keys, encrypted envelopes, media, directory.
//! * [`standin`]: WeCom's HTTP APIs, a quick-im-core, a WuKongIM and an OpenIM on loopback.
//! * [`kept`]: an archive that fits into a test, in front of a plugin without a daemon.
//! * [`crowd`]: a year of talk in any number of messages, as each plugin stores it.
//! * [`daemon`], [`settings`]: the real `steled`, configured, started, stopped and killed.
//! * [`rates`]: how fast an archive takes messages in.
//! * [`backing`]: SQLite or Postgres, and the embedded index or Meilisearch, behind a daemon.
//! * [`client`]: requests of contract 000, signed like its sample clients.
//! * [`gateway`]: instances, tokens and callers of the gateway; [`live`]: its listeners.
//! * [`wukongim`]: instances and callers of WuKongIM's message API.
//! * [`openim`]: instances and callers of OpenIM's search.
//! * [`scenario`]: HTTP scenarios kept as data.
//! * [`fetch`]: the real vendor library, and real text.
//! * [`mod@skip`]: tests that cannot run say so.

pub mod backing;
pub mod client;
pub mod corp;
pub mod crowd;
pub mod daemon;
pub mod fetch;
pub mod gateway;
pub mod kept;
pub mod live;
pub mod openim;
pub mod places;
pub mod rates;
pub mod report;
pub mod runs;
pub mod scenario;
pub mod settings;
pub mod standin;
pub mod wukongim;

use std::path::Path;
pub use stele_servers::skip;

/// The stub of the vendor's library, compiled from `tests/vendor-stub/stub.c`.
pub fn vendor_stub() -> &'static Path {
    Path::new(env!("STELE_VENDOR_STUB"))
}

/// A library that hands every call on to the real one, and can make that one abort; see `tests/vendor-stub/relay.c`.
pub fn vendor_relay() -> &'static Path {
    Path::new(env!("STELE_VENDOR_RELAY"))
}

/// Plugins that keep no rule of the boundary, compiled from `tests/zoo/zoo.c`, which says how each is asked for.
pub fn zoo() -> &'static Path {
    Path::new(env!("STELE_ZOO"))
}

/// The root of the source tree.
pub fn source_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the source tree")
}
